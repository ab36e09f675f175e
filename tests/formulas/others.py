"""The formulas of other texts, and those of the article beside what its code computes."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from bench.experiments.article_gradient import relative_errors
from bench.suites import load
from bench.suites.problem import make_problem
from formulas.network import (
    GRADIENT,
    LAYERS,
    NETWORK,
    THETA,
    A,
    B,
    T,
    W,
    X,
    Z,
    b,
    delta,
    equal,
    gradient_of,
    jacobian,
    risk,
    risk_from,
    sigma,
    slope,
    softmax,
)
from formulas.ours import CLASSES, LOGITS
from formulas.registry import formula
from pyfnn import oracle
from pyfnn.activations import parse
from pyfnn.network import Network, initialize
from pyfnn.validation import Array

# Other conventions


def penalty(theta: Array) -> Any:
    """Return Σ_l ‖W_l‖²."""
    return sum((layer.W**2).sum() for layer in NETWORK.layers(theta))


@formula(
    r"z_j = \sum_i a_i w_{ij} - \theta_j",
    r"b_j = -\theta_j, \quad \frac{\partial R}{\partial \theta_j} = -\frac{\partial R}{\partial b_j}",
)
def thresholds() -> None:
    for k in LAYERS:
        by_threshold = gradient_of(partial(lambda k, c: risk_from(k, A(k - 1) @ W(k) - c), k), -b(k))
        equal(by_threshold, -NETWORK.layers(GRADIENT)[k - 1].b)


@formula(r"\frac{1}{m} \sum_n L(y_n, t_n) + \frac{\lambda'}{2m} \sum_l \lVert W_l \rVert^2", r"\lambda = \lambda' / m")
def penalty_divided_by_the_rows() -> None:
    theirs = B * NETWORK.l2  # λ'
    equal(oracle.loss(NETWORK, THETA, X, T), risk(THETA, l2=0) + theirs / (2 * B) * penalty(THETA))


@formula(
    r"\sum_n L(y_n, t_n) + \frac{\lambda'}{2} \sum_l \lVert W_l \rVert^2",
    r"\lambda = \lambda' / B, \quad \alpha = B \alpha'",
)
def sums_over_the_rows() -> None:
    theirs, rate = B * NETWORK.l2, 0.02  # λ' and α'
    of_sum = gradient_of(lambda theta: B * risk(theta, l2=0) + theirs / 2 * penalty(theta), THETA)
    equal(oracle.train(NETWORK, THETA, X, T, np.arange(B), B, B * rate), THETA - rate * of_sum)


@formula(
    r"z = V_l a + b_l, \quad V_l \text{ of shape } (m_l, m_{l-1})",
    r"W_l = V_l^T, \quad dV_l = \delta_l a_{l-1}^T = dW_l^T",
)
def columns_in_place_of_rows() -> None:
    for k in LAYERS:
        V, of_rows = W(k).T, delta(k)
        dV = sum(np.outer(of_rows[n], A(k - 1)[n]) for n in range(B)) + NETWORK.l2 * V
        equal(Z(k)[0], V @ A(k - 1)[0] + b(k))
        equal(NETWORK.layers(GRADIENT)[k - 1].W.T, dV)


@formula(r"\mathrm{relu}'(0) = 1", r"\mathrm{relu}'(0) = 0")
def relu_at_zero() -> None:
    at = np.array([-0.5, 0.0, 0.5])
    theirs = (at >= 0).astype(float)
    assert (parse("relu").derivative(at) != theirs).tolist() == [False, True, False]
    assert parse("relu").derivative(at)[1] == 0


@formula(r"y = \mathrm{softmax}(\sigma(z))", r"\frac{\partial L}{\partial z} = \sigma'(z) \odot (y - t)")
def softmax_of_sigmoid() -> None:
    z, t = LOGITS, CLASSES
    y = softmax(sigma(z))
    equal(gradient_of(lambda z: -(t * np.log(softmax(sigma(z)))).sum(), z), slope(sigma, z) * (y - t))


@formula(
    r"y = \mathrm{softmax}(\sigma(z)), \quad m \text{ classes}",
    r"\frac{1}{1 + (m - 1) e} \lt y_j \lt \frac{e}{e + m - 1}",
)
def bounds_of_softmax_of_sigmoid() -> None:
    for m in (2, 10):
        extreme = softmax(sigma(np.array([40.0, *[-40.0] * (m - 1)])))
        opposite = softmax(sigma(np.array([-40.0, *[40.0] * (m - 1)])))
        equal(extreme[0], np.e / (np.e + m - 1))
        equal(opposite[0], 1 / (1 + (m - 1) * np.e))
    assert round(np.e / (np.e + 1), 2) == 0.73
    assert round(float(np.e / (np.e + 9)), 2) == 0.23


@formula(r"\delta = r - t", r"\delta_L = \frac{1}{B} (A_L - T)")
def result_without_the_mean() -> None:
    r, t = softmax(LOGITS), CLASSES
    one_row = Network((3, 3), (), "softmax_cross_entropy", dtype="float64")
    theta = np.concatenate([np.eye(3).ravel(), np.zeros(3)])
    db = one_row.layers(oracle.loss_and_gradient(one_row, theta, LOGITS[None], t[None])[1])[0].b
    equal(db, r - t)


@formula(r"\delta = t - r, \quad w \leftarrow w + \alpha a \delta", r"w \leftarrow w - \alpha a (r - t)")
def errors_of_the_other_sign() -> None:
    network = Network((3, 2), (), "half_squared_error", dtype="float64")
    theta = THETA[: network.n_parameters]
    r = oracle.forward(network, theta, X[:1]).A[-1]
    after = network.layers(oracle.train(network, theta, X, T, np.arange(1), 1, 0.1))[0].W
    equal(after, network.layers(theta)[0].W + 0.1 * np.outer(X[0], T[0] - r[0]))


# The article


@formula(r"dW_l = A_{l-1}^T \delta_l", r"dW_l = Z_{l-1}^T \delta_l")
def pre_activation_in_place_of_activation() -> None:
    problem = make_problem(load.built_in_workloads()["wine-deep"], "float64")
    for scheme, least, most in (("fan_in", 0.12, 0.27), ("uniform01", 0.53, 9.21)):
        theta = problem.theta if scheme == "fan_in" else initialize(problem.network, 0, scheme)
        first, *others = relative_errors(problem.network, theta, problem.x, problem.y)
        assert first < 1e-12
        assert (round(min(others), 2), round(max(others), 2)) == (least, most)


@formula(r"dW_l = A_{l-1}^T \delta_l, \quad l = 1, \ldots, L", r"dW_l = \frac{1}{m_l} A_{l-1}^T \delta_l")
def division_by_the_width() -> None:
    network = Network((11, 50, 30, 20, 10, 5, 1), "tanh", "squared_error", dtype="float64")
    theta = initialize(network, 0)
    rng = np.random.default_rng(0)
    right = oracle.loss_and_gradient(network, theta, rng.normal(size=(50, 11)), rng.normal(size=(50, 1)))[1]
    divided = np.concatenate([layer.W.ravel() / layer.W.shape[1] for layer in network.layers(right)])
    whole = np.concatenate([layer.W.ravel() for layer in network.layers(right)])
    cosine = divided @ whole / np.linalg.norm(divided) / np.linalg.norm(whole)
    assert 0 < cosine < 0.95
    assert max(network.sizes[1:]) / min(network.sizes[1:]) == 50


@formula(r"A_0 = X", r"A_0 = f_1(X)")
def activation_of_the_inputs() -> None:
    two_wines = np.array([[7.4, 0.70, 34.0], [7.8, 0.88, 67.0]], np.float32)  # acidities, total sulfur dioxide
    for name in ("tanh", "sigmoid"):
        sulfur = parse(name)(two_wines)[:, 2]
        assert sulfur.tolist() == [1, 1]


@formula(r"w_{ij} \sim U(0, 1), \quad a_i \ge 0", r"\mathrm{E} z_j = \frac{1}{2} \sum_i a_i + \frac{1}{2}")
def weights_without_sign() -> None:
    a = np.abs(np.random.default_rng(0).normal(size=50))
    drawn = np.random.default_rng(1).random((20_000, 51))
    z = drawn[:, :50] @ a + drawn[:, 50]
    assert z.mean() == pytest.approx(a.sum() / 2 + 0.5, abs=4 * z.std() / np.sqrt(len(z)))


@formula(
    r"\hat z_j = \frac{z_j - \min_i z_i}{\max_i z_i - \min_i z_i}",
    r"\frac{\partial \hat z_j}{\partial z_j} = 1 \quad \text{in place of} \quad \frac{1}{\max_i z_i - \min_i z_i}",
)
def ignored_normalization() -> None:
    z = np.array([0.5, -1.0, 3.0, 2.0])

    def normalized(z: Any) -> Any:
        low, high = z[np.argmin(z.real)], z[np.argmax(z.real)]
        return (z - low) / (high - low)

    J = jacobian(normalized, z)
    equal(J[[0, 3], [0, 3]], [1 / 4, 1 / 4])
    assert (J[[0, 3]][:, [1, 2]] != 0).all()  # the derivatives by the least and the largest entry, ignored too
