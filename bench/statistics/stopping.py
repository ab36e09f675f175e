"""The stopping rule: how many launches a precision needs, and when a run ends."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.statistics.intervals import CONFIDENCE, MIN_LAUNCHES, WIDENED, log_spread, quantile

MOST_LAUNCHES = 100


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
    margin = widened * quantile(len(logs) - 1, confidence) * log_spread(logs)
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
