"""Claims about the statistics of made-up samples: intervals, pairing, the steady state and outliers."""

import math
from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.taken import Taken, samples

from bench.statistics import intervals
from bench.statistics.intervals import (
    Estimate,
    log_ratios,
    outliers,
    ratio,
    step_seconds,
    t_interval,
)


def numbers(estimate: Estimate | None) -> tuple[float, ...]:
    assert estimate is not None
    return astuple(estimate)


def test_the_t_interval_is_that_of_the_textbook() -> None:
    # mean 0.3, s = 0.158114, n = 5, t(0.975, 4) = 2.776445: margin 0.196324
    estimate = t_interval([0.1, 0.2, 0.3, 0.4, 0.5])
    assert estimate is not None
    assert np.log(astuple(estimate)) == pytest.approx([0.3, 0.3 - 0.196324, 0.3 + 0.196324], abs=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20))
def test_the_t_interval_is_that_of_scipy(logs: list[float]) -> None:
    estimate = t_interval(logs)
    assert estimate is not None
    spread = stats.sem(logs)
    margin = stats.t.ppf(0.975, len(logs) - 1) * spread
    assert np.log(astuple(estimate)) == pytest.approx(
        [np.mean(logs), np.mean(logs) - margin, np.mean(logs) + margin], abs=1e-9
    )


def test_one_launch_has_no_interval() -> None:
    assert t_interval([0.5]) is None
    assert t_interval([]) is None
    assert step_seconds(samples([[1.0, 2.0, 3.0]])) is None


def test_a_launch_counts_with_the_arithmetic_mean_of_its_rounds() -> None:
    """Launches that agree have no spread, even if their rounds scatter."""
    estimate = step_seconds(samples([[1.0, 3.0], [0.5, 3.5], [2.0, 2.0]]))
    assert numbers(estimate) == pytest.approx((2.0, 2.0, 2.0))


def test_a_pause_costs_what_it_takes() -> None:
    paused = samples([[1.0] * 19 + [3.0]] * 2)
    assert numbers(ratio(samples([[1.0] * 20] * 2), paused)) == pytest.approx((1 / 1.1,) * 3)


def test_blocks_of_a_launch_count_by_their_steps() -> None:
    taken = [Taken(0, 0, 1.0, 1), Taken(0, 1, 9.0, 3), Taken(1, 0, 2.5, 1)]
    assert numbers(step_seconds(taken)) == pytest.approx((2.5,) * 3)


def test_a_launch_counts_once_however_many_samples_it_has() -> None:
    taken = [*samples([[1.0], [math.e]]), *(Taken(0, round_, 10.0, 10) for round_ in range(1, 9))]
    assert math.log(step_seconds(taken).median) == pytest.approx(0.5)  # type: ignore[union-attr]


def test_a_step_time_is_the_blocks_time_over_its_steps() -> None:
    assert numbers(step_seconds([Taken(0, 0, 6.0, 3), Taken(1, 0, 8.0, 4)])) == pytest.approx((2.0, 2.0, 2.0))


def test_a_ratio_above_1_is_faster_than_the_reference() -> None:
    assert numbers(ratio(samples([[3.0], [3.0]]), samples([[1.0], [1.0]]))) == pytest.approx((3.0, 3.0, 3.0))


def test_drift_common_to_a_round_cancels_in_a_ratio() -> None:
    rng = np.random.default_rng(0)
    drift = np.exp(rng.normal(0, 0.5, (6, 4)))
    noise = np.exp(rng.normal(0, 0.001, (2, 6, 4)))
    slow, fast = 2.0 * drift * noise[0], 1.0 * drift * noise[1]
    paired = ratio(samples(slow.tolist()), samples(fast.tolist()))
    assert paired is not None
    assert paired.low < 2.0 < paired.high
    assert math.log(paired.high / paired.low) < 0.01
    for alone in (slow, fast):
        estimate = step_seconds(samples(alone.tolist()))
        assert estimate is not None
        assert math.log(estimate.high / estimate.low) > 0.2


