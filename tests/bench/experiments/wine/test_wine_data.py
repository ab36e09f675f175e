"""Claims about the wine rows: which there are, how they are split, what standardizes them."""

from itertools import combinations

import numpy as np
import pytest
from support.wine_rows import require_wine, small_split

from bench.experiments.wine import data
from pyfnn.datasets import split as split_rows


@pytest.mark.parametrize(("wine", "all_rows", "distinct"), [("red", 1599, 1359), ("white", 4898, 3961)])
def test_240_red_and_937_white_rows_are_exact_duplicates(wine: str, all_rows: int, distinct: int) -> None:
    require_wine()
    assert [len(data.rows(wine, duplicates)[0]) for duplicates in (True, False)] == [all_rows, distinct]


@pytest.mark.parametrize("wine", ["red", "white"])
def test_rows_without_duplicates_are_those_of_the_file_and_in_its_order(wine: str) -> None:
    require_wine()
    (x, y), (x_all, y_all) = (data.rows(wine, duplicates) for duplicates in (False, True))
    of_file = {row.tobytes(): at for at, row in reversed(list(enumerate(np.hstack([x_all, y_all]))))}
    places = [of_file[row.tobytes()] for row in np.hstack([x, y])]
    assert places == sorted(set(of_file.values()))


@pytest.mark.parametrize("rows", [1359, 1599, 3961, 4898])
def test_training_validation_and_test_share_no_row(rows: int) -> None:
    parts = [set(part.tolist()) for part in split_rows(rows, 3)]
    assert not any(one & other for one, other in combinations(parts, 2))
    assert set.union(*parts) == set(range(rows))


@pytest.mark.parametrize(("duplicates", "shared"), [(True, True), (False, False)])
def test_equal_rows_leak_into_the_test_rows_unless_duplicates_are_dropped(duplicates: bool, shared: bool) -> None:
    require_wine()
    found = data.prepare("red", duplicates, 0)
    parts = ((found.x_train, found.y_train), (found.x_validation, found.y_validation), (found.x_test, found.y_test))
    train, validation, test = ({row.tobytes() for row in np.hstack(part)} for part in parts)
    assert bool(test & (train | validation)) is shared


def test_the_training_rows_alone_standardize_all_rows() -> None:
    split = small_split()
    scaled = split.standardized()
    np.testing.assert_allclose(scaled.x_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.x_train.std(axis=0), 1)
    mean, deviation = split.x_train.mean(axis=0), split.x_train.std(axis=0)
    np.testing.assert_allclose(scaled.x_test, (split.x_test - mean) / deviation)
    np.testing.assert_array_equal(scaled.y_test, split.y_test)
