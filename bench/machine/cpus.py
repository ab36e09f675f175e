"""CPUs: the number that this process may use, the ones that a case is pinned to, and the ones left for the driver."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyfnn.errors import PyfnnError

_MOST_PLACES = 4  # more processes than that wait for the driver to start them, and for memory and disk
_TOPOLOGY = Path("/sys/devices/system/cpu")  # of Linux


def thread_counts(most: int) -> tuple[int, ...]:
    """Return the powers of two below `most`, and `most`."""
    return (*(2**k for k in range(most.bit_length()) if 2**k < most), most)


def all_threads() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def siblings(cpu: int) -> frozenset[int]:
    """Return the CPUs that share a core with `cpu`, itself included; only itself where the system reports none."""
    try:
        text = (_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
        spans = [[int(end) for end in span.split("-")] for span in text.split(",")]
    except (OSError, ValueError):
        return frozenset({cpu})
    return frozenset(number for span in spans for number in range(span[0], span[-1] + 1)) | {cpu}


def core_count() -> int | None:
    """Return the number of cores of the CPUs that this process may use; None where the system has no affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return len({siblings(cpu) for cpu in os.sched_getaffinity(0)})


def choose_cpus(threads: int) -> tuple[int, ...]:
    """Return the CPUs that every worker of a case is pinned to; () where the system has no affinity.

    Each thread gets a core of its own while there are enough cores: two threads on one core share its arithmetic units.
    The CPUs are the last ones that this process may use, because the first ones serve most interrupts.

    Raises
    ------
    PyfnnError
        More threads than CPUs.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    ours = sorted(os.sched_getaffinity(0), reverse=True)
    if threads > len(ours):
        raise PyfnnError(f"{threads} threads: this process may use {len(ours)} CPUs")
    cores: dict[frozenset[int], list[int]] = {}
    for cpu in ours:
        cores.setdefault(siblings(cpu), []).append(cpu)
    firsts = [of_core[0] for of_core in cores.values()]
    return tuple(sorted([*firsts, *(cpu for cpu in ours if cpu not in firsts)][:threads]))


def places_for(cpus: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the places on which processes of a case may start side by side: `cpus`, and as large ones elsewhere.

    These are for one thread only, and have a core each while there are enough. A library that starts several threads
    may remember the CPUs that it has seen, and keep to them later.
    """
    if len(cpus) != 1:
        return [cpus]
    ours = sorted(os.sched_getaffinity(0), reverse=True)  # the nearest ones first
    cores = {siblings(cpu): cpu for cpu in ours}
    elsewhere = [cpu for core, cpu in cores.items() if not core & set(cpus)] or [cpu for cpu in ours if cpu not in cpus]
    places: list[tuple[int, ...]] = [(cpu,) for cpu in elsewhere]
    return [cpus, *places][:_MOST_PLACES]


@contextmanager
def driver_apart(cpus: tuple[int, ...]) -> Iterator[None]:
    """Keep this thread off the cores of a case's CPUs, or at least off these CPUs, where any others are left."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    near = frozenset[int]().union(*map(siblings, cpus))
    rest = (before - near) or (before - set(cpus))
    if rest:
        os.sched_setaffinity(0, rest)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
