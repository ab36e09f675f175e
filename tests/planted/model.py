"""`PlantedModel`: a small correct implementation in NumPy, in the network's dtype, with at most one selected bug."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pyfnn.backend import Backend, Description
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

BUGS = {
    "missing_batch_mean": "the gradient is a sum over the batch, not its mean",
    "last_sample_dropped": "the loop over samples ends one early",
    "no_activation_mask": "the delta is propagated without f'",
    "zeroed_bias_gradient": "db is 0 in the first layer",
    "l2_on_biases": "λ applies to the biases too",
    "no_l2": "the gradient lacks λ",
    "l2_not_in_loss": "the loss lacks λ",
    "transposed_weights": "W is read column by column",
    "updated_before_propagated": "W is updated before the delta is multiplied by it",
    "short_batch_full_size": "a short last minibatch is divided by the full batch size",
    "relu_at_zero": "relu'(0) = 1",
    "nan": "one gradient entry is NaN",
    "stale_order": "training uses the order of an earlier load",
    "sequential_order": "order is ignored",
    "article": "dW multiplies the delta by the pre-activation of the layer below, as the article printed it",
    "reset_incomplete": "reset does not restore one weight",
    "hoisted": "the timed loop computes the same rows in every repeat",
    "no_backward_when_timed": "the timed loop computes the loss alone",
    "end_rows_when_timed": "the timed forward pass computes the first and the last row alone",
    "one_entry_when_timed": "the timed gradient has one entry of dW in each layer, the first, and db",
    "missing_dW_when_timed": "the timed gradient lacks dW of the second layer",
    "reading_moves_theta": "computing a gradient also makes a step",
    "nondeterministic": "the last bits depend on a hidden state",
    "half_precision_sum": "one product is summed in half the digits",
}
ENTRY_BUGS = {
    "small_entry_off": "one small entry of the first dW is wrong by 1 %",
    "small_entry_zero": "one small entry of the first dW is 0",
    "small_entries_swapped": "two small entries of the first dW are swapped",
}


class PlantedBackend(Backend):
    """A backend whose models all have the same bug, or none."""

    def __init__(self, bug: str | None = None) -> None:
        super().__init__(Description(f"planted-{bug}", language="Python", compiler="", flags="", clock="none"))
        self.bug = bug

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return PlantedModel(network, theta, self.bug)


def _softmax(Z: Array) -> Array:
    e = np.exp(Z - Z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def _logistic(Z: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-Z)))


def _spoil_small_entry(dW: Array, bug: str) -> None:
    """Plant the bug at the entry nearest to a twentieth of the root mean square."""
    flat = dW.reshape(-1)  # dW is contiguous: a view
    typical = np.sqrt((flat.astype(np.float64) ** 2).mean())
    at, other = (int(np.argmin(np.abs(np.abs(flat) - typical / part))) for part in (20, 10))
    if bug == "small_entry_off":
        flat[at] *= 0.99
    elif bug == "small_entry_zero":
        flat[at] = 0
    else:
        flat[[at, other]] = flat[[other, at]]


class PlantedModel(Model):
    """A model with at most one bug of `BUGS` or `ENTRY_BUGS`."""

    def __init__(self, network: Network, theta: Array, bug: str | None = None) -> None:
        super().__init__(network, theta)
        assert bug is None or bug in BUGS or bug in ENTRY_BUGS
        self.bug = bug
        self._start, self._now = theta.copy(), theta.copy()
        self._real = theta.dtype.type
        self._calls = 0
        self._used_order: Order | None = None

    def _f(self, name: str, Z: Array) -> Array:
        if name == "relu":
            return np.asarray(np.where(Z > 0, Z, self._real(0)))
        functions: dict[str, Callable[[Array], Array]] = {"identity": np.copy, "tanh": np.tanh, "sigmoid": _logistic}
        return np.asarray(functions[name](Z))

    def _derivative(self, name: str, Z: Array, A: Array) -> Array:
        if self.bug == "no_activation_mask":
            return np.ones_like(A)
        mask = Z >= 0 if self.bug == "relu_at_zero" else Z > 0
        table = {"identity": np.ones_like(A), "tanh": 1 - A * A, "sigmoid": A * (1 - A), "relu": mask}
        return np.asarray(table[name], A.dtype)

    def _layers(self) -> list[Any]:
        layers = self.network.layers(self._now)
        if self.bug == "transposed_weights":
            return [(W.reshape(W.shape[::-1]).T, b) for W, b in layers]
        return list(layers)

    def _pass(self, x: Array) -> tuple[list[Array], list[Array]]:
        Z, A = [], [x]
        names = [f.name for f in self.network.hidden_activations] + [str(self.network.output_activation)]
        for at, (W, b) in enumerate(self._layers()):
            Z.append(self._product(A[-1], W) + b)
            last = at == self.network.n_layers - 1
            fused = {"softmax": _softmax, "sigmoid": _logistic}
            A.append(fused[names[at]](Z[-1]) if last and self.network.fused else self._f(names[at], Z[-1]))
        return Z, A

    def _product(self, A: Array, W: Array) -> Array:
        if self.bug == "half_precision_sum":
            half = {"float32": np.float16, "float64": np.float32}[self.network.dtype]
            return (A.astype(half) @ W.astype(half)).astype(A.dtype)
        with np.errstate(invalid="ignore"):  # BLAS may read beyond a short row, and set the flag
            return np.asarray(A @ W)

    def _loss(self, Z: Array, Y: Array, T: Array) -> float:
        Z, Y, T = (array.astype(np.float64) for array in (Z, Y, T))
        losses = {
            "squared_error": lambda: (Y - T) ** 2,
            "half_squared_error": lambda: (Y - T) ** 2 / 2,
            "softmax_cross_entropy": lambda: T * (np.logaddexp.reduce(Z, axis=1, keepdims=True) - Z),
            "sigmoid_cross_entropy": lambda: np.logaddexp(0, Z) - Z * T,
        }
        loss = float(losses[self.network.loss]().sum()) / len(T)
        if self.bug != "l2_not_in_loss":
            loss += self.network.l2 / 2 * sum(float((W.astype(np.float64) ** 2).sum()) for W, _ in self._layers())
        return loss

    def _gradient(self, x: Array, T: Array, full: int, rate: float = 0.0) -> tuple[float, Array]:
        network, real = self.network, self._real
        if self.bug == "last_sample_dropped" and len(x) > 1:
            x, T = x[:-1], T[:-1]
        Z, A = self._pass(x)
        loss = self._loss(Z[-1], A[-1], T)
        delta = A[-1] - T
        if network.loss == "squared_error":
            delta = 2 * delta
        if not network.fused:
            delta = delta * self._derivative(str(network.output_activation), Z[-1], A[-1])
        size = {"missing_batch_mean": 1, "short_batch_full_size": full}.get(str(self.bug), len(x))
        delta = delta / real(size)
        gradient = np.zeros_like(self._now)
        layers = self._layers()
        for at in reversed(range(network.n_layers)):
            W, b = layers[at]
            below = Z[at - 1] if self.bug == "article" and at > 0 else A[at]
            lam = real(0 if self.bug == "no_l2" else network.l2)
            dW = below.T @ delta + lam * W
            db = delta.sum(0)
            if self.bug == "l2_on_biases":
                db = db + lam * b
            if self.bug == "zeroed_bias_gradient" and at == 0:
                db = 0 * db
            if self.bug in ENTRY_BUGS and at == 0:
                _spoil_small_entry(dW, str(self.bug))
            slot = network.layers(gradient)[at]
            slot.W[:], slot.b[:] = dW, db
            if self.bug == "updated_before_propagated":
                W = W - real(rate) * dW
            if at > 0:
                names = [f.name for f in network.hidden_activations]
                delta = self._derivative(names[at - 1], Z[at - 1], A[at]) * (delta @ W.T)
        self._calls += 1
        if self.bug == "nan":
            gradient[0] = np.nan
        if self.bug == "nondeterministic":
            gradient *= real(1 + np.finfo(gradient.dtype).eps * (self._calls % 3))
        return loss, gradient

    def _load(self, x: Array, y: Array, order: Order) -> None:
        if self.bug != "stale_order" or self._used_order is None:
            self._used_order = order.copy()
        if self.bug == "sequential_order":
            self._used_order = np.arange(len(order)) % len(x)
        self._x, self._y = x.copy(), y.copy()

    def _rows(self, first: int, count: int) -> tuple[Array, Array]:
        return self._x[first : first + count], self._y[first : first + count]

    def _forward(self, first: int, count: int) -> Array:
        return self._pass(self._rows(first, count)[0])[1][-1]

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        loss, gradient = self._gradient(*self._rows(first, count), count)
        if self.bug == "reading_moves_theta":
            self._now -= self._real(0.01) * gradient
        return loss, gradient

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        assert self._used_order is not None
        for at in range(first, first + count, batch_size):
            rows = self._used_order[at : min(at + batch_size, first + count)]
            gradient = self._gradient(self._x[rows], self._y[rows], batch_size, learning_rate)[1]
            self._now = self._now - self._real(learning_rate) * gradient
        return 1e-3

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        checksum = 0.0
        for repeat in range(repeats):
            start = first if self.bug == "hoisted" else (first + repeat * count) % (len(self._x) - count + 1)
            x, y = self._rows(start, count)
            probe = probes[repeat % len(probes)]
            if operation == "forward":
                ends = self.bug == "end_rows_when_timed"
                Y = self._ends_of(x) if ends else self._pass(x)[1][-1]
                checksum += float(Y.flat[probe])
            else:
                loss, gradient = self._gradient(x, y, count)
                self._leave_out(gradient)
                checksum += loss + float(gradient[probe])
        return 1e-3 * repeats, checksum

    def _ends_of(self, x: Array) -> Array:
        """Return the outputs with all rows 0 except the first and the last."""
        Y = np.zeros((len(x), self.network.sizes[-1]), x.dtype)
        ends = [0, -1]
        Y[ends] = self._pass(x[ends])[1][-1]
        return Y

    def _leave_out(self, gradient: Array) -> None:
        """Set to 0 what a bug of the timed passes does not compute."""
        layers = self.network.layers(gradient)
        if self.bug == "no_backward_when_timed":
            gradient[:] = 0
        if self.bug == "one_entry_when_timed":
            for W, _ in layers:
                W.flat[1:] = 0
        if self.bug == "missing_dW_when_timed":
            layers[min(1, len(layers) - 1)].W[:] = 0

    def _theta(self) -> Array:
        return np.array(self._now)

    def _set_theta(self, theta: Array) -> None:
        self._now = theta.copy()

    def _reset(self) -> None:
        keep = self._now[0]
        self._now = self._start.copy()
        if self.bug == "reset_incomplete":
            self._now[0] = keep

    def _close(self) -> None:
        return
