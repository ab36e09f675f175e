"""The network in PyTorch, on the CPU or a CUDA device, eager or replayed as CUDA graphs.

Products use `addmm`, gradients autograd, and the parameters are updated in place, as in PyTorch's own examples with
plain tensors. `TorchModel` lists slower alternatives.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
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

Tensors = list[torch.Tensor]
Places = list[tuple[int, tuple[int, ...]]]  # number of a tensor, and an index into it
Work = Callable[[], Tensors]  # one step or one pass; returns the results of a pass, nothing of a step

_SOFTPLUS_THRESHOLD = 36.0  # above it softplus(Z) = Z even in float64, since exp(-36) is below its unit roundoff

_REMEDY = "pip install torch --index-url https://download.pytorch.org/whl/cu130"
_GRAPHS = 16  # captured graphs to keep; each batch size and rate has its own
_WARM_UPS = 3  # runs before a capture

_ACTIVATIONS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "identity": lambda Z, _: Z,
    "sigmoid": lambda Z, _: torch.sigmoid(Z),
    "tanh": lambda Z, _: torch.tanh(Z),
    "relu": lambda Z, _: torch.relu(Z),
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "softplus": lambda Z, _: functional.softplus(Z, threshold=_SOFTPLUS_THRESHOLD),
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

    On the CPU, `nn.Sequential` of `nn.Linear` was slower in small networks and no faster in large ones, with an update
    by hand as well as with `torch.optim.SGD` with `foreach`, with `fused` or with neither.
    """

    def __init__(self, network: Network, theta: Array, threads: int, device: torch.device) -> None:
        super().__init__(network, theta, threads)
        with _threads(threads):
            self.threads = torch.get_num_threads()
        self._threads_allowed, self._device = threads, device
        self._f = [(_ACTIVATIONS[a.key], a.parameter) for a in network.elementwise_activations]
        self._f += [(_ACTIVATIONS["identity"], 0.0)] * network.fused
        self._loss, self._c = _LOSSES[network.loss]
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
        with _threads(self._threads_allowed), torch.inference_mode():
            return np.copy(self._outputs(self._x[first : first + count]).cpu().numpy())

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        with _threads(self._threads_allowed):
            loss = self._gradient(self._x[first : first + count], self._y[first : first + count])
        gradient = [tensor.grad for tensor in self._parameters]
        self._forget_gradient()
        return loss.item(), _flat(gradient)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        with _threads(self._threads_allowed):
            return self._clocked(self._prepare_steps(first, count, min(batch_size, count), learning_rate))

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        with _threads(self._threads_allowed), torch.inference_mode(operation == "forward"):
            passes = self._prepare_passes(operation, first, count, repeats, self._places(operation, probes))
            self._checksum.zero_()
            return self._clocked(passes), self._checksum.item()

    def _clocked(self, work: Callable[[], None]) -> float:
        """Return the seconds of `work`, the device idle before and after; set `device_seconds` from CUDA events."""
        if self._device.type == "cpu":
            start = self._read_clocks()
            work()
            return self._seconds_since(start)
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self._device)
        start = self._read_clocks()
        before.record()
        work()
        after.record()
        torch.cuda.synchronize(self._device)
        seconds = self._seconds_since(start)
        self.device_seconds = before.elapsed_time(after) / 1000
        return seconds

    def _places(self, operation: Operation, probes: Order) -> Places:
        """Return the place of each probe in the tensors that `_pass` returns: tensor and index."""
        m_L = self.network.sizes[-1]
        if operation == "forward":
            return [(0, divmod(probe, m_L)) for probe in probes.tolist()]
        shapes = [tuple(tensor.shape) for tensor in self._parameters]
        places = self.network.places(probes)
        return [(at, tuple(int(i) for i in np.unravel_index(entry, shapes[at]))) for at, entry in places]

    def _prepare_steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> Callable[[], None]:
        """Prepare all steps of a training call, and return the function that makes them."""
        order = self._order[first : first + count]
        for batch in (batch_size, count % batch_size or batch_size):
            self._scale(batch)

        def steps() -> None:
            for rows in order.split(batch_size):
                self._step(rows, learning_rate)

        return steps

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

    def _prepare_passes(
        self, operation: Operation, first: int, count: int, repeats: int, places: Places
    ) -> Callable[[], None]:
        """Prepare all passes of a timed call, and return the function that makes them."""
        x, y, starts = self._x, self._y, len(self._x) - count + 1
        self._scale(count)

        def passes() -> None:
            for repeat, (tensor, index) in zip(range(repeats), cycle(places), strict=False):
                at = (first + repeat * count) % starts
                results = self._pass(operation, x[at : at + count], y[at : at + count])
                self._checksum.add_(results[tensor][index])

        return passes

    def _pass(self, operation: Operation, X: torch.Tensor, T: torch.Tensor) -> Tensors:
        """Make one pass; return the outputs or the gradient. The loss is added to the checksum, on the device."""
        if operation == "forward":
            return [self._outputs(X)]
        self._checksum.add_(self._gradient(X, T))
        gradient = [tensor.grad for tensor in self._parameters]
        self._forget_gradient()
        return gradient

    def _last(self, X: torch.Tensor) -> torch.Tensor:
        """Return Y, or Z_L where the loss fuses its output activation."""
        A = X
        for (W, b), (f, parameter) in zip(self._layers, self._f, strict=True):
            A = f(torch.addmm(b, A, W), parameter)
        return A

    def _outputs(self, X: torch.Tensor) -> torch.Tensor:
        Y = self._last(X)
        return _FUSED[str(self.network.output_activation)](Y) if self.network.fused else Y

    def _gradient(self, X: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
        """Return the loss R; write its gradient into the parameters' `grad`."""
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
        """Return 1/(c·batch), which turns c times the summed loss into the mean; backpropagation starts from it."""
        if batch not in self._scales:
            scale = torch.tensor(1 / (self._c * batch), dtype=self._parameters[0].dtype, device=self._device)
            self._scales[batch] = scale
        return self._scales[batch]

    def _forget_gradient(self) -> None:
        for tensor in self._parameters:
            tensor.grad = None

    def _theta(self) -> Array:
        return _flat(self._parameters)

    def _set_theta(self, theta: Array) -> None:
        arrays = [array for layer in self.network.layers(theta) for array in layer]
        with torch.no_grad():
            for tensor, array in zip(self._parameters, arrays, strict=True):
                tensor.copy_(torch.tensor(array))

    def _close(self) -> None:
        self._layers, self._parameters, self._weights, self._scales = [], [], [], {}
        self._x = self._y = self._order = torch.empty(0)


class TorchGraphModel(TorchModel):
    """A network whose steps and passes are each captured once as a CUDA graph: one launch replaces some dozens.

    The device keeps the position in the order, so that replays need no arguments. On the CPU, for tests, the same
    operations on the same buffers are called instead of captured.
    """

    def __init__(self, network: Network, theta: Array, threads: int, device: torch.device) -> None:
        super().__init__(network, theta, threads, device)
        self._at = torch.zeros((), dtype=torch.int64, device=device)
        self._captured: dict[tuple[str, int, float], Work] = {}

    def _load(self, x: Array, y: Array, order: Order) -> None:
        super()._load(x, y, order)
        self._captured.clear()  # the graphs read the buffers of the earlier data

    def _prepare_steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> Callable[[], None]:
        full, short = divmod(count, batch_size)
        step = self._ready(("step", batch_size, learning_rate), self._next_step)
        last = self._ready(("step", short, learning_rate), self._next_step) if short else None
        self._at.fill_(first)

        def steps() -> None:
            for _ in range(full):
                step()
            if last:
                last()

        return steps

    def _next_step(self, _: str, batch: int, learning_rate: float) -> Work:
        ahead = torch.arange(batch, device=self._device)

        def step() -> Tensors:
            self._step(self._order.index_select(0, self._at + ahead), learning_rate)
            self._at.add_(batch)
            return []

        return step

    def _prepare_passes(
        self, operation: Operation, first: int, count: int, repeats: int, places: Places
    ) -> Callable[[], None]:
        one = self._ready((operation, count, 0.0), self._next_pass)
        self._at.fill_(first % (len(self._x) - count + 1))

        def passes() -> None:
            for _, (tensor, index) in zip(range(repeats), cycle(places), strict=False):
                self._checksum.add_(one()[tensor][index])

        return passes

    def _next_pass(self, operation: Operation, count: int, _: float) -> Work:
        ahead = torch.arange(count, device=self._device)

        def one() -> Tensors:
            rows = self._at + ahead
            results = self._pass(operation, self._x.index_select(0, rows), self._y.index_select(0, rows))
            self._at.add_(count).remainder_(len(self._x) - count + 1)
            return results

        return one

    def _ready(self, key: tuple[Any, int, float], make: Callable[..., Work]) -> Work:
        """Return the function for one step or pass, captured if it is new; θ does not change."""
        if key not in self._captured:
            while len(self._captured) >= _GRAPHS:
                del self._captured[next(iter(self._captured))]
            self._scale(key[1])
            work = make(*key)
            self._captured[key] = work if self._device.type == "cpu" else self._replay_of(work)
        return self._captured[key]

    def _replay_of(self, work: Work) -> Work:
        """Warm up on a separate stream, then capture, as PyTorch's "CUDA semantics" notes prescribe."""
        kept = [tensor.detach().clone() for tensor in self._parameters]
        self._at.zero_()
        side_stream = torch.cuda.Stream(self._device)
        side_stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side_stream):
            for _ in range(_WARM_UPS):
                work()
                self._at.zero_()
        torch.cuda.current_stream(self._device).wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = work()  # keeps their memory: every replay writes the same tensors
        with torch.no_grad():
            for tensor, before in zip(self._parameters, kept, strict=True):
                tensor.copy_(before)

        def replay() -> Tensors:
            graph.replay()
            return results

        return replay

    def _close(self) -> None:
        super()._close()
        self._captured.clear()


def _flat(tensors: Any) -> Array:
    return np.concatenate([tensor.detach().cpu().numpy().ravel() for tensor in tensors])


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Set the number of threads within an operation, and restore the process's setting after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Eager(Backend):
    """PyTorch without compilation, on the device of the backend's row in backend.toml.

    Parameters
    ----------
    row : Row

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
    """Return the device and a text with its settings. Turns TF32 off, for the whole process."""
    if kind == "cpu":
        settings = f"{torch.backends.cpu.get_cpu_capability()} kernels; MKL: {torch.backends.mkl.is_available()}"
        return torch.device("cpu"), settings
    number = device_number()
    if torch.version.cuda is None:
        raise BackendUnavailable(f"PyTorch {torch.__version__} was built without CUDA", _REMEDY)
    with warnings.catch_warnings(record=True) as caught:  # PyTorch gives the reason for finding no device as a warning
        warnings.simplefilter("always")
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found == 0:
        why = f": {' '.join(str(caught[-1].message).split())}" if caught else ""
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
