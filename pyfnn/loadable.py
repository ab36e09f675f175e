"""Common part of models and ensembles: data that can be loaded repeatedly, clocks, and closing. Computes nothing."""

import ctypes
import functools
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from pyfnn import losses
from pyfnn.errors import InvalidInput, PyfnnError, Unsupported, shown
from pyfnn.network import Network
from pyfnn.validation import MOST_THREADS, check_array, check_count, is_whole

Self = TypeVar("Self", bound="Loadable")
Result = TypeVar("Result")
Method = TypeVar("Method", bound=Callable[..., Any])
Clocks = tuple[float | None, float]  # CPU time of the process, where it is read, and wall clock, in seconds


def exclusive(method: Method) -> Method:
    """Make a method of a `Loadable` raise an error while another thread is inside of one, and in a forked child.

    Implementations release the GIL: without this, `close` or `load` would free memory under a call that uses it. A
    forked child has neither the threads of its parent's model nor, safely, its device or its process.
    """

    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        if self._inherited:
            if method.__name__ == "close":
                return None
            raise PyfnnError(
                f"{method.__name__}: this {self.kind} is of the process that forked this one; make another"
            )
        if not self._in_use.acquire(False):  # by position: a keyword takes 70 ns
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
        CPU time of the process that computes, all threads, in the last timed call; None where it is not read.
    reads_cpu_clock : bool
        Read `cpu_seconds` around each timed call in this process. False by default: these two system calls take half a
        microsecond, as long as a step of a small network. A worker process reads them.
    """

    kind: ClassVar[str]
    reads_cpu_clock = False

    def __init__(self, network: Network, threads: int) -> None:
        self.network = network
        self.threads = check_count("threads", threads, MOST_THREADS)
        self.device_seconds: float | None = None
        self.cpu_seconds: float | None = None
        self._n_rows = 0
        self._n_order = 0
        self._closed = False
        self._in_use = threading.RLock()  # held by the thread that is inside of a method
        self._inherited = False  # True in a forked child
        _alive.add(self)

    @property
    def data_bytes(self) -> int:
        """Size of the loaded x and y, without their padding."""
        first, *_, last = self.network.sizes
        return self._n_rows * (first + last) * np.dtype(self.network.dtype).itemsize

    def offers_running_loss(self, batch_size: int) -> bool:
        """Return True where `train_with_loss` takes minibatches of this size."""
        del batch_size
        return False

    def _check_running_loss(self, batch_size: int) -> None:
        if not self.offers_running_loss(batch_size):
            raise Unsupported(f"this {self.kind} sums no losses in steps on {batch_size} rows: use train and loss")

    @exclusive
    def close(self) -> None:
        """Release all resources. A second call does nothing, nor does one in a forked child."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _timed(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return work(*arguments), which is `seconds` or a tuple that begins with them.

        Where the CPU clock is read, and not by the work, set `cpu_seconds` to as large a share as `seconds` has.
        """
        self.device_seconds = self.cpu_seconds = None
        if not self.reads_cpu_clock:
            return work(*arguments)
        start, cpu_start = time.perf_counter(), time.process_time()
        result = work(*arguments)
        if self.cpu_seconds is None:
            cpu_seconds, wall_seconds = time.process_time() - cpu_start, time.perf_counter() - start
            seconds: Any = result[0] if isinstance(result, tuple) else result
            self.cpu_seconds = cpu_seconds * (seconds / wall_seconds if seconds < wall_seconds else 1.0)
        return result

    def _read_clocks(self) -> Clocks:
        """Read the clocks just before timed work."""
        cpu = time.process_time() if self.reads_cpu_clock else None
        return cpu, time.perf_counter()

    def _seconds_since(self, start: Clocks) -> float:
        """Return the seconds since the reading, and set `cpu_seconds` where the CPU clock is read."""
        seconds = time.perf_counter() - start[1]
        if start[0] is not None:
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
            raise InvalidInput(f"first = {shown(first)}, count = {rows}: must lie within the {length} {entries}")
        return int(first), rows

    @abstractmethod
    def _close(self) -> None: ...


_alive: weakref.WeakSet[Loadable] = weakref.WeakSet()


def _leave_to_parent() -> None:
    """Mark what this process inherited; never free it: native destructors would wait for threads that are not here.

    Python calls this in every child that it may run in. (A mark is read without the system call of `os.getpid`.)
    """
    for inherited in list(_alive):
        inherited._inherited = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
