"""The settings of the measurement and their defaults: precision, margin, rounds, launches, length of blocks."""

from dataclasses import dataclass

from bench.statistics import intervals
from bench.statistics.verdicts import MARGIN


@dataclass(frozen=True)
class Settings:
    """Settings of the measurement.

    Attributes
    ----------
    reference : str
        Name of the backend that ratios are to.
    precision : float
        Half-width of the ratios' intervals at which a case ends, as a fraction.
    margin : float
        Backends whose ratio is shown to be within 1 ± this share are called the same.
    rounds : int
        Rounds in each of the first launches, where blocks are no longer than they must be. Later launches have as many
        as the spread within and between launches suggests: see `bench.statistics.rounds`.
    min_launches, launches : int
        Least number of launches; and least number where the budget allows.
    sensitivity : bool
        True to measure a slowed copy of a backend in each case where one can be.
    bounded : bool
        True where the budget bounds the run: then a case makes fewer than `min_launches`, but one, if they do not fit.
    block_seconds, burst_seconds : float
        Least duration of a timed block, and of the untimed burst before it.
    timeout : float
        Seconds a worker may take for one reply.
    seed : int
        Seed of the shuffles, and of the secret places that the proof draws.
    """

    reference: str = "numpy"
    precision: float = 0.02
    margin: float = MARGIN
    rounds: int = 15
    min_launches: int = intervals.MIN_LAUNCHES
    launches: int = 8
    bounded: bool = False
    sensitivity: bool = False
    block_seconds: float = 0.01
    burst_seconds: float = 0.002
    timeout: float = 60.0
    seed: int = 0
