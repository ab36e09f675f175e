"""The tuned C++ backend: native/cpp/tuned, through `_tuned_<level>` for this CPU's level. No mathematics here."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn import activations, compiled, isa
from pyfnn.backend import CORE_ACTIVATIONS, Backend, Description
from pyfnn.ensemble import Ensemble
from pyfnn.errors import Unsupported
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

FURTHER_ACTIVATIONS = ("leaky_relu", "elu", "softplus", "hard_sigmoid", "hard_tanh")


class Tuned(Backend):
    """C++ at the hardware's limit, by several threads; compiled for several instruction-set levels (see `pyfnn.isa`).

    Parameters
    ----------
    row : Row

    Raises
    ------
    BackendUnavailable
        The extension module is absent or stale, or `PYFNN_ISA` names a level that is not to be had.
    """

    def __init__(self, row: Row) -> None:
        self._level = isa.chosen()
        name = f"_tuned_{self._level}"
        compiled.folder(name)
        self._row = row
        self._module: Any = importlib.import_module(f"pyfnn.backends.{name}")

    @property
    def description(self) -> Description:
        """What it says of itself; its flags are those of the level in use."""
        info = compiled.build_info()
        return Description(
            name=self._row.name,
            language=self._row.language,
            compiler=info.CXX_COMPILER,
            flags=info.LEVELS[self._level],
            clock="std::chrono::steady_clock",
            activations=CORE_ACTIVATIONS + FURTHER_ACTIVATIONS,
            many=True,
        )

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return TunedModel(network, theta, threads, self._module)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        return TunedEnsemble(network, thetas, l2, threads, self._module)


def _made_from(network: Network) -> tuple[tuple[int, ...], list[tuple[str, float]], str]:
    """Sizes, a function and its parameter a layer, loss: what the module makes a network from."""
    functions = [*network.hidden_activations]
    if not network.fused:
        functions.append(activations.parse(str(network.output_activation)))
    named = [(f.name.split("(")[0], f.parameter) for f in functions]
    for name, parameter in named:
        if parameter < 0:
            raise Unsupported(f"cpp-tuned tells f' by f, and has {name} with parameters of 0 and above only")
    return network.sizes, named + ([(str(network.output_activation), 0.0)] if network.fused else []), network.loss


class TunedModel(Model):
    """A network inside the module."""

    def __init__(self, network: Network, theta: Array, threads: int, module: Any) -> None:
        super().__init__(network, theta, threads)
        make = module.Mlp32 if network.dtype == "float32" else module.Mlp64
        self._mlp = make(*_made_from(network), network.l2, theta, threads)
        self.threads = self._mlp.threads

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._mlp.load(x, y, order)

    def _forward(self, first: int, count: int) -> Array:
        outputs: Array = self._mlp.forward(first, count)
        return outputs

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        loss, gradient = self._mlp.loss_and_gradient(first, count)
        return loss, gradient

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        seconds: float = self._mlp.train(first, count, batch_size, learning_rate)
        return seconds

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]:
        seconds, checksum = self._mlp.time(operation, first, count, repeats)
        return seconds, checksum

    def _theta(self) -> Array:
        theta: Array = self._mlp.theta()
        return theta

    def _reset(self) -> None:
        self._mlp.reset()

    def _close(self) -> None:
        del self._mlp


class TunedEnsemble(Ensemble):
    """Many networks inside the module: each trained by one thread at a time, as many at once as there are threads."""

    def __init__(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int, module: Any
    ) -> None:
        super().__init__(network, thetas, l2, threads)
        make = module.Ensemble32 if network.dtype == "float32" else module.Ensemble64
        self._networks = make(*_made_from(network), self.l2, thetas, threads)
        self.threads = self._networks.threads

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        self._networks.load(x, y, orders)

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        seconds: float = self._networks.train(first, count, batch_size, learning_rates)
        return seconds

    def _thetas(self) -> Array:
        thetas: Array = self._networks.thetas()
        return thetas

    def _reset(self) -> None:
        self._networks.reset()

    def _close(self) -> None:
        del self._networks
