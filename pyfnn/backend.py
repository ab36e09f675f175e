"""The one contract: what a backend and its models are to everyone above them, and the checks at that boundary.

Validation lives here, once; the hooks of a subclass (`_load`, `_train`, ...) may trust what they are handed.
Which backends exist is the registry's business.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses
from pyfnn.errors import Diverged, InvalidInput, PyfnnError, Unsupported
from pyfnn.network import Network

Array = NDArray[Any]
Order = NDArray[np.int64]
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

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "Description":
        """From the words of a `hello` or an `fnn_about`, in which every key must be; further keys are ignored."""
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
        )


class Model(ABC):
    """One network with its parameters and data, on one backend. A context manager: leaving it closes it.

    Attributes
    ----------
    network : Network
    threads : int
        How many threads this model computes with; at most what was asked for.
    checksum : float
        Of the last `time` call: the sum over its repeats of the first output of the first row and the last of the
        last row (``forward``), or of the loss and dW_1[0, 0] (``gradient``).
    """

    def __init__(self, network: Network, theta: Array, threads: int = 1) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InvalidInput(f"threads = {threads!r}: must be a whole number, at least 1")
        _check_array("theta", theta, (network.n_parameters,), network.dtype)
        self.network = network
        self.threads = threads
        self.checksum = math.nan
        self._n_rows = 0
        self._n_order = 0
        self._closed = False

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
        rows = x.shape[0] if isinstance(x, np.ndarray) and x.ndim == 2 else -1
        if rows == 0:
            raise InvalidInput("x is empty: at least one row is needed")
        _check_array("x", x, (rows, self.network.sizes[0]), self.network.dtype)
        _check_array("y", y, (rows, self.network.sizes[-1]), self.network.dtype)
        losses.TABLE[self.network.loss].check_targets(y)
        length = len(order) if isinstance(order, np.ndarray) and order.ndim == 1 else -1
        _check_array("order", order, (length,), "int64")
        if length < 1:
            raise InvalidInput("order is empty: at least one row number is needed")
        if order.min() < 0 or order.max() >= rows:
            at = int(np.argmax((order < 0) | (order >= rows)))
            raise InvalidInput(f"order[{at}] = {order[at]}: row numbers lie in [0, {rows})")
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
        _check_count("batch_size", batch_size)
        number = isinstance(learning_rate, (int, float, np.floating)) and not isinstance(learning_rate, bool)
        if not number or not 0 < learning_rate < math.inf:
            raise InvalidInput(f"learning_rate = {learning_rate!r}: must be finite and above 0")
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
        _check_count("repeats", repeats)
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

    def close(self) -> None:
        """Let go of everything. Twice is fine."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise PyfnnError("this model is closed")

    def _check_range(self, first: int, count: int, length: int, what: str) -> None:
        self._check_open()
        if length == 0:
            raise PyfnnError("this model has no data yet: call load first")
        _check_count("count", count)
        whole = isinstance(first, (int, np.integer)) and not isinstance(first, bool)
        if not whole or first < 0 or first + count > length:
            raise InvalidInput(f"first = {first!r}, count = {count!r}: must lie within the {length} {what}")

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

    @abstractmethod
    def _close(self) -> None: ...


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


def _check_count(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInput(f"{field} = {value!r}: must be a whole number, at least 1")


def _check_array(field: str, array: Any, shape: tuple[int, ...], dtype: str) -> None:
    wanted = f"{'×'.join('rows' if n < 0 else str(n) for n in shape)} of {dtype}"
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{field} is a {type(array).__name__}: wanted a NumPy array, {wanted}")
    if array.shape != shape or array.dtype != np.dtype(dtype):
        got = f"{'×'.join(map(str, array.shape))} of {array.dtype}"
        raise InvalidInput(f"{field} is {got}: wanted {wanted}")
    if not array.flags.c_contiguous:
        raise InvalidInput(f"{field} is not C-contiguous: pass np.ascontiguousarray({field})")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InvalidInput(f"{field}[{', '.join(map(str, at))}] = {array[at]}: every value must be finite")
