"""Claims about numbers, units and intervals as readers see them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import format
from bench.statistics.intervals import Estimate


@given(st.floats(1e-3, 1e4), st.floats(1e-4, 0.5))
def test_a_margin_gives_the_bounds_of_the_interval(value: float, margin: float) -> None:
    shown = format.with_margin(Estimate(value, value / (1 + margin), value * (1 + margin)))
    centre, percent = shown.removesuffix(" %").split(" ±")
    assert float(centre) == pytest.approx(value, rel=0.006)
    assert float(percent) == pytest.approx(100 * margin, rel=0.06)


@given(st.floats(1e-9, 1e6))
def test_a_number_keeps_three_digits(value: float) -> None:
    assert float(format.number(value)) == pytest.approx(value, rel=0.006)
    assert "e" not in format.number(value)


@given(st.floats(1e-3, 1e5), st.floats(1e-4, 0.5))
def test_rounding_moves_a_bound_by_less_than_half_of_what_it_bounds(value: float, spread: float) -> None:
    low, high = value * (1 - spread), value * (1 + spread)
    shown = format.with_interval(Estimate(value, low, high))
    for got, exact in zip(shown.replace("[", "").replace("]", "").split(), (value, low, high), strict=False):
        assert float(got.rstrip(",")) == pytest.approx(exact, abs=0.5 * value * spread + 0.00005 * value)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(1.028, 1.003, 1.053), "1.028 [1.003, 1.053]"),
        (Estimate(1.03, 0.998, 1.06), "1.030 [0.998, 1.060]"),
        (Estimate(0.96, 0.93, 0.9996), "0.9600 [0.9300, 0.9996]"),
        (Estimate(1.03, 1.01, 1.05), "1.03 [1.01, 1.05]"),
    ],
)
def test_a_rounded_bound_never_moves_onto_or_across_one(estimate: Estimate, text: str) -> None:
    assert format.with_interval(estimate) == text


@pytest.mark.parametrize(("seconds", "unit"), [(3.0, "s"), (2e-3, "ms"), (40e-6, "µs"), (5e-9, "ns"), (1e-11, "ns")])
def test_times_are_given_in_a_unit_that_fits(seconds: float, unit: str) -> None:
    assert format.unit_of([seconds]).name == unit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (42.4, "42 s"), (119.0, "119 s"), (200.0, "3.3 min"), (900.0, "15 min"), (14400.0, "4.0 h")],
)
def test_a_rough_duration_has_two_digits_and_a_unit_that_fits(seconds: float, text: str) -> None:
    assert format.duration_text(seconds) == text


def test_a_value_without_its_interval_has_the_digits_that_the_interval_justifies() -> None:
    near_1 = Estimate(0.986371, 0.972774, 0.9999984)
    assert format.with_interval(near_1) == "0.986371 [0.972774, 0.999998]"
    assert format.centre_text(near_1) == "0.986"
    assert format.centre_text(Estimate(0.525, 0.517, 0.534)) == "0.525"
    assert format.centre_text(49.81) == "49.8"
