"""The contract of a model, one network with its parameters and data, and its checks at the public boundary.

`Loadable` is the part that models and ensembles share. Nothing here computes a network.
"""

import functools
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np

from pyfnn import losses
from pyfnn.errors import Diverged, InvalidInput, PyfnnError, Unsupported
from pyfnn.network import Network
from pyfnn.validation import Array, Order, check_array, check_count, check_entries, check_order, check_rate, is_whole

Operation = Literal["forward", "gradient"]
OPERATIONS: tuple[Operation, ...] = ("forward", "gradient")
Self = TypeVar("Self", bound="Loadable")
SelfModel = TypeVar("SelfModel", bound="Model")
Result = TypeVar("Result")
Method = TypeVar("Method", bound=Callable[..., Any])
Clocks = tuple[float, float]  # CPU time of the process and wall clock, in seconds


def exclusive(method: Method) -> Method:
    """Make a method of a `Loadable` raise an error while another thread is inside of one.

    Implementations release the GIL: without this, `close` or `load` would free memory under a call that uses it.
    """

    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        if not self._in_use.acquire(blocking=False):
            raise PyfnnError(f"{method.__name__}: another thread uses this {self.kind}; one thread at a time may")
        try:
            return method(self, *arguments, **named)
        finally:
            self._in_use.release()

    return cast(Method, call)


class Loadable(ABC):
    """Common part of models and ensembles: data that can be loaded repeatedly, and closing. A context manager.

    Attributes
    ----------
    kind : str
        "model" or "ensemble", for messages.
    network : Network
    threads : int
        Number of threads that compute; at most the number given to the constructor.
    device_seconds : float or None
        Duration of the last timed call on the device's own clock, from before its first step to after its last; None
        where there is no such clock.
    cpu_seconds : float or None
        CPU time of the process that computes, all threads, in the last timed call; None where it does not report it.
    """

    kind: ClassVar[str]

    def __init__(self, network: Network, threads: int) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InvalidInput(f"threads = {threads!r}: must be a whole number, at least 1")
        self.network = network
        self.threads = threads
        self.device_seconds: float | None = None
        self.cpu_seconds: float | None = None
        self._n_rows = 0
        self._n_order = 0
        self._closed = False
        self._in_use = threading.RLock()  # held by the thread that is inside of a method

    @exclusive
    def close(self) -> None:
        """Release all resources. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _timed(self, work: Callable[[], Result]) -> Result:
        """Run a timed call and set `cpu_seconds`, where the call itself did not: as large a share as `seconds` has."""
        self.device_seconds = self.cpu_seconds = None
        start, cpu_start = time.perf_counter(), time.process_time()
        result = work()
        if self.cpu_seconds is None:
            cpu_seconds, wall_seconds = time.process_time() - cpu_start, time.perf_counter() - start
            seconds: Any = result[0] if isinstance(result, tuple) else result
            self.cpu_seconds = cpu_seconds * min(1.0, float(seconds) / wall_seconds)
        return result

    @staticmethod
    def _read_clocks() -> Clocks:
        """Read the clocks just before timed work."""
        cpu = time.process_time()
        return cpu, time.perf_counter()

    def _seconds_since(self, start: Clocks) -> float:
        """Return the seconds since the reading, and set `cpu_seconds`."""
        seconds = time.perf_counter() - start[1]
        self.cpu_seconds = time.process_time() - start[0]
        return seconds

    def _check_open(self) -> None:
        if self._closed:
            raise PyfnnError(f"this {self.kind} is closed")

    def _check_data(self, x: Any, y: Any) -> int:
        """Check x and y, and return the number of rows."""
        rows = self._check_inputs(x)
        check_array("y", y, (rows, self.network.sizes[-1]), self.network.dtype)
        losses.TABLE[self.network.loss].check_targets(y)
        return rows

    def _check_inputs(self, x: Any) -> int:
        rows = x.shape[0] if isinstance(x, np.ndarray) and x.ndim == 2 else -1
        if rows == 0:
            raise InvalidInput("x is empty: at least one row is needed")
        check_array("x", x, (rows, self.network.sizes[0]), self.network.dtype)
        return rows

    def _check_range(self, first: int, count: int, length: int, entries: str) -> tuple[int, int]:
        """Check a range and return it in Python's integers: those of NumPy wrap in sums."""
        self._check_open()
        if length == 0:
            raise PyfnnError(f"this {self.kind} has no data yet: call load first")
        rows = check_count("count", count)
        if not is_whole(first) or not 0 <= int(first) <= length - rows:
            raise InvalidInput(f"first = {first!r}, count = {count!r}: must lie within the {length} {entries}")
        return int(first), rows

    @abstractmethod
    def _close(self) -> None: ...


