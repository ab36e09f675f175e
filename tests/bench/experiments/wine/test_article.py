"""Claims about the article's training: its gradient is the wrong one, in NumPy and compiled alike."""

import shutil

import numpy as np
import pytest
from support.requirements import require
from support.wine_rows import raw_split, small_split

from bench.experiments.article_gradient import article_gradient
from bench.experiments.wine import article
from bench.experiments.wine.treatments import as_published, corrected, epoch_orders, network
from pyfnn import oracle
from pyfnn.network import Network, initialize
from pyfnn.registry import load_backend
from pyfnn.validation import Array

ONE = np.zeros(1, np.int64)
RATE = 0.003


@pytest.fixture(params=["numpy", "c"])
def implementation(request: pytest.FixtureRequest) -> str:
    if request.param == "c":
        require("cc", shutil.which("cc") is not None, "install a C compiler, for instance gcc or clang")
    return str(request.param)


def step(implementation: str, net: Network, theta: Array, x: Array, y: Array) -> Array:
    """Return the gradient by which one step on the first row moves θ, without that of the L2 term."""
    after = theta.copy()
    assert article.TRAIN[implementation](net, after, x, y, ONE, RATE, False) == 1
    gradient: Array = (theta - after) / RATE
    for (dW, _), (W, _) in zip(net.layers(gradient), net.layers(theta), strict=True):
        dW -= net.l2 * W
    return gradient


def expected(net: Network, theta: Array, x: Array, y: Array) -> Array:
    """Return the gradient of the article's formulas by `article_gradient`, whose inputs pass no activation."""
    f = net.hidden_activations[0]
    gradient = article_gradient(net, theta, f(x[:1]), y[:1])
    layers = net.layers(gradient)
    layers[0].W[:] = np.outer(x[0], layers[0].b)
    for dW, db in layers:
        dW /= len(db)
    return gradient


@pytest.mark.parametrize("activation", article.FUNCTIONS)
def test_a_step_has_the_gradient_that_the_article_prints(implementation: str, activation: str) -> None:
    net, split = network((7, 5, 3), activation, 0.1), small_split()
    theta = initialize(net, 3) + 0.1
    made = step(implementation, net, theta, split.x_train, split.y_train)
    np.testing.assert_allclose(made, expected(net, theta, split.x_train, split.y_train), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("activation", article.FUNCTIONS)
def test_the_published_weights_gradients_are_wrong_in_every_layer_and_those_of_the_biases_right(
    implementation: str, activation: str
) -> None:
    net, split = network((7, 5, 3), activation, 0.0), small_split()
    theta = initialize(net, 3) + 0.1
    x, y = split.x_train[:1], split.y_train[:1]
    true = oracle.loss_and_gradient(net, theta, net.hidden_activations[0](x), y)[1]
    for made, right in zip(net.layers(step(implementation, net, theta, x, y)), net.layers(true), strict=True):
        np.testing.assert_allclose(made.b, right.b, rtol=1e-7, atol=1e-9)
        assert np.linalg.norm(made.W - right.W) > 0.05 * np.linalg.norm(right.W)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("activation", article.FUNCTIONS)
def test_the_compiled_training_ends_where_numpys_ends(activation: str, normalize: bool) -> None:
    require("cc", shutil.which("cc") is not None, "install a C compiler, for instance gcc or clang")
    net, split = network((6, 4), activation, 0.1), raw_split()
    order = epoch_orders(len(split.x_train), 0, range(1, 4))
    ends = [0.2 * initialize(net, 1, "uniform01") for _ in range(2)]
    for end, train in zip(ends, (article.train_in_numpy, article.train_in_c), strict=True):
        assert train(net, end, split.x_train, split.y_train, order, 1e-4, normalize) == len(order)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-9, atol=1e-11)


def test_the_articles_normalization_puts_every_row_of_every_layer_but_the_output_between_0_and_1() -> None:
    net = network((6, 4), "tanh", 0.1)
    Z, _ = article.forward(net, initialize(net, 1, "uniform01"), raw_split().x_train, True)
    for each in Z[:-1]:
        np.testing.assert_allclose([each.min(axis=1), each.max(axis=1)], [np.zeros(40), np.ones(40)])


def test_training_that_leaves_the_finite_numbers_is_a_result_of_nan(implementation: str) -> None:
    net = network((6, 4), "relu", 0.1)
    values = as_published(net, raw_split(), 0, 10.0, 10, False, implementation)
    assert np.isnan(values["test"])
    assert values["steps"] < 400


def test_the_corrected_treatment_trains_by_the_true_gradient_of_the_same_network() -> None:
    net, split = network((6, 4), "tanh", 0.1), raw_split()
    values = corrected(load_backend("numpy"), net, split, 5, RATE, 2)
    order = epoch_orders(len(split.x_train), 5, range(1, 3))
    f, theta = net.hidden_activations[0], initialize(net, 5, "uniform01")
    theta = oracle.train(net, theta, f(split.x_train), split.y_train, order, 1, RATE)
    outputs = article.forward(net, theta, split.x_test, False)[0][-1]
    assert values["test"] == pytest.approx(np.mean((outputs - split.y_test) ** 2), rel=1e-9)
    assert values["steps"] == 80


def test_the_corrected_treatment_reports_nan_too() -> None:
    values = corrected(load_backend("numpy"), network((6, 4), "relu", 0.1), raw_split(), 0, 10.0, 10)
    assert np.isnan(values["test"])
