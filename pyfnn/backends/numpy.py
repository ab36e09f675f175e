"""The network in NumPy as a good NumPy user writes it: array expressions, buffers reused, views made ahead.

It shares no function with the oracle, which judges it. Buffers are overwritten once nothing needs them any more: in
the backward pass, A_l is used up for f_l'(Z_l) after dW_{l+1} has been taken from it.
"""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from pyfnn.backend import Backend, Description
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order


class _Activation(NamedTuple):
    """In place: `function` turns Z into A = f(Z); `times_slope` turns δ into f'(Z) ⊙ δ, using up A."""

    function: Callable[[Array], Any]
    times_slope: Callable[[Array, Array], Any]


def _sigmoid(Z: Array) -> None:
    np.negative(Z, out=Z)
    np.exp(Z, out=Z)  # overflows to infinity, whose reciprocal is the limit
    np.add(Z, 1, out=Z)
    np.reciprocal(Z, out=Z)


def _times_sigmoid_slope(delta: Array, A: Array) -> None:
    np.multiply(delta, A, out=delta)
    np.subtract(1, A, out=A)
    np.multiply(delta, A, out=delta)


def _times_tanh_slope(delta: Array, A: Array) -> None:
    np.multiply(A, A, out=A)
    np.subtract(1, A, out=A)
    np.multiply(delta, A, out=delta)


def _times_relu_slope(delta: Array, A: Array) -> None:
    np.greater(A, 0, out=A)
    np.multiply(delta, A, out=delta)


_ACTIVATIONS = {
    "identity": _Activation(lambda *_: None, lambda *_: None),
    "sigmoid": _Activation(_sigmoid, _times_sigmoid_slope),
    "tanh": _Activation(lambda Z: np.tanh(Z, out=Z), _times_tanh_slope),
    "relu": _Activation(lambda Z: np.maximum(Z, 0, out=Z), _times_relu_slope),
}


class _Loss(NamedTuple):
    """`total` is the loss summed over rows and outputs; it uses up Z, D and s. dL/dY (dL/dZ where fused) = c (Y-T)."""

    total: Callable[[Array, Array, Array, Array, Array], float]  # (Z, Y, T, D, s); D as Y, s: (batch, 1)
    c: float
    outputs: Callable[[Array, Array, Array], None] | None = None  # (Z, Y, s): the fused activation, Z into Y


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
    np.log(s, out=s)
    np.subtract(s, Z, out=Z)  # -log y, for _softmax left Z less its maximum, and s the sum of its exponentials
    return float(np.vdot(T, Z))


def _sigmoid_outputs(Z: Array, Y: Array, _s: Array) -> None:
    np.copyto(Y, Z)
    _sigmoid(Y)


def _sigmoid_cross_entropy(Z: Array, _Y: Array, T: Array, D: Array, _s: Array) -> float:
    np.absolute(Z, out=D)
    np.negative(D, out=D)
    np.exp(D, out=D)
    np.log1p(D, out=D)
    total = float(np.add.reduce(D, axis=None))
    np.multiply(Z, T, out=D)
    np.maximum(Z, 0, out=Z)
    np.subtract(Z, D, out=Z)
    return total + float(np.add.reduce(Z, axis=None))


_LOSSES = {
    "squared_error": _Loss(_squared_error, 2.0),
    "half_squared_error": _Loss(_half_squared_error, 1.0),
    "softmax_cross_entropy": _Loss(_softmax_cross_entropy, 1.0, _softmax),
    "sigmoid_cross_entropy": _Loss(_sigmoid_cross_entropy, 1.0, _sigmoid_outputs),
}


class _Buffers(NamedTuple):
    """What a pass over `batch` rows writes. X: (batch, m_0); T, Z: (batch, m_L); s: (batch, 1)."""

    X: Array
    T: Array
    Z: Array  # Z_L, where the loss needs it after Y has been made of it
    s: Array
    A: list[Array]  # (batch, m_l) a layer: Z_l, then f_l(Z_l)
    delta: list[Array]  # likewise

    @classmethod
    def make(cls, network: Network, batch: int) -> "_Buffers":
        def rows(width: int) -> Array:
            return np.ones((batch, width), network.dtype)  # not np.empty: the memory must be there before the clock

        m_0, *m = network.sizes
        return cls(rows(m_0), rows(m[-1]), rows(m[-1]), rows(1), [*map(rows, m)], [*map(rows, m)])

    def first(self, batch: int) -> "_Buffers":
        """The same memory, for fewer rows."""
        X, T, Z, s, A, delta = self
        return _Buffers(X[:batch], T[:batch], Z[:batch], s[:batch], [a[:batch] for a in A], [d[:batch] for d in delta])


