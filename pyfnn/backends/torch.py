"""The models, ensembles and backends of PyTorch, on the CPU or a CUDA device, eager or replayed as CUDA graphs.

`torch_networks` has their mathematics, `torch_steps` their steps and passes.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from pyfnn.backend import Backend, Description
from pyfnn.backends.torch_networks import ACTIVATIONS, LOSSES, ManyNetworks, OneNetwork
from pyfnn.backends.torch_steps import CapturedSteps, EagerSteps, Places
from pyfnn.device import check_number, device_number
from pyfnn.ensemble import Ensemble
from pyfnn.errors import BackendUnavailable
from pyfnn.loadable import Loadable
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

_REMEDY = "pip install torch --index-url https://download.pytorch.org/whl/cu130"


class _OnDevice(Loadable):
    """Networks in PyTorch whose work is timed on one device."""

    _device: torch.device
    _threads_allowed: int

    def _use(self, threads: int, device: torch.device) -> None:
        with _threads(threads):
            self.threads = torch.get_num_threads()
        self._threads_allowed, self._device = threads, device

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


class TorchModel(Model, _OnDevice):
    """A network on one device."""

    def __init__(
        self, network: Network, theta: Array, threads: int, device: torch.device, steps: type[EagerSteps]
    ) -> None:
        super().__init__(network, theta, threads)
        self._use(threads, device)
        self._network = OneNetwork(network, theta, network.l2, device)
        self._steps = steps(self._network)

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._steps.load(x, y, order)

    def _forward(self, first: int, count: int) -> Array:
        with _threads(self._threads_allowed), torch.inference_mode():
            return np.copy(self._network.outputs(self._steps.x[first : first + count]).cpu().numpy())

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        X, T = (tensor[first : first + count] for tensor in (self._steps.x, self._steps.y))
        with _threads(self._threads_allowed):
            loss = self._network.loss_and_gradient(X, T)
        return loss.item(), self._network.gradient()

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        with _threads(self._threads_allowed):
            return self._clocked(self._steps.prepare_steps(first, count, min(batch_size, count), learning_rate))

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        with _threads(self._threads_allowed), torch.inference_mode(operation == "forward"):
            places = self._places(operation, probes)
            passes = self._steps.prepare_passes(operation, first, count, repeats, places)
            self._steps.checksum.zero_()
            return self._clocked(passes), self._steps.checksum.item()

    def _places(self, operation: Operation, probes: Order) -> Places:
        """Return the place of each probe in the tensors that a pass returns: tensor and index."""
        m_L = self.network.sizes[-1]
        if operation == "forward":
            return [(0, divmod(probe, m_L)) for probe in probes.tolist()]
        shapes = [tuple(tensor.shape) for tensor in self._network.parameters]
        places = self.network.places(probes)
        return [(at, tuple(int(i) for i in np.unravel_index(entry, shapes[at]))) for at, entry in places]

    def _theta(self) -> Array:
        return self._network.theta()

    def _set_theta(self, theta: Array) -> None:
        self._network.set_theta(theta)

    def _close(self) -> None:
        self._steps.close()
        del self._network, self._steps


class TorchEnsemble(Ensemble, _OnDevice):
    """Many networks on one device, in batched products: a step of all of them has as many operations as one's."""

    def __init__(
        self,
        network: Network,
        thetas: Array,
        l2: NDArray[np.float64] | None,
        threads: int,
        device: torch.device,
        steps: type[EagerSteps],
    ) -> None:
        super().__init__(network, thetas, l2, threads)
        self._use(threads, device)
        self._networks = ManyNetworks(network, thetas, self.l2, device)
        self._steps = steps(self._networks)

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        self._steps.load(x, y, orders)

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        with _threads(self._threads_allowed):
            return self._clocked(self._steps.prepare_steps(first, count, min(batch_size, count), learning_rates))

    def _thetas(self) -> Array:
        return self._networks.theta()

    def _reset(self) -> None:
        self._networks.reset()

    def _close(self) -> None:
        self._steps.close()
        del self._networks, self._steps


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
        The row is for CUDA, and this PyTorch or this machine has none, or the environment forces TF32.
    """

    _steps: type[EagerSteps] = EagerSteps

    def __init__(self, row: Row) -> None:
        self._device, flags = _device(row.device)
        libraries = {"PyTorch": torch.__version__}
        super().__init__(Description.in_python(row, libraries, flags, ACTIVATIONS, LOSSES, many=True))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return TorchModel(network, theta, threads, self._device, self._steps)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        return TorchEnsemble(network, thetas, l2, threads, self._device, self._steps)


class Graph(Eager):
    """PyTorch with each step captured as a CUDA graph; otherwise as `Eager`."""

    _steps = CapturedSteps


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
    _require_no_tf32()
    return torch.device("cuda", number), (f"{torch.cuda.get_device_name(number)}; CUDA {torch.version.cuda}; TF32: off")


def _require_no_tf32() -> None:
    """Raise `BackendUnavailable` where products would use TF32: the environment can override PyTorch's setting."""
    if torch.get_float32_matmul_precision() != "highest" or torch.backends.cuda.matmul.allow_tf32:
        raise BackendUnavailable("PyTorch uses TF32 here", "unset TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
