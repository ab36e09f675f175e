"""The contract of a backend: its description, and the models and ensembles that it makes.

A backend validates here, once; the hooks of a subclass (`_create`, `_create_many`) may trust their arguments. The
contract of a model is in `model`, that of an ensemble in `ensemble`; `registry` lists the backends.
"""

import platform
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pyfnn.ensemble import Ensemble, OneByOne
from pyfnn.errors import InvalidInput, Unsupported, shown
from pyfnn.model import OPERATIONS, Model
from pyfnn.network import Network
from pyfnn.validation import Array

if TYPE_CHECKING:
    from pyfnn.manifest import Row

__all__ = ["CORE_ACTIVATIONS", "CORE_LOSSES", "OPERATIONS", "Backend", "Description", "Model", "check_support"]

CORE_ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu")  # of every plain backend
CORE_LOSSES = ("squared_error", "half_squared_error", "softmax_cross_entropy", "sigmoid_cross_entropy")  # likewise


@dataclass(frozen=True)
class Description:
    """Properties of an implementation, exactly as the protocol's `hello` carries them.

    Attributes
    ----------
    name, language : str
    compiler, flags : str
        Compiler and flags of the build; for an interpreter, its name and version and those of its libraries.
    clock : str
        The monotonic clock that measures `seconds`.
    activations, losses : tuple of str
        Names without parameters.
    arithmetic : {"native", "float64"}
        ``native``: computes in the network's dtype. ``float64``: in double precision for both dtypes.
    deterministic : bool
        The same call twice gives the same bits.
    many : bool
        One call trains many networks. Without it, `Backend.create_many` trains them one after the other.
    optimizers : tuple of str
        Names of the optimizers that models train by: see `pyfnn.optimizers`.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "name", "language", "compiler", "flags", "activations", "losses", "arithmetic", "deterministic", "clock",
    )  # fmt: skip
    """Keys that every `hello` and every `fnn_about` must have; `many` and `optimizers` are optional."""

    name: str
    language: str
    compiler: str
    flags: str
    clock: str
    activations: tuple[str, ...] = CORE_ACTIVATIONS
    losses: tuple[str, ...] = CORE_LOSSES
    arithmetic: str = "native"
    deterministic: bool = True
    many: bool = False
    optimizers: tuple[str, ...] = ("sgd",)

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "Description":
        """Read the fields of a `hello` or an `fnn_about`: all of `FIELDS`, and the optional ones; ignore others."""
        return cls(
            name=fields["name"],
            language=fields["language"],
            compiler=fields["compiler"],
            flags=fields["flags"],
            clock=fields["clock"],
            activations=tuple(fields["activations"].split(",")),
            losses=tuple(fields["losses"].split(",")),
            arithmetic=fields["arithmetic"],
            deterministic=fields["deterministic"] == "yes",
            many=fields.get("many", "no") == "yes",
            optimizers=tuple(fields.get("optimizers", "sgd").split(",")),
        )

    @classmethod
    def in_python(
        cls,
        row: "Row",
        libraries: Mapping[str, str],
        flags: str,
        activations: Iterable[str] = CORE_ACTIVATIONS,
        losses: Iterable[str] = CORE_LOSSES,
        *,
        many: bool = False,
    ) -> "Description":
        """Describe a backend that is written in Python and timed by `time.perf_counter`.

        Parameters
        ----------
        row : Row
            The backend's row in backend.toml.
        libraries : dict of str to str
            Version of each library that computes, by its name.
        flags : str
            Settings of the libraries that matter for speed.
        activations, losses : iterable of str
            Names without parameters.
        many : bool
            One call trains many networks.
        """
        parts = [("CPython", platform.python_version()), *libraries.items()]
        return cls(
            name=row.name,
            language=row.language,
            compiler=", ".join(f"{part} {version}" for part, version in parts),
            flags=flags,
            clock="time.perf_counter",
            activations=tuple(activations),
            losses=tuple(losses),
            many=many,
        )


class Backend(ABC):
    """One implementation, which makes models and ensembles.

    Parameters
    ----------
    description : Description

    Notes
    -----
    The constructor of a subclass takes a row of backend.toml, and raises `BackendUnavailable` where the backend cannot
    run.
    """

    def __init__(self, description: Description) -> None:
        self._description = description

    @property
    def description(self) -> Description:
        """Properties of this implementation."""
        return self._description

    def create(self, network: Network, theta: Array, threads: int = 1) -> Model:
        """Make a model of `network` with initial parameters `theta`.

        Parameters
        ----------
        network : Network
        theta : ndarray, shape (n_parameters,), C-contiguous, of the network's dtype
            Copied.
        threads : int
            Number of threads that the model may use, at least 1.

        Returns
        -------
        Model

        Raises
        ------
        Unsupported
            The backend lacks a function of the network; the message names it.
        InvalidInput
            θ has another shape, dtype or memory layout, or a value that is not finite.
        """
        check_support(self.description, network)
        description = self.description
        return self._create(network, theta, threads).made_by(self._create, description.name, description.optimizers)

    @abstractmethod
    def _create(self, network: Network, theta: Array, threads: int) -> Model: ...

    def create_many(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None = None, threads: int = 1
    ) -> Ensemble:
        """Make an ensemble: K networks of one shape, each with its own θ and λ, trained by one call.

        Parameters
        ----------
        network : Network
            Sizes, functions, loss and dtype of all members.
        thetas : ndarray, shape (K, n_parameters), C-contiguous, of the network's dtype
            Copied.
        l2 : ndarray of float64, shape (K,), optional
            λ of each member; by default the network's for all.
        threads : int
            Number of threads that the whole ensemble may use, at least 1.

        Returns
        -------
        Ensemble

        Raises
        ------
        Unsupported, InvalidInput
            As `create`.
        """
        check_support(self.description, network)
        return self._create_many(network, thetas, l2, threads)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        """Make K models, trained one after the other. A backend whose description has `many` overrides this."""
        return OneByOne(self._create, network, thetas, l2, threads)


def check_support(description: Description, network: Any) -> None:
    """Raise `Unsupported` where the implementation lacks an activation or the loss of a network; name it.

    Raise `InvalidInput` where it is no network.
    """
    if not isinstance(network, Network):
        raise InvalidInput(f"network = {shown(network)}: must be a pyfnn.Network")
    for activation in network.elementwise_activations:
        if activation.key not in description.activations:
            raise Unsupported(f"{description.name} has no activation {activation.key!r}")
    if network.loss not in description.losses:
        raise Unsupported(f"{description.name} has no loss {network.loss!r}")
