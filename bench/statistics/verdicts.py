"""Verdicts on all pairs of a table at once: faster, slower, the same within a margin, or undecided. Pure functions.

Verdicts hold over the whole table: in at most 5 % of tables are any two equal backends called faster or slower, and in
at most 5 % any two called the same that differ by the margin or more. Axes as in `moderation`.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.statistics import special
from bench.statistics.intervals import CONFIDENCE, WIDENED, Estimate, Timed, launch_logs, log_ratios, quantile
from bench.statistics.moderation import Floats, Prior, arm_variances, fit_prior, moderate

MARGIN = 0.03  # backends whose ratio is shown to be within 1 ± this share are the same
LEVEL = 0.05  # of any false difference in a table, and of any false sameness
POWER = 0.8  # of the launches that `launches_to_decide` asks for
MOST_ASKED = 1000  # launches
LEAST_DEGREES = 1.0  # of freedom, of an interval: t's quantile is 13 at 1, 165 at 0.5, 3e7 at 0.16
_Z_POWER = 0.8416212335729143  # normal quantile of POWER

Bools = NDArray[np.bool_]
Verdict = Literal["faster", "slower", "same", "undecided"]


class Ratios(NamedTuple):
    """The log ratios of all pairs: centres, moderated variances of one launch, degrees of freedom, and the prior.

    Arrays have shape (..., P), in the order of `itertools.combinations` over the arms; a ratio is above 0 where the
    second arm is faster.
    """

    centres: Floats
    variances: Floats
    degrees: Floats
    launches: int
    prior: Prior

    @property
    def errors(self) -> Floats:
        """Standard errors of the centres."""
        return np.sqrt(self.variances / self.launches)


def ratios_of(logs: Floats) -> Ratios:
    """Return the moderated ratios of all pairs of arms.

    Parameters
    ----------
    logs : ndarray, shape (..., L, K)
        Log step times by launch and arm, L at least 2.
    """
    launches, arms = logs.shape[-2:]
    one, other = np.array(list(combinations(range(arms), 2)), np.intp).reshape(-1, 2).T
    differences = logs[..., one] - logs[..., other]
    own = differences.var(axis=-2, ddof=1)
    prior = fit_prior(own, arm_variances(logs), launches - 1)
    variances, degrees = moderate(own, launches - 1, prior)
    return Ratios(differences.mean(axis=-2), variances, degrees, launches, prior)


def holm(p: Floats, level: float) -> Bools:
    """Return which hypotheses are rejected so that any false rejection has at most probability `level`.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
    6(2), 65-70. It holds however the p values, shape (..., P), depend on each other.
    """
    order = np.argsort(p, axis=-1)
    ranked = np.take_along_axis(p, order, axis=-1)
    rejected = np.logical_and.accumulate(ranked <= level / np.arange(p.shape[-1], 0, -1), axis=-1)
    found = np.zeros(p.shape, np.bool_)
    np.put_along_axis(found, order, rejected, axis=-1)
    return found


class Judged(NamedTuple):
    """The pairs shown to differ, and those shown to be the same within the margin; no pair is both. (..., P)."""

    different: Bools
    same: Bools


def judge(centres: Floats, errors: Floats, degrees: Floats, margin: float = MARGIN) -> Judged:
    """Judge all pairs at once, each family of tests by Holm's procedure.

    A pair differs by a two-sided t test. It is the same where two one-sided tests reject a ratio of 1 + margin or more
    and of 1/(1 + margin) or less (Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power
    approach for assessing the equivalence of average bioavailability", Journal of Pharmacokinetics and
    Biopharmaceutics 15(6), 657-680). Each pair has at most one true hypothesis among the two, and the first test goes
    first: a pair that is shown to differ is not called the same, even where the difference is below the margin.

    Parameters
    ----------
    centres, errors, degrees : ndarray, shape (..., P)
        Of the log ratios; see `Ratios`.
    margin : float
    """
    away = np.abs(centres)
    different = holm(2 * special.stdtr(degrees, -_over(away, errors)), LEVEL)
    same = holm(special.stdtr(degrees, -_over(math.log1p(margin) - away, errors)), LEVEL)
    return Judged(different, same & ~different)


def _over(distance: Floats, errors: Floats) -> Floats:
    """Return distance / error; a distance of 0 stays 0 where samples agree to the last bit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / errors)


def launches_to_decide(
    centre: float, variance: float, launches: int, prior_degrees: float, undecided: int, margin: float = MARGIN
) -> int | None:
    """Return about how many launches in all an undecided pair needs until it is decided; None for over 1000.

    With standard error e(n) = s̃/√n, t quantiles t₁ of the test of a difference and t₂ of the test of sameness, at the
    level of the Holm step that the pair is at, d = |centre| and δ = log(1 + margin), the result is the least n with

        d ≥ (t₁ + z)e(n)   or   δ - d ≥ (t₂ + z)e(n)   or   δ ≥ (t₁ + t₂)e(n).

    z is the normal quantile of a power of 80 % if the ratio is what it seems. The third condition holds in the end
    for any ratio: from there on no estimate lies outside both regions.

    Parameters
    ----------
    centre, variance : float
        Of the log ratio; the moderated variance of one launch.
    launches : int
        Number made.
    prior_degrees : float
        Degrees of freedom that the variance has besides those of the launches.
    undecided : int
        Number of undecided pairs in the table, this one included.
    """
    n, apart, alike = _quantiles(launches, prior_degrees, undecided)
    error = math.sqrt(variance) / np.sqrt(n)
    distance, limit = abs(centre), math.log1p(margin)
    enough = distance >= (apart + _Z_POWER) * error
    enough |= limit - distance >= (alike + _Z_POWER) * error
    enough |= limit >= (apart + alike) * error
    return int(n[np.argmax(enough)]) if enough.any() else None


