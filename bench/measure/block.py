"""A timed block: its place, its steps and its clocks. Values only."""

import math
from dataclasses import dataclass

from bench.terms import Clock

MANY_BLOCKS = 4  # factor on the length of a block of many networks: the work of each member's call is not timed
_WALL_BLOCKS = 5  # factor where wall time gives the step times: it is disturbed more easily


def least_block(seconds: float, clock: Clock, members: int) -> float:
    """Return the least duration of a timed block of a case, in seconds.

    Parameters
    ----------
    seconds : float
        `Settings.block_seconds`.
    clock : {"cpu", "wall"}
        The case's clock.
    members : int
        Networks trained at once.
    """
    return seconds * (_WALL_BLOCKS if clock == "wall" else 1) * (MANY_BLOCKS if members > 1 else 1)


@dataclass(frozen=True)
class Place:
    """Place of a turn's work in the order, in steps: of its block, and of the burst before it.

    Since these differ, two turns hardly ever begin their block at the same θ, even where the order is short.
    """

    start: int = 0
    steps: int = 0
    burst_start: int = 0
    burst: int = 0


@dataclass(frozen=True)
class Block:
    """One timed block.

    Attributes
    ----------
    steps : int
        Steps or repeats; of many networks at once, those of each.
    seconds, wall_seconds : float
        By the worker's clock, and by the driver's.
    cpu_seconds : float
        Of the worker process and all its descendants.
    involuntary_switches : int or None
        None where the system does not count them, or nobody asked.
    checksum : float
        Of timed passes; 0 for training.
    retries : int
        Turns that were rejected before this one.
    calls : int
        Protocol calls that made the block.
    device_seconds : float or None
        By the device's clock, where it has one.
    claimed_cpu_seconds : float or None
        CPU seconds that the worker reports for the block; None where it reports none.
    work_cpu_seconds : float
        CPU seconds of the block's steps: those that the worker reports, or else those of its processes, from which
        `Session.turn` subtracts those of a run without work.
    place : Place
    proven_steps : int or None
        Steps that were compared with the oracle afterwards; None where none was asked for.
    """

    steps: int
    seconds: float
    wall_seconds: float
    cpu_seconds: float
    involuntary_switches: int | None = None
    checksum: float = 0.0
    retries: int = 0
    calls: int = 1
    device_seconds: float | None = None
    claimed_cpu_seconds: float | None = None
    work_cpu_seconds: float = math.nan
    place: Place = Place()
    proven_steps: int | None = None

    def by(self, clock: Clock) -> float:
        """Return the seconds of the block by a clock."""
        return self.work_cpu_seconds if clock == "cpu" else self.seconds


def difference(before: int | None, after: int | None) -> int | None:
    """Return the count between two readings; None where unknown, as when a thread ended and took its count with it."""
    return None if before is None or after is None or after < before else after - before
