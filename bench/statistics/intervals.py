"""From samples to statements: step times, paired ratios, their intervals, the noise floor. Pure functions.

Everything is on a log scale: times and ratios of times vary by factors. A launch is the unit of replication, since
samples within one process share its memory layout and its luck (Kalibera and Jones 2013, "Rigorous benchmarking in
reasonable time", section 6).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import fmean, quantiles
from typing import Literal, NamedTuple, Protocol

from scipy.stats import t as student_t

CONFIDENCE = 0.95
MIN_LAUNCHES = 5
WIDENED = 1.08  # see `launches_needed`
_WARM_WINDOW = 3  # blocks
_WARM_GAIN = 0.02


class Timed(Protocol):
    """What a sample must tell."""

    @property
    def launch(self) -> int:
        """Number of the launch it was taken in."""

    @property
    def round(self) -> int:
        """Number of the round within the launch."""

    @property
    def seconds(self) -> float:
        """Length of the timed block."""

    @property
    def steps(self) -> int:
        """Steps in the block."""


class Estimate(NamedTuple):
    """A centre and its interval. `median` is exp(mean of logs): the median of what is symmetric in logs."""

    median: float
    low: float
    high: float


@lru_cache
def quantile(degrees: int, confidence: float) -> float:
    return float(student_t.ppf((1 + confidence) / 2, degrees))


def log_spread(logs: Sequence[float]) -> float:
    centre = fmean(logs)
    return math.sqrt(math.fsum((log - centre) ** 2 for log in logs) / (len(logs) - 1))


def t_interval(logs: Sequence[float], confidence: float = CONFIDENCE, widened: float = 1.0) -> Estimate | None:
    """Student's t interval of the mean of `logs`, taken back from the log scale; None for fewer than two values."""
    if len(logs) < 2:
        return None
    centre = fmean(logs)
    margin = widened * quantile(len(logs) - 1, confidence) * log_spread(logs) / math.sqrt(len(logs))
    return Estimate(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin))


def _by_turn(samples: Iterable[Timed]) -> dict[tuple[int, int], float]:
    return {(s.launch, s.round): math.log(s.seconds / s.steps) for s in samples}


def _launch_means(logs: dict[tuple[int, int], float]) -> list[float]:
    launches: dict[int, list[float]] = defaultdict(list)
    for (launch, _), value in logs.items():
        launches[launch].append(value)
    return [fmean(launches[launch]) for launch in sorted(launches)]


def step_seconds(samples: Iterable[Timed]) -> Estimate | None:
    """Seconds a step: launch means first, then a t interval over launches."""
    return t_interval(_launch_means(_by_turn(samples)))


def log_ratios(reference: Iterable[Timed], other: Iterable[Timed]) -> list[float]:
    """Each launch's mean log(reference's step time / other's), paired within the rounds both took part in."""
    ours, theirs = _by_turn(reference), _by_turn(other)
    return _launch_means({turn: ours[turn] - theirs[turn] for turn in ours.keys() & theirs.keys()})


def ratio(reference: Iterable[Timed], other: Iterable[Timed], *, chosen: bool = False) -> Estimate | None:
    """How many times faster `other` is than `reference`; above 1 is faster. None for fewer than two launches.

    Parameters
    ----------
    reference, other : iterable of Timed
    chosen : bool
        Whether the samples' own spread chose how many launches there are, beyond the least: then the interval is
        wider by `WIDENED`.
    """
    return t_interval(log_ratios(reference, other), widened=WIDENED if chosen else 1.0)


def noise_floor(a_a: Estimate) -> float:
    """How far from 1 an A/A interval reaches, as a fraction: 0.03 for (0.98, 1.03)."""
    return math.exp(max(abs(math.log(a_a.low)), abs(math.log(a_a.high)))) - 1


def steady_state(seconds: Sequence[float]) -> bool:
    """Whether equal blocks, one after the other, have stopped getting faster.

    None of the last three beats the fastest before them by over 2 %. By minima, since what else runs on a machine only
    ever adds time: the blocks of a compiled program settle at once however noisy, those of a JIT language with its last
    compilation (of how that can look: Barrett et al. 2017, "Virtual machine warmup blows hot and cold").
    """
    before, window = seconds[:-_WARM_WINDOW], seconds[-_WARM_WINDOW:]
    return bool(before) and min(window) >= min(before) * (1 - _WARM_GAIN)


def gain_within_launches(samples: Iterable[Timed]) -> Estimate | None:
    """How many times faster the last round of a launch is than its first; above 1 was not warm. None as for `ratio`."""
    launches: dict[int, dict[int, float]] = defaultdict(dict)
    for (launch, number), value in _by_turn(samples).items():
        launches[launch][number] = value
    return t_interval([turns[min(turns)] - turns[max(turns)] for turns in launches.values() if len(turns) > 1])


def outliers(samples: Sequence[Timed]) -> list[bool]:
    """Which samples lie beyond Tukey's fences, 1.5 quartile distances outside the quartiles, on the log scale.

    A label for the reader (Tukey 1977, "Exploratory Data Analysis", section 2E); nothing is ever dropped for it.
    """
    logs = [math.log(sample.seconds / sample.steps) for sample in samples]
    if len(logs) < 4:
        return [False] * len(logs)
    lower, _, upper = quantiles(logs, n=4, method="inclusive")
    reach = 1.5 * (upper - lower)
    return [not lower - reach <= value <= upper + reach for value in logs]


Verdict = Literal["faster", "slower", "no difference shown"]


def verdict(estimate: Estimate, noise_floor: float | None) -> Verdict:
    """What may be said of a ratio: "faster" only where the whole interval clears both 1 and the noise floor."""
    floor = 1 + (noise_floor or 0.0)
    if estimate.low > floor:
        return "faster"
    if estimate.high < 1 / floor:
        return "slower"
    return "no difference shown"
