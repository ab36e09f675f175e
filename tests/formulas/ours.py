"""The formulas of the oracle: forward pass, losses, activations, backward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from formulas.network import (
    GRADIENT,
    LAYERS,
    NETWORK,
    THETA,
    A,
    B,
    F,
    L,
    T,
    W,
    X,
    Z,
    b,
    delta,
    entries,
    equal,
    gradient_of,
    identities,
    jacobian,
    next_pre_activations,
    onwards,
    risk,
    risk_from,
    sigma,
    slope,
    softmax,
    symbols,
    sympy,
)
from formulas.registry import formula
from pyfnn import losses, oracle
from pyfnn.activations import parse
from pyfnn.network import Network
from pyfnn.validation import Array

LOGITS, CLASSES = np.array([0.3, -1.2, 2.1]), np.array([0.2, 0.5, 0.3])  # of one row, for losses of probabilities
POINTS = np.linspace(-6, 6, 49)  # for functions of one number; 0 is among them


# The forward pass


@formula(r"Z_l = A_{l-1} W_l + b_l", r"z_{nj}^{(l)} = \sum_i a_{ni}^{(l-1)} w_{ij}^{(l)} + b_j^{(l)}")
def pre_activations() -> None:
    for k in LAYERS:
        equal(Z(k), A(k - 1) @ W(k) + b(k))
        equal(Z(k), entries(Z(k).shape, lambda n, j, k=k: sum(A(k - 1)[n] * W(k)[:, j]) + b(k)[j]))


@formula(r"A_l = f_l(Z_l), \quad A_0 = X", r"a_{nj}^{(l)} = f_l(z_{nj}^{(l)}), \quad a_{ni}^{(0)} = x_{ni}")
def activations_of_a_layer() -> None:
    equal(A(0), X)
    for k in LAYERS:
        equal(A(k), F[k - 1](Z(k)), entries(Z(k).shape, lambda n, j, k=k: F[k - 1](Z(k)[n, j])))


@formula(
    r"A_L = f_L( \cdots f_2(f_1(X W_1 + b_1) W_2 + b_2) \cdots W_L + b_L)",
    r"A_L = (F_L \circ \cdots \circ F_1)(X), \quad F_l(A) = f_l(A W_l + b_l)",
)
def composition() -> None:
    f_1, f_2, f_3 = F
    nested = f_3(f_2(f_1(X @ W(1) + b(1)) @ W(2) + b(2)) @ W(3) + b(3))
    equal(A(L), nested, onwards(1, Z(1)))


@formula(
    r"R = \frac{1}{B} \sum_n L(y_n, t_n) + \frac{\lambda}{2} \sum_l \lVert W_l \rVert^2",
    r"\lVert W_l \rVert^2 = \sum_{ij} (w_{ij}^{(l)})^2",
)
def regularized_loss() -> None:
    losses_of_rows = [sum((A(L)[n] - T[n]) ** 2) / 2 for n in range(B)]
    norms = [sum(w**2 for w in W(k).ravel()) for k in LAYERS]
    equal(oracle.loss(NETWORK, THETA, X, T), sum(losses_of_rows) / B + NETWORK.l2 / 2 * sum(norms), risk(THETA))


# Losses


def check_loss(name: str, loss: Callable[[Any], Any], factor: float) -> None:
    """Compare a loss of outputs y, and its derivative factor (y - t), with the oracle's."""
    y, t, row = LOGITS, CLASSES, losses.TABLE[name]
    equal(loss(y), row.value(y[None], y[None], t[None])[0])
    equal(factor * (y - t), row.derivative(y, t), gradient_of(loss, y))


@formula(r"L = \sum_j (y_j - t_j)^2", r"\frac{\partial L}{\partial y_j} = 2 (y_j - t_j)")
def squared_error() -> None:
    check_loss("squared_error", lambda y: ((y - CLASSES) ** 2).sum(), 2)


@formula(r"L = \frac{1}{2} \sum_j (y_j - t_j)^2", r"\frac{\partial L}{\partial y_j} = y_j - t_j")
def half_squared_error() -> None:
    check_loss("half_squared_error", lambda y: ((y - CLASSES) ** 2).sum() / 2, 1)


@formula(r"y_j = e^{z_j} / \sum_k e^{z_k}", r"\frac{\partial y}{\partial z} = \mathrm{diag}(y) - y^T y")
def softmax_jacobian() -> None:
    y = losses.softmax(LOGITS[None])[0]
    equal(y, softmax(LOGITS))
    equal(np.diag(y) - np.outer(y, y), jacobian(softmax, LOGITS))


