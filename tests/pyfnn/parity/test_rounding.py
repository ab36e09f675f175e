"""Claims about the bounds on rounding: kinks, and what lies near them."""

from itertools import product

import numpy as np
import pytest

from pyfnn import oracle
from pyfnn.activations import parse
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, clear_of_kinks, kink_allowance, loss_scale, scale
from pyfnn.validation import Array

KINKED = ["relu", "leaky_relu(0.3)", "leaky_relu(-0.5)", "elu(0.5)", "hard_sigmoid", "hard_tanh"]
OWN_LAYOUT = ["prelu(0.3)", "maxout(2)"]
SIZES, ROWS = (4, 6, 5, 3), 9


def _off(network: Network, at: int, theta: Array, x: Array) -> float:
    """Return how far unit 0 of layer `at` is from its kink in row 0; of two pieces, how far the first is above."""
    f, Z = network.elementwise_activations[at], oracle.forward(network, theta.astype(np.longdouble), x).Z[at][0]
    return float(Z[0] - Z[1] if f.pieces > 1 else Z[0] - f.kinks[0])


def _near_a_kink(activation: str, dtype: str, seed: int) -> tuple[Network, Array, Array, Array]:
    """Return a network with its data; in row 0, unit 0 of each layer is at its kink, or within rounding of it."""
    output = None if parse(activation).row.hidden_only else activation
    network = Network(SIZES, activation, "squared_error", output_activation=output, dtype=dtype)
    rng = np.random.default_rng(seed)
    theta = initialize(network, seed)
    x, y = rng.normal(size=(ROWS, SIZES[0])).astype(dtype), rng.normal(size=(ROWS, SIZES[-1])).astype(dtype)
    for at in _kinked_layers(network):
        network.layers(theta)[at].b[0] -= _off(network, at, theta, x)
    return network, theta, x, y


def _kinked_layers(network: Network) -> list[int]:
    return [at for at, f in enumerate(network.elementwise_activations) if f.kinks]


@pytest.mark.parametrize("activation", KINKED + OWN_LAYOUT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_allowance_covers_a_step_across_a_kink(activation: str, dtype: str) -> None:
    unit = C * UNIT_ROUNDOFF[dtype]
    for seed in range(10):
        network, theta, x, y = _near_a_kink(activation, dtype, seed)
        assert not clear_of_kinks(network, theta, x, unit)[0]
        allowed = kink_allowance(network, theta, x, y, unit)
        exact, jumped = theta.astype(np.longdouble), 0.0
        expected = oracle.loss_and_gradient(network, exact, x, y)[1]
        for sides in product((-1, 1), repeat=len(_kinked_layers(network))):
            moved = exact.copy()
            for at, side in zip(_kinked_layers(network), sides, strict=True):
                network.layers(moved)[at].b[0] += side * 1e-3 * UNIT_ROUNDOFF[dtype] - _off(network, at, moved, x)
            got = oracle.loss_and_gradient(network, moved, x, y)[1]
            difference = np.abs((got - expected).astype(float))
            assert (difference <= allowed + 1e3 * unit).all()
            jumped = max(jumped, difference.max())
        assert jumped > 1e-4  # the sides do differ


def test_the_allowance_is_0_for_rows_clear_of_kinks_and_for_smooth_activations() -> None:
    rng = np.random.default_rng(0)
    for activation in ("relu", "tanh"):
        network = Network(SIZES, activation, "squared_error")
        theta = initialize(network, 0)
        for _, b in network.layers(theta):
            b[:] = 0.1  # with biases of 0, a row whose units are all off gives Z = 0 in the layer above
        x, y = rng.normal(size=(ROWS, 4)).astype("f4"), rng.normal(size=(ROWS, 3)).astype("f4")
        unit = C * UNIT_ROUNDOFF["float32"]
        assert clear_of_kinks(network, theta, x, unit).all()
        assert not kink_allowance(network, theta, x, y, unit).any()


def test_the_allowance_is_confined_to_the_unit_at_the_kink_and_what_lies_below() -> None:
    network = Network((4, 6, 3), "relu", "squared_error")
    rng = np.random.default_rng(0)
    theta = initialize(network, 0)
    x, y = rng.normal(size=(ROWS, 4)).astype("f4"), rng.normal(size=(ROWS, 3)).astype("f4")
    network.layers(theta)[0].b[2] = -oracle.forward(network, theta.astype(float), x).Z[0][5, 2]
    allowed = network.layers(kink_allowance(network, theta, x, y, C * UNIT_ROUNDOFF["float32"]))
    assert not allowed[1].W.any()
    assert not allowed[1].b.any()
    assert np.flatnonzero(allowed[0].b).tolist() == [2]
    assert np.flatnonzero(allowed[0].W.any(axis=0)).tolist() == [2]
    assert allowed[0].W[:, 2] == pytest.approx(np.abs(x[5]) * allowed[0].b[2])


def test_a_pre_activation_that_is_0_in_every_arithmetic_is_clear_of_the_kink() -> None:
    network = Network(SIZES, "relu", "squared_error")  # its biases start at 0
    theta, x = initialize(network, 0), np.zeros((ROWS, 4), "f4")
    assert clear_of_kinks(network, theta, x, 1e-6).all()


@pytest.mark.parametrize("activation", KINKED)
def test_the_jump_is_the_largest_difference_of_slopes_at_a_kink(activation: str) -> None:
    f = parse(activation)
    sides = [[f.derivative(np.array([kink + side]))[0] for side in (-1e-9, 1e-9)] for kink in f.kinks]
    assert f.jump == pytest.approx(max(abs(below - above) for below, above in sides))


def test_only_pieces_near_the_largest_of_their_unit_are_near_a_kink() -> None:
    network = Network((1, 2, 1), "maxout(3)", "squared_error")
    theta = np.zeros(network.n_parameters, "f4")
    W = network.layers(theta)[0].W
    W[0] = [1, 1, 0, 2, 1, 1]  # the first unit's first two pieces are equal; of the second's, the last two
    x, y = np.ones((1, 1), "f4"), np.ones((1, 1), "f4")
    network.layers(theta)[1].W[:] = 1
    allowed = network.layers(kink_allowance(network, theta, x, y, C * UNIT_ROUNDOFF["float32"]))
    assert np.flatnonzero(allowed[0].b).tolist() == [0, 1]
    assert not clear_of_kinks(network, theta, x, C * UNIT_ROUNDOFF["float32"]).any()


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_size_of_the_loss_alone_is_that_with_its_gradient_and_grows_with_the_penalty(loss: str, dtype: str) -> None:
    sizes = []
    for l2 in (0.0, 0.5):
        network = Network(SIZES, ("relu", "tanh"), loss, l2=l2, dtype=dtype)
        theta, rng = initialize(network, 1), np.random.default_rng(2)
        x = rng.normal(size=(ROWS, SIZES[0])).astype(dtype)
        y = np.eye(SIZES[-1], dtype=dtype)[rng.integers(SIZES[-1], size=ROWS)]
        sizes.append(loss_scale(network, theta, x, y))
        assert sizes[-1] == scale(network, theta, x, y).loss
    assert 0 < sizes[0] < sizes[1] < np.inf
