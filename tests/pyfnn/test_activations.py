"""Claims about the oracle's activations: first and second derivatives, kinks, limits and spellings."""

import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.strategies import HIDDEN, OWN_LAYOUT, SPELLINGS

from pyfnn.activations import TABLE, parse
from pyfnn.errors import InvalidInput, UnknownName

_STEP = np.longdouble(2) ** -18


@given(spelling=st.sampled_from(SPELLINGS), value=st.floats(-12, 12))
def test_both_derivatives_are_central_differences(spelling: str, value: float) -> None:
    f = parse(spelling)
    assume(all(abs(value - kink) > 1e-4 for kink in (*f.kinks, 0.0)))  # at 0 the second derivative of elu(1.0) jumps
    Z = np.array([value], np.longdouble)
    derivative = (f(Z + _STEP) - f(Z - _STEP)) / (2 * _STEP)
    second_derivative = (f.derivative(Z + _STEP) - f.derivative(Z - _STEP)) / (2 * _STEP)
    assert np.abs(f.derivative(Z) - derivative)[0] < 1e-10
    assert np.abs(f.second_derivative(Z) - second_derivative)[0] < 1e-10


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_kinks_are_exactly_the_points_where_the_derivative_jumps(spelling: str) -> None:
    f = parse(spelling)
    grid = np.linspace(-3, 3, 60_001).astype(np.longdouble)
    jumps = grid[:-1][np.abs(np.diff(f.derivative(grid))) > 0.01]
    assert all(np.abs(jumps - kink).min() < 2e-4 for kink in f.kinks)
    assert all(min(abs(jump - kink) for kink in f.kinks) < 2e-4 for jump in jumps)


@pytest.mark.parametrize(
    ("spelling", "at", "derivative"),
    [
        ("relu", 0, 0),
        ("leaky_relu(0.2)", 0, 0.2),
        ("elu(0.3)", 0, 0.3),
        ("hard_tanh", 1, 0),
        ("hard_tanh", -1, 0),
        ("hard_sigmoid", 2, 0),
        ("hard_sigmoid", -2, 0),
    ],
)
def test_the_derivative_at_a_kink_is_the_one_of_the_design(spelling: str, at: float, derivative: float) -> None:
    assert parse(spelling).derivative(np.array([float(at)])) == [derivative]
    assert parse(spelling).derivative(np.array([-0.0 if at == 0 else float(at)])) == [derivative]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_value_and_derivatives_keep_shape_and_dtype(spelling: str, dtype: type[np.floating]) -> None:
    f, Z = parse(spelling), np.linspace(-3, 3, 14).astype(dtype).reshape(2, 7)
    for values in (f(Z), f.derivative(Z), f.second_derivative(Z)):
        assert values.shape == Z.shape
        assert values.dtype == dtype


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_inputs_of_1000_do_not_overflow(spelling: str) -> None:
    f, Z = parse(spelling), np.array([-1000.0, 1000.0], np.float32)
    assert np.isfinite([f(Z), f.derivative(Z), f.second_derivative(Z)]).all()


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "elu"])
def test_small_values_keep_their_relative_accuracy(name: str) -> None:
    found = parse(name)(np.array([-30.0]))[0] + (1 if name == "elu" else 0)
    assert found == pytest.approx(np.exp(-30.0), rel=1e-2 if name == "elu" else 1e-12)