@formula(
    r"\frac{\partial y_j}{\partial z_j} = y_j (1 - y_j)",
    r"\frac{\partial y_j}{\partial z_i} = -y_j y_i \quad (i \neq j)",
)
def softmax_jacobian_by_entry() -> None:
    z = symbols("z:3")
    y = [sympy.exp(each) / sum(map(sympy.exp, z)) for each in z]
    expected = {(j, i): y[j] * (1 - y[j]) if i == j else -y[j] * y[i] for j in range(3) for i in range(3)}
    identities(*(sympy.diff(y[j], z[i]) - entry for (j, i), entry in expected.items()))


@formula(r"L = -\sum_j t_j \ln y_j", r"L = \ln \sum_k e^{z_k} - \sum_j t_j z_j")
def cross_entropy() -> None:
    z, t = LOGITS, CLASSES
    found = losses.TABLE["softmax_cross_entropy"].value(z[None], softmax(z)[None], t[None])[0]
    equal(found, -sum(t * np.log(softmax(z))), np.log(sum(np.exp(z))) - sum(t * z))


@formula(
    r"\frac{\partial L}{\partial z} = \frac{\partial L}{\partial y} \frac{\partial y}{\partial z} = y - t",
    r"\sum_j \frac{\partial L}{\partial y_j} \frac{\partial y_j}{\partial z_i} = y_i \sum_j t_j - t_i = y_i - t_i",
)
def result_minus_target() -> None:
    z, t = LOGITS, CLASSES
    y = softmax(z)
    chained = [sum(-t[j] / y[j] * (y[j] * (j == i) - y[j] * y[i]) for j in range(3)) for i in range(3)]
    own = losses.TABLE["softmax_cross_entropy"].derivative(y, t)
    equal(own, y - t, -t / y @ jacobian(softmax, z), chained, y * sum(t) - t)
    equal(own, gradient_of(lambda z: -(t * np.log(softmax(z))).sum(), z))


@formula(
    r"L = -\sum_j (t_j \ln y_j + (1 - t_j) \ln(1 - y_j)), \quad y_j = \sigma(z_j)",
    r"L = \sum_j (\max(z_j, 0) - z_j t_j + \ln(1 + e^{-\lvert z_j \rvert}))",
)
def sigmoid_cross_entropy() -> None:
    z, t = LOGITS, CLASSES
    y = sigma(z)
    stable = sum(np.maximum(z, 0) - z * t + np.log(1 + np.exp(-np.abs(z))))
    found = losses.TABLE["sigmoid_cross_entropy"].value(z[None], y[None], t[None])[0]
    equal(found, -sum(t * np.log(y) + (1 - t) * np.log(1 - y)), stable)


@formula(
    r"\frac{\partial L}{\partial y_j} = -\frac{t_j}{y_j} + \frac{1 - t_j}{1 - y_j}",
    r"\frac{\partial L}{\partial z_j} = \frac{\partial L}{\partial y_j} y_j (1 - y_j) = y_j - t_j",
)
def sigmoid_result_minus_target() -> None:
    z, t = symbols("z t")
    y = 1 / (1 + sympy.exp(-z))
    by_y = -t / y + (1 - t) / (1 - y)
    loss = -(t * sympy.log(y) + (1 - t) * sympy.log(1 - y))
    identities(by_y * y * (1 - y) - (y - t), sympy.diff(loss, z) - (y - t))
    equal(losses.TABLE["sigmoid_cross_entropy"].derivative(sigma(LOGITS), CLASSES), sigma(LOGITS) - CLASSES)


# Activations


def check_activation(name: str, derivative: Array) -> None:
    """Compare a derivative at `POINTS` with the oracle's."""
    equal(derivative, parse(name).derivative(POINTS))


@formula(r"\sigma(x) = \frac{1}{1 + e^{-x}}", r"\sigma'(x) = \sigma(x) (1 - \sigma(x)) = \sigma(x) \sigma(-x)")
def sigmoid_slope() -> None:
    x = symbols("x")
    s = 1 / (1 + sympy.exp(-x))
    identities(sympy.diff(s, x) - s * (1 - s), sympy.diff(s, x) - s * s.subs(x, -x))
    equal(parse("sigmoid")(POINTS), sigma(POINTS))
    check_activation("sigmoid", sigma(POINTS) * (1 - sigma(POINTS)))


