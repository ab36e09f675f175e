"""The process that probes this machine, alone and pinned; bench/machine/ceilings.py starts it.

Its argument is a request in JSON for the CPU or, with "device": "cuda", for the GPU (bench/machine/device_probe.py). It
prints one line of JSON. The native module of an x86-64 level is loaded only if the CPU has that level.
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from bench.machine import bare_products, device_probe
from pyfnn import compiled, isa
from pyfnn.errors import BackendUnavailable

TRAFFICS = ("read", "copy", "triad")
CACHE_SECONDS = 0.02  # duration of each probe of a cache: a burst takes 2 ms


def answer(
    dtypes: list[str],
    threads: int,
    seconds: float,
    size: int,
    caches: dict[str, int] | None = None,
    steps: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Measure the peaks of every level and dtype, the bandwidths by the best level, and the products of steps.

    Parameters
    ----------
    dtypes : list of str
    threads : int
    seconds : float
        Duration of each probe.
    size : int
        Bytes of memory to sweep, in all.
    caches : dict of str to int, optional
        Bytes to sweep in each cache, in all.
    steps : list of dict, optional
        Shapes of steps: see `bench.machine.bare_products.answer`.

    Returns
    -------
    dict
        ``peaks``, ``bandwidths`` and ``products`` as in `bench.results.schema.Ceilings`, or ``absent`` with the reason.
    """
    try:
        modules = {level: _module(level) for level in isa.levels_of("_probe")}
    except BackendUnavailable as error:
        return {"absent": str(error)}
    best = list(modules.values())[-1]
    sweeps = [("", size, seconds), *((cache, held, CACHE_SECONDS) for cache, held in (caches or {}).items())]
    return {
        "peaks": [
            {"level": level, "dtype": dtype, "threads": threads, "gflops": module.peak(dtype, threads, seconds) / 1e9}
            for level, module in modules.items()
            for dtype in dtypes
        ],
        "bandwidths": [
            {
                "traffic": traffic,
                "threads": threads,
                "bytes": swept,
                "gigabytes_per_second": best.bandwidth(traffic, threads, swept, duration) / 1e9,
                "cache": cache,
            }
            for cache, swept, duration in sweeps
            for traffic in TRAFFICS
        ],
        "products": bare_products.answer(steps or (), threads),
    }


def _module(level: str) -> Any:
    compiled.folder(f"_probe_{level}")
    return importlib.import_module(f"pyfnn._probe_{level}")


def main() -> None:
    """Answer the request in the first argument with a line of JSON."""
    request = json.loads(sys.argv[1])
    answers: dict[str, Callable[..., dict[str, Any]]] = {"cpu": answer, "cuda": device_probe.answer}
    print(json.dumps(answers[request.pop("device", "cpu")](**request)))


if __name__ == "__main__":
    main()
