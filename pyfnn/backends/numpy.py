"""A feed-forward network in NumPy: array expressions that write into reused buffers, through views made in advance.

It shares no function with the oracle, which checks it. A step overwrites buffers after their last use: `backward` turns
A_l into f_l'(Z_l) once it has computed dW_{l+1}.
"""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from pyfnn.backend import Backend, Description
from pyfnn.backends.numpy_functions import ACTIVATIONS, FUSED, LOSSES, Activation, Layout
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.optimizers import TABLE as OPTIMIZERS
from pyfnn.optimizers import Named, State
from pyfnn.validation import Array, Order


def _functions(network: Network) -> list[tuple[Activation, float]]:
    """Return the row and the parameter of each layer's activation."""
    functions = [(ACTIVATIONS[f.key], f.parameter) for f in network.elementwise_activations]
    return functions + [(FUSED, 0.0)] * network.fused


class _Parameters:
    """θ, its gradient and the weight decay: flat vectors, each (n_parameters,)."""

    def __init__(self, network: Network, theta: Array) -> None:
        self.theta = theta.copy()
        self.dtheta, self.decay = np.ones_like(theta), np.ones_like(theta)  # decay: l2 ⊙ θ
        self.l2 = np.zeros_like(theta)  # λ at the weights, 0 at the biases
        for W, _ in network.layers(self.l2):
            W[:] = network.l2


class _Buffers(NamedTuple):
    """The arrays that a step on B rows writes."""

    X: Array  # a minibatch: (B, m_0)
    T: Array  # (B, m_L)
    s: Array  # (B, 1)
    Z: list[Array]  # (B, columns) for each layer; that of A where the activation works in place
    A: list[Array]  # (B, m_l)
    delta: list[Array]  # (B, columns)
    spare: list[Array]  # (B, m_l) where the activation has a layout of its own, else (B, 0)

    @classmethod
    def make(cls, network: Network, B: int) -> "_Buffers":
        def rows(width: int) -> Array:
            return np.ones((B, width), network.dtype)  # np.empty would leave page faults to the first, timed use

        m_0, *m = network.sizes
        f, A = [row for row, _ in _functions(network)], [*map(rows, m)]
        Z = [A_l if f_l.in_place else rows(n) for f_l, A_l, n in zip(f, A, network.columns, strict=True)]
        spare = [rows(f_l.own_layout * m_l) for f_l, m_l in zip(f, m, strict=True)]
        return cls(rows(m_0), rows(m[-1]), rows(1), Z, A, [*map(rows, network.columns)], spare)

    def first(self, B: int) -> "_Buffers":
        """Return views of the first B rows."""
        X, T, s, *layers = self
        return _Buffers(X[:B], T[:B], s[:B], *([array[:B] for array in arrays] for arrays in layers))


def _laid_out(network: Network, parameters: _Parameters, buffers: _Buffers) -> list[tuple[Activation, Any]]:
    """Return the row of each layer's activation with its parameter, or its `Layout` where that is its own."""

    def pieces(X: Array, A: Array) -> list[Array]:
        k = X.shape[1] // A.shape[1]
        return [X[:, piece::k] for piece in range(k)]

    slopes = zip(network.slopes(parameters.theta), network.slopes(parameters.dtheta), strict=True)
    layouts = [
        Layout(S, dS, pieces(Z, A), pieces(delta, A), spare)
        for (S, dS), Z, A, delta, spare in zip(slopes, *buffers[3:], strict=True)
    ]
    return [(f, layout if f.own_layout else p) for (f, p), layout in zip(_functions(network), layouts, strict=True)]