@formula(r"\tanh x = 2 \sigma(2x) - 1", r"\tanh'(x) = 1 - \tanh^2 x = 4 \sigma'(2x)")
def tanh_is_a_sigmoid() -> None:
    x = symbols("x")
    twice = 1 / (1 + sympy.exp(-2 * x))
    slope_of_tanh = sympy.diff(sympy.tanh(x), x)
    identities(sympy.tanh(x) - (2 * twice - 1), slope_of_tanh - 4 * twice * (1 - twice))
    equal(np.tanh(POINTS), 2 * sigma(2 * POINTS) - 1)
    check_activation("tanh", 1 - np.tanh(POINTS) ** 2)


@formula(r"\mathrm{relu}(x) = \max(x, 0)", r"\mathrm{relu}'(x) = 1 \quad (x \gt 0), \qquad 0 \quad (x \le 0)")
def relu_slope() -> None:
    equal(parse("relu")(POINTS), np.maximum(POINTS, 0))
    check_activation("relu", np.array([1.0 if x > 0 else 0.0 for x in POINTS]))


@formula(r"\mathrm{softplus}(x) = \ln(1 + e^x)", r"\mathrm{softplus}'(x) = \sigma(x)")
def softplus_slope() -> None:
    x = symbols("x")
    identities(sympy.diff(sympy.log(1 + sympy.exp(x)), x) - 1 / (1 + sympy.exp(-x)))
    equal(parse("softplus")(POINTS), np.log(1 + np.exp(POINTS)))
    check_activation("softplus", sigma(POINTS))


# The backward pass


@formula(
    r"\delta_L = \frac{1}{B} \frac{\partial L}{\partial A_L} \odot f_L'(Z_L)",
    r"\delta_{nj}^{(L)} = \frac{1}{B} \frac{\partial L_n}{\partial a_{nj}^{(L)}} f_L'(z_{nj}^{(L)})",
)
def delta_of_the_outputs() -> None:
    equal(delta(L), (A(L) - T) / B * slope(F[-1], Z(L)))


@formula(r"\delta_L = \frac{1}{B} (A_L - T)", r"\delta_{nj}^{(L)} = \frac{1}{B} (a_{nj}^{(L)} - t_{nj})")
def delta_of_fused_outputs() -> None:
    network = Network((3, 2), (), "softmax_cross_entropy", dtype="float64")
    theta, t = THETA[: network.n_parameters], np.array([[0.2, 0.8]] * B)
    y = oracle.forward(network, theta, X).A[-1]
    db = network.layers(oracle.loss_and_gradient(network, theta, X, t)[1])[0].b
    equal(db, ((y - t) / B).sum(axis=0))


@formula(
    r"\frac{\partial R}{\partial A_{l-1}} = \delta_l W_l^T",
    r"\frac{\partial R}{\partial a_{ni}^{(l-1)}} = \sum_j \delta_{nj}^{(l)} w_{ij}^{(l)}",
)
def back_through_the_weights() -> None:
    for k in LAYERS[1:]:
        own = gradient_of(partial(lambda k, a: risk_from(k, a @ W(k) + b(k)), k), A(k - 1))
        d, w = delta(k), W(k)
        equal(own, d @ w.T)
        equal(own, entries(own.shape, lambda n, i, d=d, w=w: sum(d[n] * w[i])))


@formula(
    r"\delta_{l-1} = f_{l-1}'(Z_{l-1}) \odot (\delta_l W_l^T)",
    r"\delta_{ni}^{(l-1)} = f_{l-1}'(z_{ni}^{(l-1)}) \sum_j \delta_{nj}^{(l)} w_{ij}^{(l)}",
)
def back_through_the_activation() -> None:
    for k in LAYERS[1:]:
        equal(delta(k - 1), slope(F[k - 2], Z(k - 1)) * (delta(k) @ W(k).T))


@formula(
    r"dW_l = A_{l-1}^T \delta_l + \lambda W_l",
    r"\frac{\partial R}{\partial w_{ij}^{(l)}} = \sum_n a_{ni}^{(l-1)} \delta_{nj}^{(l)} + \lambda w_{ij}^{(l)}",
)
def gradient_of_the_weights() -> None:
    by_definition = NETWORK.layers(gradient_of(risk, THETA))
    for k, own in zip(LAYERS, NETWORK.layers(GRADIENT), strict=True):
        equal(own.W, by_definition[k - 1].W, A(k - 1).T @ delta(k) + NETWORK.l2 * W(k))
        a, d, w = A(k - 1), delta(k), W(k)
        equal(own.W, entries(w.shape, lambda i, j, a=a, d=d, w=w: sum(a[:, i] * d[:, j]) + NETWORK.l2 * w[i, j]))


