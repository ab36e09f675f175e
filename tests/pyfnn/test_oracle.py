"""Claims about the oracle: its gradient is the derivative of its loss, and training repeats its step."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import automatic
from support.strategies import SEEDS, Case, cases, clear_of_kinks, targets

from pyfnn import losses, oracle
from pyfnn.activations import TABLE
from pyfnn.network import Network, initialize

H = np.longdouble(2) ** -20  # step of the central differences: truncation about 1e-12, rounding about 1e-13


@given(case=cases())
@settings(max_examples=150)
def test_the_gradient_is_the_central_difference_of_the_loss(case: Case) -> None:
    assume(clear_of_kinks(case.network, case.theta, case.x))
    network, theta, y = case.network, case.theta.astype(np.longdouble), case.y.astype(np.longdouble)
    if network.loss == "softmax_cross_entropy":
        y /= y.sum(axis=1, keepdims=True)  # dL/dZ = Y - T holds for targets that sum to 1, to the last digit
    gradient = oracle.loss_and_gradient(network, theta, case.x, y)[1]
    for at in range(theta.size):
        e = np.zeros_like(theta)
        e[at] = H
        above, below = (oracle.loss_and_gradient(network, theta + s * e, case.x, y)[0] for s in (1, -1))
        assert abs((above - below) / (2 * H) - gradient[at]) < 1e-8 * max(1.0, float(abs(gradient[at])))


@pytest.mark.parametrize("loss", sorted(losses.TABLE))
@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_gradient_is_right_for_every_activation_under_every_loss(name: str, loss: str) -> None:
    rng = np.random.default_rng(3)
    output = None if losses.TABLE[loss].fuses or TABLE[name].hidden_only else name
    network = Network((3, 4, 3, 2), name, loss, l2=0.1, output_activation=output, dtype="float64")
    theta, x = rng.normal(0, 0.7, network.n_parameters), rng.normal(size=(4, 3))
    y, v = targets(network, 4, rng), rng.normal(size=theta.size)
    case = Case(network, theta, x, y)
    assert clear_of_kinks(case.network, case.theta, case.x), "another seed is needed"
    wide, T = theta.astype(np.longdouble), y.astype(np.longdouble)
    T = T / T.sum(axis=1, keepdims=True) if loss == "softmax_cross_entropy" else T
    above, below = (oracle.loss_and_gradient(network, wide + s * H * v, x, T)[0] for s in (1, -1))
    along = oracle.loss_and_gradient(network, wide, x, T)[1] @ v
    assert abs((above - below) / (2 * H) - along) < 1e-9 * max(1.0, float(abs(along)))


def test_a_product_warns_of_an_overflow_but_not_of_invalid_values() -> None:
    network = Network((2, 1), (), "squared_error")
    for weight, number in ((np.inf, 0), (1e30, 1e30)):
        theta, x = np.array([weight, 0, 0], np.float32), np.full((1, 2), number, np.float32)
        with nullcontext() if number == 0 else pytest.warns(RuntimeWarning, match="overflow encountered in matmul"):
            assert not np.isfinite(oracle.forward(network, theta, x).A[-1])


@given(case=cases(), count=st.integers(1, 3), dtype=st.sampled_from([np.float64, np.longdouble]))
@settings(max_examples=100)
def test_a_stack_of_networks_has_the_results_of_each(case: Case, count: int, dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    stack = (case.theta + rng.normal(0, 0.3, (count, case.theta.size))).astype(dtype)
    kept = stack.copy()
    run = oracle.forward(case.network, stack, case.x)
    losses, gradients = oracle.loss_and_gradient(case.network, stack, case.x, case.y)
    assert losses.shape == (count,)
    assert gradients.shape == stack.shape
    assert losses.dtype == gradients.dtype == dtype
    np.testing.assert_array_equal(stack, kept)
    np.testing.assert_array_equal(oracle.loss(case.network, stack, case.x, case.y), losses)
    for at, theta in enumerate(stack):
        alone = oracle.forward(case.network, theta, case.x)
        loss, gradient = oracle.loss_and_gradient(case.network, theta, case.x, case.y)
        for mine, own in (*zip(run.Z, alone.Z, strict=True), *zip(run.A[1:], alone.A[1:], strict=True)):
            np.testing.assert_allclose(mine[at], own, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(losses[at], loss, rtol=1e-12)
        np.testing.assert_allclose(gradients[at], gradient, rtol=1e-11, atol=1e-12 * (1 + np.abs(gradient).max()))


@given(case=cases(), dtype=st.sampled_from([np.float32, np.float64, np.longdouble]))
@settings(max_examples=60)
def test_everything_is_computed_in_the_dtype_of_theta(case: Case, dtype: type[np.floating]) -> None:
    theta = case.theta.astype(dtype)
    run = oracle.forward(case.network, theta, case.x)
    loss, gradient = oracle.loss_and_gradient(case.network, theta, case.x, case.y)
    after = oracle.train(case.network, theta, case.x, case.y, np.zeros(3, np.int64), 2, 0.01)
    assert {array.dtype for array in [*run.Z, *run.A, gradient, after]} == {np.dtype(dtype)}
    assert np.asarray(loss).dtype == dtype


@given(case=cases())
@settings(max_examples=40)
def test_arguments_are_not_changed(case: Case) -> None:
    before = [array.tobytes() for array in (case.theta, case.x, case.y)]
    oracle.loss_and_gradient(case.network, case.theta, case.x, case.y)
    oracle.train(case.network, case.theta, case.x, case.y, np.zeros(3, np.int64), 2, 0.01)
    assert [array.tobytes() for array in (case.theta, case.x, case.y)] == before


@given(seed=SEEDS, batch_size=st.integers(1, 12), steps_of_order=st.integers(1, 11))
@settings(max_examples=40)
def test_training_repeats_the_step_and_ends_with_a_short_batch(seed: int, batch_size: int, steps_of_order: int) -> None:
    rng = np.random.default_rng(seed)
    network = Network((3, 4, 2), "tanh", "half_squared_error", l2=0.1, dtype="float64")
    theta, x, y = initialize(network, seed), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    order = rng.integers(6, size=steps_of_order)
    by_hand, left = theta, order.tolist()
    while left:
        rows, left = left[:batch_size], left[batch_size:]
        gradients = [oracle.loss_and_gradient(network, by_hand, x[[row]], y[[row]])[1] for row in rows]
        by_hand = by_hand - 0.05 * sum(gradients) / len(rows)
    found = oracle.train(network, theta, x, y, order, batch_size, 0.05)
    assert found == pytest.approx(by_hand, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble"])
def test_logits_of_1000_have_finite_losses_and_exact_gradients(loss: str, dtype: str) -> None:
    network = Network((2, 2), (), loss)
    theta = np.array([1000, 0, 0, 1000, 0, 0], dtype)
    x, y = np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    value, gradient = oracle.loss_and_gradient(network, theta, x, y)
    assert value == 1000  # (2000 + 0) / 2
    assert gradient.tolist() == [0.5, -0.5, -0.5, 0.5, 0.5, -0.5]


def test_the_regularized_loss_adds_half_lambda_times_the_squared_weights_to_the_mean_loss() -> None:
    network = Network((1, 1), (), "squared_error", l2=0.5)
    loss, gradient = oracle.loss_and_gradient(network, np.array([3.0, 1.0]), np.ones((2, 1)), np.array([[4.0], [2.0]]))
    assert loss == (0 + 4) / 2 + 0.25 * 9
    assert gradient.tolist() == [(0 + 4) / 2 + 0.5 * 3, 2.0]


@given(case=cases())
@settings(max_examples=60)
def test_automatic_differentiation_finds_the_same_loss_and_gradient(case: Case) -> None:
    assume(clear_of_kinks(case.network, case.theta, case.x))
    y = case.y.astype(np.float64)
    if case.network.loss == "softmax_cross_entropy":
        y /= y.sum(axis=1, keepdims=True)
    expected, gradient = automatic.loss_and_gradient(case.network, case.theta, case.x, y)
    found = oracle.loss_and_gradient(case.network, case.theta, case.x, y)
    assert found[0] == pytest.approx(expected, rel=1e-10)
    assert found[1] == pytest.approx(gradient, rel=1e-8, abs=1e-10)
