"""From samples to statements: step times, paired ratios, their intervals, the noise floor. Pure functions.

Everything is on a log scale: times and ratios of times vary by factors. A launch is the unit of replication, since
samples within one process share its memory layout and its luck (Kalibera and Jones 2013, "Rigorous benchmarking in
reasonable time", section 6).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean, quantiles
from typing import Literal, NamedTuple, Protocol

from scipy.stats import t as student_t

CONFIDENCE = 0.95
MIN_LAUNCHES = 5
MOST_LAUNCHES = 100
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
def _quantile(degrees: int, confidence: float) -> float:
    return float(student_t.ppf((1 + confidence) / 2, degrees))


def _spread(logs: Sequence[float]) -> float:
    centre = fmean(logs)
    return math.sqrt(math.fsum((log - centre) ** 2 for log in logs) / (len(logs) - 1))


def t_interval(logs: Sequence[float], confidence: float = CONFIDENCE, widened: float = 1.0) -> Estimate | None:
    """Student's t interval of the mean of `logs`, taken back from the log scale; None for fewer than two values."""
    if len(logs) < 2:
        return None
    centre = fmean(logs)
    margin = widened * _quantile(len(logs) - 1, confidence) * _spread(logs) / math.sqrt(len(logs))
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


def farther_bound(a_a: Estimate) -> float:
    """How far from 1 an A/A interval reaches, as a fraction: 0.03 for (0.98, 1.03)."""
    return math.exp(max(abs(math.log(a_a.low)), abs(math.log(a_a.high)))) - 1


def launches_needed(
    logs: Sequence[float], precision: float, least: int = MIN_LAUNCHES, confidence: float = CONFIDENCE
) -> int:
    """How many launches bring the interval's half-width down to `precision` (a fraction), judged from those made.

    Stein's two-stage rule (Stein 1945, Annals of Mathematical Statistics 16(3), 243-258). Asked again when so many are
    made, it says as many once more where the interval is as narrow as wished, else how many more it takes.

    A number chosen by the spread favours samples that happen to agree, and so intervals too narrow: with five launches
    first, and only one ratio to look at, they hold the truth 92 % of the time at worst. Hence `WIDENED` for all beyond
    the least. (That is the internal pilot of clinical trials: Kieser and Friede 2000, "Re-calculating the sample size
    in internal pilot study designs with control of the type I error rate", Statistics in Medicine 19(7), 901-911, who
    likewise make up for it by a level that is chosen for the worst case.) Stein's own interval, by the first stage's
    spread, is exact for normal samples and breaks with other ones: see docs/method.md.
    """
    widened = WIDENED if len(logs) > least else 1.0
    margin = widened * _quantile(len(logs) - 1, confidence) * _spread(logs)
    return max(len(logs), math.ceil((margin / math.log1p(precision)) ** 2))


def launches_wanted(pairs: Iterable[Sequence[float]], precision: float, least: int = MIN_LAUNCHES) -> int | None:
    """How many launches the widest of several ratios needs; None where none of them has an interval.

    Parameters
    ----------
    pairs : iterable of sequence of float
        For each ratio that is to be so precise its `log_ratios`.
    precision : float
    least : int
        The launches that are made whatever they show.
    """
    return max((launches_needed(logs, precision, least) for logs in pairs if len(logs) > 1), default=None)


class Stop(NamedTuple):
    """Why no more launches are made, and whether their number was `chosen` by the samples (see `ratio`)."""

    why: str
    chosen: bool = False


def stop(
    made: int,
    wanted: int | None,
    spent: float,
    budget: float,
    precision: float,
    least: int = MIN_LAUNCHES,
    reference: str = "the reference",
) -> Stop | None:
    """Whether to stop after so many launches, at least `least`; None to go on.

    Parameters
    ----------
    made : int
    wanted : int or None
        What `launches_wanted` said when last asked: after the first `least`, and whenever so many as it said are made.
    spent, budget : float
        Seconds. Another launch is made where it will fit, by what those before it took on average.
    precision : float
    least : int
    reference : str
        Who those ratios are to.
    """
    aim = f"every ratio to {reference} within \N{PLUS-MINUS SIGN}{100 * precision:.3g} %"
    if wanted is None:
        return Stop(f"nothing to compare: {_count(made)}, and no ratio has an interval")
    if made >= wanted:
        return Stop(f"precision reached: {aim} after {_count(made)}", chosen=made > least)
    short = f"{made} of about {wanted} launches that {aim} takes"
    if made >= MOST_LAUNCHES:
        return Stop(f"launch limit: {short}; no case makes more than {MOST_LAUNCHES}")
    if spent * (made + 1) / made > budget:
        return Stop(f"budget: {short}; {spent:.3g} s of the case's {budget:.3g} s are spent")
    return None


@dataclass
class Stopping:
    """Asked after every launch of a case whether to make another.

    The precision is judged after the least launches, and again whenever so many as that said are made.

    Parameters
    ----------
    precision, budget, least
        As for `stop`.
    """

    precision: float
    budget: float
    least: int = MIN_LAUNCHES
    _wanted: int | None = field(default=None, init=False)

    def after(
        self,
        made: int,
        spent: float,
        pairs: Iterable[Sequence[float]],
        reference: str = "the reference",
    ) -> Stop | None:
        """Whether to stop; None to go on. `pairs`: for each ratio that is to be so precise its `log_ratios` by now."""
        if made < self.least:
            return None
        if self._wanted is None or made >= self._wanted:
            self._wanted = launches_wanted(pairs, self.precision, self.least)
        return stop(made, self._wanted, spent, self.budget, self.precision, self.least, reference)


def _count(launches: int) -> str:
    return f"{launches} launch{'es' * (launches != 1)}"


def settled(seconds: Sequence[float]) -> bool:
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
