"""The contract of a model: one network's parameters, its loaded rows, and the calls on them."""

import math
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from pyfnn import losses
from pyfnn.errors import Diverged, InvalidInput, PyfnnError
from pyfnn.network import Network
from pyfnn.validation import Array, Order, check_array, check_count, check_order, check_rate

Operation = Literal["forward", "gradient"]
OPERATIONS: tuple[Operation, ...] = ("forward", "gradient")
Self = TypeVar("Self", bound="Loadable")


class Loadable(ABC):
    """Takes data, once or again, and is closed in the end. A context manager: leaving it closes it.

    Attributes
    ----------
    network : Network
    threads : int
        How many threads it computes with; at most what was asked for.
    device_seconds : float or None
        Of the last timed call, by the device's own clock, from before the first step until after the last; None where
        there is no such clock.
    """

    kind: ClassVar[str]

    def __init__(self, network: Network, threads: int) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InvalidInput(f"threads = {threads!r}: must be a whole number, at least 1")
        self.network = network
        self.threads = threads
        self.device_seconds: float | None = None
        self._n_rows = 0
        self._n_order = 0
        self._closed = False

    def close(self) -> None:
        """Let go of everything. Twice is fine."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise PyfnnError(f"this {self.kind} is closed")

    def _check_data(self, x: Any, y: Any) -> int:
        """How many rows there are."""
        rows = x.shape[0] if isinstance(x, np.ndarray) and x.ndim == 2 else -1
        if rows == 0:
            raise InvalidInput("x is empty: at least one row is needed")
        check_array("x", x, (rows, self.network.sizes[0]), self.network.dtype)
        check_array("y", y, (rows, self.network.sizes[-1]), self.network.dtype)
        losses.TABLE[self.network.loss].check_targets(y)
        return rows

    def _check_range(self, first: int, count: int, length: int, what: str) -> None:
        self._check_open()
        if length == 0:
            raise PyfnnError(f"this {self.kind} has no data yet: call load first")
        check_count("count", count)
        whole = isinstance(first, (int, np.integer)) and not isinstance(first, bool)
        if not whole or first < 0 or first + count > length:
            raise InvalidInput(f"first = {first!r}, count = {count!r}: must lie within the {length} {what}")

    @abstractmethod
    def _close(self) -> None: ...


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
