"""The backends `cpp`, `cpp-textbook`: native/cpp/mlp.hpp, by the extension module `_cpp` or, by level, `_cpp_<level>`.

No mathematics here. The module, the description and the model serve the C++ backends over a library too.
"""

import importlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from pyfnn import compiled, isa
from pyfnn.backend import CORE_ACTIVATIONS, CORE_LOSSES, Backend, Description
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.optimizers import TABLE as OPTIMIZERS
from pyfnn.optimizers import Named, State
from pyfnn.validation import Array, Order

if TYPE_CHECKING:
    from pyfnn.backends._cpp import Mlp32, Mlp64

Library = TypeVar("Library")

# Of the C++ tables.
ACTIVATIONS = (*CORE_ACTIVATIONS, "leaky_relu", "elu", "softplus", "hard_sigmoid", "hard_tanh", "prelu", "maxout")


def extension() -> Any:
    """Import the extension module, in a build for all levels that of the level to use.

    Raises
    ------
    BackendUnavailable
        It is absent, or its sources have changed since it was compiled.
    """
    name = isa.variant("_cpp")
    compiled.folder(name)
    return importlib.import_module(f"pyfnn.backends.{name}")


def opened(library: Callable[[str], Library], path: str, what: str, variable: str) -> Library:
    """Open a library at run time, which the environment variable may name.

    Raises
    ------
    BackendUnavailable
        The file is not `what`.
    """
    try:
        return library(path)
    except RuntimeError as error:
        remedy = f"name another in {variable}, or none" if os.environ.get(variable) else ""
        raise BackendUnavailable(f"{path} is no {what}: {error}", remedy) from None


def describe(row: Row, flags: str, *, many: bool = False) -> Description:
    """Describe a backend that the build's C++ compiler has compiled.

    Parameters
    ----------
    row : Row
        The backend's row in backend.toml.
    flags : str
        Compiler flags, and further settings that matter for speed.
    many : bool
        One call trains many networks.
    """
    return Description(
        name=row.name,
        language=row.language,
        compiler=compiled.build_info().CXX_COMPILER,
        flags=flags,
        clock="std::chrono::steady_clock",
        activations=ACTIVATIONS,
        losses=CORE_LOSSES,
        many=many,
        optimizers=tuple(OPTIMIZERS),
    )


def network_arguments(network: Network) -> tuple[tuple[int, ...], list[tuple[str, float]], str]:
    """Return a module's arguments for a network: sizes, name and parameter of each layer's activation, and loss."""
    named = [(f.key, float(f.parameter)) for f in network.elementwise_activations]
    fused = [(str(network.output_activation), 0.0)] * network.fused
    return network.sizes, named + fused, network.loss


class Plain(Backend):
    """The backend `cpp`: plain C++ on one thread.

    Parameters
    ----------
    row : Row
        The backend's row in backend.toml.

    Raises
    ------
    BackendUnavailable
        The extension module is absent, or its sources have changed since it was compiled.
    """

    products: ClassVar[str] = "loops"  # what computes the products, as the module names it

    def __init__(self, row: Row) -> None:
        self._module = extension()
        super().__init__(describe(row, isa.flags()))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return CppModel(network, theta, threads, self._module, self.products)


class Textbook(Plain):
    """The backend `cpp-textbook`: the same network with the products of native/cpp/textbook.hpp."""

    products = "textbook"


class WithOptimizers(Model):
    """A model whose extension module has the optimizers of native/cpp/optimizer.hpp."""

    _mlp: Any

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        seconds: float = self._mlp.train_with(first, count, batch_size, learning_rate)
        return seconds

    def _optimizer_state(self, optimizer: Named) -> State:
        return optimizer.unpack(*self._mlp.optimizer_state())

    def _set_optimizer_state(self, optimizer: Named, state: State) -> None:
        steps, vectors = optimizer.pack(state)
        self._mlp.set_optimizer(optimizer.name, optimizer.settings, steps, np.array(vectors))


class CppModel(WithOptimizers):
    """A network inside an extension module, on one thread.

    Parameters
    ----------
    network, theta, threads
        As for any `Model`.
    module
        The extension module.
    products : str or library
        What computes the products: a name, or a library that the module has opened.
    """

    def __init__(self, network: Network, theta: Array, threads: int, module: Any, products: Any) -> None:
        super().__init__(network, theta, threads)
        self.threads = 1
        make = module.Mlp32 if network.dtype == "float32" else module.Mlp64
        self._mlp: Mlp32 | Mlp64 = make(*network_arguments(network), network.l2, theta, products)

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._mlp.load(x, y, order)

    def _forward(self, first: int, count: int) -> Array:
        return self._mlp.forward(first, count)

    def _forward_loss(self, first: int, count: int) -> float:
        return self._mlp.loss(first, count)

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        return self._mlp.loss_and_gradient(first, count)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        return self._mlp.train(first, count, batch_size, learning_rate)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        return self._mlp.time(operation, first, count, repeats, probes)

    def _theta(self) -> Array:
        return self._mlp.theta()

    def _is_finite(self) -> bool:
        return self._mlp.is_finite()

    def _set_theta(self, theta: Array) -> None:
        self._mlp.set_theta(theta)

    def _reset(self) -> None:
        self._mlp.reset()

    def _close(self) -> None:
        del self._mlp