@lru_cache(maxsize=16)  # the pairs of a table share them
def _quantiles(launches: int, prior_degrees: float, undecided: int) -> tuple[Floats, Floats, Floats]:
    """Return numbers of launches n above `launches`, and for each the t quantiles of the two tests."""
    n = np.arange(launches + 1.0, MOST_ASKED + 1)
    apart, alike = (-special.stdtrit(prior_degrees + n - 1, LEVEL / (sides * undecided)) for sides in (2, 1))
    return n, apart, alike


# Tables of samples ---------------------------------------------------------------------------------------------------


class Pair(Protocol):
    """A pair with its verdict."""

    @property
    def than(self) -> str:
        """Name of the backend that the other is compared with."""

    @property
    def backend(self) -> str:
        """Name of the other."""

    @property
    def verdict(self) -> str | None:
        """Verdict on `backend`."""


@dataclass(frozen=True)
class PairVerdict:
    """The ratio of two arms with its own 95 % interval, and the verdict that holds over the whole table.

    Attributes
    ----------
    than, backend : str
        The ratio says how many times faster `backend` is than `than`.
    ratio : Estimate
    verdict : Verdict
    more_launches : int or None
        About how many more launches decide an undecided pair.
    """

    than: str
    backend: str
    ratio: Estimate
    verdict: Verdict
    more_launches: int | None = None


@dataclass(frozen=True)
class Table:
    """All pairs of a case's arms, judged together, and the prior of their variances."""

    pairs: tuple[PairVerdict, ...]
    prior: Prior | None = None

    def ratio(self, one: Sequence[Timed], other: Sequence[Timed], *, chosen: bool = False) -> Estimate | None:
        """Return how many times faster `other` is than `one`, where one of them is no arm of the table.

        This serves second instances, which may run in some launches only. The variance is moderated by the prior of the
        table, so that a single common launch gives an interval too. None below `LEAST_DEGREES`.
        """
        logs = np.array(log_ratios(one, other))
        degrees = logs.size - 1
        prior = self.prior or Prior(np.float64(0.0), np.float64(0.0))
        if degrees < 0 or degrees + prior.degrees < LEAST_DEGREES:
            return None
        own = logs.var(ddof=1) if degrees else 0.0
        variance, together = moderate(np.array([own]), degrees, prior)
        return _estimate(logs.mean(), math.sqrt(variance[0] / logs.size), float(together[0]), chosen)


def compare(samples: Mapping[str, Sequence[Timed]], margin: float = MARGIN, *, chosen: bool = False) -> Table:
    """Judge all pairs of arms, from the rounds in which every arm has a sample.

    Parameters
    ----------
    samples : mapping of str to sequence of Timed
        By name of the arm. Arms without a sample are left out.
    margin : float
    chosen : bool
        True where the spread of the samples chose the number of launches; errors are then larger by `WIDENED`.
    """
    arms = {name: taken for name, taken in samples.items() if taken}
    logs = launch_logs(arms.values())
    if len(arms) < 2 or len(logs) < 2:
        return Table(())
    found = ratios_of(np.array(logs))
    errors = found.errors * (WIDENED if chosen else 1.0)
    judged = judge(found.centres, errors, found.degrees, margin)
    return Table(tuple(_verdicts(list(arms), found, errors, judged, margin, chosen)), found.prior)


def _verdicts(
    names: Sequence[str], found: Ratios, errors: Floats, judged: Judged, margin: float, chosen: bool
) -> Iterator[PairVerdict]:
    undecided = int((~(judged.different | judged.same)).sum())
    for at, (than, backend) in enumerate(combinations(names, 2)):
        centre, degrees = float(found.centres[at]), float(found.degrees[at])
        ratio = _estimate(centre, float(found.errors[at]), degrees, chosen)
        more = None
        if judged.different[at]:
            verdict: Verdict = "faster" if centre > 0 else "slower"
        elif judged.same[at]:
            verdict = "same"
        else:
            verdict, made = "undecided", found.launches
            variance = float(errors[at]) ** 2 * made
            needed = launches_to_decide(centre, variance, made, round(degrees - made + 1, 6), undecided, margin)
            more = needed and needed - made
        yield PairVerdict(than, backend, ratio, verdict, more)


def _estimate(centre: float, error: float, degrees: float, chosen: bool) -> Estimate:
    reach = (WIDENED if chosen else 1.0) * quantile(degrees, CONFIDENCE) * error
    return Estimate(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach))


def fastest_set(names: Collection[str], pairs: Iterable["Pair"]) -> tuple[str, ...]:
    """Return the backends that are not shown to be slower than another one of them.

    The truly fastest is among them in 95 % of tables, because verdicts hold over the whole table (Gupta 1965, "On some
    multiple decision (selection and ranking) rules", Technometrics 7(2), 225-245, defines such subsets).
    """
    beaten = {
        pair.than if pair.verdict == "faster" else pair.backend
        for pair in pairs
        if pair.verdict in ("faster", "slower") and {pair.than, pair.backend} <= set(names)
    }
    return tuple(name for name in names if name not in beaten)
