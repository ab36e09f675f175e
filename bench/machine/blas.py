"""The BLAS that NumPy calls: whether its kernels are as new as the CPU, and what others would reach.

OpenBLAS alone tells its kernels and takes an order of them. Measured in processes of their own, by bench/blas_here.py.
Whether that is worth a warning: see bench/advice.py.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.machine import blas_probe
from bench.machine.cpus import choose_cpus
from pyfnn.process import launch

VARIABLE = "OPENBLAS_CORETYPE"
KERNELS = {  # of OpenBLAS, by the x86-64 level they are for; the first is what to ask for
    "v4": ("SkylakeX", "Cooperlake", "SapphireRapids"),
    "v3": ("Haswell", "Zen"),
}
PATIENCE = 2.2  # seconds, for one process: the doctor has ten for everything
_ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class Throughput:
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
    now: Throughput | None = None
    mended: Throughput | None = None


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
    found = blas_probe.of_numpy()
    if found is None:
        return None
    name, kernels = found
    better = wanted(kernels, level)
    if better is None:
        return Blas(name, kernels)
    return Blas(name, kernels, better, measure(), measure(better))


def measure(kernels: str | None = None, patience: float = PATIENCE) -> Throughput | None:
    """What a fresh process reaches on one CPU, with the kernels named or with those that it takes; None if it fails."""
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bench.blas_here import main; main()"
    environment = {**os.environ, VARIABLE: kernels} if kernels else None
    command = [*launch.command(choose_cpus(1)), sys.executable, "-c", start, _ROOT]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=patience)
        return Throughput(**json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError, TypeError):
        return None
