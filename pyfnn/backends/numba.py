"""The network in Numba: code compiled by `@njit`, with loops for small products and `np.dot` (SciPy's BLAS) for others.

One compilation per dtype serves every network, since shapes and functions are arguments. No fastmath.
"""

from typing import Any

import numba
import numpy as np
import scipy.linalg.cython_blas
from numba import njit

from pyfnn.backend import Backend, Description
from pyfnn.backends.numpy import BlasThreads
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

_IDENTITY, _SIGMOID, _TANH, _RELU, _LEAKY_RELU, _ELU, _SOFTPLUS, _HARD_SIGMOID, _HARD_TANH = range(9)
_ACTIVATIONS = {
    "identity": _IDENTITY,
    "sigmoid": _SIGMOID,
    "tanh": _TANH,
    "relu": _RELU,
    "leaky_relu": _LEAKY_RELU,
    "elu": _ELU,
    "softplus": _SOFTPLUS,
    "hard_sigmoid": _HARD_SIGMOID,
    "hard_tanh": _HARD_TANH,
}
_KEEP_SLOPE = _LEAKY_RELU  # from here on f'(Z) is kept: with a negative parameter, A does not show the sign of Z
_SQUARED, _HALF_SQUARED, _SOFTMAX, _LOGISTIC = range(4)
_LOSSES = {
    "squared_error": _SQUARED,
    "half_squared_error": _HALF_SQUARED,
    "softmax_cross_entropy": _SOFTMAX,
    "sigmoid_cross_entropy": _LOGISTIC,
}
_BLAS_FROM = 2_000  # multiplications in a product; below, the call of BLAS takes longer than the loop

# All arrays below have the network's dtype. `one` is 1 in that dtype: a literal 1 would turn float32 arithmetic into
# float64. `f` are two arrays, the rows of the layers' activations and their parameters.


@njit(cache=True, error_model="numpy")
def _product(A, W, Z):
    """Compute Z = A W. A: (batch, inputs), W: (inputs, outputs)."""
    if A.shape[0] * W.size >= _BLAS_FROM:
        np.dot(A, W, Z)
        return
    for n in range(A.shape[0]):
        Z_n = Z[n]
        Z_n[:] = 0
        for i in range(A.shape[1]):
            a, W_i = A[n, i], W[i]
            for j in range(W.shape[1]):
                Z_n[j] += a * W_i[j]


@njit(cache=True, error_model="numpy")
def _product_of_transposed(A, delta, dW):
    """Compute dW = Aᵀ δ. A: (batch, inputs), delta: (batch, outputs)."""
    if A.shape[0] * dW.size >= _BLAS_FROM:
        np.dot(A.T, delta, dW)
        return
    dW[:] = 0
    for n in range(A.shape[0]):
        delta_n = delta[n]
        for i in range(A.shape[1]):
            a, dW_i = A[n, i], dW[i]
            for j in range(delta.shape[1]):
                dW_i[j] += a * delta_n[j]


@njit(cache=True, error_model="numpy")
def _product_with_transposed(delta, W, below):
    """Compute below = δ Wᵀ. delta: (batch, outputs), W: (inputs, outputs)."""
    if delta.shape[0] * W.size >= _BLAS_FROM:
        np.dot(delta, W.T, below)
        return
    for n in range(delta.shape[0]):
        delta_n = delta[n]
        for i in range(W.shape[0]):
            W_i = W[i]
            total = delta_n[0] * W_i[0]
            for j in range(1, W.shape[1]):
                total += delta_n[j] * W_i[j]
            below[n, i] = total


@njit(cache=True, error_model="numpy")
def _activate(Z, f):
    """Replace Z by f(Z)."""
    z = Z.reshape(Z.size)
    one = z.dtype.type(1)
    if f == _SIGMOID:
        for i in range(z.size):
            z[i] = one / (one + np.exp(-z[i]))
    elif f == _TANH:
        for i in range(z.size):
            z[i] = np.tanh(z[i])
    elif f == _RELU:
        for i in range(z.size):
            z[i] = max(z[i], z.dtype.type(0))


