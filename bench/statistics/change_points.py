"""Change points in series of runs, at an error rate that holds over all series together. Pure functions.

The test is Pettitt's, of ranks: a run that fell into an hour of other load is one rank off, however far off its ratio.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.statistics.intervals import Estimate
from bench.statistics.runs import LEAST_RUNS, changes
from bench.statistics.verdicts import LEVEL

Floats = NDArray[np.float64]
_ORDERS: Final = 20_000  # for a p value: the observed one and random ones
_SERIES: Final = 100  # for twice as many, twice the orders: the least p value, 1/20000, is multiplied by their number
_TIE: Final = 1e-9  # statistics closer than this are equal: they are sums of the same ranks in another order
_MOST_RUNS: Final = 200  # that `runs_needed` asks for


@dataclass(frozen=True)
class ChangePoint:
    """A change of level.

    Attributes
    ----------
    at : int
        Index of the first run after it.
    p : float
        Over all series: the share of histories without any change in which one as clear as this is found.
    change : Estimate
        The ratio after the change, up to the next one, over that before it, back to the one before. The interval is
        that of a place known beforehand.
    """

    at: int
    p: float
    change: Estimate


def change_points(series: Sequence[Sequence[float] | Floats], level: float = LEVEL) -> list[list[ChangePoint]]:
    """Find the changes of level in each series.

    A series is cut where the ranks before and after differ most, in units of what chance gives at that place: the
    statistic of Pettitt 1979 ("A non-parametric approach to the change-point problem", Applied Statistics 28(2),
    126-135), scaled to the same variance at every cut. Its p value is the share of random orders of the runs with as
    much. Each side of a significant cut is searched in the same way (binary segmentation). p values are multiplied by
    the number of series, and by the share of the series that a side lacks (Meinshausen 2008, "Hierarchical testing of
    variable importance", Biometrika 95(2), 265-278), so that in at most 5 % of histories any change is found falsely.
    Runs must differ independently of each other: a machine that gets slower from week to week has changes, too.

    Parameters
    ----------
    series : sequence of sequence or array of float
        Log ratios by run, in order of time. Series shorter than two sides of three runs have no change point.
    level : float

    Returns
    -------
    list of list of ChangePoint
        By series, in order of time.
    """
    tests = sum(len(values) >= 2 * LEAST_RUNS for values in series)
    orders, found = _ORDERS * max(1, math.ceil(tests / _SERIES)), []
    for values in series:
        cuts = list(_cuts(np.asarray(values, np.float64), 0, tests * len(values), level, orders))
        ends = [0, *(at for at, _ in cuts), len(values)]
        found.append(
            [
                ChangePoint(at, p, _change(values[before:at], values[at:after]))
                for (at, p), before, after in zip(cuts, ends, ends[2:], strict=False)
            ]
        )
    return found


def runs_needed(series: int, level: float = LEVEL) -> int:
    """Return the least number of runs in which the clearest change can be found among so many series.

    The clearest change is halfway, with all runs after it above or below all runs before it. Of C(n, n/2) ways to
    choose the runs of one side, 2 are as clear; with an odd n 4, because there are two cuts next to the middle.
    """
    chances = ((n, (4 if n % 2 else 2) / math.comb(n, n // 2)) for n in range(2 * LEAST_RUNS, _MOST_RUNS))
    enough = (n for n, chance in chances if series * chance <= level)
    return next(enough, _MOST_RUNS)


def _cuts(values: Floats, start: int, weight: int, level: float, orders: int) -> Iterator[tuple[int, float]]:
    """Yield the places and adjusted p values of the significant cuts of a stretch that begins at `start`.

    `weight` over the length of the stretch is the factor on its p value, which is a share of so many `orders`.
    """
    runs = len(values)
    if runs < 2 * LEAST_RUNS:
        return
    scaled = _scaled(rankdata(values)[np.newaxis, :])[0]
    best = int(np.argmax(scaled))
    p = min(1.0, _p_value(float(scaled[best]), runs, orders) * weight / runs)
    if p > level:
        return
    cut = best + LEAST_RUNS
    yield from _cuts(values[:cut], start, weight, level, orders)
    yield start + cut, p
    yield from _cuts(values[cut:], start + cut, weight, level, orders)


def _scaled(ranks: Floats) -> Floats:
    """Return |sum of the ranks before the cut - its mean| over its standard deviation, by cut: (orders, cuts).

    The variance of the sum of k of n ranks, drawn without replacement, is k(n - k)(n + 1)/12.
    """
    runs = ranks.shape[1]
    cut = np.arange(LEAST_RUNS, runs - LEAST_RUNS + 1)
    sums = np.cumsum(ranks - (runs + 1) / 2, axis=1)[:, cut - 1]
    found: Floats = np.abs(sums) / np.sqrt(cut * (runs - cut) * (runs + 1) / 12)
    return found


def _p_value(statistic: float, runs: int, orders: int) -> float:
    """Return the share of random orders with at least this statistic; the observed order counts as one of them."""
    chance = _by_chance(runs, orders - 1)
    return float(1 + len(chance) - np.searchsorted(chance, statistic - _TIE)) / (1 + len(chance))


@lru_cache
def _by_chance(runs: int, draws: int) -> Floats:
    """Return the statistics of random orders, ascending; always the same ones, so that a history can be made again."""
    rng, ranks = np.random.default_rng(runs), np.arange(1.0, runs + 1)
    found = [
        _scaled(rng.permuted(np.tile(ranks, (min(_ORDERS, draws - done), 1)), axis=1)).max(axis=1)
        for done in range(0, draws, _ORDERS)
    ]
    return np.sort(np.concatenate(found))


def _change(before: Sequence[float] | Floats, after: Sequence[float] | Floats) -> Estimate:
    """Return the ratio after a change over that before it, by Student's t with the run as the unit."""
    (found,) = changes([[[float(value)] for value in before]], [[[float(value)] for value in after]])
    return found.change
