"""Moderated variances: every ratio of a table lends its spread to the others. Pure functions of arrays.

With five launches a ratio has four degrees of freedom, and a simultaneous interval over the 91 pairs of 14 backends is
10 standard errors wide. The pairs of a table are measured in the same rounds of the same processes, so their variances
are alike; empirical Bayes takes that into account as far as the data show it (Smyth 2004, "Linear models and empirical
Bayes methods for assessing differential expression in microarray experiments", Statistical Applications in Genetics and
Molecular Biology 3(1), article 3; `squeezeVar` and `fitFDist` in the R package limma).

Leading axes (...) are tables; L launches, K arms, P = K(K-1)/2 pairs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.statistics import special

MOST_PRIOR_DEGREES = 50.0  # more would change a quantile of t by less than 2 %
LEAST_ARMS = 3  # a prior needs variances to compare: with two arms there is a single pair
_CONFIDENT = 0.75  # one-sided confidence that the arms' true variances are not more unequal than the prior allows
_ORDINARY = 0.9  # share of the variances that the prior covers; a pair beyond it keeps its own variance
_LEAST_SHARE = 1e-5  # of the median: lower variances are rounding, and their logs would decide (limma does the same)
_NEWTON_STEPS = 12

Floats = NDArray[np.float64]


class Prior(NamedTuple):
    """The prior of a table's variances: scaled inverse chi squared. `degrees` is 0 where nothing is shared.

    Both have shape (...).
    """

    variance: Floats
    degrees: Floats


def chi2_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of chi squared. `scipy.stats` has it too, but takes 0.5 s to import."""
    return float(2 * special.gammaincinv(degrees / 2, probability))


def trigamma_inverse(values: ArrayLike) -> Floats:
    """Return x with trigamma(x) = value, for positive values, by Newton's method (Smyth 2004, appendix)."""
    target = np.asarray(values, np.float64)
    x = 0.5 + 1 / target
    for _ in range(_NEWTON_STEPS):
        trigamma = special.polygamma(1, x)
        x = x + trigamma * (1 - trigamma / target) / special.polygamma(2, x)
    return np.asarray(x, np.float64)


def arm_variances(logs: Floats) -> Floats:
    """Return each arm's variance between launches, without the part that all arms of a launch share.

    Parameters
    ----------
    logs : ndarray, shape (..., L, K)
        Log step times by launch and arm.

    Returns
    -------
    ndarray, shape (..., K)
    """
    residuals = logs - logs.mean(axis=-1, keepdims=True)
    return np.asarray(residuals.var(axis=-2, ddof=1))


def fit_prior(pairs: Floats, arms: Floats, degrees: int) -> Prior:
    """Estimate the prior of the variances of a table's pairs.

    Its degrees of freedom follow from the variance of log s² as in Smyth (2004, section 6.2): trigamma(d₀/2) is what
    exceeds the sampling variance trigamma(d/2). Three choices differ from limma's, each by simulation
    (bench.experiments.coverage), because a table has few arms and its pairs share them:

    - s² is that of the K arms, not of the P pairs: the pairs of one noisy arm are noisy together, and would count K-1
      times. With one of 14 arms three times as noisy, the pairs' d₀ makes 6.5 % of tables false, at five launches.
    - The variance of log s² is taken at its upper 75 % confidence bound (chi squared with K-1 degrees), because a table
      of few arms shows equal variances by chance. At the estimate itself, half of six arms being noisy makes 9 % false.
    - s₀² is the median of the pairs' s² over the median of chi squared over its degrees, and not the geometric mean,
      which lies below the noisy half of a table.

    Parameters
    ----------
    pairs : ndarray, shape (..., P)
        Variances of the pairs' log ratios between launches.
    arms : ndarray, shape (..., K)
        See `arm_variances`.
    degrees : int
        L - 1.
    """
    middle = np.median(pairs, axis=-1)
    count = arms.shape[-1]
    if count < LEAST_ARMS or degrees < 1:
        return Prior(middle, np.zeros_like(middle))
    least = np.maximum(_LEAST_SHARE * np.median(arms, axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    spread = np.log(np.maximum(arms, least)).var(axis=-1, ddof=1)
    spread *= (count - 1) / chi2_quantile(1 - _CONFIDENT, count - 1)
    excess = np.maximum(spread - special.polygamma(1, degrees / 2), special.polygamma(1, MOST_PRIOR_DEGREES / 2))
    prior_degrees = np.where(middle > 0, 2 * trigamma_inverse(excess), 0.0)
    return Prior(middle * degrees / chi2_quantile(0.5, degrees), prior_degrees)


def moderate(variances: Floats, degrees: ArrayLike, prior: Prior) -> tuple[Floats, Floats]:
    """Return moderated variances and their degrees of freedom: s̃² = (d₀s₀² + ds²)/(d₀ + d), with d₀ + d.

    A pair's own variance and degrees are kept where they contradict the prior: where s²/s₀² lies beyond the 90 %
    quantile of its F distribution with d and d₀ degrees. Otherwise the ratios of one backend that is much noisier than
    all others would get the others' narrow intervals (Phipson et al. 2016, "Robust hyperparameter estimation protects
    against hypervariable genes", Annals of Applied Statistics 10(2), 946-963, robustifies the prior to the same end).

    Parameters
    ----------
    variances : ndarray, shape (..., P)
    degrees : array_like, broadcast to the variances
        L - 1; 0 for a pair with one launch, which has the prior's variance only.
    prior : Prior
    """
    own = np.broadcast_to(np.asarray(degrees, np.float64), variances.shape)
    shared = np.broadcast_to(prior.degrees[..., None], variances.shape)
    usual = np.broadcast_to(prior.variance[..., None], variances.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = variances > usual * special.fdtri(own, shared, _ORDINARY)
        shared = np.where(beyond & (own > 0), 0.0, shared)
        together = (shared * usual + own * np.where(own > 0, variances, 0.0)) / (shared + own)
    return together, shared + own