@njit(cache=True, error_model="numpy")
def _activate_and_keep_slope(z, f, p, slope):
    """Replace z by f(z) and slope by f'(z). p: the parameter. NaN stays NaN."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    quarter, half = z.dtype.type(0.25), z.dtype.type(0.5)
    if f == _LEAKY_RELU:
        for i in range(z.size):
            slope[i] = one if z[i] > 0 else p
            z[i] *= slope[i]
    elif f == _ELU:
        for i in range(z.size):
            a = p * np.expm1(z[i])
            slope[i] = one if z[i] > 0 else a + p  # p exp(z) = p (exp(z) - 1) + p
            z[i] = z[i] if z[i] > 0 else a
    elif f == _SOFTPLUS:
        for i in range(z.size):
            e = np.exp(-abs(z[i]))  # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))
            slope[i] = (e if z[i] < 0 else one) / (one + e)
            z[i] = (zero if z[i] < 0 else z[i]) + np.log1p(e)
    elif f == _HARD_SIGMOID:
        for i in range(z.size):
            slope[i] = quarter if abs(z[i]) < 2 else zero
            z[i] = zero if z[i] <= -2 else one if z[i] >= 2 else quarter * z[i] + half
    elif f == _HARD_TANH:
        for i in range(z.size):
            slope[i] = one if abs(z[i]) < 1 else zero
            z[i] = -one if z[i] < -1 else one if z[i] > 1 else z[i]


@njit(cache=True, error_model="numpy")
def _multiply_by_derivative(delta, A, f, slope):
    """Replace δ by f'(Z) ⊙ δ, computed from A = f(Z), or from the slope that is kept."""
    d, a = delta.reshape(delta.size), A.reshape(A.size)
    one = a.dtype.type(1)
    if f == _SIGMOID:
        for i in range(a.size):
            d[i] *= a[i] * (one - a[i])
    elif f == _TANH:
        for i in range(a.size):
            d[i] *= one - a[i] * a[i]
    elif f == _RELU:
        for i in range(a.size):
            if not a[i] > 0:
                d[i] = 0
    elif f >= _KEEP_SLOPE:
        for i in range(a.size):
            d[i] *= slope[i]


@njit(cache=True, error_model="numpy")
def _forward(theta, sizes, f, X, area, slopes):
    """Return Y, or Z_L where the loss fuses its output activation; write A_1 .. A_L into `area`, in this order.

    slopes: laid out as `area`, for the layers that keep f'(Z); empty where none does.
    """
    batch, A, at, start = len(X), X, 0, 0
    rows, parameters = f
    for layer in range(1, len(sizes)):
        m_in, m_out = sizes[layer - 1], sizes[layer]
        W, b = theta[at : at + m_in * m_out].reshape(m_in, m_out), theta[at + m_in * m_out : at + (m_in + 1) * m_out]
        Z = area[start : start + batch * m_out].reshape(batch, m_out)
        _product(A, W, Z)
        for n in range(batch):
            for j in range(m_out):
                Z[n, j] += b[j]
        row = rows[layer - 1]
        if row < _KEEP_SLOPE:
            _activate(Z, row)
        else:
            end = start + batch * m_out
            _activate_and_keep_slope(area[start:end], row, parameters[layer - 1], slopes[start:end])
        A, at, start = Z, at + (m_in + 1) * m_out, start + batch * m_out
    return A


@njit(cache=True, error_model="numpy")
def _mean_loss(Z, T, loss):
    """Return (1/B) Σ_n L(y_n, t_n). Z: (batch, outputs), Y or, where the loss fuses its output activation, Z_L."""
    one, total = Z.dtype.type(1), Z.dtype.type(0)
    for n in range(len(Z)):
        if loss == _SOFTMAX:
            largest, s = Z[n].max(), Z.dtype.type(0)
            for j in range(Z.shape[1]):
                s += np.exp(Z[n, j] - largest)
            s = np.log(s)
            for j in range(Z.shape[1]):
                total += T[n, j] * (s - (Z[n, j] - largest))
        elif loss == _LOGISTIC:
            for j in range(Z.shape[1]):
                z = Z[n, j]
                total += max(z, Z.dtype.type(0)) - z * T[n, j] + np.log(one + np.exp(-abs(z)))
        else:
            for j in range(Z.shape[1]):
                total += (Z[n, j] - T[n, j]) ** 2
    if loss == _HALF_SQUARED:
        total /= 2
    return total / len(Z)


@njit(cache=True, error_model="numpy")
def _fuse(Z, loss):
    """Replace Z_L by Y where the loss fuses the output activation."""
    if loss == _LOGISTIC:
        _activate(Z, _SIGMOID)
    elif loss == _SOFTMAX:
        for n in range(len(Z)):
            largest, s = Z[n].max(), Z.dtype.type(0)
            for j in range(Z.shape[1]):
                Z[n, j] = np.exp(Z[n, j] - largest)
                s += Z[n, j]
            for j in range(Z.shape[1]):
                Z[n, j] /= s


