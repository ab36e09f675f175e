"""The stopping rule: the number of launches that a precision needs, and when a case ends."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bench.statistics.intervals import CONFIDENCE, MIN_LAUNCHES, WIDENED, quantile
from bench.statistics.verdicts import ratios_of

MOST_LAUNCHES = 100


def launches_needed(variance: float, degrees: float, made: int, precision: float, least: int = MIN_LAUNCHES) -> int:
    """Return how many launches bring a ratio's half-width down to `precision`, estimated from the launches so far.

    Stein's two-stage rule (Stein 1945, Annals of Mathematical Statistics 16(3), 243-258), with the moderated variance.
    The result is the number of launches so far where the interval is already narrow enough.

    A number of launches that the spread chooses favours samples that happen to agree, and so intervals that are too
    narrow: with five launches first and one ratio, they cover the true ratio 92 % of the time in the worst case.
    `WIDENED` corrects for this once there are more than `least` launches. The method is the internal pilot study of
    clinical trials (Kieser and Friede 2000, "Re-calculating the sample size in internal pilot study designs with
    control of the type I error rate", Statistics in Medicine 19(7), 901-911), which also adjusts the level for the
    worst case. Stein's own interval, from the spread of the first stage, is exact for normal samples and fails for
    others: see docs/statistics.md.

    Parameters
    ----------
    variance, degrees : float
        Moderated variance of the log ratio in one launch, with its degrees of freedom.
    made : int
    precision : float
        Half-width as a fraction: 0.02 is 2 %.
    least : int
        Launches that every case makes.
    """
    widened = WIDENED if made > least else 1.0
    margin = widened * quantile(degrees, CONFIDENCE) * math.sqrt(variance)
    return max(made, math.ceil((margin / math.log1p(precision)) ** 2))


def launches_of_widest(pairs: Iterable[Sequence[float]], precision: float, least: int = MIN_LAUNCHES) -> int | None:
    """Return how many launches the widest of several ratios needs; None where no ratio has an interval.

    Parameters
    ----------
    pairs : iterable of sequence of float
        The `log_ratios` of each first instance to the reference. Those with fewer launches than others do not count.
    precision, least
        See `launches_needed`.
    """
    given = list(pairs)
    made = max(map(len, given), default=0)
    if made < 2:
        return None
    shown = [logs for logs in given if len(logs) == made]
    found = ratios_of(-np.array([[0.0] * made, *shown]).T)  # the reference's own log step time cancels in every pair
    variances, degrees = found.variances[: len(shown)].tolist(), found.degrees[: len(shown)].tolist()
    return max(launches_needed(*each, made, precision, least) for each in zip(variances, degrees, strict=True))


class Stop(NamedTuple):
    """The reason a case ends; `chosen` is True where the samples' spread set the number of launches (see `ratio`)."""

    why: str
    chosen: bool = False


def stop(
    made: int,
    needed: int | None,
    spent: float,
    budget: float,
    precision: float,
    least: int = MIN_LAUNCHES,
    reference: str = "the reference",
    coming: float | None = None,
) -> Stop | None:
    """Decide whether a case ends after `made` launches, at least `least`; None to make another launch.

    Parameters
    ----------
    made : int
    needed : int or None
        Last result of `launches_of_widest`.
    spent, budget : float
        Seconds. Another launch must fit the budget.
    precision : float
    least : int
    reference : str
        Name of the ratios' reference, for the message.
    coming : float, optional
        Seconds that another launch takes; by default the mean of the launches so far.
    """
    aim = f"every ratio to {reference} within \N{PLUS-MINUS SIGN}{100 * precision:.3g} %"
    if needed is None:
        return Stop(f"nothing to compare: {_count(made)}, and no ratio has an interval")
    if made >= needed:
        return Stop(f"precision reached: {aim} after {_count(made)}", chosen=made > least)
    short = f"{_count(made)}, and {aim} takes about {needed}"
    if made >= MOST_LAUNCHES:
        return Stop(f"launch limit: {short}; no case makes more than {MOST_LAUNCHES}")
    if not _fits(made, spent, budget, coming):
        return Stop(f"budget: {short}. The case took {spent:.3g} s; its share of the budget was {budget:.3g} s")
    return None


def _fits(made: int, spent: float, budget: float, coming: float | None) -> bool:
    return spent + (spent / made if coming is None else coming) <= budget


@dataclass
class Stopping:
    """The decision after each launch of a case whether to make another one.

    The number of launches needed is estimated after the first `least` launches, each time it is reached, and at the
    end, so that the reason given has the number by all launches.

    Parameters
    ----------
    precision, budget, least
        See `stop`.
    planned : int
        Launches that are made in any case where the budget allows.
    bounded : bool
        True where fewer than `least` launches are made, but one, if the budget does not suffice for them.
    """

    precision: float
    budget: float
    least: int = MIN_LAUNCHES
    planned: int = 0
    bounded: bool = False
    _for_precision: int | None = field(default=None, init=False)

    def after(
        self,
        made: int,
        spent: float,
        pairs: Iterable[Sequence[float]],
        reference: str = "the reference",
        coming: float | None = None,
    ) -> Stop | None:
        """Decide whether the case ends; None to make another launch.

        Parameters
        ----------
        made, spent, reference, coming
            See `stop`.
        pairs
            See `launches_of_widest`.
        """
        fits = _fits(made, spent, self.budget, coming)
        if made < (self._first_stage if fits else self.least):
            return self._too_few(made, spent) if self.bounded and not fits else None
        ratios, planned = list(pairs), self._for_precision
        if planned is None or made >= planned:
            self._for_precision = launches_of_widest(ratios, self.precision, self._first_stage)
        found = self._decide(made, spent, reference, coming)
        if found and made < (planned or made):  # the plan is from fewer launches
            self._for_precision = launches_of_widest(ratios, self.precision, self._first_stage)
            found = self._decide(made, spent, reference, coming)
        return found

    def expected(self, made: int, spent: float, coming: float) -> int:
        """Return about how many launches the case makes in all; see `after`."""
        affordable = made + max(0, int((self.budget - spent) / coming))
        expected = min(self._for_precision or self._first_stage, affordable, MOST_LAUNCHES)
        return max(made, expected, 1 if self.bounded else self.least)

    def _decide(self, made: int, spent: float, reference: str, coming: float | None) -> Stop | None:
        return stop(made, self._for_precision, spent, self.budget, self.precision, self._first_stage, reference, coming)

    def _too_few(self, made: int, spent: float) -> Stop:
        why = "one gives no interval" if made == 1 else "intervals are wide"
        return Stop(
            f"budget: {made} of at least {self.least} launches, {why}. The case took {spent:.3g} s; its share of the "
            f"budget was {self.budget:.3g} s"
        )

    @property
    def _first_stage(self) -> int:
        """Launches that the samples' spread does not choose."""
        return max(self.least, self.planned)


def _count(launches: int) -> str:
    return f"{launches} launch{'es' * (launches != 1)}"
