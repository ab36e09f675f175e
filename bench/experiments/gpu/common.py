"""Common parts of the steps of a GPU run: their options, and the cases of the suite."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench.experiments.gpu.plan import HERE

DTYPE = "float32"


@dataclass(frozen=True)
class GpuCase:
    """A workload and the backends to time on it."""

    workload: str
    backends: tuple[str, ...]


CASES = (
    GpuCase("wine-deep", ("cuda", "torch-cuda-graph", "jax-cuda")),
    GpuCase("ensemble-4096", ("cuda", "cpp-tuned", "torch-cuda-graph", "jax-cuda")),
    GpuCase("mlp", ("cuda", "cuda-blas", "torch-cuda-graph", "jax-cuda")),
    GpuCase("wide", ("cuda", "cuda-blas", "torch-cuda")),
)
REHEARSED = (GpuCase("wine-shallow", ("c", "numpy")),)


def cases(small: bool) -> tuple[GpuCase, ...]:
    """Return the cases of a run, or of its rehearsal."""
    return REHEARSED if small else CASES


def child_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every step."""
    p = argparse.ArgumentParser(prog=f"python -m {HERE}.{name}", description=description)
    p.add_argument("--backend", type=Path, required=True, metavar="PATH", help="backend.toml of the kernels' variants")
    p.add_argument("--small", action="store_true", help="rehearse: only what takes seconds where kernels run on a CPU")
    return p
