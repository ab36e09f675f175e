"""The throughput of NumPy's BLAS in this process and the multiply-add peak: python -m bench.machine.blas_probe.

bench/machine/blas.py chooses the kernels. Imports little, because bench.doctor waits for it.
"""

import importlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from pyfnn import compiled, isa
from pyfnn.errors import BackendUnavailable

SECONDS = 0.2  # duration of the products, and of the multiply-adds
_SIZE = 384  # of square float32 matrices: a product takes about 1 ms, so that some run undisturbed by other processes


def of_numpy() -> tuple[str, str] | None:
    """Return the name with the version, and the kernels; None if NumPy's BLAS is no OpenBLAS."""
    found = ThreadpoolController().select(internal_api="openblas").lib_controllers
    own = [lib for lib in found if "numpy" in str(Path(lib.filepath).parent)] or found
    return next(((f"OpenBLAS {lib.version}", str(lib.architecture)) for lib in own), None)


def answer() -> dict[str, Any]:
    """Measure this process; return the fields of a `bench.machine.blas.Throughput`."""
    found = of_numpy()
    return {"kernels": found[1] if found else "", "gflops": _products(), "peak": _peak()}


def _products() -> float:
    A, B = (np.random.default_rng(seed).random((_SIZE, _SIZE), np.float32) for seed in (1, 2))
    C = np.zeros_like(A)
    best, end = float("inf"), time.perf_counter() + SECONDS
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        np.matmul(A, B, out=C)
        best = min(best, time.perf_counter() - start)
    return 2 * _SIZE**3 / best / 1e9


def _peak() -> float | None:
    try:
        levels = isa.levels_of("_probe")
        for level in levels:
            compiled.folder(f"_probe_{level}")
    except BackendUnavailable:
        return None
    probes = [importlib.import_module(f"pyfnn._probe_{level}") for level in levels]
    return max(float(probe.peak("float32", 1, SECONDS)) for probe in probes) / 1e9


def main() -> None:
    """Print the answer as a line of JSON."""
    print(json.dumps(answer()))


if __name__ == "__main__":
    main()
