"""The tuned C++ backend: native/cpp/tuned, through the extension module `_tuned_<level>`. No mathematics here."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn import compiled, isa
from pyfnn.backend import Backend
from pyfnn.backends.cpp import WithOptimizers, describe, network_arguments
from pyfnn.ensemble import Ensemble
from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order


class Tuned(Backend):
    """Multithreaded C++, optimized by hand and compiled for several instruction-set levels (see `pyfnn.isa`).

    Parameters
    ----------
    row : Row
        The backend's row in backend.toml.

    Raises
    ------
    BackendUnavailable
        The extension module is absent or stale, or `PYFNN_ISA` names a level that this build or CPU lacks.
    """

    def __init__(self, row: Row) -> None:
        level = isa.chosen()
        name = f"_tuned_{level}"
        compiled.folder(name)
        flags = compiled.build_info().LEVELS[level]
        super().__init__(describe(row, flags, many=True))
        self._module: Any = importlib.import_module(f"pyfnn.backends.{name}")

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return TunedModel(network, theta, threads, self._module)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        return TunedEnsemble(network, thetas, l2, threads, self._module)


def _made(make: Callable[..., Any], threads: int, *arguments: Any) -> Any:
    """Make a network or an ensemble of the module; raise `PyfnnError` where the system starts no more threads."""
    try:
        return make(*arguments, threads)
    except RuntimeError as error:
        raise PyfnnError(f"threads = {threads}: the system starts no more: {error}") from None


class TunedModel(WithOptimizers):
    """A network inside the extension module."""

    def __init__(self, network: Network, theta: Array, threads: int, module: Any) -> None:
        super().__init__(network, theta, threads)
        make = module.Mlp32 if network.dtype == "float32" else module.Mlp64
        self._mlp = _made(make, threads, *network_arguments(network), network.l2, theta)
        self.threads = self._mlp.threads

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._mlp.load(x, y, order)

    def _forward(self, first: int, count: int) -> Array:
        outputs: Array = self._mlp.forward(first, count)
        return outputs

    def _forward_loss(self, first: int, count: int) -> float:
        loss: float = self._mlp.loss(first, count)
        return loss

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        loss, gradient = self._mlp.loss_and_gradient(first, count)
        return loss, gradient

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        seconds: float = self._mlp.train(first, count, batch_size, learning_rate)
        return seconds

    def offers_running_loss(self, batch_size: int) -> bool:
        """Return True but for steps on one sample, which have a kernel of their own."""
        return batch_size > 1

    def _train_with_loss(self, first: int, count: int, batch_size: int, learning_rate: float) -> tuple[float, float]:
        seconds, loss = self._mlp.train_with_loss(first, count, batch_size, learning_rate, self._optimizer is not None)
        return seconds, loss

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        seconds, checksum = self._mlp.time(operation, first, count, repeats, probes)
        return seconds, checksum

    def _theta(self) -> Array:
        theta: Array = self._mlp.theta()
        return theta

    def _is_finite(self) -> bool:
        finite: bool = self._mlp.is_finite()
        return finite

    def _set_theta(self, theta: Array) -> None:
        self._mlp.set_theta(theta)

    def _reset(self) -> None:
        self._mlp.reset()

    def _close(self) -> None:
        del self._mlp


class TunedEnsemble(Ensemble):
    """An ensemble inside the extension module. Each thread trains one network at a time."""

    def __init__(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int, module: Any
    ) -> None:
        super().__init__(network, thetas, l2, threads)
        make = module.Ensemble32 if network.dtype == "float32" else module.Ensemble64
        self._networks = _made(make, threads, *network_arguments(network), self.l2, thetas)
        self.threads = self._networks.threads

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        self._networks.load(x, y, orders)

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        seconds: float = self._networks.train(first, count, batch_size, learning_rates)
        return seconds

    def offers_running_loss(self, batch_size: int) -> bool:
        """Return True but for steps on one sample, which have a kernel of their own."""
        return batch_size > 1

    def _train_with_loss(
        self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        seconds, losses = self._networks.train_with_loss(first, count, batch_size, learning_rates)
        return seconds, losses

    def _thetas(self) -> Array:
        thetas: Array = self._networks.thetas()
        return thetas

    def _reset(self) -> None:
        self._networks.reset()

    def _close(self) -> None:
        del self._networks
