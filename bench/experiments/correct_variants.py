"""Correct implementations that round differently, against which the bounds of `pyfnn.parity` are calibrated.

Each is a small network in NumPy in which one piece of arithmetic is replaced by another that is equal but for rounding:
`VARIANTS` lists them. They know only the core activations and losses, and are never timed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.experiments.calibrate_parity import OracleBackend, OracleModel
from pyfnn import losses
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.validation import Array

Product = Callable[[Array, Array], Array]
Elementwise = Callable[[Array, Array], Array]  # of (Z, A)


def _terms(A: Array, B: Array) -> Array:
    """Return the products that A @ B adds up: (k, n, m)."""
    return np.asarray(A.T[:, :, None] * B[:, None, :])


def _sequential(A: Array, B: Array) -> Array:
    total = np.zeros((A.shape[0], B.shape[1]), A.dtype)
    for a, b in zip(A.T, B, strict=True):
        total += a[:, None] * b
    return total


def _reverse(A: Array, B: Array) -> Array:
    return _sequential(A[:, ::-1], B[::-1])


def _kahan(A: Array, B: Array) -> Array:
    total = np.zeros((A.shape[0], B.shape[1]), A.dtype)
    lost = np.zeros_like(total)
    for a, b in zip(A.T, B, strict=True):
        term = a[:, None] * b - lost
        after = total + term
        lost, total = (after - total) - term, after
    return total


def _pairwise(A: Array, B: Array) -> Array:
    terms = _terms(A, B)
    while len(terms) > 1:
        half = len(terms) // 2
        terms = np.concatenate([terms[:half] + terms[half : 2 * half], terms[2 * half :]])
    return np.asarray(terms[0])


def _fused_multiply_add(A: Array, B: Array) -> Array:
    """Add sequentially, rounding once for each product and sum, like the instruction."""
    wide = _wider(A.dtype)
    total = np.zeros((A.shape[0], B.shape[1]), A.dtype)
    for a, b in zip(A.T.astype(wide), B.astype(wide), strict=True):
        total = (total + a[:, None] * b).astype(A.dtype)
    return total


def _blocked(A: Array, B: Array) -> Array:
    """Add the products of blocks of 8, one block after the other."""
    total = np.zeros((A.shape[0], B.shape[1]), A.dtype)
    for at in range(0, len(B), 8):
        total += A[:, at : at + 8] @ B[at : at + 8]
    return total


def _transposed_copies(A: Array, B: Array) -> Array:
    return np.ascontiguousarray((B.T.copy() @ A.T.copy()).T)


def _strassen(levels: int) -> Product:
    """Return Strassen's product of so many levels, on matrices padded with zeros (Strassen 1969)."""

    def product(A: Array, B: Array) -> Array:
        return _strassen_product(A, B, levels)

    return product


def _strassen_product(A: Array, B: Array, levels: int) -> Array:
    if levels == 0:
        return np.asarray(A @ B)
    n, m = A.shape[0], B.shape[1]
    A, B = _even(A), _even(B)
    (a, b), (c, d) = _quarters(A)
    (e, f), (g, h) = _quarters(B)
    pairs = [(a + d, e + h), (c + d, e), (a, f - h), (d, g - e), (a + b, h), (c - a, e + f), (b - d, g + h)]
    p, q, r, s, t, v, w = (_strassen_product(left, right, levels - 1) for left, right in pairs)
    return np.block([[p + s - t + w, r + t], [q + s, p - q + r + v]])[:n, :m]


def _even(A: Array) -> Array:
    return np.pad(A, [(0, length % 2) for length in A.shape])