def test_known_values() -> None:
    assert parse("hard_sigmoid")(np.array([-3.0, 0.0, 1.0, 3.0])).tolist() == [0.0, 0.5, 0.75, 1.0]
    assert parse("softplus")(np.array([0.0])) == pytest.approx(np.log(2))
    assert parse("leaky_relu(0.1)")(np.array([-2.0, 2.0])) == pytest.approx([-0.2, 2.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("spelling", OWN_LAYOUT)
def test_an_activation_with_a_layout_of_its_own_has_one_derivative_for_each_column(
    spelling: str, dtype: type[np.floating]
) -> None:
    f, rng = parse(spelling), np.random.default_rng(0)
    Z, G = rng.normal(size=(4, 3 * f.pieces)).astype(dtype), rng.normal(size=(4, 3)).astype(dtype)
    f = f.with_slopes(rng.normal(size=3).astype(dtype))
    assert f(Z).shape == G.shape
    assert f(Z).dtype == f.derivative(Z).dtype == f.second_derivative(Z).dtype == dtype
    delta = f.derivative(Z) * f.of_each_piece(G)
    h, wide = np.longdouble(2) ** -18, Z.astype(np.longdouble)
    for at in np.ndindex(Z.shape):
        above, below = wide.copy(), wide.copy()
        above[at] += h
        below[at] -= h
        assert float(((f(above) - f(below)) * G).sum() / (2 * h)) == pytest.approx(float(delta[at]), abs=1e-5)


def test_prelu_has_the_slope_of_each_unit_below_0_and_at_0() -> None:
    f = parse("prelu(0.5)").with_slopes(np.array([0.5, -2.0, 1.0]))
    Z = np.array([[-2.0, -2.0, -2.0], [0.0, -0.0, 0.0], [3.0, 3.0, 3.0]])
    assert f(Z).tolist() == [[-1, 4, -2], [0, 0, 0], [3, 3, 3]]
    assert f.derivative(Z).tolist() == [[0.5, -2, 1], [0.5, -2, 1], [1, 1, 1]]
    assert f.row.slope_derivative is not None
    assert f.row.slope_derivative(Z).tolist() == [[-2, -2, -2], [0, 0, 0], [0, 0, 0]]
    assert f.jump.tolist() == [0.5, 3, 0]


def test_maxout_is_the_largest_piece_and_of_equal_ones_the_first_has_the_derivative() -> None:
    f = parse("maxout(3)")
    Z = np.array([[1.0, 3.0, 2.0, -1.0, -1.0, -2.0], [5.0, 5.0, 5.0, 0.0, 7.0, 7.0]])
    assert f(Z).tolist() == [[3, -1], [5, 7]]
    assert f.derivative(Z).tolist() == [[0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ("tanh", "tanh"),
        ("leaky_relu", "leaky_relu(0.01)"),
        ("elu(1)", "elu(1.0)"),
        ("elu(5e-1)", "elu(0.5)"),
        ("prelu", "prelu(0.25)"),
        ("maxout", "maxout(2)"),
        ("maxout(3.0)", "maxout(3)"),
    ],
)
def test_a_spelling_has_one_canonical_form(given_: str, canonical: str) -> None:
    assert parse(given_).name == canonical
    assert parse(canonical) == parse(given_)


@pytest.mark.parametrize(
    ("spelling", "words"),
    [
        ("tahn", r"unknown activation 'tahn'; did you mean 'tanh'\? known: elu, hard_sigmoid"),
        ("", "unknown activation"),
        ("relu relu", "unknown activation 'relu relu'"),
    ],
)
def test_an_unknown_activation_gets_the_nearest_match_and_the_list(spelling: str, words: str) -> None:
    with pytest.raises(UnknownName, match=words):
        parse(spelling)


@pytest.mark.parametrize("spelling", ["tanh(1)", "leaky_relu()", "elu(x)", "elu(nan)", "elu(inf)", "prelu(nan)"])
def test_a_parameter_that_breaks_the_rule_is_rejected_with_its_spelling(spelling: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(spelling)
    assert repr(spelling) in str(caught.value)
    assert "parameter" in str(caught.value)


@pytest.mark.parametrize("written", ["1", "0", "-2", "2.5", "17", "1e300"])
def test_a_number_of_pieces_that_is_not_whole_or_out_of_range_is_rejected(written: str) -> None:
    with pytest.raises(InvalidInput, match="the number of pieces must be a whole number from 2 to 16"):
        parse(f"maxout({written})")


@pytest.mark.parametrize("spelling", HIDDEN)
def test_a_pickled_activation_is_the_same_one(spelling: str) -> None:
    assert pickle.loads(pickle.dumps(parse(spelling))) == parse(spelling)


def test_the_strategies_cover_every_activation() -> None:
    assert {parse(spelling).row for spelling in HIDDEN} == set(TABLE.values())
