"""What models and ensembles share at the public boundary: the checks of what is handed in, and being open or closed.

Nothing here computes. The messages name the field, the value and the rule.
"""

import math
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses
from pyfnn.errors import InvalidInput, PyfnnError
from pyfnn.network import Network

Array = NDArray[Any]
Order = NDArray[np.int64]
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


def check_count(field: str, value: Any) -> None:
    """A whole number, at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInput(f"{field} = {value!r}: must be a whole number, at least 1")


def check_rate(field: str, value: Any) -> None:
    """A finite number above 0."""
    number = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise InvalidInput(f"{field} = {value!r}: must be finite and above 0")


def check_array(field: str, array: Any, shape: tuple[int, ...], dtype: str) -> None:
    """A contiguous array of that shape and dtype, every value finite. -1 in `shape` stands for a number not known."""
    wanted = f"{'×'.join('rows' if n < 0 else str(n) for n in shape)} of {dtype}"
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{field} is a {type(array).__name__}: wanted a NumPy array, {wanted}")
    if array.shape != shape or array.dtype != np.dtype(dtype):
        got = f"{'×'.join(map(str, array.shape))} of {array.dtype}"
        raise InvalidInput(f"{field} is {got}: wanted {wanted}")
    if not array.flags.c_contiguous:
        raise InvalidInput(f"{field} is not C-contiguous: pass np.ascontiguousarray({field})")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"{_entry(field, array, ~np.isfinite(array))}: every value must be finite")


def check_order(field: str, order: Any, rows: int, *shape: int) -> int:
    """Row numbers of [0, rows), in that shape with one axis more; the length of that axis."""
    length = order.shape[-1] if isinstance(order, np.ndarray) and order.ndim == len(shape) + 1 else -1
    check_array(field, order, (*shape, length), "int64")
    if length < 1:
        raise InvalidInput(f"{field} is empty: at least one row number is needed")
    if order.min() < 0 or order.max() >= rows:
        raise InvalidInput(f"{_entry(field, order, (order < 0) | (order >= rows))}: row numbers lie in [0, {rows})")
    return length


def check_each(field: str, values: Any, members: int, bad: str, rule: str) -> None:
    """One float64 for each member, none of them `bad`: "negative", or "not positive"."""
    check_array(field, values, (members,), "float64")
    wrong = values < 0 if bad == "negative" else values <= 0
    if wrong.any():
        raise InvalidInput(f"{_entry(field, values, wrong)}: {rule}")


def _entry(field: str, array: Array, where: Array) -> str:
    """The first entry marked, as ``field[1, 2] = value``."""
    at = tuple(int(i) for i in np.argwhere(where)[0])
    return f"{field}[{', '.join(map(str, at))}] = {array[at]}"