class _Pass:
    """Forward and backward for one number of rows. Every view is made here; no array is allocated later."""

    def __init__(self, network: Network, theta: Array, dtheta: Array, buffers: _Buffers) -> None:
        self.X, self.T, Z_L, self._s, A, delta = buffers
        self.Y, self._delta_L, self._delta_1 = A[-1], delta[-1], delta[0]
        self._Z_L = Z_L if network.fused else self.Y
        self._loss = _LOSSES[network.loss]
        self._scale = np.array(self._loss.c / len(self.X), network.dtype)
        f = [_ACTIVATIONS[a.name] for a in network.hidden_activations]
        f.append(_ACTIVATIONS["identity" if network.fused else str(network.output_activation)])
        self._times_output_slope = f[-1].times_slope

        layers, slots = network.layers(theta), network.layers(dtheta)
        Z = [*A[:-1], self._Z_L]
        self._up = [(W, b, Z_l, f_l.function) for (W, b), Z_l, f_l in zip(layers, Z, f, strict=True)]
        self._down = [
            (A[at - 1].T, delta[at], *slots[at], layers[at].W.T, delta[at - 1], A[at - 1], f[at - 1].times_slope)
            for at in reversed(range(1, network.n_layers))
        ]
        self._dW_1, self._db_1 = slots[0]

    def forward(self, X: Array) -> None:
        """Y of X: (rows, m_0)."""
        A = X
        for W, b, Z, f in self._up:
            np.matmul(A, W, out=Z)
            np.add(Z, b, out=Z)
            f(Z)
            A = Z
        if self._loss.outputs:
            self._loss.outputs(self._Z_L, self.Y, self._s)

    def mean_loss(self, T: Array) -> float:
        """(1/B) Σ_n L(y_n, t_n), between `forward` and `backward`. T: (rows, m_L)."""
        return self._loss.total(self._Z_L, self.Y, T, self._delta_L, self._s) / len(T)

    def backward(self, X: Array, T: Array) -> None:
        """dθ but for the l2 term, after `forward` on the same X."""
        delta_L = self._delta_L
        np.subtract(self.Y, T, out=delta_L)
        np.multiply(delta_L, self._scale, out=delta_L)
        self._times_output_slope(delta_L, self.Y)
        for A_T, delta, dW, db, W_T, delta_below, A, times_slope in self._down:
            np.matmul(A_T, delta, out=dW)
            delta.sum(axis=0, out=db)
            np.matmul(delta, W_T, out=delta_below)
            times_slope(delta_below, A)
        np.matmul(X.T, self._delta_1, out=self._dW_1)
        self._delta_1.sum(axis=0, out=self._db_1)


