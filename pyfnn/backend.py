"""The one contract: what a backend and its models are to everyone above them, and the checks at that boundary.

Validation happens here, once; the hooks of a subclass (`_load`, `_train`, ...) may trust what they are handed.
Many networks at once are `pyfnn.ensemble`'s; which backends exist is the registry's business.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses
from pyfnn.ensemble import Ensemble, OneByOne
from pyfnn.errors import Unsupported
from pyfnn.model import OPERATIONS, Model
from pyfnn.network import Network
from pyfnn.validation import Array

__all__ = ["CORE_ACTIVATIONS", "CORE_LOSSES", "OPERATIONS", "Backend", "Description", "Model", "check_support"]

CORE_ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu")
CORE_LOSSES = tuple(losses.TABLE)


@dataclass(frozen=True)
class Description:
    """What an implementation says of itself, word for word what the protocol's `hello` carries.

    Attributes
    ----------
    name, language : str
    compiler, flags : str
        What built it; for an interpreter, its name and version.
    activations, losses : tuple of str
        Names without parameters.
    arithmetic : {"native", "float64"}
        ``native``: computes in the network's dtype. ``float64``: in double whatever the data.
    deterministic : bool
        The same call twice gives the same bits.
    clock : str
        The monotonic clock behind `seconds`.
    many : bool
        It trains many networks by one call. If not, `Backend.create_many` trains them one after the other.
    """

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

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "Description":
        """From the words of a `hello` or an `fnn_about`: every key but `many` must be there; others are ignored."""
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
        )


class Backend(ABC):
    """One implementation, ready to make models. Making it raises `BackendUnavailable` where it can't run."""

    @property
    @abstractmethod
    def description(self) -> Description:
        """What it says of itself."""

    def create(self, network: Network, theta: Array, threads: int = 1) -> Model:
        """A model of `network` that starts at `theta`.

        Parameters
        ----------
        network : Network
        theta : ndarray, shape (n_parameters,), C-contiguous, of the network's dtype
            Copied.
        threads : int
            How many threads it may use.

        Raises
        ------
        Unsupported
            The network asks for a function this backend does not have; the message names it.
        InvalidInput
            A θ of wrong shape, dtype or contiguity, or one that is not finite.
        """
        check_support(self.description, network)
        return self._create(network, theta, threads)

    @abstractmethod
    def _create(self, network: Network, theta: Array, threads: int) -> Model: ...

    def create_many(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None = None, threads: int = 1
    ) -> Ensemble:
        """K networks of one shape, each with its own θ and λ, trained by one call.

        Parameters
        ----------
        network : Network
            What all have in common.
        thetas : ndarray, shape (K, n_parameters), C-contiguous, of the network's dtype
            Copied.
        l2 : ndarray of float64, shape (K,), optional
            λ of each; the network's for all, if not given.
        threads : int
            How many threads it may use for all of them together.

        Raises
        ------
        Unsupported, InvalidInput
            As `create`.
        """
        check_support(self.description, network)
        return self._create_many(network, thetas, l2, threads)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        """One after the other. Who can do better overrides it, and says `many` in its description."""
        return OneByOne(self._create, network, thetas, l2, threads)


def check_support(description: Description, network: Network) -> None:
    """Raise `Unsupported`, by name, where a network asks for what an implementation does not have."""
    wanted = [f.name.split("(")[0] for f in network.hidden_activations]
    if not network.fused:
        wanted.append(str(network.output_activation).split("(")[0])
    for name in wanted:
        if name not in description.activations:
            raise Unsupported(f"{description.name} has no activation {name!r}")
    if network.loss not in description.losses:
        raise Unsupported(f"{description.name} has no loss {network.loss!r}")
