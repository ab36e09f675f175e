"""Timed blocks for tests of the statistics."""

from collections.abc import Sequence
from typing import NamedTuple


class Taken(NamedTuple):
    launch: int
    round: int
    seconds: float
    steps: int = 1


def samples(step_seconds: Sequence[Sequence[float]], steps: int = 10) -> list[Taken]:
    """Return one sample a launch (outer) and round (inner)."""
    return [
        Taken(launch, round_, value * steps, steps)
        for launch, row in enumerate(step_seconds)
        for round_, value in enumerate(row)
    ]
