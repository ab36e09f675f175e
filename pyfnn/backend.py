"""The one contract: what a backend and its models are to everyone above them, and the checks at that boundary.

Validation happens here, once; the hooks of a subclass (`_load`, `_train`, ...) may trust what they are handed.
Many networks at once are `pyfnn.ensemble`'s; which backends exist is the registry's business.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses
from pyfnn.boundary import Array as Array  # part of the contract: to be had from here too
from pyfnn.boundary import Loadable, check_array, check_count, check_order, check_rate
from pyfnn.boundary import Order as Order
from pyfnn.ensemble import Ensemble, OneByOne
from pyfnn.errors import Diverged, InvalidInput, Unsupported
from pyfnn.network import Network

Operation = Literal["forward", "gradient"]
OPERATIONS: tuple[Operation, ...] = ("forward", "gradient")

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


class Model(Loadable):
    """One network with its parameters and data, on one backend. A context manager: leaving it closes it.

    Attributes
    ----------
    network : Network
    threads : int
        How many threads this model computes with; at most what was asked for.
    device_seconds : float or None
        What the last `train` or `time` took by the device's own clock, beside the seconds returned; None where there is
        no such clock.
    checksum : float
        Of the last `time` call: the sum over its repeats of the first output of the first row and the last of the
        last row (``forward``), or of the loss and dW_1[0, 0] (``gradient``).
    """

    kind: ClassVar[str] = "model"

    def __init__(self, network: Network, theta: Array, threads: int = 1) -> None:
        super().__init__(network, threads)
        check_array("theta", theta, (network.n_parameters,), network.dtype)
        self.checksum = math.nan

    def load(self, x: Array, y: Array, order: Order) -> None:
        """Copy data in. Untimed.

        Parameters
        ----------
        x : ndarray, shape (rows, m_0), C-contiguous, of the network's dtype
        y : ndarray, shape (rows, m_L), likewise
        order : ndarray of int64, shape (n,)
            Row numbers that `train` walks; repeats are fine.

        Raises
        ------
        InvalidInput
            Naming what was got and what was wanted; the model is unchanged.
        """
        self._check_open()
        rows = self._check_data(x, y)
        length = check_order("order", order, rows)
        self._load(x, y, order)
        self._n_rows, self._n_order = rows, length

    def forward(self, first: int, count: int) -> Array:
        """Outputs of rows [first, first+count): (count, m_L); probabilities where the loss is a cross-entropy."""
        self._check_range(first, count, self._n_rows, "rows")
        return self._forward(first, count)

    def loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        """Mean loss of rows [first, first+count), l2 term included, and its gradient, laid out as θ."""
        self._check_range(first, count, self._n_rows, "rows")
        return self._loss_and_gradient(first, count)

    def train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        """Gradient descent over order[first : first+count], minibatch by minibatch, the last as short as it comes.

        Returns
        -------
        float
            Seconds, on the implementation's own clock.

        Raises
        ------
        Diverged
            θ is no longer finite; it stays as it became, until `reset`.
        """
        self._check_range(first, count, self._n_order, "entries of order")
        check_count("batch_size", batch_size)
        check_rate("learning_rate", learning_rate)
        self.device_seconds = None
        seconds = self._train(first, count, batch_size, float(learning_rate))
        if not np.isfinite(self._theta()).all():
            steps = -(-count // batch_size)
            raise Diverged(f"theta is not finite after {steps} steps at learning_rate = {learning_rate}")
        return seconds

    def time(self, operation: Operation, first: int, count: int, repeats: int) -> float:
        """Seconds for `repeats` passes of `count` rows each, on the implementation's own clock.

        Repeat r works on rows [s, s+count) with s = (first + r·count) mod (rows − count + 1), so that nothing can be
        hoisted out of the loop. `checksum` takes in what each pass ends with, so that no pass can be left out.
        """
        if operation not in OPERATIONS:
            raise InvalidInput(f"operation = {operation!r}: must be one of {', '.join(OPERATIONS)}")
        self._check_range(first, count, self._n_rows, "rows")
        check_count("repeats", repeats)
        self.device_seconds = None
        seconds, self.checksum = self._time(operation, first, count, repeats)
        return seconds

    def theta(self) -> Array:
        """A copy of the parameters: (n_parameters,)."""
        self._check_open()
        return self._theta()

    def reset(self) -> None:
        """Back to the θ the model was made with."""
        self._check_open()
        self._reset()

    @abstractmethod
    def _load(self, x: Array, y: Array, order: Order) -> None: ...

    @abstractmethod
    def _forward(self, first: int, count: int) -> Array: ...

    @abstractmethod
    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]: ...

    @abstractmethod
    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float: ...

    @abstractmethod
    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]: ...

    @abstractmethod
    def _theta(self) -> Array: ...

    @abstractmethod
    def _reset(self) -> None: ...


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
