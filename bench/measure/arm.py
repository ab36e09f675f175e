"""One instance of a backend within a case, and the settings of a run."""

import math
from dataclasses import dataclass, field

from bench.results.schema import Sample
from bench.statistics import intervals
from pyfnn.manifest import Row


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    reference : str
        The backend that ratios are to.
    precision : float
        Half-width of the ratios' intervals, as a fraction, at which to stop.
    rounds : int
        Rounds in a launch.
    min_launches : int
    block_seconds, burst_seconds : float
        Least length of a timed block, and of the untimed burst before it.
    timeout : float
        Seconds a worker may take over one reply.
    seed : int
        Of the shuffles.
    """

    reference: str = "numpy"
    precision: float = 0.02
    rounds: int = 3
    min_launches: int = intervals.MIN_LAUNCHES
    block_seconds: float = 0.05
    burst_seconds: float = 0.01
    timeout: float = 60.0
    seed: int = 0


@dataclass
class Arm:
    """A backend's part in a case: how long its blocks are, what it has shown."""

    row: Row
    instance: str
    steps: int = 0
    burst: int = 0
    step_seconds: float = math.inf
    samples: list[Sample] = field(default_factory=list)
    lost: bool = False