def _quarters(A: Array) -> list[list[Array]]:
    n, m = (length // 2 for length in A.shape)
    return [[A[:n, :m], A[:n, m:]], [A[n:, :m], A[n:, m:]]]


def _wider(dtype: np.dtype[np.generic]) -> type[np.floating]:
    return np.float64 if dtype == np.float32 else np.longdouble


def _logistic(Z: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(-Z) = inf gives 0
        return np.asarray(1 / (1 + np.exp(-Z)))


def _tanh_by_exp(Z: Array) -> Array:
    """Return tanh(Z) from expm1, which keeps the digits of a small Z."""
    e = np.expm1(-2 * np.abs(Z))
    return np.asarray(-np.sign(Z) * e / (2 + e))


def _softmax(Z: Array) -> Array:
    e = np.exp(Z - Z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _softmax_by_log_sum(Z: Array) -> Array:
    return np.asarray(np.exp(Z - np.logaddexp.reduce(Z, axis=1, keepdims=True)))


def _inverse_square_of_cosh(Z: Array, _: Array) -> Array:
    with np.errstate(over="ignore"):  # cosh = inf gives 0
        return np.asarray(1 / np.cosh(Z) ** 2)


def _update(theta: Array, rate: Array, gradient: Array) -> Array:
    return np.asarray(theta - rate * gradient)


@dataclass(frozen=True)
class Arithmetic:
    """Pieces of arithmetic from which a network is computed.

    Attributes
    ----------
    product : callable
        (A, B) -> A @ B.
    plain_sums : bool
        Add up columns with NumPy's product, not with `product`.
    tanh, sigmoid, softmax : callable
        Z -> A.
    tanh_derivative, sigmoid_derivative : callable
        (Z, A) -> f'(Z).
    update : callable
        (theta, rate, gradient) -> theta after a step.
    mean_last : bool
        Divide the gradient by the batch, in place of δ.
    wider : bool
        Compute each call in the next wider dtype; round its results, and θ after each step.
    """

    product: Product = np.matmul
    plain_sums: bool = False
    tanh: Callable[[Array], Array] = np.tanh
    sigmoid: Callable[[Array], Array] = _logistic
    softmax: Callable[[Array], Array] = _softmax
    tanh_derivative: Elementwise = lambda _, A: 1 - A * A
    sigmoid_derivative: Elementwise = lambda _, A: A * (1 - A)
    update: Callable[[Array, Array, Array], Array] = _update
    mean_last: bool = False
    wider: bool = False

    def column_sums(self, ones: Array, delta: Array) -> Array:
        """Return ones @ delta."""
        return np.asarray(ones @ delta if self.plain_sums else self.product(ones, delta))

    def function(self, name: str, Z: Array) -> Array:
        """Return the activation of this name at Z."""
        table: dict[str, Callable[[Array], Array]] = {
            "identity": np.copy,
            "relu": lambda Z: np.maximum(Z, 0),
            "tanh": self.tanh,
            "sigmoid": self.sigmoid,
            "softmax": self.softmax,
        }
        return table[name](Z)

    def derivative(self, name: str, Z: Array, A: Array) -> Array:
        """Return f'(Z) of the activation of this name; A = f(Z)."""
        table: dict[str, Elementwise] = {
            "identity": lambda Z, _: np.ones_like(Z),
            "relu": lambda Z, _: (Z > 0).astype(Z.dtype),
            "tanh": self.tanh_derivative,
            "sigmoid": self.sigmoid_derivative,
        }
        return table[name](Z, A)


VARIANTS: dict[str, Arithmetic] = {
    "BLAS": Arithmetic(),
    "Kahan sums": Arithmetic(product=_kahan),
    "sequential sums": Arithmetic(product=_sequential),
    "reverse sums": Arithmetic(product=_reverse),
    "pairwise sums": Arithmetic(product=_pairwise),
    "blocked sums": Arithmetic(product=_blocked),
    "fused multiply-add": Arithmetic(product=_fused_multiply_add),
    "Strassen, 1 level": Arithmetic(product=_strassen(1), plain_sums=True),
    "Strassen, 2 levels": Arithmetic(product=_strassen(2), plain_sums=True),
    "transposed copies": Arithmetic(product=_transposed_copies),
    "wider inside": Arithmetic(wider=True),
    "tanh' = 1/cosh²": Arithmetic(tanh_derivative=_inverse_square_of_cosh),
    "tanh' = (1-A)(1+A)": Arithmetic(tanh_derivative=lambda _, A: (1 - A) * (1 + A)),
    "sigmoid' = sigmoid(Z) sigmoid(-Z)": Arithmetic(sigmoid_derivative=lambda Z, A: A * _logistic(-Z)),
    "tanh by expm1": Arithmetic(tanh=_tanh_by_exp),
    "softmax by logsumexp": Arithmetic(softmax=_softmax_by_log_sum),
    "theta + (-rate) g": Arithmetic(update=lambda theta, rate, gradient: theta + -rate * gradient),
    "mean at the end": Arithmetic(mean_last=True),
}


class VariantBackend(OracleBackend):
    """A backend that computes with the arithmetic of one of `VARIANTS`."""

    def __init__(self, name: str) -> None:
        super().__init__(sequential=False)
        self._name, self._arithmetic = name, VARIANTS[name]

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return _VariantModel(network, theta, self._arithmetic)


class _VariantModel(OracleModel):
    def __init__(self, network: Network, theta: Array, arithmetic: Arithmetic) -> None:
        super().__init__(network, theta, np.ndarray)
        self._arithmetic = arithmetic
        self._names = [f.name for f in network.hidden_activations] + [str(network.output_activation)]

    def _forward(self, first: int, count: int) -> Array:
        theta, x, _ = self._operands(slice(first, first + count))
        return np.asarray(self._pass(theta, x)[1][-1].astype(self.network.dtype))

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        loss, gradient = self._step(*self._operands(slice(first, first + count)))
        return loss, gradient.astype(self.network.dtype)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        for at in range(first, first + count, batch_size):
            operands = self._operands(self._order[at : min(at + batch_size, first + count)])
            gradient = self._step(*operands)[1]
            rate = gradient.dtype.type(learning_rate)
            self._current = self._arithmetic.update(operands[0], rate, gradient).astype(self.network.dtype)
        return 0.0

    def _operands(self, rows: slice | Array) -> tuple[Array, Array, Array]:
        """Return theta, x and y of these rows, in the dtype of the computation."""
        operands = self._current, self._x[rows], self._y[rows]
        if not self._arithmetic.wider:
            return operands
        theta, x, y = (array.astype(_wider(array.dtype)) for array in operands)
        return theta, x, y

    def _pass(self, theta: Array, x: Array) -> tuple[list[Array], list[Array]]:
        Z: list[Array] = []
        A = [x]
        for name, (W, b) in zip(self._names, self.network.layers(theta), strict=True):
            Z.append(self._arithmetic.product(A[-1], W) + b)
            A.append(self._arithmetic.function(name, Z[-1]))
        return Z, A

    def _step(self, theta: Array, x: Array, T: Array) -> tuple[float, Array]:
        network, arithmetic, real = self.network, self._arithmetic, theta.dtype.type
        row, (Z, A) = losses.TABLE[network.loss], self._pass(theta, x)
        layers = network.layers(theta)
        batch, ones = real(len(x)), np.ones((1, len(x)), theta.dtype)
        squares = sum(float((W * W).sum()) for W, _ in layers)
        loss = float(row.value(Z[-1], A[-1], T).sum() / batch) + network.l2 / 2 * squares
        delta = row.derivative(A[-1], T)
        delta = delta if arithmetic.mean_last else delta / batch
        if not network.fused:
            delta = delta * arithmetic.derivative(self._names[-1], Z[-1], A[-1])
        gradient = np.zeros_like(theta)
        for at in reversed(range(network.n_layers)):
            slot, W = network.layers(gradient)[at], layers[at].W
            dW, db = arithmetic.product(A[at].T, delta), arithmetic.column_sums(ones, delta)[0]
            if arithmetic.mean_last:
                dW, db = dW / batch, db / batch
            slot.W[:], slot.b[:] = dW + real(network.l2) * W, db
            if at > 0:
                delta = arithmetic.derivative(self._names[at - 1], Z[at - 1], A[at]) * arithmetic.product(delta, W.T)
        return loss, gradient


def variants() -> list[VariantBackend]:
    """Return a backend for each of `VARIANTS`."""
    return [VariantBackend(name) for name in VARIANTS]