@formula(r"db_l = \mathbf{1}^T \delta_l", r"\frac{\partial R}{\partial b_j^{(l)}} = \sum_n \delta_{nj}^{(l)}")
def gradient_of_the_biases() -> None:
    by_definition = NETWORK.layers(gradient_of(risk, THETA))
    for k, own in zip(LAYERS, NETWORK.layers(GRADIENT), strict=True):
        equal(own.b, by_definition[k - 1].b, np.ones(B) @ delta(k), [sum(column) for column in delta(k).T])


@formula(
    r"d\theta = \frac{1}{B} \sum_n d\theta_n",
    r"\frac{\partial R}{\partial w} = \frac{1}{B} \sum_n \frac{\partial R_n}{\partial w}, \quad "
    r"R_n = L(y_n, t_n) + \frac{\lambda}{2} \sum_l \lVert W_l \rVert^2",
)
def accumulation_over_rows() -> None:
    of_rows = [oracle.loss_and_gradient(NETWORK, THETA, X[[n]], T[[n]])[1] for n in range(B)]
    of_risks = [gradient_of(partial(risk, rows=[n]), THETA) for n in range(B)]
    equal(GRADIENT, np.mean(of_rows, axis=0), np.mean(of_risks, axis=0))


@formula(
    r"\delta_l = \delta_L J_L J_{L-1} \cdots J_{l+1}",
    r"\frac{\partial z_j^{(k)}}{\partial z_i^{(k-1)}} = w_{ij}^{(k)} f_{k-1}'(z_i^{(k-1)})",
)
def product_of_jacobians() -> None:
    for n in range(B):
        found = delta(L)[n]
        for k in reversed(LAYERS[1:]):
            J = jacobian(partial(next_pre_activations, k), Z(k - 1)[n])
            equal(J, W(k).T * slope(F[k - 2], Z(k - 1)[n]))
            found = found @ J
            equal(delta(k - 1)[n], found)


@formula(
    r"\theta \leftarrow \theta - \alpha d\theta",
    r"w_{ij}^{(l)} \leftarrow w_{ij}^{(l)} - \alpha \frac{\partial R}{\partial w_{ij}^{(l)}}",
)
def gradient_step() -> None:
    after = oracle.train(NETWORK, THETA, X, T, np.arange(B), B, 0.3)
    equal(after, THETA - 0.3 * gradient_of(risk, THETA))


def with_hidden(activation: str) -> tuple[Network, Array, oracle.Pass, Array]:
    """Return a network with one hidden layer, θ, its forward pass over X, and G = ∂R/∂A_1."""
    network = Network((3, 4, 2), activation, "half_squared_error", dtype="float64")
    theta = np.random.default_rng(3).normal(size=network.n_parameters)
    run = oracle.forward(network, theta, X)
    return network, theta, run, (run.A[2] - T) / B @ network.layers(theta)[1].W.T


@formula(
    r"dS_l = \mathbf{1}^T (\frac{\partial R}{\partial A_l} \odot \min(Z_l, 0))",
    r"\frac{\partial R}{\partial s_j^{(l)}} = \sum_n \frac{\partial R}{\partial a_{nj}^{(l)}} \min(z_{nj}^{(l)}, 0)",
)
def learned_slopes() -> None:
    network, theta, run, G = with_hidden("prelu")
    dS = network.slopes(oracle.loss_and_gradient(network, theta, X, T)[1])[0]
    equal(dS, (G * np.minimum(run.Z[0], 0)).sum(axis=0))


@formula(
    r"a_{nj} = \max_k z_{njk}",
    r"\frac{\partial a_{nj}}{\partial z_{njk}} = 1 \quad \text{for the first largest}, \qquad 0 \quad \text{else}",
)
def largest_piece() -> None:
    network, theta, run, G = with_hidden("maxout(3)")
    pieces = run.Z[0].reshape(B, 4, 3)
    chosen = np.eye(3)[pieces.argmax(axis=2)]
    db = network.layers(oracle.loss_and_gradient(network, theta, X, T)[1])[0].b
    equal(run.A[1], pieces.max(axis=2))
    equal(db, (G[:, :, None] * chosen).sum(axis=0).ravel())
