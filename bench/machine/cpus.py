"""CPUs: the number that this process may use, and the ones that a case is pinned to."""

import os

from pyfnn.errors import PyfnnError


def thread_counts(most: int) -> tuple[int, ...]:
    """Return the powers of two below `most`, and `most`."""
    return (*(2**k for k in range(most.bit_length()) if 2**k < most), most)


def all_threads() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_cpus(threads: int) -> tuple[int, ...]:
    """Return the CPUs that every worker of a case is pinned to; () where the system has no affinity.

    These are the last CPUs that this process may use, because the first ones serve most interrupts.

    Raises
    ------
    PyfnnError
        More threads than CPUs.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    ours = sorted(os.sched_getaffinity(0))
    if threads > len(ours):
        raise PyfnnError(f"{threads} threads: this process may use {len(ours)} CPUs")
    return tuple(ours[-threads:])
