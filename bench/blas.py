"""The BLAS that NumPy calls: which kernels it took, and what they reach. python -m bench.blas measures its own process.

OpenBLAS alone tells its kernels and takes an order of them. Whether that is worth a warning: see bench/advice.py.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from bench.workers import choose_cpus
from pyfnn import compiled, isa, launch
from pyfnn.errors import BackendUnavailable

VARIABLE = "OPENBLAS_CORETYPE"
KERNELS = {  # of OpenBLAS, by the x86-64 level they are for; the first is what to ask for
    "v4": ("SkylakeX", "Cooperlake", "SapphireRapids"),
    "v3": ("Haswell", "Zen"),
}
SECONDS = 0.2  # of products, and of multiply-adds
_SIZE = 384  # of square float32 matrices: a millisecond each, so that some fall between two of others' turns
PATIENCE = 2.2  # seconds, for one process: the doctor has ten for everything
_ROOT = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Reached:
    """What one process measured: GFLOP/s of float32 products and of multiply-adds in registers, on one thread."""

    kernels: str
    gflops: float
    peak: float | None  # None where no probe is compiled


@dataclass(frozen=True)
class Blas:
    """NumPy's BLAS, and what was measured of it.

    Attributes
    ----------
    name : str
        For instance ``OpenBLAS 0.3.30``.
    kernels : str
    wanted : str or None
        The kernels to ask for, where these are older than the CPU's instruction set.
    now, mended : Reached or None
        As it is, and with the kernels wanted; None where that was not measured.
    """

    name: str
    kernels: str
    wanted: str | None = None
    now: Reached | None = None
    mended: Reached | None = None


def of_numpy() -> tuple[str, str] | None:
    """Name with version, and kernels; None where NumPy's BLAS is no OpenBLAS."""
    found = ThreadpoolController().select(internal_api="openblas").lib_controllers
    own = [lib for lib in found if "numpy" in str(Path(lib.filepath).parent)] or found
    return next(((f"OpenBLAS {lib.version}", str(lib.architecture)) for lib in own), None)


def wanted(kernels: str, level: str | None) -> str | None:
    """The kernels to ask for on a CPU of that level; None where these are as new, or the level has none."""
    if level not in KERNELS:
        return None
    levels = list(KERNELS)
    as_new = {name for known in levels[: levels.index(level) + 1] for name in KERNELS[known]}
    return None if kernels in as_new else KERNELS[level][0]


@cache
def examine(level: str | None) -> Blas | None:
    """NumPy's BLAS on a CPU of that level; measured where its kernels are older than that. None: no OpenBLAS."""
    found = of_numpy()
    if found is None:
        return None
    name, kernels = found
    better = wanted(kernels, level)
    if better is None:
        return Blas(name, kernels)
    return Blas(name, kernels, better, measure(), measure(better))


def measure(kernels: str | None = None, patience: float = PATIENCE) -> Reached | None:
    """What a fresh process reaches on one CPU, with the kernels named or with those that it takes; None if it fails."""
    cpus = ",".join(map(str, choose_cpus(1)))
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bench.blas import main; main()"
    launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), cpus, "1"]
    environment = {**os.environ, VARIABLE: kernels} if kernels else None
    command = [*launcher, sys.executable, "-c", start, _ROOT]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=patience)
        return Reached(**json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError, TypeError):
        return None


def answer() -> dict[str, Any]:
    """The fields of a `Reached`, of this process."""
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
        levels = isa.levels()
        for level in levels:
            compiled.folder(f"_probe_{level}")
    except BackendUnavailable:
        return None
    probes = [importlib.import_module(f"pyfnn._probe_{level}") for level in levels]
    return max(float(probe.peak("float32", 1, SECONDS)) for probe in probes) / 1e9


def main() -> None:
    """Print it as a line of JSON."""
    print(json.dumps(answer()))


if __name__ == "__main__":
    main()
