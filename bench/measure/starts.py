"""Starts of the processes of a launch: side by side, each on CPUs of its own."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import wait
from time import perf_counter

from bench.measure.arm import Arm
from bench.measure.session import Session

Cpus = tuple[int, ...]


def start_side_by_side(
    arms: Sequence[Arm],
    places: Sequence[Cpus],
    start: Callable[[Arm, Cpus], Session],
    blame: Callable[[Arm], AbstractContextManager[None]],
) -> None:
    """Start a process of every arm, never two at one place, and return when all have started or failed.

    Parameters
    ----------
    arms : sequence of Arm
    places : sequence of tuple of int
        Disjoint sets of CPUs.
    start : callable
        Begins to start a process of an arm at a place.
    blame : callable
        Takes the errors of an arm.
    """
    waiting, free, running = deque(arms), list(reversed(places)), dict[Session, tuple[Arm, Cpus]]()
    while waiting or running:
        starting = bool(waiting and free)
        if starting:
            arm = waiting.popleft()
            if not arm.lost:
                with blame(arm):
                    session = start(arm, free[-1])
                    running[session] = arm, free.pop()
        for session in _started(running, waits=not starting):
            arm, place = running.pop(session)
            free.append(place)
            if not arm.lost:
                with blame(arm):
                    session.arrive()


def _started(running: dict[Session, tuple[Arm, Cpus]], *, waits: bool) -> list[Session]:
    """Return the processes that have answered or never will, and those of lost arms; wait until there is one."""
    lost = [session for session, (arm, _) in running.items() if arm.lost]
    if waits and not lost:
        deadline = min(session.worker.greeting_deadline for session in running)
        wait([session.worker.fileno() for session in running], max(0.0, deadline - perf_counter()))
    return lost or [session for session in running if session.worker.has_greeted()]
