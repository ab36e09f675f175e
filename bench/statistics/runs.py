"""Ratios over several runs, and their change from one side of runs to another. Pure functions.

Runs of different hours or boots differ by more than their launches do, so a run is a level of its own. An interval over
runs needs at least three of them. With one run a side, how much runs differ is estimated from the table itself: from
the changes of all backends, most of which are taken to be the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Final, Literal

import numpy as np

from bench.statistics.intervals import CONFIDENCE, WIDENED, Estimate, Timed, launch_logs, quantile, t_interval
from bench.statistics.moderation import Floats, chi2_quantile
from bench.statistics.verdicts import MARGIN, judge, ratios_of

LEAST_RUNS: Final = 3  # of a side, for an interval over runs
LEAST_ENTRIES: Final = 4  # of a table, to estimate from it how much two runs differ
_MOST_DEGREES: Final = 3.0  # of that estimate: with more, heavy tails between runs make over 5 % of tables false
_EFFICIENCY: Final = 0.37  # of the median of squares as an estimate of a variance, as for the median absolute deviation
_CHI2_MEDIAN: Final = chi2_quantile(0.5, 1)
_BISECTIONS: Final = 60

ChangeVerdict = Literal["faster", "slower", "same", "no change shown"]
Runs = Sequence[Sequence[float]]
"""Log ratios by run and launch; a ratio is above 0 where the backend is faster than the reference."""


@dataclass(frozen=True)
class Change:
    """The change of one backend.

    Attributes
    ----------
    change : Estimate
        How many times faster than the reference it is on the new side, over the same on the old side.
    verdict : {"faster", "slower", "same", "no change shown"}
        Holds over the whole table.
    """

    change: Estimate
    verdict: ChangeVerdict


def over_runs(runs: Runs) -> Estimate | None:
    """Return a ratio over runs by Student's t, with the run as the unit; None for fewer than `LEAST_RUNS`."""
    return t_interval([fmean(launches) for launches in runs]) if len(runs) >= LEAST_RUNS else None


def can_judge(old: int, new: int, entries: int) -> bool:
    """Return True where changes can be judged: each side has three runs, or each has one and the table is long enough.

    Parameters
    ----------
    old, new : int
        Numbers of runs.
    entries : int
        Number of backends in all cases, without the references.
    """
    return min(old, new) >= LEAST_RUNS or (old == new == 1 and entries >= LEAST_ENTRIES)


def changes(old: Sequence[Runs], new: Sequence[Runs], margin: float = MARGIN) -> list[Change]:
    """Judge the changes of all entries of a table, so that in at most 5 % of tables any is called falsely.

    Parameters
    ----------
    old, new : sequence of Runs
        By entry. Each run has at least two launches.
    margin : float
        A change shown to be within 1 ± this share is called the same.

    Returns
    -------
    list of Change
        By entry. Without verdicts other than "no change shown" where `can_judge` is False.
    """
    if not old:
        return []
    centres = np.array([_mean(theirs) - _mean(ours) for ours, theirs in zip(old, new, strict=True)])
    judgeable = can_judge(len(old[0]), len(new[0]), len(old))
    by_run = min(len(old[0]), len(new[0])) >= LEAST_RUNS
    variances, degrees = _over_runs(old, new) if by_run else _over_launches(old, new, centres)
    errors = np.sqrt(variances)
    return _judged(centres, errors, degrees, margin, judgeable=judgeable)


def interleaved_changes(
    tables: Sequence[tuple[Mapping[str, Sequence[Timed]], Sequence[tuple[str, str]], bool]], margin: float = MARGIN
) -> list[list[Change | None]]:
    """Judge the changes between arms that took turns in one run, so that in at most 5 % of runs any is called falsely.

    Parameters
    ----------
    tables : sequence of (arms, pairs, chosen)
        By case: the samples by name of the arm; the pairs of names to judge, the old one first; True where the samples
        chose the number of launches. All arms of a case give the variance of each pair its prior.
    margin : float
        A change shown to be within 1 ± this share is called the same.

    Returns
    -------
    list of list of Change or None
        By case and pair; None for a case with fewer than two launches in which every arm has a sample.
    """
    parts = [_moments(*table) for table in tables]
    judgeable = [part for part in parts if part is not None]
    if not judgeable:
        return [[None] * len(pairs) for _, pairs, _ in tables]
    centres, errors, degrees = (np.concatenate(rows) for rows in zip(*judgeable, strict=True))
    found = iter(_judged(centres, errors, degrees, margin))
    return [
        [None if part is None else next(found) for _ in pairs]
        for part, (_, pairs, _) in zip(parts, tables, strict=True)
    ]