class _Step:
    """A step on B rows. It makes every view in advance, and allocates no array later."""

    def __init__(self, network: Network, parameters: _Parameters, buffers: _Buffers) -> None:
        theta, dtheta = parameters.theta, parameters.dtheta
        self._theta, self._dtheta, self._l2, self._decay = theta, dtheta, parameters.l2, parameters.decay
        self._has_decay = network.l2 != 0
        self.X, self.T, self._s, Z, A, delta, spare = buffers
        self._Z_L, self.Y, self._delta_L, self._delta_1 = Z[-1], A[-1], delta[-1], delta[0]
        self._loss_function = LOSSES[network.loss]
        self._scale = np.array(self._loss_function.derivative / len(self.X), network.dtype)
        f = _laid_out(network, parameters, buffers)
        self._output_activation, self._output_parameter = f[-1]

        layers, gradients = network.layers(theta), network.layers(dtheta)
        self._layers_up = [
            (W, b, Z_l, A_l, f_l.value, p) for (W, b), Z_l, A_l, (f_l, p) in zip(layers, Z, A, f, strict=True)
        ]
        G = [d if d.shape == A_l.shape else free for d, A_l, free in zip(delta, A, spare, strict=True)]  # ∂R/∂A_l
        self._layers_down = [
            (A[at - 1].T, delta[at], *gradients[at], (layers[at].W.T, G[at - 1], Z[at - 1], A[at - 1], *f[at - 1]))
            for at in reversed(range(1, network.n_layers))
        ]
        self._dW_1, self._db_1 = gradients[0]

    def forward(self, X: Array) -> None:
        """Compute Y.

        Parameters
        ----------
        X : ndarray, shape (B, m_0)
        """
        A_below = X
        for W, b, Z, A, f, p in self._layers_up:
            np.matmul(A_below, W, out=Z)
            np.add(Z, b, out=Z)
            f(Z, A, p)
            A_below = A
        if self._loss_function.fuses:
            self._loss_function.fuses(self._Z_L, self.Y, self._s)

    def output_delta(self, T: Array) -> None:
        """Compute δ_L = ∂R/∂Z_L. T: (B, m_L)."""
        delta_L = self._delta_L
        np.subtract(self.Y, T, out=delta_L)
        np.multiply(delta_L, self._scale, out=delta_L)
        self._output_activation.derivative(delta_L, self._Z_L, self.Y, self._output_parameter)

    def backward(self, X: Array) -> None:
        """Compute dθ from δ_L, with the X of the last `forward`; θ stays unchanged."""
        propagate = self.propagate
        for A_T, delta, dW, db, below in self._layers_down:
            np.matmul(A_T, delta, out=dW)
            np.add.reduce(delta, axis=0, out=db)
            propagate(delta, *below)
        np.matmul(X.T, self._delta_1, out=self._dW_1)
        np.add.reduce(self._delta_1, axis=0, out=self._db_1)
        if self._has_decay:
            np.multiply(self._l2, self._theta, out=self._decay)
            np.add(self._dtheta, self._decay, out=self._dtheta)

    @staticmethod
    def propagate(
        delta: Array, W_T: Array, G_below: Array, Z_below: Array, A_below: Array, f_below: Activation, p: Any
    ) -> None:
        """Compute δ_{l-1} = f_{l-1}'(Z_{l-1}) ⊙ (δ_l W_lᵀ): from layer l to the layer below.

        G_below is the array of δ_{l-1} too, but for that of an activation with several pieces a unit.
        """
        np.matmul(delta, W_T, out=G_below)
        f_below.derivative(G_below, Z_below, A_below, p)

    def update(self, rate: Array) -> None:
        """Subtract `rate` dθ from θ, and overwrite dθ."""
        np.multiply(self._dtheta, rate, out=self._dtheta)
        np.subtract(self._theta, self._dtheta, out=self._theta)

    def loss(self, T: Array) -> float:
        """Return R without its l2 term. Call it before `output_delta`, which overwrites Y. T: (B, m_L)."""
        return self._loss_function.value(self._Z_L, self.Y, T, self._delta_L, self._s) / len(T)

    def forward_loss(self, X: Array, T: Array) -> float:
        """Return R, by a forward pass."""
        self.forward(X)
        loss = self.loss(T)
        if self._has_decay:
            np.multiply(self._l2, self._theta, out=self._decay)
            loss += float(np.vdot(self._theta, self._decay)) / 2
        return loss

    def loss_and_gradient(self, X: Array, T: Array) -> float:
        """Return R, and leave its gradient in dθ."""
        self.forward(X)
        loss = self.loss(T)
        self.output_delta(T)
        self.backward(X)
        if self._has_decay:
            loss += float(np.vdot(self._theta, self._decay)) / 2
        return loss

    def gather(self, x: Array, y: Array, rows: Order) -> None:
        """Copy the given rows of x and y to X and T."""
        x.take(rows, 0, self.X, "clip")  # "raise", the default, would write to a temporary array first
        y.take(rows, 0, self.T, "clip")


