"""Step times, log ratios of step times and intervals, computed from samples. Pure functions.

Within a launch the mean is arithmetic; between launches all statistics are on a log scale, because step times and their
ratios vary by factors. The launch is the unit of
replication, because the samples of one process share its memory layout (Kalibera and Jones 2013, "Rigorous benchmarking
in reasonable time", section 6).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, quantiles
from typing import Annotated, ClassVar, Protocol

from pydantic import ConfigDict, Field

from bench.statistics import special

CONFIDENCE = 0.95
MIN_LAUNCHES = 5
WIDENED = 1.08  # factor on an interval's width where the samples chose the number of launches: see `launches_needed`
_STEADY_WINDOW = 3  # blocks
_STEADY_GAIN = 0.02  # fraction

_Positive = Annotated[float, Field(gt=0)]


class Timed(Protocol):
    """A timed block."""

    @property
    def launch(self) -> int:
        """Number of the launch in which the block ran."""

    @property
    def round(self) -> int:
        """Number of the round within the launch."""

    @property
    def seconds(self) -> float:
        """Duration of the block."""

    @property
    def steps(self) -> int:
        """Number of steps in the block."""


@dataclass(frozen=True)
class Estimate:
    """A centre and its 95 % interval, in the unit of the estimated quantity.

    The bounds of a results file are checked when it is read; a value made here is not checked.

    Attributes
    ----------
    median : float
        exp(mean of the logs), which is the median of a distribution that is symmetric in the logs.
    low, high : float
        Bounds of the interval.
    """

    median: _Positive
    low: _Positive
    high: _Positive

    @property
    def inverse(self) -> "Estimate":
        """The ratio the other way round."""
        return Estimate(1 / self.median, 1 / self.high, 1 / self.low)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)


@lru_cache
def quantile(degrees: float, confidence: float) -> float:
    """Return the two-sided quantile of Student's t distribution."""
    return float(special.stdtrit(degrees, (1 + confidence) / 2))


def log_spread(logs: Sequence[float]) -> float:
    """Return the sample standard deviation of `logs`."""
    centre = fmean(logs)
    return math.sqrt(math.fsum((log - centre) ** 2 for log in logs) / (len(logs) - 1))


def t_interval(logs: Sequence[float], confidence: float = CONFIDENCE, widened: float = 1.0) -> Estimate | None:
    """Return the exponential of the mean of `logs` with Student's t interval; None for fewer than two values.

    Parameters
    ----------
    logs : sequence of float
    confidence : float
    widened : float
        Factor on the half-width, on the log scale.
    """
    if len(logs) < 2:
        return None
    centre = fmean(logs)
    margin = widened * quantile(len(logs) - 1, confidence) * log_spread(logs) / math.sqrt(len(logs))
    return Estimate(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin))


def mean_interval(values: Sequence[float]) -> Estimate | None:
    """Return the mean of values of any sign with Student's t interval; None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = fmean(values)
    margin = quantile(len(values) - 1, CONFIDENCE) * log_spread(values) / math.sqrt(len(values))
    return Estimate(centre, centre - margin, centre + margin)


def _log_step_times(samples: Iterable[Timed]) -> dict[tuple[int, int], float]:
    """Return the log of each sample's step time by (launch, round)."""
    return {(s.launch, s.round): math.log(s.seconds / s.steps) for s in samples}


def launch_logs(arms: Iterable[Iterable[Timed]]) -> list[list[float]]:
    """Return log(total seconds / total steps) by launch and arm, over the rounds in which every arm has a sample.

    The mean within a launch is the arithmetic one, because a user waits for all of the time: a pause of 100 ms in each
    second costs 10 %, of which the mean of the logs of 50 ms blocks shows 5.6 %.
    """
    taken = [{(sample.launch, sample.round): sample for sample in arm} for arm in arms]
    launches: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for turn in sorted(set.intersection(*map(set, taken)) if taken else ()):
        launches[turn[0]].append(turn)
    return [
        [
            math.log(math.fsum(arm[turn].seconds for turn in turns) / sum(arm[turn].steps for turn in turns))
            for arm in taken
        ]
        for turns in launches.values()
    ]


def step_seconds(samples: Iterable[Timed]) -> Estimate | None:
    """Return the seconds a step takes: the t interval of the launch means' logs. None for fewer than two launches."""
    return t_interval([log for (log,) in launch_logs([samples])])


def log_ratios(reference: Iterable[Timed], other: Iterable[Timed]) -> list[float]:
    """Return for each launch log(step time of `reference` / step time of `other`), over the rounds that both have."""
    return [ours - theirs for ours, theirs in launch_logs([reference, other])]


def log_ratios_of_rounds(reference: Iterable[Timed], other: Iterable[Timed]) -> list[list[float]]:
    """Return for each launch the log(step time of `reference` / step time of `other`) of each round that both have."""
    ours, theirs = _log_step_times(reference), _log_step_times(other)
    launches: dict[int, list[float]] = defaultdict(list)
    for launch, number in sorted(ours.keys() & theirs.keys()):
        launches[launch].append(ours[launch, number] - theirs[launch, number])
    return list(launches.values())


def ratio(reference: Iterable[Timed], other: Iterable[Timed], *, chosen: bool = False) -> Estimate | None:
    """Return how many times faster `other` is than `reference`, by Student's t; None for fewer than two launches.

    The ratios of a case have moderated variances instead: see `bench.statistics.verdicts`.

    Parameters
    ----------
    reference, other : iterable of Timed
    chosen : bool
        True where the spread of the samples chose the number of launches; the interval is then wider by `WIDENED`.
    """
    return t_interval(log_ratios(reference, other), widened=WIDENED if chosen else 1.0)


def steady_state(seconds: Sequence[float]) -> bool:
    """Return True once successive blocks of equal length have stopped getting faster.

    None of the last three blocks may be more than 2 % faster than the fastest block before them. The rule compares
    minima, because other processes can only lengthen a block: a compiled program is steady at once however noisy the
    machine, a JIT language after its last compilation (examples: Barrett et al. 2017, "Virtual machine warmup blows hot
    and cold").
    """
    before, window = seconds[:-_STEADY_WINDOW], seconds[-_STEADY_WINDOW:]
    return bool(before) and min(window) >= min(before) * (1 - _STEADY_GAIN)


def gain_within_launches(samples: Iterable[Timed]) -> Estimate | None:
    """Return how many times faster the last round of a launch is than its first.

    A value above 1 means that the launch was not warm. None for fewer than two launches of several rounds.
    """
    launches: dict[int, dict[int, float]] = defaultdict(dict)
    for (launch, number), value in _log_step_times(samples).items():
        launches[launch][number] = value
    return t_interval([turns[min(turns)] - turns[max(turns)] for turns in launches.values() if len(turns) > 1])


def outliers(samples: Sequence[Timed]) -> list[bool]:
    """Label the samples beyond Tukey's fences: 1.5 quartile distances outside the quartiles, on the log scale.

    The label is for readers; no statistic drops a sample (Tukey 1977, "Exploratory Data Analysis", section 2E).
    """
    logs = [math.log(sample.seconds / sample.steps) for sample in samples]
    if len(logs) < 4:
        return [False] * len(logs)
    lower, _, upper = quantiles(logs, n=4, method="inclusive")
    reach = 1.5 * (upper - lower)
    return [not lower - reach <= value <= upper + reach for value in logs]
