"""The process that probes this machine, alone and pinned: see bench/ceilings.py, which starts it. Judges nothing.

One argument, a request in JSON, of the CPU or, with "device": "cuda", of that (see bench/device_probe.py); one line of
JSON on stdout. A module of a level is loaded only where the CPU runs it.
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from bench.machine import device_probe
from pyfnn import compiled, isa
from pyfnn.errors import BackendUnavailable

TRAFFICS = ("read", "copy", "triad")


def answer(dtypes: list[str], threads: int, seconds: float, size: int) -> dict[str, Any]:
    """Peaks of every level and dtype, bandwidths by the best level: `seconds` each, `size` bytes in all.

    Returns
    -------
    dict
        ``peaks`` and ``bandwidths``, as in `bench.results.Ceilings`; or ``absent``, the reason why there are none.
    """
    try:
        modules = {level: _module(level) for level in isa.levels()}
    except BackendUnavailable as error:
        return {"absent": str(error)}
    best = list(modules.values())[-1]
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
                "bytes": size,
                "gigabytes_per_second": best.bandwidth(traffic, threads, size, seconds) / 1e9,
            }
            for traffic in TRAFFICS
        ],
    }


def _module(level: str) -> Any:
    compiled.folder(f"_probe_{level}")
    return importlib.import_module(f"pyfnn._probe_{level}")


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    answers: dict[str, Callable[..., dict[str, Any]]] = {"cpu": answer, "cuda": device_probe.answer}
    print(json.dumps(answers[request.pop("device", "cpu")](**request)))
