"""The network as the article's own NumPy code computes it, with its gradient corrected: the backend `numpy-article`.

It keeps that code's structure, which decides its speed: one sample at a time, every activation through `np.vectorize`,
and for each layer of the backward pass the forward pass again, from the inputs up to that layer. Corrected are the
gradient, dW_l = A_{l-1}ᵀ δ_l with the activations in place of the pre-activations, and A_0 = X, which the article
passes through an activation. `bench.experiments.wine.article` has the article's training with its errors.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

from pyfnn.backend import Backend, Description
from pyfnn.backends.numpy import BlasThreads
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order


def _sigmoid(z: float) -> float:
    if z >= 0:  # math.exp raises OverflowError for large arguments
        return 1 / (1 + math.exp(-z))
    return math.exp(z) / (1 + math.exp(z))


class _Activation(NamedTuple):
    """f and f' of one number."""

    value: Callable[[float], float]
    derivative: Callable[[float], float]


_ACTIVATIONS = {
    "identity": _Activation(lambda z: z, lambda _: 1.0),
    "sigmoid": _Activation(_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
    "tanh": _Activation(math.tanh, lambda z: 1 - math.tanh(z) ** 2),
    "relu": _Activation(lambda z: 0.0 if z < 0 else z, lambda z: 1.0 if z > 0 else 0.0),
}
_LOSSES = {"squared_error": 2.0, "half_squared_error": 1.0}  # c in dL/dy = c (y - t); L = c/2 Σ (y - t)²


class _Article:
    """The network, of one sample at a time. x, a_0: (m_0,); z_l, a_l, delta_l: (m_l,); layers are counted from 1."""

    def __init__(self, network: Network, theta: Array) -> None:
        self.theta, self.gradient = theta.copy(), np.zeros_like(theta)
        self._layers, self._slots = network.layers(self.theta), network.layers(self.gradient)
        rows = [_ACTIVATIONS[f.key] for f in network.elementwise_activations]
        self._f = [np.vectorize(row.value, otypes=[network.dtype]) for row in rows]
        self._derivative = [np.vectorize(row.derivative, otypes=[network.dtype]) for row in rows]
        self._c, self._l2 = _LOSSES[network.loss], network.l2

    def pre_activation(self, x: Array, layer: int) -> Array:
        """Return z_l of a sample: a forward pass from the inputs to this layer."""
        W, b = self._layers[layer - 1]
        z: Array = self.activation(x, layer - 1) @ W + b
        return z

    def activation(self, x: Array, layer: int) -> Array:
        """Return a_l of a sample; a_0 = x."""
        a: Array = x if layer == 0 else self._f[layer - 1](self.pre_activation(x, layer))
        return a

    def output(self, x: Array) -> Array:
        """Return y of a sample."""
        return self.activation(x, len(self._layers))

    def loss(self, x: Array, t: Array) -> float:
        """Return L of a sample. t: (m_L,)."""
        return float(self._c / 2 * np.sum((self.output(x) - t) ** 2))

    def penalty(self) -> float:
        """Return the l2 term of R."""
        return float(self._l2 / 2 * sum(np.sum(W**2) for W, _ in self._layers))

    def add_gradient(self, x: Array, t: Array, rows: int) -> None:
        """Add the gradient of L of a sample, divided by the rows of its batch, to `gradient`."""
        delta = self._c / rows * (self.output(x) - t)
        for layer in reversed(range(1, len(self._layers) + 1)):
            if layer < len(self._layers):
                delta = self._layers[layer].W @ delta
            delta = delta * self._derivative[layer - 1](self.pre_activation(x, layer))
            dW, db = self._slots[layer - 1]
            dW += np.outer(self.activation(x, layer - 1), delta)
            db += delta

    def compute_gradient(self, X: Array, T: Array) -> None:
        """Compute `gradient`, of a batch. X: (B, m_0), T: (B, m_L)."""
        self.gradient[:] = 0
        for x, t in zip(X, T, strict=True):
            self.add_gradient(x, t, len(X))
        for (W, _), (dW, _) in zip(self._layers, self._slots, strict=True):
            dW += self._l2 * W

    def batch_loss(self, X: Array, T: Array) -> float:
        """Return R of a batch."""
        return sum(self.loss(x, t) for x, t in zip(X, T, strict=True)) / len(X) + self.penalty()


class ArticleModel(Model):
    """A network of the article's structure."""

    def __init__(self, network: Network, theta: Array, threads: int, blas: BlasThreads) -> None:
        super().__init__(network, theta, threads)
        self._blas, self._threads_allowed = blas, threads
        with blas.limited(threads):
            self.threads = min(threads, blas.threads())
        self._network = _Article(network, theta)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Limit BLAS to this model's threads, and silence warnings: `Model` checks θ for finiteness after training."""
        with self._blas.limited(self._threads_allowed), np.errstate(all="ignore"):
            yield

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order = x.copy(), y.copy(), order.copy()

    def _forward(self, first: int, count: int) -> Array:
        with self._running():
            return np.array([self._network.output(x) for x in self._x[first : first + count]])

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        X, T = self._x[first : first + count], self._y[first : first + count]
        with self._running():
            self._network.compute_gradient(X, T)
            return self._network.batch_loss(X, T), self._network.gradient.copy()

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        network, x, y = self._network, self._x, self._y
        with self._running():
            start = self._read_clocks()
            for at in range(first, first + count, batch_size):
                rows = self._order[at : min(at + batch_size, first + count)]
                network.compute_gradient(x[rows], y[rows])
                network.theta -= learning_rate * network.gradient
            return self._seconds_since(start)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        starts, checksum, entries = len(self._x) - count + 1, 0.0, cycle(probes.tolist())
        timed = self._forward_term if operation == "forward" else self._gradient_term
        with self._running():
            start = self._read_clocks()
            for repeat, probe in zip(range(repeats), entries, strict=False):
                at = (first + repeat * count) % starts
                checksum += timed(self._x[at : at + count], self._y[at : at + count], probe)
            return self._seconds_since(start), checksum

    def _forward_term(self, X: Array, _: Array, probe: int) -> float:
        """Run a forward pass of `_time`; return its term of the checksum."""
        row, column = divmod(probe, self.network.sizes[-1])
        return float([self._network.output(x) for x in X][row][column])

    def _gradient_term(self, X: Array, T: Array, probe: int) -> float:
        self._network.compute_gradient(X, T)
        return self._network.batch_loss(X, T) + float(self._network.gradient[probe])

    def _theta(self) -> Array:
        return np.copy(self._network.theta)

    def _set_theta(self, theta: Array) -> None:
        self._network.theta[:] = theta

    def _close(self) -> None:
        self._x = self._y = self._order = np.empty(0)
        self._network.theta = self._network.gradient = np.empty(0)


class Article(Backend):
    """The backend `numpy-article`, in this process. `row` is its row in backend.toml."""

    def __init__(self, row: Row) -> None:
        self._blas = BlasThreads()
        libraries: dict[str, Any] = {"NumPy": np.__version__}
        super().__init__(Description.in_python(row, libraries, self._blas.describe(), _ACTIVATIONS, _LOSSES))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return ArticleModel(network, theta, threads, self._blas)
