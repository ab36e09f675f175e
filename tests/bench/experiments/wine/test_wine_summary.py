"""Claims about the statistics of the wine experiment: validation alone selects; contests are paired by split."""

import math
from typing import Any

import numpy as np
import pytest

from bench.experiments.averages import mean_of
from bench.experiments.engine.cell import Cell, Finished
from bench.experiments.wine import summary
from bench.experiments.wine.summary import CORRECTED, PUBLISHED, RIGHT, RIGHT_CHOSEN, Group


def right(seed: int, rate: float, l2: list[float], validation: list[Any], test: list[Any], **other: Any) -> Finished:
    of_cell = {"wine": "red", "duplicates": True, "hidden": [10], "activation": "tanh", "table": "settings"}
    cell = Cell("wine", {**of_cell, "kind": "right", "seed": seed, "rate": rate, "l2": l2, **other})
    return Finished(cell, {"validation": validation, "test": test, "spread": test}, 1.0)


def baseline(seed: int, least_squares: float) -> Finished:
    cell = Cell("wine", {"wine": "red", "duplicates": True, "kind": "baselines", "table": "baselines", "seed": seed})
    return Finished(cell, {"constant": 0.7, "least_squares": least_squares, "sklearn": 0.5}, 1.0)


def test_the_lowest_validation_error_selects_setting_and_lambda_for_each_split() -> None:
    cells = [
        right(0, 0.01, [0.0, 0.1], [0.5, 0.4], [0.3, 0.9]),
        right(0, 0.1, [0.0, 0.1], [None, 0.45], [None, 0.2]),
        right(1, 0.01, [0.0, 0.1], [0.6, 0.7], [0.5, 0.1]),
    ]
    found = summary.select(cells)
    assert [(each.l2, each.test) for each in found.values()] == [(0.1, 0.9), (0.0, 0.5)]


def test_the_test_errors_have_no_say_in_the_selection() -> None:
    rng = np.random.default_rng(0)
    validation = rng.uniform(0.4, 0.6, (4, 3)).tolist()
    tests = [rng.uniform(0.4, 0.6, (4, 3)).tolist() for _ in range(2)]
    chosen = [
        [
            (each.setting, each.l2)
            for each in summary.select(
                right(seed, 0.01, [0.0, 0.01, 0.1], v, t) for seed, v, t in zip(range(4), validation, test, strict=True)
            ).values()
        ]
        for test in tests
    ]
    assert chosen[0] == chosen[1]


def test_the_rate_sweep_and_the_comparison_of_backends_are_no_candidates() -> None:
    cells = [right(0, 0.01, [0.1], [0.1], [0.1], table=table) for table in ("rates", "agreement")]
    assert summary.select(cells) == {}


def test_a_contest_pairs_the_selected_network_and_least_squares_of_each_split() -> None:
    cells = [baseline(0, 0.5), baseline(1, 0.4), baseline(2, 0.3)]  # the third split has no network
    cells += [right(0, 0.01, [0.1], [0.4], [0.45]), right(1, 0.01, [0.1], [0.4], [0.37])]
    contest = summary.contests(cells)["red", True]
    assert contest.differences == [pytest.approx(-0.05), pytest.approx(-0.03)]
    assert contest.difference.mean == pytest.approx(-0.04)
    # Student's t of one degree of freedom; then the variance of Nadeau and Bengio: 15 % of the rows test, 70 % train
    assert contest.difference.half == pytest.approx(12.7062 * 0.0141421 * math.sqrt(1 / 2), rel=1e-4)
    assert contest.overlapping.half == pytest.approx(12.7062 * 0.0141421 * math.sqrt(1 / 2 + 3 / 14), rel=1e-4)
    assert contest.baselines["least_squares"].mean == pytest.approx(0.45)


def test_each_treatment_is_a_group_of_its_own() -> None:
    cells = [right(0, 0.01, [0.0, 0.1], [0.4, 0.5], [0.6, 0.7])]
    for kind, more in (("published", {"normalize": False}), ("corrected", {})):
        p = {**cells[0].cell.parameters, "kind": kind, **more}
        cells.append(Finished(Cell("wine", p), {"test": None, "spread": 0.0}, 1.0))
    groups = summary.grouped(cells)
    tests = {key.treatment: [found.test for found in each] for key, each in groups.items()}
    assert tests == {RIGHT: [0.7], RIGHT_CHOSEN: [0.6], PUBLISHED: [None], CORRECTED: [None]}
    assert Group("settings", "red", True, "10 tanh", 0.01, RIGHT) in groups


def test_the_interval_is_students_and_leaves_out_what_is_not_finite() -> None:
    mean = mean_of([1.0, 2.0, 3.0, None, math.nan])
    assert (mean.mean, mean.finite, mean.given) == (2.0, 3, 5)
    assert mean.half == pytest.approx(4.303 * 1 / math.sqrt(3), rel=1e-3)  # t of 2 degrees of freedom; s = 1
    assert mean.text == "2.000 ± 2.484 (NaN in 2 of 5)"


@pytest.mark.parametrize(("mean", "half", "excluded"), [(-0.03, 0.02, True), (-0.03, 0.04, False), (0.03, 0.02, True)])
def test_an_interval_excludes_zero_if_it_is_shorter_than_its_centre(mean: float, half: float, excluded: bool) -> None:
    a = half / 12.706 * math.sqrt(2) / math.sqrt(2)  # t of 1 degree of freedom: half = t s / √2, s = √2 a
    assert mean_of([mean - a, mean + a]).excludes_zero is excluded


@pytest.mark.parametrize(("values", "text"), [([], ""), ([None], "NaN"), ([0.5], "0.500"), ([1e9, 1e9], "1e+09 ± 0")])
def test_means_are_written_for_readers(values: list[float | None], text: str) -> None:
    assert mean_of(values).text == text
