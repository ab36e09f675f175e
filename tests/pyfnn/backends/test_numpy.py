"""Claims about the NumPy backend: it is correct and stable, keeps the dtype, and allocates nothing in a step."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import ThreadpoolController

import pyfnn
from pyfnn import oracle
from pyfnn.activations import TABLE
from pyfnn.backend import CORE_ACTIVATIONS, CORE_LOSSES
from pyfnn.errors import Diverged
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.validation import Array

SQUARED = ("squared_error", "half_squared_error")


def data(network: Network, rows: int, seed: int) -> tuple[Array, Array]:
    """Return x and y for any loss: targets that sum to 1 suit all four."""
    rng = np.random.default_rng(seed)
    y = rng.random((rows, network.sizes[-1])) + 0.1
    y /= y.sum(axis=1, keepdims=True)
    return rng.standard_normal((rows, network.sizes[0])).astype(network.dtype), y.astype(network.dtype)


def start(network: Network, seed: int) -> Array:
    """Return parameters with biases that are not 0."""
    theta = initialize(network, seed)
    theta += np.random.default_rng(seed).normal(0, 0.1, theta.shape).astype(network.dtype)
    return theta


def loaded(network: Network, rows: int, seed: int = 0, threads: int = 1) -> Model:
    """Return a model with `rows` rows of data and a random order."""
    model = pyfnn.load_backend("numpy").create(network, start(network, seed), threads)
    model.load(*data(network, rows, seed), np.random.default_rng(seed).permutation(rows).astype(np.int64))
    return model


def assert_close(found: Any, expected: Any, dtype: str) -> None:
    """Allow 40 unit roundoffs of the norm, or of 1: the compared values are sums of terms of about that size."""
    difference = np.linalg.norm(np.asarray(found, np.longdouble) - expected)
    assert difference <= 20 * np.finfo(dtype).eps * max(np.linalg.norm(expected), 1)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    loss = draw(st.sampled_from(CORE_LOSSES))
    sizes = tuple(draw(st.lists(st.integers(1, 13), min_size=2, max_size=5)))
    hidden = tuple(draw(st.sampled_from(CORE_ACTIVATIONS)) for _ in sizes[2:])
    output = draw(st.sampled_from(CORE_ACTIVATIONS)) if loss in SQUARED else None
    l2 = draw(st.sampled_from([0.0, 0.01, 0.3]))
    return Network(sizes, hidden, loss, l2, output, draw(st.sampled_from(["float32", "float64"])))


def away_from_kinks(network: Network, theta: Array, x: Array) -> bool:
    """Return True if no pre-activation is near 0, where rounding decides on which side of a kink it lies."""
    return all(np.abs(Z).min() > 1e-4 for Z in oracle.forward(network, theta, x).Z)


@settings(max_examples=150)
@given(networks(), st.integers(1, 20), st.integers(0, 1000))
def test_outputs_loss_and_gradient_agree_with_the_oracle(network: Network, count: int, seed: int) -> None:
    model = loaded(network, 30, seed)
    x, y = data(network, 30, seed)
    theta = start(network, seed).astype(np.longdouble)
    for first in range(31 - count):
        rows = slice(first, first + count)
        if "relu" in str(network) and not away_from_kinks(network, theta, x[rows]):
            continue
        loss, gradient = oracle.loss_and_gradient(network, theta, x[rows], y[rows])
        assert_close(model.forward(first, count), oracle.forward(network, theta, x[rows]).A[-1], network.dtype)
        assert_close(model.loss_and_gradient(first, count)[0], loss, network.dtype)
        assert_close(model.loss_and_gradient(first, count)[1], gradient, network.dtype)
        break


@settings(max_examples=60)
@given(networks(), st.integers(1, 9), st.integers(0, 1000))
def test_the_displacement_of_training_agrees_with_the_oracle(network: Network, batch: int, seed: int) -> None:
    model = loaded(network, 23, seed)
    x, y = data(network, 23, seed)
    order = np.random.default_rng(seed).permutation(23)[2:22]
    theta = start(network, seed).astype(np.longdouble)
    if "relu" in str(network) and not away_from_kinks(network, theta, x):
        return
    assert model.train(2, 20, batch, 1e-3) > 0
    expected = theta - oracle.train(network, theta, x, y, order, batch, 1e-3)
    steps = -(-20 // batch)
    rounding = steps * np.finfo(network.dtype).eps * np.linalg.norm(theta)
    assert np.linalg.norm(theta - model.theta() - expected) <= rounding + 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("batch", [2, 7, 10, 64])
def test_a_short_last_batch_is_divided_by_its_own_size(batch: int) -> None:
    network = Network((5, 4, 3), "tanh", "squared_error", dtype="float64")
    model = loaded(network, 23)
    model.train(0, 23, batch, 0.05)
    x, y = data(network, 23, 0)
    order = np.random.default_rng(0).permutation(23)
    assert_close(model.theta(), oracle.train(network, start(network, 0), x, y, order, batch, 0.05), "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_kept(dtype: str) -> None:
    model = loaded(Network((5, 4, 3), "sigmoid", "softmax_cross_entropy", 0.1, dtype=dtype), 9)
    model.train(0, 9, 4, 0.1)
    found = {model.theta().dtype, model.forward(0, 3).dtype, model.loss_and_gradient(0, 3)[1].dtype}
    assert found == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_logits_of_1000_are_stable_and_raise_no_warning(loss: str, dtype: str) -> None:
    network = Network((3, 3), "tanh", loss, dtype=dtype)
    theta = np.concatenate([1000 * np.eye(3).ravel(), np.zeros(3)]).astype(dtype)
    x = np.array([[1, -1, 0], [-1, 0.5, 1], [0, 0, -1]], dtype)
    y = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], dtype)
    model = pyfnn.load_backend("numpy").create(network, theta)
    model.load(x, y, np.arange(3))
    exact = theta.astype(np.longdouble)
    loss_found, gradient = model.loss_and_gradient(0, 3)
    loss_expected, gradient_expected = oracle.loss_and_gradient(network, exact, x, y)
    assert_close(model.forward(0, 3), oracle.forward(network, exact, x).A[-1], dtype)
    assert_close(loss_found, loss_expected, dtype)
    assert_close(gradient, gradient_expected, dtype)
    model.train(0, 3, 2, 0.1)


@pytest.mark.parametrize("activation", TABLE)
@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
def test_a_step_allocates_no_array(activation: str, loss: str) -> None:
    model = loaded(Network((64, 48, 32), activation, loss, 0.01), 16384)
    model.train(0, 16384, 5000, 1e-3)  # makes the buffers; Y of the last batch, of 1384 rows, takes 177 kB
    model.time("gradient", 0, 5000, 1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        model._train(0, 16384, 5000, 1e-3)
        model._time("gradient", 0, 5000, 3, np.array([9, 0]))
        model._time("forward", 0, 5000, 3, np.array([9, 0]))
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 64_000  # NumPy broadcasts and casts in chunks of 8192 numbers


@pytest.mark.parametrize("operation", ["forward", "gradient"])
def test_time_rotates_over_the_rows_and_sums_its_results(operation: Any) -> None:
    network = Network((5, 4, 3), "tanh", "half_squared_error", 0.1, dtype="float64")
    model = loaded(network, 23)
    probes = np.array([14, 3, 8])
    assert model.time(operation, 4, 5, 7, probes) > 0
    at = [((4 + r * 5) % 19, probes[r % 3]) for r in range(7)]
    if operation == "forward":
        each = [model.forward(s, 5).flat[p] for s, p in at]
    else:
        each = [R + dtheta[p] for (R, dtheta), p in ((model.loss_and_gradient(s, 5), p) for s, p in at)]
    assert model.checksum == pytest.approx(sum(each), rel=1e-14)
    assert len(set(each)) == 7


def test_time_leaves_theta_alone_and_reset_restores_it() -> None:
    network = Network((5, 4, 3), "relu", "squared_error")
    model = loaded(network, 23)
    model.time("gradient", 0, 5, 3)
    np.testing.assert_array_equal(model.theta(), start(network, 0))
    model.train(0, 23, 5, 0.01)
    assert (model.theta() != start(network, 0)).any()
    model.reset()
    np.testing.assert_array_equal(model.theta(), start(network, 0))


def test_returned_arrays_are_copies() -> None:
    model = loaded(Network((5, 4, 3), "relu", "squared_error"), 23)
    outputs, (_, gradient), theta = model.forward(0, 5), model.loss_and_gradient(0, 5), model.theta()
    kept = outputs.copy(), gradient.copy(), theta.copy()
    model.train(0, 23, 5, 0.01)
    model.forward(5, 5)
    for array, copy in zip((outputs, gradient, theta), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_same_training_twice_gives_the_same_bits() -> None:
    model = loaded(Network((11, 50, 30, 5, 1), "tanh", "squared_error"), 100)
    model.train(0, 100, 7, 0.01)
    once = model.theta()
    model.loss_and_gradient(0, 100)
    model.reset()
    model.train(0, 100, 7, 0.01)
    np.testing.assert_array_equal(model.theta(), once)


def test_divergence_raises_an_error_and_no_warning() -> None:
    model = loaded(Network((5, 4, 3), "relu", "squared_error"), 23)
    with pytest.raises(Diverged):
        model.train(0, 23, 1, 1e20)


def blas_threads() -> set[int]:
    return {lib.num_threads for lib in ThreadpoolController().select(user_api="blas").lib_controllers}


def test_blas_threads_are_limited_during_a_call_and_restored_after() -> None:
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("this BLAS does not run with two threads; install NumPy with OpenBLAS or MKL")
        model = loaded(Network((5, 3), "tanh", "squared_error"), 9, threads=1)
        seen: list[int] = []
        model._step(3).forward = lambda _: seen.append(model._blas.threads())  # type: ignore[attr-defined]
        model.forward(0, 3)
        assert (model.threads, seen, blas_threads()) == (1, [1], {2})


def test_the_reported_threads_are_those_of_blas_and_at_most_the_requested() -> None:
    network = Network((5, 3), "tanh", "squared_error")
    assert [loaded(network, 9, threads=n).threads for n in (1, 2)] == [1, 2]
    assert 1 <= loaded(network, 9, threads=4096).threads < 4096


def test_the_description_names_python_numpy_and_blas() -> None:
    description = pyfnn.load_backend("numpy").description
    assert description.name == "numpy"
    assert "CPython 3." in description.compiler
    assert f"NumPy {np.__version__}" in description.compiler
    assert description.flags