def placeholder_targets(network: Network, rows: int) -> Array:
    """Return targets that every loss accepts, for rows without any: 1 in the first column, else 0; (rows, m_L)."""
    y = np.zeros((rows, network.sizes[-1]), network.dtype)
    y[:, 0] = 1
    return y


class Model(Loadable):
    """One network with its parameters and data, on one backend. A context manager: leaving it closes the model.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,), C-contiguous, of the network's dtype
        Initial parameters.
    threads : int
        Number of threads that the model may use, at least 1.

    Attributes
    ----------
    network : Network
    threads : int
        Number of threads that compute; at most the number given.
    device_seconds : float or None
        Duration of the last `train` or `time` on the device's own clock; None where there is no such clock.
    cpu_seconds : float or None
        CPU time of the process that computes, all threads, in the last `train` or `time`; None where it does not report
        it.
    holds_exact_theta : bool
        θ inside has the network's dtype. Otherwise `theta` rounds it, and `set_theta(theta())` changes it.
    checksum : float
        Checksum of the last `time` call: the sum, over its repeats, of one probed output (``forward``), or of the loss
        and one probed entry of the gradient (``gradient``).

    Raises
    ------
    InvalidInput
        An argument breaks its rule; the message names the field, the value and the rule.
    """

    kind: ClassVar[str] = "model"
    holds_exact_theta = True

    def __init__(self, network: Network, theta: Array, threads: int = 1) -> None:
        super().__init__(network, threads)
        check_array("theta", theta, (network.n_parameters,), network.dtype)
        self._initial: Array = theta.copy()
        self._make: Maker | None = None
        self._second: Model | None = None
        self.checksum = math.nan

    @exclusive
    def load(self, x: Array, y: Array, order: Order) -> None:
        """Copy the data; θ stays. Not timed.

        Parameters
        ----------
        x : ndarray, shape (rows, m_0), C-contiguous, of the network's dtype
        y : ndarray, shape (rows, m_L), C-contiguous, of the network's dtype
        order : ndarray of int64, shape (n,)
            Row numbers that `train` uses, in order; they may repeat.

        Raises
        ------
        InvalidInput
            An argument breaks its rule; the message names the field, the value and the rule. The model is unchanged.
        """
        self._check_open()
        rows = self._check_data(x, y)
        length = check_order("order", order, rows)
        self._load(x, y, order)
        self._n_rows, self._n_order = rows, length

    @exclusive
    def forward(self, first: int, count: int) -> Array:
        """Return the outputs of rows [first, first+count): (count, m_L); probabilities under a cross-entropy."""
        first, count = self._check_range(first, count, self._n_rows, "rows")
        return self._forward(first, count)

    @exclusive
    def predict(self, x: Array) -> Array:
        """Return the outputs for new rows. The loaded data stay; none need be loaded.

        Parameters
        ----------
        x : ndarray, shape (rows, m_0), C-contiguous, of the network's dtype

        Returns
        -------
        ndarray, shape (rows, m_L)
            As `forward` returns them: probabilities under a cross-entropy.

        Raises
        ------
        InvalidInput
            x has another shape, dtype or memory layout, no row, or a value that is not finite.
        """
        self._check_open()
        self._check_inputs(x)
        return self._predict(x)

    @exclusive
    def loss(self, first: int, count: int) -> float:
        """Return the mean loss of rows [first, first+count), l2 term included, by a forward pass where there is one."""
        first, count = self._check_range(first, count, self._n_rows, "rows")
        return self._forward_loss(first, count)

    @exclusive
    def loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        """Return the mean loss of rows [first, first+count), l2 term included, and its gradient, laid out as θ."""
        first, count = self._check_range(first, count, self._n_rows, "rows")
        return self._loss_and_gradient(first, count)

    @exclusive
    def train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        """Train by gradient descent over order[first : first+count] in minibatches; the last may be shorter.

        Parameters
        ----------
        first, count : int
            Entries of the order.
        batch_size : int
        learning_rate : float
            Finite and above 0.

        Returns
        -------
        float
            Seconds, on the implementation's own clock.

        Raises
        ------
        Diverged
            θ is no longer finite; it keeps its value until `reset`.
        InvalidInput
            An argument breaks its rule; nothing was trained.
        """
        first, count = self._check_range(first, count, self._n_order, "entries of order")
        batch_size = check_count("batch_size", batch_size)
        check_rate("learning_rate", learning_rate)
        seconds = self._timed(lambda: self._train(first, count, batch_size, float(learning_rate)))
        if not np.isfinite(self._theta()).all():
            steps = -(-count // batch_size)
            raise Diverged(f"theta is not finite after {steps} steps at learning_rate = {learning_rate}")
        return seconds

    @exclusive
    def time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order | None = None) -> float:
        """Return the seconds of `repeats` passes of `count` rows each, on the implementation's own clock.

        Repeat r works on rows [s, s+count) with s = (first + r·count) mod (rows − count + 1), so that no compiler can
        move work out of the loop. It adds entry ``probes[r mod n]`` of what it computes to `checksum`. Random probes
        show, within the timed loop, that every pass computes all of its outputs or its whole gradient.

        Parameters
        ----------
        operation : {"forward", "gradient"}
        first, count : int
            Rows of the first pass.
        repeats : int
        probes : ndarray of int64, shape (n,), optional
            Entries of the outputs, (count, m_L) row by row, or of the gradient, laid out as θ. Without probes: the
            first and the last entry.

        Raises
        ------
        InvalidInput
            An argument breaks its rule.
        """
        if operation not in OPERATIONS:
            raise InvalidInput(f"operation = {operation!r}: must be one of {', '.join(OPERATIONS)}")
        first, count = self._check_range(first, count, self._n_rows, "rows")
        repeats = check_count("repeats", repeats)
        entries = count * self.network.sizes[-1] if operation == "forward" else self.network.n_parameters
        if probes is None:
            probes = np.array([0, entries - 1])
        check_entries("probes", probes, entries)
        entered = probes
        seconds, self.checksum = self._timed(lambda: self._time(operation, first, count, repeats, entered))
        return seconds

    @exclusive
    def theta(self) -> Array:
        """Return a copy of the parameters: (n_parameters,)."""
        self._check_open()
        return self._theta()

    def initial_theta(self) -> Array:
        """Return a copy of the parameters that the model was made with, which `reset` restores: (n_parameters,)."""
        return np.array(self._initial)

    @exclusive
    def set_theta(self, theta: Array) -> None:
        """Replace the parameters; `reset` still restores those that the model was made with.

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,), C-contiguous, of the network's dtype
            Copied.

        Raises
        ------
        InvalidInput
            θ has another shape, dtype or memory layout, or a value that is not finite.
        Unsupported
            The implementation is a library that does not export ``fnn_set_theta``, or a class without `_set_theta`.
        """
        self._check_open()
        check_array("theta", theta, (self.network.n_parameters,), self.network.dtype)
        self._set_theta(theta)

    @exclusive
    def reset(self) -> None:
        """Restore the initial θ."""
        self._check_open()
        self._reset()

    def made_by(self: SelfModel, make: "Maker") -> SelfModel:
        """Keep the function that made this model, by which `predict` makes another one for its rows; return self."""
        self._make = make
        return self

    def _predict(self, x: Array) -> Array:
        other = self._second_model()
        other.load(x, placeholder_targets(self.network, len(x)), np.zeros(1, np.int64))
        return other.forward(0, len(x))

    def _second_model(self) -> "Model":
        """Return another model with this θ, for the rows of `predict`; it is made once if its θ can be set."""
        if self._second is not None:
            try:
                self._second.set_theta(self._theta())
            except Unsupported:
                self._second.close()
                self._second = None
        if self._second is None:
            if self._make is None:
                raise PyfnnError("this model cannot predict: no backend made it")
            self._second = self._make(self.network, self._theta(), self.threads)
        return self._second

    @exclusive
    def close(self) -> None:
        """Release all resources. A second call does nothing."""
        if self._second is not None:
            self._second.close()
        super().close()

    def _forward_loss(self, first: int, count: int) -> float:
        return self._loss_and_gradient(first, count)[0]

    def _reset(self) -> None:
        self._set_theta(self._initial)

    @abstractmethod
    def _load(self, x: Array, y: Array, order: Order) -> None: ...

    @abstractmethod
    def _forward(self, first: int, count: int) -> Array: ...

    @abstractmethod
    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]: ...

    @abstractmethod
    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float: ...

    @abstractmethod
    def _time(
        self, operation: Operation, first: int, count: int, repeats: int, probes: Order
    ) -> tuple[float, float]: ...

    @abstractmethod
    def _theta(self) -> Array: ...

    def _set_theta(self, theta: Array) -> None:
        del theta
        raise Unsupported(f"{type(self).__name__} takes no theta but its first: it has no _set_theta")


Maker = Callable[[Network, Array, int], Model]  # (network, theta, threads) -> model
