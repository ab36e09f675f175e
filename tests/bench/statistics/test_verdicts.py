"""Claims about verdicts: they hold over the whole table, and an undecided pair states what it takes."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from support.taken import Taken, samples

from bench.statistics.intervals import WIDENED, Estimate
from bench.statistics.moderation import Prior
from bench.statistics.verdicts import (
    LEVEL,
    MARGIN,
    PairVerdict,
    Table,
    Verdict,
    compare,
    fastest_set,
    holm,
    judge,
    launches_to_decide,
    ratios_of,
)

DELTA = math.log1p(MARGIN)


def test_holm_rejects_the_smallest_p_at_the_level_over_their_number_and_so_on() -> None:
    p = np.array([[0.011, 0.3, 0.0125, 0.02], [0.013, 0.001, 0.04, 0.02], [0.9, 0.013, 0.02, 0.03]])
    expected = [[True, False, True, True], [True, True, True, True], [False, False, False, False]]
    expected[0] = [True, False, True, True]
    assert holm(p, 0.05).tolist() == expected


def judged(centres: list[float], error: float = 0.001, degrees: float = 50.0) -> list[str]:
    some = np.array(centres)
    found = judge(some, np.full_like(some, error), np.full_like(some, degrees))
    words = {(True, False): "different", (False, True): "same", (False, False): "undecided"}
    return [words[pair] for pair in zip(found.different.tolist(), found.same.tolist(), strict=True)]


def test_a_pair_is_different_or_the_same_or_undecided() -> None:
    assert judged([0.1, -0.1, 0.001, -0.001, 0.0]) == ["different", "different", "same", "same", "same"]
    assert judged([0.001, 0.02, -0.03], error=0.02) == ["undecided"] * 3


def test_a_small_difference_that_is_shown_is_a_difference_and_not_sameness() -> None:
    assert judged([0.01, 0.0]) == ["different", "same"]


def test_the_more_pairs_a_table_has_the_more_evidence_a_verdict_needs() -> None:
    assert judged([0.0025]) == ["different"]
    assert judged([0.0025] + [0.0] * 90)[0] == "same"


def test_samples_that_agree_to_the_last_bit_are_judged() -> None:
    assert judged([0.0, 0.01], error=0.0) == ["same", "different"]


def test_no_table_of_one_pair_is_wrong_more_often_than_stated() -> None:
    """The worst truths: equal, and different by exactly the margin."""
    rng = np.random.default_rng(0)
    for error in (DELTA / 6, DELTA / 4):
        noise = rng.standard_normal((20_000, 1)) * error
        flat = np.full_like(noise, error)
        assert judge(noise, flat, flat * 0 + 1e6).different.mean() == pytest.approx(LEVEL, abs=0.006)
        found = judge(noise + DELTA, flat, flat * 0 + 1e6)
        assert found.same.mean() <= LEVEL + 0.006
        assert (found.different & (noise + DELTA < 0)).mean() == 0


@pytest.mark.parametrize(("arms", "most"), [(4, 0.085), (14, 0.06)])
def test_both_kinds_of_error_together_stay_below_9_percent_in_the_worst_small_table(arms: int, most: float) -> None:
    """Half of the backends are equal, the others slower by exactly the margin, at the least favourable spreads."""
    rng = np.random.default_rng(1)
    truth = np.where(np.arange(arms) < arms // 2, 0.0, DELTA)
    one, other = np.array(list(combinations(range(arms), 2))).T
    gap = truth[one] - truth[other]
    for ratio in (4, 5, 6):  # the margin in standard errors
        spread = DELTA / ratio * math.sqrt(20 / 2)
        found = ratios_of(rng.standard_normal((1500, 20, arms)) * spread + truth)
        judged = judge(found.centres, found.errors, found.degrees)
        false = judged.different & (np.sign(found.centres) * np.sign(gap) <= 0) | judged.same & (gap != 0)
        assert false.any(axis=-1).mean() <= most


@pytest.mark.parametrize("centre", [0.0, 0.01, 0.015, DELTA, 0.1])
def test_the_launches_asked_for_decide_the_pair(centre: float) -> None:
    spread, undecided = 0.02, 6
    n = launches_to_decide(centre, spread**2, 5, 10.0, undecided)
    assert n
    error = spread / math.sqrt(n)
    apart, alike = (stats.t.isf(LEVEL / (sides * undecided), 10 + n - 1) for sides in (2, 1))
    by_difference, by_sameness = (centre - apart * error) / error, (DELTA - centre - alike * error) / error
    always = (apart + alike) * error <= DELTA
    assert always or stats.norm.cdf(max(by_difference, by_sameness)) >= 0.8
    fewer = launches_to_decide(centre, (spread / 2) ** 2, 5, 10.0, undecided)
    assert fewer is not None
    assert fewer <= n


def test_more_than_1000_launches_are_not_asked_for() -> None:
    assert launches_to_decide(0.012, 4.0, 5, 0.0, 6) is None


def noisy(step: float, seed: int, noise: float = 0.002, launches: int = 6) -> list[Taken]:
    rng = np.random.default_rng(seed)
    return samples((step * np.exp(noise * rng.standard_normal((launches, 3)))).tolist())


def test_verdicts_and_ratios_of_a_table_name_the_pair_and_its_direction() -> None:
    table = compare({"a": noisy(1.0, 1), "b": noisy(1.0, 2), "c": noisy(0.5, 3), "none": []})
    assert [(pair.than, pair.backend, pair.verdict) for pair in table.pairs] == [
        ("a", "b", "same"), ("a", "c", "faster"), ("b", "c", "faster"),
    ]  # fmt: skip
    assert table.pairs[1].ratio.median == pytest.approx(2, rel=0.01)
    swapped = compare({"c": noisy(0.5, 3), "a": noisy(1.0, 1)})
    assert [pair.verdict for pair in swapped.pairs] == ["slower"]


def test_an_undecided_pair_says_how_many_launches_more() -> None:
    logs = np.array([0.0, 0.05, -0.05, 0.06, -0.04, 0.04])
    (pair,) = compare({"a": samples(np.exp(logs[:, None]).tolist()), "b": noisy(1.0, 1)}).pairs
    assert pair.verdict == "undecided"
    assert pair.more_launches
    assert 5 < pair.more_launches < 200


def test_intervals_are_wider_where_the_samples_chose_the_number_of_launches() -> None:
    arms = {name: noisy(1.0, seed, 0.02) for seed, name in enumerate("abcd")}
    for bare, chosen in zip(compare(arms).pairs, compare(arms, chosen=True).pairs, strict=True):
        wide = math.log(chosen.ratio.high / chosen.ratio.low)
        assert wide == pytest.approx(WIDENED * math.log(bare.ratio.high / bare.ratio.low))


def test_a_table_of_one_launch_or_one_arm_has_no_pairs() -> None:
    assert compare({"a": noisy(1.0, 1)}).pairs == ()
    assert compare({"a": noisy(1.0, 1, launches=1), "b": noisy(1.0, 2, launches=1)}).pairs == ()
    assert compare({}).pairs == ()


def test_a_second_instance_of_one_launch_has_an_interval_where_the_table_lends_one() -> None:
    arms = {name: noisy(1.0, seed) for seed, name in enumerate("abcdef")}
    second = [block for block in noisy(1.0, 9) if block.launch == 2]
    found = compare(arms).ratio(arms["a"], second)
    assert found
    assert found.low < 1 < found.high < 1.1
    two = compare({name: arms[name] for name in "ab"})
    assert two.ratio(arms["a"], second) is None
    assert two.ratio(arms["a"], noisy(1.0, 9)) is not None


def test_a_second_instance_has_no_interval_from_less_than_one_degree_of_freedom() -> None:
    one, second = (noisy(1.0, seed, launches=1) for seed in (1, 2))
    lent = {degrees: Table((), Prior(np.float64(0.03), np.float64(degrees))) for degrees in (0.16, 1.0)}
    assert lent[0.16].ratio(one, second) is None  # its upper end would be no number
    assert lent[1.0].ratio(one, second)


def test_the_fastest_set_holds_those_that_no_other_of_them_is_shown_to_beat() -> None:
    one = Estimate(1.0, 0.9, 1.1)

    def pair(than: str, backend: str, verdict: Verdict) -> PairVerdict:
        return PairVerdict(than, backend, one, verdict)

    pairs = [pair("a", "b", "faster"), pair("a", "c", "undecided"), pair("b", "c", "slower"), pair("d", "a", "slower")]
    assert fastest_set(("a", "b", "c", "d"), pairs) == ("b", "d")
    assert fastest_set(("a", "c"), pairs) == ("a", "c")
