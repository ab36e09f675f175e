"""The network in PyTorch, eager or replayed as CUDA graphs: products by `addmm`, gradients by autograd, parameters
updated in place; on the CPU or on a CUDA device.

Written as PyTorch's own examples train with plain tensors: of the ways tried it is the fastest (see `TorchModel`).
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pyfnn.backend import Backend, Description
from pyfnn.device import check_number, device_number
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

_NO_THRESHOLD = 36.0  # from there on softplus(Z) is Z in float64 too: exp(-36) is below its roundoff

_REMEDY = "pip install torch --index-url https://download.pytorch.org/whl/cu130"
_GRAPHS = 16  # kept; each batch size and rate has its own
_WARM_UPS = 3  # before a capture

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
    """A network of plain tensors on one device.

    Tried and slower in small networks, no faster in large ones: `nn.Sequential` of `nn.Linear` with `torch.optim.SGD`,
    be it with `foreach`, `fused` or neither, or with an update by hand. (On the CPU.)
    """

    def __init__(self, network: Network, theta: Array, threads: int, device: torch.device) -> None:
        super().__init__(network, theta, threads)
        with _threads(threads):
            self.threads = torch.get_num_threads()
        self._asked, self._device = threads, device
        self._f = [(_ACTIVATIONS[a.key], a.parameter) for a in network.elementwise_activations]
        self._f += [(_ACTIVATIONS["identity"], 0.0)] * network.fused
        self._loss, self._c = _LOSSES[network.loss]
        self._start = theta.copy()
        self._layers = [(self._parameter(W), self._parameter(b)) for W, b in network.layers(theta)]
        self._parameters = [tensor for layer in self._layers for tensor in layer]
        self._weights = [W for W, _ in self._layers]
        self._checksum = torch.zeros((), dtype=torch.float64, device=device)
        self._scales: dict[int, torch.Tensor] = {}

    def _parameter(self, array: Array) -> torch.Tensor:
        return torch.tensor(array, device=self._device, requires_grad=True)

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order = (torch.tensor(array, device=self._device) for array in (x, y, order))

    def _forward(self, first: int, count: int) -> Array:
        with _threads(self._asked), torch.inference_mode():
            return np.copy(self._outputs(self._x[first : first + count]).cpu().numpy())

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        with _threads(self._asked):
            loss = self._gradient(self._x[first : first + count], self._y[first : first + count])
        gradient = [tensor.grad for tensor in self._parameters]
        self._forget_gradient()
        return loss.item(), _flat(gradient)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        with _threads(self._asked):
            return self._clocked(self._walk(first, count, min(batch_size, count), learning_rate))

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]:
        with _threads(self._asked), torch.inference_mode(operation == "forward"):
            passes = self._passes(operation, first, count, repeats)
            self._checksum.zero_()
            return self._clocked(passes), self._checksum.item()

    def _clocked(self, work: Callable[[], None]) -> float:
        """Seconds of some work, the device idle before and after; `device_seconds`, between events, within them."""
        if self._device.type == "cpu":
            start = time.perf_counter()
            work()
            return time.perf_counter() - start
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        before.record()
        work()
        after.record()
        torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - start
        self.device_seconds = before.elapsed_time(after) / 1000
        return seconds

    def _walk(self, first: int, count: int, batch_size: int, learning_rate: float) -> Callable[[], None]:
        """All steps of a training call, ready to go."""
        order = self._order[first : first + count]
        for batch in (batch_size, count % batch_size or batch_size):
            self._scale(batch)

        def walk() -> None:
            for rows in order.split(batch_size):
                self._step(rows, learning_rate)

        return walk

    def _step(self, rows: torch.Tensor, learning_rate: float) -> None:
        X, T = self._x.index_select(0, rows), self._y.index_select(0, rows)
        self._loss(self._last(X), T).backward(self._scale(len(rows)))
        with torch.no_grad():
            if l2 := self.network.l2:
                for W in self._weights:
                    W.grad.add_(W, alpha=l2)
            for tensor in self._parameters:
                tensor.sub_(tensor.grad, alpha=learning_rate)
                tensor.grad = None

    def _passes(self, operation: Operation, first: int, count: int, repeats: int) -> Callable[[], None]:
        """All passes of a timed call, ready to go."""
        x, y, starts = self._x, self._y, len(self._x) - count + 1
        self._scale(count)

        def passes() -> None:
            for repeat in range(repeats):
                at = (first + repeat * count) % starts
                self._pass(operation, x[at : at + count], y[at : at + count])

        return passes

    def _pass(self, operation: Operation, X: torch.Tensor, T: torch.Tensor) -> None:
        """One pass; the checksum, which stays on the device, takes in what it ends with."""
        if operation == "forward":
            Y = self._outputs(X)
            self._checksum.add_(Y[0, 0]).add_(Y[-1, -1])
        else:
            loss = self._gradient(X, T)
            self._checksum.add_(loss).add_(self._parameters[0].grad[0, 0])
            self._forget_gradient()

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
                for W in self._weights:
                    loss += l2 / 2 * W.square().sum()
                    W.grad.add_(W, alpha=l2)
        return loss

    def _scale(self, batch: int) -> torch.Tensor:
        """What makes the loss of that many rows their mean, as the gradient that backpropagation starts from."""
        if batch not in self._scales:
            scale = torch.tensor(1 / (self._c * batch), dtype=self._parameters[0].dtype, device=self._device)
            self._scales[batch] = scale
        return self._scales[batch]

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
        self._layers, self._parameters, self._weights, self._scales = [], [], [], {}
        self._x = self._y = self._order = torch.empty(0)


class TorchGraphModel(TorchModel):
    """The same, each step (or pass) captured once as a CUDA graph and replayed: one launch in place of some dozens.

    Which rows a step works on is counted on the device, so that nothing is handed over between replays. What cannot be
    captured, since there is no CUDA, is called: the same operations on the same buffers, for tests on the CPU.
    """

    def __init__(self, network: Network, theta: Array, threads: int, device: torch.device) -> None:
        super().__init__(network, theta, threads, device)
        self._at = torch.zeros((), dtype=torch.int64, device=device)
        self._captured: dict[tuple[str, int, float], Callable[[], None]] = {}

    def _load(self, x: Array, y: Array, order: Order) -> None:
        super()._load(x, y, order)
        self._captured.clear()  # they read the buffers of before

    def _walk(self, first: int, count: int, batch_size: int, learning_rate: float) -> Callable[[], None]:
        full, short = divmod(count, batch_size)
        step = self._ready(("step", batch_size, learning_rate), self._next_step)
        last = self._ready(("step", short, learning_rate), self._next_step) if short else None
        self._at.fill_(first)

        def walk() -> None:
            for _ in range(full):
                step()
            if last:
                last()

        return walk

    def _next_step(self, _: str, batch: int, learning_rate: float) -> Callable[[], None]:
        ahead = torch.arange(batch, device=self._device)

        def step() -> None:
            self._step(self._order.index_select(0, self._at + ahead), learning_rate)
            self._at.add_(batch)

        return step

    def _passes(self, operation: Operation, first: int, count: int, repeats: int) -> Callable[[], None]:
        one = self._ready((operation, count, 0.0), self._next_pass)
        self._at.fill_(first % (len(self._x) - count + 1))

        def passes() -> None:
            for _ in range(repeats):
                one()

        return passes

    def _next_pass(self, operation: Operation, count: int, _: float) -> Callable[[], None]:
        ahead = torch.arange(count, device=self._device)

        def one() -> None:
            rows = self._at + ahead
            self._pass(operation, self._x.index_select(0, rows), self._y.index_select(0, rows))
            self._at.add_(count).remainder_(len(self._x) - count + 1)

        return one

    def _ready(self, key: tuple[Any, int, float], make: Callable[..., Callable[[], None]]) -> Callable[[], None]:
        """What to call for one step or pass; θ is as it was."""
        if key not in self._captured:
            while len(self._captured) >= _GRAPHS:
                del self._captured[next(iter(self._captured))]
            self._scale(key[1])
            work = make(*key)
            self._captured[key] = work if self._device.type == "cpu" else self._replay_of(work)
        return self._captured[key]

    def _replay_of(self, work: Callable[[], None]) -> Callable[[], None]:
        """Warmed up on a stream of its own and then captured, as PyTorch's notes on CUDA graphs have it."""
        kept = [tensor.detach().clone() for tensor in self._parameters]
        self._at.zero_()
        aside = torch.cuda.Stream(self._device)
        aside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                work()
                self._at.zero_()
        torch.cuda.current_stream(self._device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        with torch.no_grad():
            for tensor, before in zip(self._parameters, kept, strict=True):
                tensor.copy_(before)
        return graph.replay  # type: ignore[no-any-return]

    def _close(self) -> None:
        super()._close()
        self._captured.clear()


def _flat(tensors: Any) -> Array:
    return np.concatenate([tensor.detach().cpu().numpy().ravel() for tensor in tensors])


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
    """PyTorch without compilation, on the device that `row`, its table in backend.toml, names.

    Raises
    ------
    BackendUnavailable
        The row is for CUDA, and this PyTorch or this machine has none.
    """

    _model: type[TorchModel] = TorchModel

    def __init__(self, row: Row) -> None:
        self._device, flags = _device(row.device)
        libraries = {"PyTorch": torch.__version__}
        super().__init__(Description.in_python(row, libraries, flags, _ACTIVATIONS, _LOSSES))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return self._model(network, theta, threads, self._device)


class Graph(Eager):
    """PyTorch with each step captured as a CUDA graph; otherwise as `Eager`."""

    _model = TorchGraphModel


def _device(kind: str) -> tuple[torch.device, str]:
    """The device, and what a reader wants to know of how it is used. Turns TF32 off, for the whole process."""
    if kind == "cpu":
        on = f"{torch.backends.cpu.get_cpu_capability()} kernels; MKL: {torch.backends.mkl.is_available()}"
        return torch.device("cpu"), on
    number = device_number()
    if torch.version.cuda is None:
        raise BackendUnavailable(f"PyTorch {torch.__version__} was built without CUDA", _REMEDY)
    with warnings.catch_warnings(record=True) as said:  # why it finds none is a warning
        warnings.simplefilter("always")
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found == 0:
        why = f": {' '.join(str(said[-1].message).split())}" if said else ""
        raise BackendUnavailable(
            f"PyTorch {torch.__version__} finds no CUDA device{why}", "an NVIDIA GPU and its driver"
        )
    check_number(number, found)
    torch.cuda.set_device(number)
    torch.set_float32_matmul_precision("highest")
    tf32 = torch.get_float32_matmul_precision() != "highest" or torch.backends.cuda.matmul.allow_tf32
    return torch.device("cuda", number), (
        f"{torch.cuda.get_device_name(number)}; CUDA {torch.version.cuda}; TF32: {tf32}"
    )
