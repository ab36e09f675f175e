"""Claims about the vocabulary of experiments: equal cells have equal keys, and values are JSON."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.experiments.engine.cell import Cell, Settings, canonical, finite

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_cell_is_the_same_after_a_way_through_json_and_in_any_order(parameters: dict[str, object]) -> None:
    cell = Cell("one", parameters)
    again = Cell("one", json.loads(json.dumps(dict(reversed(parameters.items())))))
    assert (again.key, again.parameters) == (cell.key, cell.parameters)


def test_each_part_of_a_cell_changes_its_key() -> None:
    cells = [
        Cell("one", {"seed": 1, "rate": 0.1}),
        Cell("two", {"seed": 1, "rate": 0.1}),
        Cell("one", {"seed": 2, "rate": 0.1}),
        Cell("one", {"seed": 1, "rate": np.nextafter(0.1, 1).item()}),
        Cell("one", {"seed": 1}),
        Cell("one", {"seed": "1", "rate": 0.1}),
    ]
    assert len({cell.key for cell in cells}) == len(cells)


def test_workers_get_lists_where_the_parameters_had_tuples_as_a_file_gives_them_back() -> None:
    assert Cell("one", {"sizes": (4, 3)}).parameters == {"sizes": [4, 3]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32(1), {1, 2}, Path("x")])
def test_parameters_that_json_lacks_are_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Cell("one", {"value": value})


def test_values_that_json_lacks_become_null_and_those_of_numpy_plain_numbers() -> None:
    values = {"loss": np.array([1.5, np.nan]), "best": np.float64(0.1), "count": np.int64(3), "pair": (1, -np.inf)}
    assert finite(values) == {"loss": [1.5, None], "best": 0.1, "count": 3, "pair": [1, None]}
    assert canonical(finite(values)) == '{"best":0.1,"count":3,"loss":[1.5,null],"pair":[1,null]}'


def test_an_experiments_own_options_are_attributes_of_the_settings_also_of_a_copy() -> None:
    settings = Settings("numpy", 3, Path("out"), options={"rate": 0.1})
    for each in (settings, copy.copy(settings), pickle.loads(pickle.dumps(settings))):
        assert (each.rate, each.seeds) == (0.1, 3)
        with pytest.raises(AttributeError, match="no setting 'rats'"):
            _ = each.rats
