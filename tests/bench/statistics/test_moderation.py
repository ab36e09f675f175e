"""Claims about moderated variances: what is shared, how much of it, and where a pair keeps its own."""

from itertools import combinations

import numpy as np
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import chi2
from scipy.stats import t as student_t

from bench.statistics.moderation import (
    MOST_PRIOR_DEGREES,
    Floats,
    Prior,
    arm_variances,
    chi2_quantile,
    fit_prior,
    moderate,
    trigamma_inverse,
)
from bench.statistics.verdicts import judge, ratios_of


def table(noise: Floats, tables: int = 400, launches: int = 5, seed: int = 0) -> Floats:
    """Return log step times (tables, launches, arms) of equal arms with this noise; launches differ much."""
    rng = np.random.default_rng(seed)
    shared = 3 * rng.standard_normal((tables, launches, 1))
    return np.asarray(shared + noise * rng.standard_normal((tables, launches, len(noise))))


@pytest.mark.parametrize("x", [0.01, 0.5, 1.0, 4.5, 25.0, 1e4])
def test_the_inverse_of_trigamma_is_its_inverse(x: float) -> None:
    assert trigamma_inverse(polygamma(1, x)) == pytest.approx(x, rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 4, 13, 50])
def test_the_quantiles_of_chi_squared_are_those_of_scipy_stats(degrees: int) -> None:
    for probability in (0.25, 0.5, 0.975):
        assert chi2_quantile(probability, degrees) == pytest.approx(chi2.ppf(probability, degrees), rel=1e-12)


def test_a_moderated_variance_is_the_weighted_mean_of_smyth() -> None:
    variances, degrees = moderate(np.array([2.0, 1.5]), 4, Prior(np.array(1.0), np.array(8.0)))
    assert variances == pytest.approx([(8 + 4 * 2) / 12, (8 + 4 * 1.5) / 12])
    assert degrees == pytest.approx([12, 12])


def test_a_pair_that_contradicts_the_prior_keeps_its_own_variance() -> None:
    variances, degrees = moderate(np.array([2.0, 9.0]), 4, Prior(np.array(1.0), np.array(50.0)))
    assert degrees == pytest.approx([54, 4])
    assert variances[1] == 9.0


def test_a_pair_of_one_launch_has_the_variance_of_the_prior() -> None:
    variances, degrees = moderate(np.array([0.0]), 0, Prior(np.array(0.7), np.array(12.0)))
    assert (variances[0], degrees[0]) == pytest.approx((0.7, 12.0))


def test_what_all_arms_of_a_launch_share_is_no_variance_of_an_arm() -> None:
    assert arm_variances(table(np.zeros(5))) == pytest.approx(0, abs=1e-24)
    found = arm_variances(table(np.ones(14))).mean()
    assert found == pytest.approx(13 / 14, rel=0.05)


def test_equal_arms_share_much_and_unequal_ones_little() -> None:
    def degrees(noise: Floats) -> float:
        return float(np.median(ratios_of(table(noise)).prior.degrees))

    assert degrees(np.ones(14)) > 8
    assert degrees(np.geomspace(1, 8, 14)) < 3
    assert ratios_of(table(np.ones(14))).prior.degrees.max() <= MOST_PRIOR_DEGREES + 1e-6


def test_two_arms_share_nothing() -> None:
    found = ratios_of(table(np.ones(2)))
    assert set(found.prior.degrees.tolist()) == {0.0}
    assert set(found.degrees.ravel().tolist()) == {4.0}


def test_samples_that_agree_to_the_last_bit_are_no_error() -> None:
    prior = fit_prior(np.zeros(3), np.zeros(3), 4)
    variances, degrees = moderate(np.zeros(3), 4, prior)
    assert variances.tolist() == [0.0] * 3
    assert degrees.tolist() == [4.0] * 3


def test_smyths_estimates_alone_would_make_too_many_small_tables_false() -> None:
    """Four arms of which two are eight times as noisy: the reason for the three precautions."""
    logs, degrees = table(np.array([8.0, 8.0, 1.0, 1.0]), tables=2000), 4
    one, other = np.array(list(combinations(range(4), 2))).T
    own = (logs[..., one] - logs[..., other]).var(axis=1, ddof=1)
    excess = np.log(arm_variances(logs)).var(axis=-1, ddof=1) - polygamma(1, degrees / 2)
    shared = np.minimum(2 * trigamma_inverse(np.maximum(excess, 1e-3)), MOST_PRIOR_DEGREES)[:, None]
    centre = np.log(own).mean(axis=-1, keepdims=True) - digamma(degrees / 2) + np.log(degrees / 2)
    usual = np.exp(centre + digamma(shared / 2) - np.log(shared / 2))
    variances = (shared * usual + degrees * own) / (shared + degrees)
    found = ratios_of(logs)
    smyth = judge(found.centres, np.sqrt(variances / 5), shared + np.full(6, degrees))
    assert smyth.different.any(axis=-1).mean() > 0.08
    assert judge(found.centres, found.errors, found.degrees).different.any(axis=-1).mean() < 0.055


@pytest.mark.parametrize("arms", [3, 5, 14])
def test_intervals_hold_the_truth_on_average_and_for_a_noisy_backend_too(arms: int) -> None:
    """Five launches, and arms that are up to eight times as noisy as others."""
    one = np.ones(arms)
    for noise in (one, np.r_[8.0, one[1:]], np.r_[3.0, one[1:]], np.geomspace(1, 8, arms)):
        found = ratios_of(table(noise, tables=2000))
        held = np.abs(found.centres) <= found.errors * student_t.ppf(0.975, found.degrees)
        assert 0.935 <= held.mean() <= 0.975
        assert held.mean(axis=0).min() >= 0.87
