"""Claims about change points: real ones are found at their place, false ones in at most 5 % of histories."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.statistics.change_points import change_points, runs_needed

HISTORIES = 200


def noise(rng: np.random.Generator, runs: int, heavy: bool = False) -> NDArray[np.float64]:
    return 0.01 * np.asarray(rng.standard_t(3, size=runs) if heavy else rng.normal(size=runs))


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(("series", "runs"), [(1, 12), (8, 20)])
def test_at_most_one_history_of_twenty_has_a_false_change(series: int, runs: int, heavy: bool) -> None:
    rng = np.random.default_rng([series, runs, heavy])
    wrong = sum(any(change_points([noise(rng, runs, heavy) for _ in range(series)])) for _ in range(HISTORIES))
    assert wrong <= 0.05 * HISTORIES + 2 * math.sqrt(0.05 * 0.95 * HISTORIES)  # two standard errors


def test_a_real_change_brings_no_more_false_ones_on_its_sides() -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(HISTORIES):
        shifted = noise(rng, 24) + np.repeat([0.0, 0.2], 12)
        (found,) = change_points([shifted])
        assert 12 in {point.at for point in found}
        wrong += len(found) > 1
    assert wrong <= 0.05 * HISTORIES + 2 * math.sqrt(0.05 * 0.95 * HISTORIES)


def test_changes_are_found_at_their_places_with_their_sizes() -> None:
    rng = np.random.default_rng(4)
    steady = noise(rng, 30)
    moved = noise(rng, 30) + np.repeat([0.0, math.log(1.1), math.log(0.9)], 10)
    none, two = change_points([steady, moved])
    assert none == []
    assert [point.at for point in two] == [10, 20]
    assert two[0].change.low < 1.1 < two[0].change.high
    assert two[1].change.low < 0.9 / 1.1 < two[1].change.high
    assert all(0 < point.p <= 0.05 for point in two)


def test_one_run_in_an_hour_of_other_load_is_no_change_and_hides_none() -> None:
    values = noise(np.random.default_rng(5), 20) + np.repeat([0.0, 0.1], 10)
    outlier = np.where(np.arange(20) == 4, 5.0, values)
    (found,) = change_points([outlier])
    assert [point.at for point in found] == [10]


def test_the_number_of_runs_in_which_a_change_can_be_found_grows_with_the_series() -> None:
    for series in (1, 5, 40):
        needed = runs_needed(series)
        for runs, expected in ((needed, True), (needed - 2, False)):
            values = np.linspace(0.0, 0.01, runs) + np.repeat([0.0, 1.0], [runs // 2, runs - runs // 2])
            others = [list(np.random.default_rng(at).normal(size=runs)) for at in range(series - 1)]
            assert bool(change_points([values, *others])[0]) is expected, (series, runs)


def test_short_series_and_none_have_no_change() -> None:
    assert change_points([]) == []
    assert change_points([[], [0.0], [0.0, 0.0, 0.0, 1.0, 1.0]]) == [[], [], []]


def test_the_clearest_change_is_found_among_a_thousand_series_too() -> None:
    """The least p value, one over the number of random orders, must stay below the level times the series."""
    series = 1100
    runs = runs_needed(series) + 2
    values = np.linspace(0.0, 0.01, runs) + np.repeat([0.0, 1.0], [runs // 2, runs - runs // 2])
    others = np.random.default_rng(0).normal(size=(series - 1, runs))
    assert [point.at for point in change_points([values, *others])[0]] == [runs // 2]
