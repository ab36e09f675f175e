"""Claims about the learning-rate schedules."""

import math
import pickle
from typing import Any

import numpy as np
import pytest

from pyfnn.errors import InvalidInput
from pyfnn.training import Constant, Cosine, InverseTime, Schedule, Step


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Constant(0.3), {0: 0.3, 99: 0.3}),
        (Step(0.4, every=10, factor=0.5), {0: 0.4, 9: 0.4, 10: 0.2, 25: 0.1}),
        (Cosine(0.2, epochs=8), {0: 0.2, 4: 0.1, 8: 0.0}),
        (Cosine(0.2, epochs=8, final=0.1), {0: 0.2, 4: 0.15, 8: 0.1, 100: 0.1}),
        (InverseTime(0.5, decay=0.1), {0: 0.5, 10: 0.25, 40: 0.1}),
    ],
    ids=repr,
)
def test_a_schedule_returns_its_formula_and_can_be_pickled(schedule: Schedule, rates: dict[int, float]) -> None:
    again = pickle.loads(pickle.dumps(schedule))
    for epoch, rate in rates.items():
        assert schedule(epoch) == pytest.approx(rate, abs=1e-15)
        assert again(epoch) == schedule(epoch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-1.0), "rate = -1.0"),
        (lambda: Step(0.1, every=0), "every = 0"),
        (lambda: Cosine(0.1, epochs=5, final=0.2), "final = 0.2"),
        (lambda: InverseTime(0.1, decay=0.0), "decay = 0.0"),
    ],
)
def test_a_setting_out_of_range_is_rejected_by_name(make: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()


def test_a_step_schedule_never_falls_to_0() -> None:
    """A rate of 0 is an error, which would end a long training."""
    assert 0 < Step(0.1, 1, 0.5)(5000) < 1e-300


@pytest.mark.parametrize("narrow", [np.float16, np.float32])
@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0])
def test_a_number_of_a_narrow_type_is_judged_as_any_other(narrow: type[np.floating[Any]], value: float) -> None:
    with pytest.raises(InvalidInput, match=r"rate = .*: must be finite and above 0"):
        Constant(narrow(value))
    assert Constant(narrow(0.5)).rate == 0.5
