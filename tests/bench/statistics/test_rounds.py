"""The number of rounds in a launch."""

import numpy as np
import pytest

from bench.statistics.rounds import LEAST_ROUNDS, MOST_ROUNDS, Spread, best_rounds, fitting_rounds, spread


def drawn(within: float, between: float, launches: int, rounds: int) -> list[list[float]]:
    rng = np.random.default_rng(launches)
    levels = rng.normal(0.3, between, launches)
    return [list(rng.normal(level, within, rounds)) for level in levels]


def test_the_spread_within_and_between_launches_is_recovered() -> None:
    found = spread([drawn(0.02, 0.005, 400, 10), drawn(0.02, 0.005, 401, 10)])
    assert found
    assert found.within == pytest.approx(0.02**2, rel=0.05)
    assert found.between == pytest.approx(0.005**2, rel=0.25)


def test_launches_that_differ_only_by_their_rounds_have_no_spread_of_their_own() -> None:
    found = spread([drawn(0.02, 0.0, 2000, 5)])
    assert found
    assert found.between < 0.1 * found.within / 5


def test_one_launch_or_one_round_shows_no_spread() -> None:
    assert spread([]) is None
    assert spread([[[0.1, 0.2]]]) is None
    assert spread([[[0.1], [0.2]]]) is None


def test_the_best_number_of_rounds_gives_the_least_variance_for_the_time() -> None:
    components, launch, one_round = Spread(within=0.018**2, between=0.005**2), 4.0, 0.5

    def variance_times_seconds(rounds: int) -> float:
        return (components.between + components.within / rounds) * (launch + rounds * one_round)

    best = best_rounds(components, launch, one_round)
    assert best == min(range(LEAST_ROUNDS, MOST_ROUNDS + 1), key=variance_times_seconds)


@pytest.mark.parametrize(
    ("components", "rounds"),
    [
        (Spread(0.01, 0.0), MOST_ROUNDS),
        (Spread(0.01, 1e-9), MOST_ROUNDS),
        (Spread(0.0, 0.0), LEAST_ROUNDS),
        (Spread(1e-9, 0.01), LEAST_ROUNDS),
    ],
)
def test_the_number_of_rounds_has_limits(components: Spread, rounds: int) -> None:
    assert best_rounds(components, 1.0, 0.1) == rounds


def test_long_blocks_have_fewer_rounds_in_the_same_time() -> None:
    assert fitting_rounds(30, 0.01, 0.0) == 30
    assert fitting_rounds(30, 0.01, 0.02) == 30
    assert fitting_rounds(30, 0.01, 0.06) == 10
    assert fitting_rounds(30, 0.01, 5.0) == LEAST_ROUNDS
    assert fitting_rounds(2, 0.01, 5.0) == 2
