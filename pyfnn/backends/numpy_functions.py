"""Tables of the NumPy backend's activations and losses: array expressions that write into reused buffers.

They share no function with the oracle, which checks them. `pyfnn.backends.numpy` has the network.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyfnn.validation import Array


class Layout(NamedTuple):
    """The arrays of a layer whose activation has a layout of its own; its functions take them in place of p."""

    slopes: Array  # of θ and of dθ: (m_l,)
    dslopes: Array
    Z: list[Array]  # of each piece: (B, m_l)
    delta: list[Array]
    spare: Array  # (B, m_l), for `value` to leave to `derivative`


class Activation(NamedTuple):
    """One activation. p: its parameter; an activation without one ignores it. `Layout` where that is its own.

    Where `in_place` is true, Z and A are the same array.
    """

    value: Callable[[Array, Array, Any], Any]  # (Z, A, p): A = f(Z); may overwrite Z
    derivative: Callable[[Array, Array, Array, Any], Any]  # (delta, Z, A, p): delta *= f'(Z); overwrites Z and A
    in_place: bool = True
    own_layout: bool = False


def _sigmoid(Z: Array, A: Array, _: float) -> None:
    np.negative(Z, out=A)
    np.exp(A, out=A)  # overflows to infinity, whose reciprocal is the limit
    np.add(A, 1, out=A)
    np.reciprocal(A, out=A)


def _sigmoid_derivative(delta: Array, _Z: Array, A: Array, _: float) -> None:
    np.multiply(delta, A, out=delta)
    np.subtract(1, A, out=A)
    np.multiply(delta, A, out=delta)


def _tanh_derivative(delta: Array, _Z: Array, A: Array, _: float) -> None:
    np.multiply(A, A, out=A)
    np.subtract(1, A, out=A)
    np.multiply(delta, A, out=delta)


def _relu_derivative(delta: Array, _Z: Array, A: Array, _: float) -> None:
    np.greater(A, 0, out=A)
    np.multiply(delta, A, out=delta)


def _leaky_relu(Z: Array, A: Array, p: Any) -> None:  # p: a slope, or one of each unit
    np.minimum(Z, 0, out=A)
    np.multiply(A, p, out=A)
    np.maximum(Z, 0, out=Z)
    np.add(A, Z, out=A)


def _leaky_relu_derivative(delta: Array, Z: Array, A: Array, p: Any) -> None:
    # The sign of A is not that of Z where p is negative.
    np.less_equal(Z, 0, out=A)
    np.multiply(A, p, out=A)
    np.greater(Z, 0, out=Z)
    np.add(A, Z, out=A)
    np.multiply(delta, A, out=delta)


def _elu(Z: Array, A: Array, p: float) -> None:
    np.minimum(Z, 0, out=A)
    np.expm1(A, out=A)
    np.multiply(A, p, out=A)
    np.maximum(Z, 0, out=Z)
    np.add(A, Z, out=A)


def _elu_derivative(delta: Array, Z: Array, A: Array, p: float) -> None:
    # p exp(z) = A + p for z <= 0; for others, 1
    np.less_equal(Z, 0, out=Z)
    np.add(A, p - 1, out=A)
    np.multiply(A, Z, out=A)
    np.add(A, 1, out=A)
    np.multiply(delta, A, out=delta)


def _softplus_derivative(delta: Array, _Z: Array, A: Array, _: float) -> None:
    # sigmoid(z) = 1 - exp(-softplus(z))
    np.negative(A, out=A)
    np.expm1(A, out=A)
    np.negative(A, out=A)
    np.multiply(delta, A, out=delta)


def _hard_sigmoid(Z: Array, A: Array, _: float) -> None:
    np.multiply(Z, 0.25, out=A)
    np.add(A, 0.5, out=A)
    np.minimum(A, 1, out=A)
    np.maximum(A, 0, out=A)


def _hard_sigmoid_derivative(delta: Array, _Z: Array, A: Array, _: float) -> None:
    np.subtract(A, 0.5, out=A)
    np.absolute(A, out=A)
    np.less(A, 0.5, out=A)
    np.multiply(A, 0.25, out=A)
    np.multiply(delta, A, out=delta)


def _hard_tanh(Z: Array, A: Array, _: float) -> None:
    np.minimum(Z, 1, out=A)
    np.maximum(A, -1, out=A)


def _hard_tanh_derivative(delta: Array, _Z: Array, A: Array, _: float) -> None:
    np.absolute(A, out=A)
    np.less(A, 1, out=A)
    np.multiply(delta, A, out=delta)


def _prelu(Z: Array, A: Array, p: Layout) -> None:
    np.minimum(Z, 0, out=p.spare)
    _leaky_relu(Z, A, p.slopes)


def _prelu_derivative(delta: Array, Z: Array, A: Array, p: Layout) -> None:
    np.multiply(delta, p.spare, out=A)  # ∂f/∂s = min(z, 0)
    np.add.reduce(A, axis=0, out=p.dslopes)
    _leaky_relu_derivative(delta, Z, A, p.slopes)


def _maxout(_Z: Array, A: Array, p: Layout) -> None:
    np.maximum(p.Z[0], p.Z[1], out=A)
    for piece in p.Z[2:]:
        np.maximum(A, piece, out=A)


def _maxout_derivative(G: Array, _Z: Array, A: Array, p: Layout) -> None:
    # The first piece that equals A takes G, and leaves 0 to the others.
    for Z, delta in zip(p.Z, p.delta, strict=True):
        np.equal(Z, A, out=delta)
        np.multiply(delta, G, out=delta)
        np.subtract(G, delta, out=G)


IDENTITY = Activation(lambda *_: None, lambda *_: None)

ACTIVATIONS = {
    "identity": IDENTITY,
    "sigmoid": Activation(_sigmoid, _sigmoid_derivative),
    "tanh": Activation(lambda Z, A, _: np.tanh(Z, out=A), _tanh_derivative),
    "relu": Activation(lambda Z, A, _: np.maximum(Z, 0, out=A), _relu_derivative),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_derivative, in_place=False),
    "elu": Activation(_elu, _elu_derivative, in_place=False),
    "softplus": Activation(lambda Z, A, _: np.logaddexp(Z, 0, out=A), _softplus_derivative),
    "hard_sigmoid": Activation(_hard_sigmoid, _hard_sigmoid_derivative),
    "hard_tanh": Activation(_hard_tanh, _hard_tanh_derivative),
    "prelu": Activation(_prelu, _prelu_derivative, in_place=False, own_layout=True),
    "maxout": Activation(_maxout, _maxout_derivative, in_place=False, own_layout=True),
}


class Loss(NamedTuple):
    """One loss: `value(Z, Y, T, D, s)` returns its sum over rows, and `fuses(Z, Y, s)` computes Y from Z.

    D is scratch of the shape of Y; `fuses` writes s, (B, 1), for `value`. `value` overwrites Z, D and s.
    """

    value: Callable[[Array, Array, Array, Array, Array], float]
    derivative: float  # c in dL/dY = c (Y - T), or, fused, in dL/dZ = c (Y - T)
    fuses: Callable[[Array, Array, Array], None] | None = None  # the fused output activation; None: any elementwise one


def _squared_error(_Z: Array, Y: Array, T: Array, D: Array, _s: Array) -> float:
    np.subtract(Y, T, out=D)
    return float(np.vdot(D, D))


def _half_squared_error(Z: Array, Y: Array, T: Array, D: Array, s: Array) -> float:
    return _squared_error(Z, Y, T, D, s) / 2


def _softmax(Z: Array, Y: Array, s: Array) -> None:
    np.maximum.reduce(Z, axis=1, keepdims=True, out=s)
    np.subtract(Z, s, out=Z)
    np.exp(Z, out=Y)
    np.add.reduce(Y, axis=1, keepdims=True, out=s)
    np.divide(Y, s, out=Y)


def _softmax_cross_entropy(Z: Array, _Y: Array, T: Array, _D: Array, s: Array) -> float:
    # _softmax left the shifted pre-activations in Z, and the sums of their exponentials in s
    np.log(s, out=s)
    np.subtract(s, Z, out=Z)  # -log y
    return float(np.vdot(T, Z))


def _sigmoid_outputs(Z: Array, Y: Array, _s: Array) -> None:
    _sigmoid(Z, Y, 0.0)


def _sigmoid_cross_entropy(Z: Array, _Y: Array, T: Array, D: Array, _s: Array) -> float:
    # sum max(z, 0) - z t + log(1 + exp(-|z|))
    np.absolute(Z, out=D)
    np.negative(D, out=D)
    np.exp(D, out=D)
    np.log1p(D, out=D)
    total = float(np.add.reduce(D, axis=None))
    np.multiply(Z, T, out=D)
    np.maximum(Z, 0, out=Z)
    np.subtract(Z, D, out=Z)
    return total + float(np.add.reduce(Z, axis=None))


LOSSES = {
    "squared_error": Loss(_squared_error, 2.0),
    "half_squared_error": Loss(_half_squared_error, 1.0),
    "softmax_cross_entropy": Loss(_softmax_cross_entropy, 1.0, _softmax),
    "sigmoid_cross_entropy": Loss(_sigmoid_cross_entropy, 1.0, _sigmoid_outputs),
}


FUSED = IDENTITY._replace(in_place=False)  # the loss computes Y, and needs Z_L later
