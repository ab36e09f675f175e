"""The BLAS that NumPy calls: the age of its kernels compared with the CPU, and the throughput of newer kernels.

Only OpenBLAS names its kernels and lets a variable choose them. Each measurement runs in its own process, by
bench/machine/blas_probe.py; bench/advice/machine.py decides on a warning.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache

from bench.machine import blas_probe, child
from bench.machine.cpus import choose_cpus

VARIABLE = "OPENBLAS_CORETYPE"
KERNELS = {  # of OpenBLAS, by x86-64 level; the first of each is the one to ask for
    "v4": ("SkylakeX", "Cooperlake", "SapphireRapids"),
    "v3": ("Haswell", "Zen"),
}
PATIENCE = 2.2  # seconds, time limit of one process: bench.doctor has 10 s for all its checks


@dataclass(frozen=True)
class Throughput:
    """Throughput of one process: GFLOP/s of float32 products and of multiply-adds in registers, on one thread."""

    kernels: str
    gflops: float
    peak: float | None  # None if no probe is compiled


@dataclass(frozen=True)
class NumpyBlas:
    """NumPy's BLAS and its throughput.

    Attributes
    ----------
    name : str
        For instance ``OpenBLAS 0.3.30``.
    kernels : str
    newer : str or None
        The kernels to ask for, if `kernels` are older than the CPU's instruction set.
    now, with_fix : Throughput or None
        Throughput with the present kernels and with `newer`; None if not measured.
    """

    name: str
    kernels: str
    newer: str | None = None
    now: Throughput | None = None
    with_fix: Throughput | None = None


def newer_kernels(kernels: str, level: str | None) -> str | None:
    """Return the kernels to ask for on a CPU of this level; None if these are as new, or the level has none."""
    if level not in KERNELS:
        return None
    levels = list(KERNELS)
    as_new = {name for known in levels[: levels.index(level) + 1] for name in KERNELS[known]}
    return None if kernels in as_new else KERNELS[level][0]


@cache
def examine(level: str | None) -> NumpyBlas | None:
    """Return NumPy's BLAS, measured if its kernels are older than the CPU's level; None if it is no OpenBLAS."""
    found = blas_probe.of_numpy()
    if found is None:
        return None
    name, kernels = found
    better = newer_kernels(kernels, level)
    if better is None:
        return NumpyBlas(name, kernels)
    return NumpyBlas(name, kernels, better, measure(), measure(better))


def measure(kernels: str | None = None, patience: float = PATIENCE) -> Throughput | None:
    """Measure a fresh process on one CPU, with the named kernels or its default ones; None if the process fails."""
    environment = {**os.environ, VARIABLE: kernels} if kernels else None
    command = child.command("bench.machine.blas_probe", choose_cpus(1))
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=patience)
        return Throughput(**json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError, TypeError):
        return None
