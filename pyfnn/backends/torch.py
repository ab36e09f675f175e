"""The network in PyTorch, eager: products by `addmm`, gradients by autograd, parameters updated in place.

Written as PyTorch's own examples train with plain tensors: of the ways tried it is the fastest (see `TorchModel`).
"""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pyfnn.backend import Array, Backend, Description, Model, Operation, Order
from pyfnn.manifest import Row
from pyfnn.network import Network
from pyfnn.rounding import elementwise

_NO_THRESHOLD = 36.0  # from there on softplus(Z) is Z in float64 too: exp(-36) is below its roundoff

_ACTIVATIONS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "identity": lambda Z, _: Z,
    "sigmoid": lambda Z, _: torch.sigmoid(Z),
    "tanh": lambda Z, _: torch.tanh(Z),
    "relu": lambda Z, _: torch.relu(Z),
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "softplus": lambda Z, _: functional.softplus(Z, threshold=_NO_THRESHOLD),
    "hard_tanh": lambda Z, _: functional.hardtanh(Z),
}

_LOSSES: dict[str, tuple[Callable[..., torch.Tensor], float]] = {  # (Y or Z_L, T) -> c L summed over rows; c
    "squared_error": (partial(functional.mse_loss, reduction="sum"), 1.0),
    "half_squared_error": (partial(functional.mse_loss, reduction="sum"), 2.0),
    "softmax_cross_entropy": (partial(functional.cross_entropy, reduction="sum"), 1.0),
    "sigmoid_cross_entropy": (partial(functional.binary_cross_entropy_with_logits, reduction="sum"), 1.0),
}
_FUSED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": partial(torch.softmax, dim=1),
    "sigmoid": torch.sigmoid,
}


class TorchModel(Model):
    """A network of plain tensors.

    Tried and slower in small networks, no faster in large ones: `nn.Sequential` of `nn.Linear` with `torch.optim.SGD`,
    be it with `foreach`, `fused` or neither, or with an update by hand.
    """

    def __init__(self, network: Network, theta: Array, threads: int) -> None:
        super().__init__(network, theta, threads)
        with _threads(threads):
            self.threads = torch.get_num_threads()
        self._asked = threads
        self._f = [(_ACTIVATIONS[a.name.split("(")[0]], a.parameter) for a in elementwise(network)]
        self._f += [(_ACTIVATIONS["identity"], 0.0)] * network.fused
        self._loss, self._c = _LOSSES[network.loss]
        self._start = theta.copy()
        self._layers = [
            (torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True)) for W, b in network.layers(theta)
        ]
        self._parameters = [tensor for layer in self._layers for tensor in layer]

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order = torch.tensor(x), torch.tensor(y), torch.tensor(order)

    def _forward(self, first: int, count: int) -> Array:
        with _threads(self._asked), torch.inference_mode():
            return np.copy(self._outputs(self._x[first : first + count]).numpy())

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        with _threads(self._asked):
            loss = self._gradient(self._x[first : first + count], self._y[first : first + count])
        gradient = [tensor.grad for tensor in self._parameters]
        self._forget_gradient()
        return loss.item(), _flat(gradient)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        x, y, parameters, l2 = self._x, self._y, self._parameters, self.network.l2
        weights = [W for W, _ in self._layers]
        order = self._order[first : first + count]
        full, last = self._scale(batch_size), self._scale(count % batch_size or batch_size)
        with _threads(self._asked):
            start = time.perf_counter()
            for rows in order.split(batch_size):
                X, T = x.index_select(0, rows), y.index_select(0, rows)
                self._loss(self._last(X), T).backward(full if len(rows) == batch_size else last)
                with torch.no_grad():
                    if l2:
                        for W in weights:
                            W.grad.add_(W, alpha=l2)
                    for tensor in parameters:
                        tensor.sub_(tensor.grad, alpha=learning_rate)
                        tensor.grad = None
            return time.perf_counter() - start

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]:
        x, y, dW_1, checksum, starts = self._x, self._y, self._parameters[0], 0.0, len(self._x) - count + 1
        with _threads(self._asked), torch.inference_mode(operation == "forward"):
            start = time.perf_counter()
            for repeat in range(repeats):
                at = (first + repeat * count) % starts
                X = x[at : at + count]
                if operation == "forward":
                    Y = self._outputs(X)
                    checksum += Y[0, 0].item() + Y[-1, -1].item()
                else:
                    loss = self._gradient(X, y[at : at + count])
                    checksum += loss.item() + dW_1.grad[0, 0].item()
                    self._forget_gradient()
            return time.perf_counter() - start, checksum

    def _last(self, X: torch.Tensor) -> torch.Tensor:
        """Y, or Z_L where the loss brings its own output activation."""
        A = X
        for (W, b), (f, parameter) in zip(self._layers, self._f, strict=True):
            A = f(torch.addmm(b, A, W), parameter)
        return A

    def _outputs(self, X: torch.Tensor) -> torch.Tensor:
        Y = self._last(X)
        return _FUSED[str(self.network.output_activation)](Y) if self.network.fused else Y

    def _gradient(self, X: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
        """The loss R; its gradient goes into the parameters' `grad`."""
        loss, scale, l2 = self._loss(self._last(X), T), self._scale(len(T)), self.network.l2
        loss.backward(scale)
        with torch.no_grad():
            loss *= scale
            if l2:
                for W, _ in self._layers:
                    loss += l2 / 2 * W.square().sum()
                    W.grad.add_(W, alpha=l2)
        return loss

    def _scale(self, batch: int) -> torch.Tensor:
        """What makes the loss of that many rows their mean, as the gradient that backpropagation starts from."""
        return torch.tensor(1 / (self._c * batch), dtype=self._parameters[0].dtype)

    def _forget_gradient(self) -> None:
        for tensor in self._parameters:
            tensor.grad = None

    def _theta(self) -> Array:
        return _flat(self._parameters)

    def _reset(self) -> None:
        start = [array for layer in self.network.layers(self._start) for array in layer]
        with torch.no_grad():
            for tensor, array in zip(self._parameters, start, strict=True):
                tensor.copy_(torch.from_numpy(array))

    def _close(self) -> None:
        self._layers, self._parameters = [], []
        self._x = self._y = self._order = torch.empty(0)


def _flat(tensors: Any) -> Array:
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """That many threads within an operation, this process's setting before and after; operations run one by one."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Eager(Backend):
    """PyTorch on the CPU, without compilation. `row` is its table in backend.toml."""

    def __init__(self, row: Row) -> None:
        self._description = Description(
            name=row.name,
            language=row.language,
            compiler=f"CPython {platform.python_version()}, PyTorch {torch.__version__}",
            flags=f"{torch.backends.cpu.get_cpu_capability()} kernels; MKL: {torch.backends.mkl.is_available()}",
            clock="time.perf_counter",
            activations=tuple(_ACTIVATIONS),
            losses=tuple(_LOSSES),
        )

    @property
    def description(self) -> Description:
        """What it says of itself."""
        return self._description

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return TorchModel(network, theta, threads)
