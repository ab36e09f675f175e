"""The number of rounds in a launch: enough that more launches would be the better use of the time. Pure functions."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

LEAST_ROUNDS, MOST_ROUNDS = 3, 60


class Spread(NamedTuple):
    """Variances of log ratios: of rounds within a launch, and of launches beyond what their rounds explain."""

    within: float
    between: float


def fitting_rounds(most: int, block_seconds: float, longest: float) -> int:
    """Return the rounds of a first launch: `most`, or as many as fit the same time where blocks last longer.

    Parameters
    ----------
    most : int
    block_seconds : float
        Least duration of a block.
    longest : float
        Duration of the longest block of a backend of the case. Up to twice `block_seconds` is not longer.
    """
    share = 2 * block_seconds / max(longest, 2 * block_seconds)
    return max(min(LEAST_ROUNDS, most), round(most * share))


def spread(pairs: Iterable[Sequence[Sequence[float]]]) -> Spread | None:
    """Return the variance components of log ratios, pooled over pairs by analysis of variance.

    For R rounds a launch, the variance of launch means estimates between + within/R (Searle, Casella and McCulloch
    1992, "Variance Components", section 3.5).

    Parameters
    ----------
    pairs : iterable of sequences of sequences of float
        For each ratio, for each launch, the log ratio of each round; launches have equally many rounds.

    Returns
    -------
    Spread or None
        None without a ratio that has two launches of two rounds.
    """
    within, between = list[float](), list[float]()
    for launches in pairs:
        if len(launches) < 2 or any(len(rounds) < 2 for rounds in launches):
            continue
        means = [fmean(rounds) for rounds in launches]
        inside = fmean(_variance(rounds) for rounds in launches)
        within.append(inside)
        between.append(_variance(means) - inside / fmean(len(rounds) for rounds in launches))
    return Spread(fmean(within), max(0.0, fmean(between))) if within else None


def best_rounds(spread: Spread, launch_seconds: float, round_seconds: float) -> int:
    """Return the rounds a launch that give the narrowest interval for the time, between `LEAST_` and `MOST_ROUNDS`.

    R = √(C_launch/C_round · σ_w²/σ_b²) minimizes (C_launch + R C_round) (σ_b² + σ_w²/R) (Kalibera and Jones 2013,
    "Rigorous benchmarking in reasonable time", section 6.3).

    Parameters
    ----------
    spread : Spread
    launch_seconds, round_seconds : float
        Cost of a launch without its rounds, and of a round.
    """
    if spread.between <= 0:
        return MOST_ROUNDS if spread.within > 0 else LEAST_ROUNDS
    best = math.sqrt(launch_seconds / round_seconds * spread.within / spread.between)
    return max(LEAST_ROUNDS, min(MOST_ROUNDS, round(best)))


def _variance(values: Sequence[float]) -> float:
    centre = fmean(values)
    return math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