@njit(cache=True, error_model="numpy")
def _backward(theta, dtheta, sizes, f, loss, l2, X, T, area, slopes, deltas):
    """Compute dθ after `_forward` and `_fuse` on the same X; write δ_1 .. δ_L into `deltas`, laid out as `area`."""
    batch, layers, rows = len(X), len(sizes) - 1, f[0]
    at, start = len(theta), batch * sizes[1:].sum()
    m_out = sizes[layers]
    start -= batch * m_out
    Y, delta = area[start : start + batch * m_out], deltas[start : start + batch * m_out].reshape(batch, m_out)
    scale = theta.dtype.type((2 if loss == _SQUARED else 1) / batch)
    d, t = delta.reshape(delta.size), T.reshape(T.size)
    for i in range(d.size):
        d[i] = (Y[i] - t[i]) * scale
    if loss in (_SQUARED, _HALF_SQUARED):
        _multiply_by_derivative(delta, Y.reshape(batch, m_out), rows[layers - 1], slopes[start:])
    for layer in range(layers, 0, -1):
        m_in, m_out = sizes[layer - 1], sizes[layer]
        at -= (m_in + 1) * m_out
        W, dW = theta[at : at + m_in * m_out], dtheta[at : at + m_in * m_out]
        db = dtheta[at + m_in * m_out : at + (m_in + 1) * m_out]
        start -= batch * m_in
        A = X if layer == 1 else area[start : start + batch * m_in].reshape(batch, m_in)
        _product_of_transposed(A, delta, dW.reshape(m_in, m_out))
        if l2 > 0:
            for i in range(dW.size):
                dW[i] += l2 * W[i]
        db[:] = 0
        for n in range(batch):
            for j in range(m_out):
                db[j] += delta[n, j]
        if layer > 1:
            below = deltas[start : start + batch * m_in].reshape(batch, m_in)
            _product_with_transposed(delta, W.reshape(m_in, m_out), below)
            _multiply_by_derivative(below, A, rows[layer - 2], slopes[start:])
            delta = below


@njit(cache=True, error_model="numpy")
def _gradient(theta, dtheta, sizes, f, loss, l2, X, T, area, slopes, deltas):
    """Return the loss R; write its gradient into dθ."""
    Z = _forward(theta, sizes, f, X, area, slopes)
    R = _mean_loss(Z, T, loss)
    _fuse(Z, loss)
    _backward(theta, dtheta, sizes, f, loss, l2, X, T, area, slopes, deltas)
    if l2 > 0:
        at, squares = 0, theta.dtype.type(0)
        for layer in range(1, len(sizes)):
            for i in range(at, at + sizes[layer - 1] * sizes[layer]):
                squares += theta[i] * theta[i]
            at += (sizes[layer - 1] + 1) * sizes[layer]
        R += l2 * squares / 2
    return R


@njit(cache=True, error_model="numpy")
def _train(theta, dtheta, sizes, f, loss, l2, x, y, order, batch, rate, X, T, area, slopes, deltas):
    """Train by gradient descent over `order`. X: (batch, m_0), T: (batch, m_L): buffers for a minibatch's rows."""
    for at in range(0, len(order), batch):
        rows = order[at : at + batch]
        for n in range(len(rows)):
            X[n] = x[rows[n]]
            T[n] = y[rows[n]]
        X_n, T_n = X[: len(rows)], T[: len(rows)]
        _fuse(_forward(theta, sizes, f, X_n, area, slopes), loss)
        _backward(theta, dtheta, sizes, f, loss, l2, X_n, T_n, area, slopes, deltas)
        for i in range(len(theta)):
            theta[i] -= rate * dtheta[i]


@njit(cache=True, error_model="numpy")
def _forward_passes(theta, sizes, f, loss, x, first, count, repeats, rows, columns, area, slopes):
    checksum, p = 0.0, 0
    for repeat in range(repeats):
        at = (first + repeat * count) % (len(x) - count + 1)
        Y = _forward(theta, sizes, f, x[at : at + count], area, slopes)
        _fuse(Y, loss)
        checksum += Y[rows[p], columns[p]]
        p = p + 1 if p + 1 < len(rows) else 0
    return checksum


@njit(cache=True, error_model="numpy")
def _gradient_passes(theta, dtheta, sizes, f, loss, l2, x, y, first, count, repeats, probes, area, slopes, deltas):
    checksum, p = 0.0, 0
    for repeat in range(repeats):
        at = (first + repeat * count) % (len(x) - count + 1)
        X, T = x[at : at + count], y[at : at + count]
        R = _gradient(theta, dtheta, sizes, f, loss, l2, X, T, area, slopes, deltas)
        checksum += R + dtheta[probes[p]]
        p = p + 1 if p + 1 < len(probes) else 0
    return checksum