class NumpyModel(Model):
    """A network in NumPy.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    threads : int
        The number of threads that BLAS may use.
    blas : BlasThreads
        The BLAS that NumPy calls.
    """

    def __init__(self, network: Network, theta: Array, threads: int, blas: "BlasThreads") -> None:
        super().__init__(network, theta, threads)
        self._blas, self._requested_threads = blas, threads
        with blas.limited(threads):
            self.threads = min(threads, blas.threads())
        self._parameters = _Parameters(network, theta)
        self._capacity, self._buffers = 1, _Buffers.make(network, 1)
        self._steps: dict[int, _Step] = {}
        self._state: State = {}  # of the optimizer

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order = x.copy(), y.copy(), order.copy()

    def _forward(self, first: int, count: int) -> Array:
        step = self._step(count)
        with self._running():
            step.forward(self._x[first : first + count])
        return np.copy(step.Y)

    def _predict(self, x: Array) -> Array:
        step = self._step(len(x))
        with self._running():
            step.forward(x)
        return np.copy(step.Y)

    def _forward_loss(self, first: int, count: int) -> float:
        step = self._step(count)
        with self._running():
            return step.forward_loss(self._x[first : first + count], self._y[first : first + count])

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        step = self._step(count)
        with self._running():
            loss = step.loss_and_gradient(self._x[first : first + count], self._y[first : first + count])
        return loss, np.copy(self._parameters.dtheta)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        rate = np.array(learning_rate, self.network.dtype)
        return self._steps_of(first, count, batch_size, lambda step: step.update(rate))

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        assert self._optimizer is not None
        update, state = self._optimizer.update, self._state
        theta, dtheta = self._parameters.theta, self._parameters.dtheta
        return self._steps_of(first, count, batch_size, lambda _: update(theta, dtheta, learning_rate, state))

    def _steps_of(self, first: int, count: int, batch_size: int, update: Callable[[_Step], None]) -> float:
        """Compute the gradient of each minibatch, with an update after it; return the seconds."""
        x, y, order = self._x, self._y, self._order[first : first + count]
        batch_size = min(batch_size, count)
        full, last = self._step(batch_size), self._step(count % batch_size or batch_size)
        with self._running():
            start = self._read_clocks()
            for at in range(0, count, batch_size):
                step = full if at + batch_size <= count else last
                step.gather(x, y, order[at : at + batch_size])
                step.forward(step.X)
                step.output_delta(step.T)
                step.backward(step.X)
                update(step)
            return self._seconds_since(start)

    def _optimizer_state(self, optimizer: Named) -> State:
        del optimizer
        return {name: array.copy() for name, array in self._state.items()}

    def _set_optimizer_state(self, optimizer: Named, state: State) -> None:
        del optimizer
        self._state = {name: array.copy() for name, array in state.items()}

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        step, checksum, starts = self._step(count), 0.0, len(self._x) - count + 1
        entries = cycle(probes.tolist())
        with self._running():
            start = self._read_clocks()
            for repeat, probe in zip(range(repeats), entries, strict=False):
                checksum += self._timed_pass(step, operation, (first + repeat * count) % starts, count, probe)
            return self._seconds_since(start), checksum

    def _timed_pass(self, step: _Step, operation: Operation, first: int, count: int, probe: int) -> float:
        """Run one pass of `_time` and return its term of the checksum."""
        X = self._x[first : first + count]
        if operation == "forward":
            step.forward(X)
            term: float = step.Y.item(probe)
        else:
            term = step.loss_and_gradient(X, self._y[first : first + count]) + self._parameters.dtheta.item(probe)
        return term

    def _step(self, B: int) -> _Step:
        """Return the step on B rows. All steps share the buffers of the largest B so far."""
        if self._capacity < B:
            self._capacity, self._buffers, self._steps = B, _Buffers.make(self.network, B), {}
        if B not in self._steps:
            self._steps[B] = _Step(self.network, self._parameters, self._buffers.first(B))
        return self._steps[B]

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Limit BLAS to this model's threads, and silence warnings: `Model` checks θ for finiteness after training."""
        with self._blas.limited(self._requested_threads), np.errstate(all="ignore"):
            yield

    def _theta(self) -> Array:
        return np.copy(self._parameters.theta)

    def _is_finite(self) -> bool:
        return bool(np.isfinite(self._parameters.theta).all())

    def _set_theta(self, theta: Array) -> None:
        self._parameters.theta[:] = theta

    def _close(self) -> None:
        self._steps.clear()
        del self._buffers, self._parameters
        self._x = self._y = self._order = np.empty(0)


class BlasThreads:
    """Threads, version and kernels of the BLAS that a package calls; threadpoolctl finds it among the loaded libraries.

    Parameters
    ----------
    package : str
        The folder name that selects the package's own copy. Without a match, all BLAS libraries are selected.
    """

    def __init__(self, package: str = "numpy") -> None:
        blas = ThreadpoolController().select(user_api="blas")
        own = [lib.filepath for lib in blas.lib_controllers if package in str(Path(lib.filepath).parent)]
        self._controller = blas.select(filepath=own) if own else blas

    def limited(self, threads: int) -> Any:
        """Return a context that limits BLAS to `threads` threads and restores the earlier number at its end."""
        return self._controller.limit(limits=threads)

    def threads(self) -> int:
        """Return the number of threads that BLAS uses now; at least 1."""
        return min((lib.num_threads for lib in self._controller.lib_controllers), default=1)

    def describe(self) -> str:
        """Return the name, version and kernels of each library, for example ``openblas 0.3.30 Haswell``."""
        names = [
            f"{lib.internal_api} {lib.version} {getattr(lib, 'architecture', '')}".strip()
            for lib in self._controller.lib_controllers
        ]
        return ", ".join(names) or "a BLAS that threadpoolctl does not know; its threads cannot be limited"


class Plain(Backend):
    """The backend `numpy`, in this process.

    Parameters
    ----------
    row : Row
        Its row in backend.toml.
    """

    def __init__(self, row: Row) -> None:
        self._blas = BlasThreads()
        self._description = Description(
            name=row.name,
            language=row.language,
            compiler=f"CPython {platform.python_version()}, NumPy {np.__version__}",
            flags=self._blas.describe(),
            clock="time.perf_counter",
            activations=tuple(ACTIVATIONS),
            losses=tuple(LOSSES),
            optimizers=tuple(OPTIMIZERS),
        )

    @property
    def description(self) -> Description:
        """Name, versions, flags, functions and clock of this backend."""
        return self._description

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return NumpyModel(network, theta, threads, self._blas)