class NumpyModel(Model):
    """A network in NumPy."""

    def __init__(self, network: Network, theta: Array, threads: int, blas: "Blas") -> None:
        super().__init__(network, theta, threads)
        self._blas, self._threads_asked = blas, threads
        with blas.limited(threads):
            self.threads = min(threads, blas.threads())
        self._start, self._current, self._dtheta = theta.copy(), theta.copy(), np.ones_like(theta)
        self._lam = np.zeros_like(theta)  # λ at the weights, 0 at the biases
        for W, _ in network.layers(self._lam):
            W[:] = network.l2
        self._decay = np.ones_like(theta)  # λ ⊙ θ
        self._capacity, self._buffers = 1, _Buffers.make(network, 1)
        self._passes: dict[int, _Pass] = {}

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order = x.copy(), y.copy(), order.copy()

    def _forward(self, first: int, count: int) -> Array:
        step = self._pass(count)
        with self._running():
            step.forward(self._x[first : first + count])
        return np.copy(step.Y)

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        step = self._pass(count)
        with self._running():
            loss = self._gradient(step, self._x[first : first + count], self._y[first : first + count])
        return loss, np.copy(self._dtheta)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        x, y, theta, dtheta = self._x, self._y, self._current, self._dtheta
        order = self._order[first : first + count]
        batch_size = min(batch_size, count)
        full, last = self._pass(batch_size), self._pass(count % batch_size or batch_size)
        rate = np.array(learning_rate, theta.dtype)
        with self._running():
            start = time.perf_counter()
            for at in range(0, count, batch_size):
                step = full if at + batch_size <= count else last
                rows = order[at : at + batch_size]
                x.take(rows, 0, step.X, "clip")  # "raise", the default, would write to a temporary first
                y.take(rows, 0, step.T, "clip")
                step.forward(step.X)
                step.backward(step.X, step.T)
                if self.network.l2:
                    self._add_decay()
                np.multiply(dtheta, rate, out=dtheta)
                np.subtract(theta, dtheta, out=theta)
            return time.perf_counter() - start

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]:
        step, checksum, starts = self._pass(count), 0.0, len(self._x) - count + 1
        with self._running():
            start = time.perf_counter()
            for repeat in range(repeats):
                at = (first + repeat * count) % starts
                X = self._x[at : at + count]
                if operation == "forward":
                    step.forward(X)
                    checksum += step.Y.item(0) + step.Y.item(-1)
                else:
                    checksum += self._gradient(step, X, self._y[at : at + count]) + self._dtheta.item(0)
            return time.perf_counter() - start, checksum

    def _gradient(self, step: _Pass, X: Array, T: Array) -> float:
        """The loss R; its gradient goes into dθ."""
        step.forward(X)
        loss = step.mean_loss(T)
        step.backward(X, T)
        if self.network.l2:
            self._add_decay()
            loss += float(np.vdot(self._current, self._decay)) / 2
        return loss

    def _add_decay(self) -> None:
        np.multiply(self._lam, self._current, out=self._decay)
        np.add(self._dtheta, self._decay, out=self._dtheta)

    def _pass(self, batch: int) -> _Pass:
        """The pass for that many rows; all share the memory of the largest so far."""
        if batch > self._capacity:
            self._capacity, self._buffers, self._passes = batch, _Buffers.make(self.network, batch), {}
        if batch not in self._passes:
            self._passes[batch] = _Pass(self.network, self._current, self._dtheta, self._buffers.first(batch))
        return self._passes[batch]

    @contextmanager
    def _running(self) -> Iterator[None]:
        """BLAS held to this model's threads; no warnings, for whether θ stayed finite is looked at afterwards."""
        with self._blas.limited(self._threads_asked), np.errstate(all="ignore"):
            yield

    def _theta(self) -> Array:
        return np.copy(self._current)

    def _reset(self) -> None:
        self._current[:] = self._start

    def _close(self) -> None:
        self._passes.clear()
        del self._buffers
        self._x = self._y = self._order = self._start = self._current = self._dtheta = self._lam = np.empty(0)


class Blas:
    """The BLAS that `package` calls, as threadpoolctl finds it among the libraries of this process."""

    def __init__(self, package: str = "numpy") -> None:
        blas = ThreadpoolController().select(user_api="blas")
        own = [lib.filepath for lib in blas.lib_controllers if package in str(Path(lib.filepath).parent)]
        self._controller = blas.select(filepath=own) if own else blas

    def limited(self, threads: int) -> Any:
        """A context in which it uses at most that many threads; before and after, as many as it did."""
        return self._controller.limit(limits=threads)

    def threads(self) -> int:
        """How many it uses now; at least 1."""
        return min((lib.num_threads for lib in self._controller.lib_controllers), default=1)

    def describe(self) -> str:
        """Name, version and kernels of each, for instance ``OpenBLAS 0.3.30 Haswell``."""
        names = [
            f"{lib.internal_api} {lib.version} {getattr(lib, 'architecture', '')}".strip()
            for lib in self._controller.lib_controllers
        ]
        return ", ".join(names) or "a BLAS unknown to threadpoolctl, its threads out of reach"


class Plain(Backend):
    """NumPy in this process. `row` is its table in backend.toml."""

    def __init__(self, row: Row) -> None:
        self._blas = Blas()
        self._description = Description(
            name=row.name,
            language=row.language,
            compiler=f"CPython {platform.python_version()}, NumPy {np.__version__}",
            flags=self._blas.describe(),
            clock="time.perf_counter",
            activations=tuple(_ACTIVATIONS),
            losses=tuple(_LOSSES),
        )

    @property
    def description(self) -> Description:
        """What it says of itself."""
        return self._description

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return NumpyModel(network, theta, threads, self._blas)