def test_samples_are_paired_by_launch_and_round_and_not_by_position() -> None:
    reference, other = samples([[1.0, 2.0], [4.0, 8.0]]), samples([[1.0, 2.0], [4.0, 8.0]])
    assert log_ratios(reference, other[::-1]) == pytest.approx([0.0, 0.0])
    assert log_ratios(reference, other[1:]) == pytest.approx([0.0, 0.0])  # a round with one sample is left out
    assert ratio(reference, other[:2]) is None


def test_an_interval_is_wider_where_the_samples_chose_the_number_of_launches() -> None:
    ours, theirs = samples([[3.0], [3.1], [2.9]]), samples([[1.0], [1.0], [1.0]])
    plain, chosen = ratio(ours, theirs), ratio(ours, theirs, chosen=True)
    assert plain
    assert chosen
    assert chosen.median == plain.median
    assert math.log(chosen.high / chosen.low) == pytest.approx(1.08 * math.log(plain.high / plain.low))


def test_19_of_20_intervals_cover_the_true_value() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(2000):
        launch = rng.normal(math.log(2e-6), 0.05, (intervals.MIN_LAUNCHES, 1))
        rounds = launch + rng.normal(0, 0.02, (intervals.MIN_LAUNCHES, 3))
        estimate = step_seconds(samples(np.exp(rounds).tolist()))
        assert estimate is not None
        held += estimate.low <= 2e-6 <= estimate.high
    assert 0.93 <= held / 2000 <= 0.97


def warmed(times: Callable[[int], float]) -> int:
    """Return the number of blocks until the steady state."""
    blocks: list[float] = []
    while not intervals.steady_state(blocks):
        blocks.append(times(len(blocks)))
        assert len(blocks) < 1000
    return len(blocks)


def test_noise_does_not_delay_the_steady_state() -> None:
    rng = np.random.default_rng(5)
    for noise in (0.0, 0.01, 0.3):
        needed = [warmed(lambda _, n=noise: 1 + n * rng.exponential()) for _ in range(200)]  # type: ignore[misc]
        assert min(needed) == 4
        assert np.mean(needed) < 7


@pytest.mark.parametrize("plateau", [1, 2, 3])
def test_the_steady_state_comes_after_the_last_of_several_compilers(plateau: int) -> None:
    rng = np.random.default_rng(6)
    levels = [10.0] * plateau + [3.0] * plateau + [1.0] * 100
    for _ in range(100):
        assert warmed(lambda at: levels[at] * (1 + 0.01 * rng.exponential())) > 2 * plateau + 2


def test_blocks_that_get_steadily_faster_are_not_steady_until_they_stop() -> None:
    assert warmed(lambda at: max(1.0, 5 * 0.97**at)) > 50


def test_two_equal_blocks_are_no_steady_state() -> None:
    assert not intervals.steady_state([3.0, 3.0])
    assert not intervals.steady_state([])


def test_a_gain_from_the_first_round_of_a_launch_to_its_last_is_found() -> None:
    getting = [Taken(launch, at, (1 + 0.001 * launch) / (1 + 0.1 * at)) for launch in range(5) for at in range(3)]
    gain = intervals.gain_within_launches(getting)
    assert gain
    assert 1.19 < gain.low <= gain.median <= gain.high < 1.21
    assert intervals.gain_within_launches([Taken(launch, 0, 1.0) for launch in range(5)]) is None


def test_an_outlier_is_labelled_and_other_samples_are_not() -> None:
    seconds = [[1.00e-6, 1.01e-6, 0.99e-6], [1.02e-6, 5.00e-6, 0.98e-6], [1.00e-6, 1.01e-6, 0.2e-6]]
    assert outliers(samples(seconds)) == [False, False, False, False, True, False, False, False, True]


def test_three_samples_are_too_few_for_an_outlier() -> None:
    assert outliers(samples([[1e-6, 1e-6, 9e-6]])) == [False, False, False]
