"""A small network by its letters, and derivatives by the complex step, for checks of formulas. No claims."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from support.requirements import require

from pyfnn import oracle
from pyfnn.network import Network
from pyfnn.validation import Array

try:
    import sympy as sympy
except ImportError:
    sympy = None

# Three layers, five rows, λ and biases. Layer k of 1 .. L has `W(k)`, `b(k)`, `Z(k)` and `A(k)`.
NETWORK = Network(
    (3, 4, 3, 2), ("tanh", "sigmoid"), "half_squared_error", l2=0.25, output_activation="tanh", dtype="float64"
)
L, B = NETWORK.n_layers, 5
LAYERS = range(1, L + 1)
_RNG = np.random.default_rng(7)
THETA = _RNG.normal(0, 0.7, NETWORK.n_parameters)
X, T = _RNG.normal(size=(B, 3)), _RNG.normal(size=(B, 2))
RUN = oracle.forward(NETWORK, THETA, X)
GRADIENT = oracle.loss_and_gradient(NETWORK, THETA, X, T)[1]
_STEP = 1e-30  # of the complex step


def sigma(x: Any) -> Any:
    """Return σ(x), also of complex numbers."""
    return 1 / (1 + np.exp(-x))


def softmax(z: Any) -> Any:
    """Return the softmax of one row, also of complex numbers."""
    return np.exp(z) / np.exp(z).sum()


F: list[Callable[[Any], Any]] = [np.tanh, sigma, np.tanh]  # f_1 .. f_L, also of complex numbers


def W(layer: int) -> Array:
    """Return W_l."""
    return NETWORK.layers(THETA)[layer - 1].W


def b(layer: int) -> Array:
    """Return b_l."""
    return NETWORK.layers(THETA)[layer - 1].b


def Z(layer: int) -> Array:
    """Return Z_l."""
    return RUN.Z[layer - 1]


def A(layer: int) -> Array:
    """Return A_l."""
    return RUN.A[layer]


def onwards(layer: int, z: Any) -> Any:
    """Return A_L as a function of Z_l."""
    return reduce(lambda below, k: F[k - 1](below @ W(k) + b(k)), range(layer + 1, L + 1), F[layer - 1](z))


def risk(theta: Any, rows: Sequence[int] = range(B), l2: float = NETWORK.l2) -> Any:
    """Return R of some rows."""
    layers = NETWORK.layers(theta)
    Y: Any = X[[*rows]]
    for f, layer in zip(F, layers, strict=True):
        Y = f(Y @ layer.W + layer.b)
    return ((Y - T[[*rows]]) ** 2).sum() / 2 / len(rows) + l2 / 2 * sum((layer.W**2).sum() for layer in layers)


def risk_from(layer: int, z: Any) -> Any:
    """Return R, without the penalty, as a function of Z_l."""
    return ((onwards(layer, z) - T) ** 2).sum() / 2 / B


def next_pre_activations(layer: int, z: Any) -> Any:
    """Return Z_l as a function of Z_{l-1}."""
    return F[layer - 2](z) @ W(layer) + b(layer)


def delta(layer: int) -> Array:
    """Return δ_l by its definition, ∂R/∂Z_l."""
    return gradient_of(partial(risk_from, layer), Z(layer))


def gradient_of(function: Callable[[Any], Any], at: Array) -> Array:
    """Return the derivatives of a number by each entry of an array, by the complex step."""
    found = np.empty(at.shape)
    for place in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[place] += _STEP * 1j
        found[place] = function(moved).imag / _STEP
    return found


def slope(function: Callable[[Any], Any], at: Array) -> Array:
    """Return f' of an elementwise function, by the complex step."""
    return np.asarray(function(at + _STEP * 1j).imag / _STEP)


def jacobian(function: Callable[[Any], Any], at: Array) -> Array:
    """Return ∂(output j)/∂(entry i) of a function of a row, at [j, i], by the complex step."""
    columns = [function(at + _STEP * 1j * direction).imag / _STEP for direction in np.eye(len(at))]
    return np.transpose(columns)


def entries(shape: tuple[int, ...], entry: Callable[..., Any]) -> Array:
    """Return an array from the formula of its entries."""
    return np.array([entry(*place) for place in np.ndindex(shape)]).reshape(shape)


def equal(*values: Any) -> None:
    """Require that all values are equal, but for rounding."""
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], rtol=1e-11, atol=1e-14)


def symbols(names: str) -> Any:
    """Return symbols for real numbers; skip the test without SymPy."""
    require("sympy", sympy is not None, "pip install 'pyfnn[experiments]'")
    return sympy.symbols(names, real=True)


def identities(*differences: Any) -> None:
    """Require that each expression of SymPy is 0 for every value of its symbols."""
    assert [sympy.simplify(difference.rewrite(sympy.exp)) for difference in differences] == [0] * len(differences)