class NumbaModel(Model):
    """A network in Numba."""

    def __init__(self, network: Network, theta: Array, threads: int, blas: BlasThreads) -> None:
        super().__init__(network, theta, threads)
        self._blas, self._threads_allowed = blas, threads
        with blas.limited(threads):
            self.threads = min(threads, blas.threads())
        self._current, self._dtheta = theta.copy(), np.zeros_like(theta)
        self._sizes = np.array(network.sizes)
        rows = [_ACTIVATIONS[f.key] for f in network.elementwise_activations] + [_IDENTITY] * network.fused
        parameters = [f.parameter for f in network.elementwise_activations] + [0.0] * network.fused
        self._f = np.array(rows), np.array(parameters, theta.dtype)
        self._keeps_slope = max(rows) >= _KEEP_SLOPE
        self._loss, self._l2 = _LOSSES[network.loss], theta.dtype.type(network.l2)
        self._reserve(1)

    def _reserve(self, batch: int) -> None:
        """Allocate buffers for minibatches of that many rows."""

        def buffer(*shape: int) -> Array:
            return np.ones(shape, self.network.dtype)  # np.empty would leave the page faults to the timed code

        m_0, *m = self.network.sizes
        self._X, self._T = buffer(batch, m_0), buffer(batch, m[-1])
        self._area, self._deltas = buffer(batch * sum(m)), buffer(batch * sum(m))
        self._slopes = buffer(batch * sum(m) if self._keeps_slope else 0)

    def _ready(self, batch: int) -> None:
        if batch > len(self._X):
            self._reserve(batch)

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order = x.copy(), y.copy(), order.copy()

    def _forward(self, first: int, count: int) -> Array:
        self._ready(count)
        with self._blas.limited(self._threads_allowed):
            X = self._x[first : first + count]
            Y = _forward(self._current, self._sizes, self._f, X, self._area, self._slopes)
            _fuse(Y, self._loss)
        return np.copy(Y)

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        self._ready(count)
        X, T = self._x[first : first + count], self._y[first : first + count]
        with self._blas.limited(self._threads_allowed):
            loss = _gradient(*self._network_arguments(), X, T, *self._buffers())
        return float(loss), np.copy(self._dtheta)

    def _buffers(self) -> tuple[Array, ...]:
        return self._area, self._slopes, self._deltas

    def _network_arguments(self) -> tuple[Any, ...]:
        return self._current, self._dtheta, self._sizes, self._f, self._loss, self._l2

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        batch_size = min(batch_size, count)
        self._ready(batch_size)
        rate = self._current.dtype.type(learning_rate)
        buffers = self._X, self._T, *self._buffers()
        arguments = *self._network_arguments(), self._x, self._y
        with self._blas.limited(self._threads_allowed):
            _train(*arguments, self._order[:0], batch_size, rate, *buffers)  # no steps: only compiles
            start = self._read_clocks()
            _train(*arguments, self._order[first : first + count], batch_size, rate, *buffers)
            return self._seconds_since(start)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        self._ready(count)
        with self._blas.limited(self._threads_allowed):
            self._passes(operation, first, count, 0, probes)  # no passes: only compiles
            start = self._read_clocks()
            checksum = self._passes(operation, first, count, repeats, probes)
            return self._seconds_since(start), float(checksum)

    def _passes(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> Any:
        theta, dtheta, *rest = self._network_arguments()
        passes = first, count, repeats
        if operation == "forward":
            *rest, _ = rest
            places = np.divmod(probes, self.network.sizes[-1])
            return _forward_passes(theta, *rest, self._x, *passes, *places, self._area, self._slopes)
        return _gradient_passes(theta, dtheta, *rest, self._x, self._y, *passes, probes, *self._buffers())

    def _theta(self) -> Array:
        return np.copy(self._current)

    def _set_theta(self, theta: Array) -> None:
        self._current[:] = theta

    def _close(self) -> None:
        self._x = self._y = self._order = self._current = self._dtheta = np.empty(0)
        self._X = self._T = self._area = self._slopes = self._deltas = np.empty(0)


class Compiled(Backend):
    """Numba in this process. `row` is the backend's row in backend.toml."""

    def __init__(self, row: Row) -> None:
        self._blas = BlasThreads("scipy")
        libraries = {"Numba": numba.__version__, "SciPy": scipy.__version__}
        super().__init__(Description.in_python(row, libraries, self._blas.describe(), _ACTIVATIONS, _LOSSES))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return NumbaModel(network, theta, threads, self._blas)
