"""CPUs: how many this process may use, and which ones a case is pinned to."""

import os

from pyfnn.errors import PyfnnError


def thread_counts(most: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and `most`."""
    return (*(2**k for k in range(most.bit_length()) if 2**k < most), most)


def all_threads() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_cpus(threads: int) -> tuple[int, ...]:
    """The CPUs that every worker of a case gets: the last ones we may use, since the first serve most interrupts."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    ours = sorted(os.sched_getaffinity(0))
    if threads > len(ours):
        raise PyfnnError(f"{threads} threads: this process may use {len(ours)} CPUs")
    return tuple(ours[-threads:])
