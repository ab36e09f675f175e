"""The memory that a process needs for the data of a workload."""

from bench.machine import description
from bench.measure.errors import NotEnoughMemory
from bench.suites.problem import Problem

_DATA_COPIES = 4  # in files, in the worker, and in between


def require_memory(problem: Problem) -> None:
    """Raise `NotEnoughMemory` where the data of a problem do not fit what is free now."""
    needed = _DATA_COPIES * problem.nbytes
    free = description.available_memory()
    if needed > free:
        raise NotEnoughMemory(f"needs about {needed / 2**20:.0f} MiB: {free / 2**20:.0f} MiB are free")