def _moments(
    arms: Mapping[str, Sequence[Timed]], pairs: Sequence[tuple[str, str]], chosen: bool
) -> tuple[Floats, Floats, Floats] | None:
    """Return the centre, the standard error and the degrees of freedom of the log ratio of each pair."""
    logs = launch_logs(arms.values())
    if not pairs or len(logs) < 2:
        return None
    ratios = ratios_of(np.array(logs))
    places = {pair: at for at, pair in enumerate(combinations(arms, 2))}
    at = np.array([places[pair] for pair in pairs])
    errors = ratios.errors[at] * (WIDENED if chosen else 1.0)
    return ratios.centres[at], errors, ratios.degrees[at]


def _judged(centres: Floats, errors: Floats, degrees: Floats, margin: float, *, judgeable: bool = True) -> list[Change]:
    """Return the changes with their own 95 % intervals, and with verdicts that hold over all of them."""
    judged = judge(centres, errors, degrees, margin)
    found = []
    for at, centre in enumerate(centres.tolist()):
        reach = quantile(float(degrees[at]), CONFIDENCE) * float(errors[at])
        verdict: ChangeVerdict = "no change shown"
        if judgeable and judged.different[at]:
            verdict = "faster" if centre > 0 else "slower"
        elif judgeable and judged.same[at]:
            verdict = "same"
        found.append(Change(Estimate(*(math.exp(centre + side * reach) for side in (0, -1, 1))), verdict))
    return found


def _mean(runs: Runs) -> float:
    return fmean(fmean(launches) for launches in runs)


def _over_runs(old: Sequence[Runs], new: Sequence[Runs]) -> tuple[Floats, Floats]:
    """Return the variance of each change and its degrees of freedom: two samples of runs, with one variance."""
    variances, degrees = [], []
    for sides in zip(old, new, strict=True):
        means = [np.array([fmean(launches) for launches in side]) for side in sides]
        free = sum(len(side) - 1 for side in means)
        pooled = sum(float(side.var()) * len(side) for side in means) / free
        variances.append(pooled * sum(1 / len(side) for side in means))
        degrees.append(free)
    return np.array(variances), np.array(degrees, np.float64)


def _over_launches(old: Sequence[Runs], new: Sequence[Runs], centres: Floats) -> tuple[Floats, Floats]:
    """Return the variance of each change and its degrees of freedom: that of launches, and that between two runs.

    The latter is one variance of all entries. It makes the median of (change²/variance) that of chi squared, so that a
    few entries that really changed have little weight. The degrees of the sum are Satterthwaite's (1946, "An
    approximate distribution of estimates of variance components", Biometrics Bulletin 2(6), 110-114).
    """
    within, free = [], []
    for sides in zip(old, new, strict=True):
        launches = [np.array([log for run in side for log in run]) for side in sides]
        parts = [float(side.var(ddof=1)) / len(side) for side in launches]
        within.append(max(sum(parts), float(np.finfo(np.float64).tiny)))
        by_side = sum(part**2 / (len(side) - 1) for part, side in zip(parts, launches, strict=True))
        free.append(sum(parts) ** 2 / by_side if by_side else 1.0)
    own = np.array(within)
    between = _between(centres, own)
    total = own + between
    shared = min(_MOST_DEGREES, max(1.0, _EFFICIENCY * len(centres)))
    return total, total**2 / (own**2 / np.array(free) + between**2 / shared)


def _between(centres: Floats, own: Floats) -> float:
    """Return the least variance between two runs that explains the table's changes, beside each entry's own."""

    def unexplained(variance: float) -> bool:
        return float(np.median(centres**2 / (own + variance))) > _CHI2_MEDIAN

    if not unexplained(0.0):
        return 0.0
    low, high = 0.0, float(np.max(centres**2)) / _CHI2_MEDIAN
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if unexplained(middle) else (low, middle)
    return high
