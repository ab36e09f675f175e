"""Claims about the optimizers that step in Python: their trajectories equal those of independent implementations."""

from typing import Any

import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

import pyfnn
from pyfnn import oracle
from pyfnn.errors import InvalidInput
from pyfnn.network import Network, initialize
from pyfnn.training import Adam, Momentum, Optimizer, fit
from pyfnn.training.data import generator
from pyfnn.validation import Array

NETWORK = Network((4, 7, 5, 1), "relu", "half_squared_error", dtype="float64")
SETTINGS: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 0.02, "seed": 3}
SOLVERS: list[tuple[Optimizer, dict[str, Any]]] = [
    (Adam(), {"solver": "adam"}),
    (Adam(0.8, 0.99, 1e-3), {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}),
    (Momentum(), {"solver": "sgd"}),
    (Momentum(0.5, nesterov=False), {"solver": "sgd", "momentum": 0.5, "nesterovs_momentum": False}),
]


def rows() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((29, 4))
    return x, np.sin(x.sum(axis=1, keepdims=True))


def trained_by_sklearn(theta: Array, x: Array, y: Array, **settings: Any) -> Array:
    """Return θ after the steps of `SETTINGS`, each one call of `partial_fit`."""
    estimator = MLPRegressor(
        hidden_layer_sizes=(7, 5), alpha=0, learning_rate_init=SETTINGS["learning_rate"], batch_size=8, **settings
    )
    estimator.partial_fit(x[:8], y[:8, 0])
    for W, b, given in zip(estimator.coefs_, estimator.intercepts_, NETWORK.layers(theta), strict=True):
        W[:], b[:] = given
    del estimator._optimizer  # its moments are of the step above
    for epoch in range(1, SETTINGS["epochs"] + 1):
        order = generator(SETTINGS["seed"], epoch).permutation(len(x))
        for at in range(0, len(x), 8):
            batch = order[at : at + 8]
            estimator.batch_size = len(batch)
            estimator.partial_fit(x[batch], y[batch, 0])
    layers = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    return np.concatenate([np.ravel(tensor) for layer in layers for tensor in layer])


@pytest.mark.parametrize(("optimizer", "settings"), SOLVERS, ids=lambda value: repr(value)[:30])
def test_the_trajectory_is_that_of_scikit_learn(optimizer: Optimizer, settings: dict[str, Any]) -> None:
    (x, y), theta = rows(), initialize(NETWORK, 2)
    with pyfnn.load_backend("numpy").create(NETWORK, theta) as model:
        history = fit(model, x, y, **SETTINGS, optimizer=optimizer)
    expected = trained_by_sklearn(theta, x, y, **settings)
    assert np.abs(expected - theta).max() > 0.1
    np.testing.assert_allclose(history.last_theta, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["cpp", "c", "cpp-tuned"])
def test_adam_on_every_backend_follows_the_papers_algorithm(name: str) -> None:
    (x, y), theta = rows(), initialize(NETWORK, 2)
    with pyfnn.load_backend(name).create(NETWORK, theta) as model:
        history = fit(model, x, y, **SETTINGS, optimizer=Adam())
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    for epoch in range(1, 4):
        order = generator(3, epoch).permutation(29)
        for at in range(0, 29, 8):
            batch, t = order[at : at + 8], t + 1
            gradient = oracle.loss_and_gradient(NETWORK, theta, x[batch], y[batch])[1]
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            corrected_m, corrected_v = m / (1 - 0.9**t), v / (1 - 0.999**t)
            epsilon = 1e-8 / np.sqrt(1 - 0.999**t)  # the paper's faster order of computation moves ε
            theta = theta - 0.02 * corrected_m / (np.sqrt(corrected_v) + epsilon)
    np.testing.assert_allclose(history.last_theta, theta, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adam(beta_1=1.0), "beta_1 = 1.0"),
        (lambda: Adam(beta_2=-0.1), "beta_2 = -0.1"),
        (lambda: Adam(epsilon=0.0), "epsilon = 0.0"),
        (lambda: Momentum(1.5), "momentum = 1.5"),
    ],
)
def test_a_setting_out_of_range_is_rejected_by_name(make: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()
