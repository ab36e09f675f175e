"""Checks of arguments at the public boundary, shared by models and ensembles.

Each raises `InvalidInput`, whose message names the field, the value and the rule.
"""

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn.errors import InvalidInput, shown

Array = NDArray[Any]
Order = NDArray[np.int64]


MOST = 2**53
"""Largest count: a float64 holds it, and products with sizes of numbers fit a signed integer of 64 bits in C."""

LARGEST = sys.float_info.max
"""Largest finite number."""


def is_whole(value: Any) -> bool:
    """Return True for a whole number of Python or NumPy, but for True and False, and for NumPy's times."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def is_number(value: Any) -> bool:
    """Return True for a real number of Python or NumPy, infinity and NaN too, but not for True and False."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, (bool, np.timedelta64))


MOST_THREADS = 4096
"""Largest number of threads of a model. No machine has more CPUs, and each thread takes memory."""


def check_count(field: str, value: Any, most: int = MOST) -> int:
    """Require a whole number from 1 to `most`, and return it as Python's, which never wraps."""
    if not is_whole(value) or not 1 <= int(value) <= most:
        limit = "2**53" if most == MOST else most
        raise InvalidInput(f"{field} = {shown(value)}: must be a whole number, at least 1 and at most {limit}")
    return int(value)


def check_seed(field: str, value: Any) -> int:
    """Require a whole number, 0 or more, and return it as Python's."""
    if not is_whole(value) or value < 0:
        raise InvalidInput(f"{field} = {shown(value)}: must be a whole number, 0 or more")
    return int(value)


def check_flag(field: str, value: Any) -> bool:
    """Require True or False, of Python or NumPy, and return it as Python's."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidInput(f"{field} = {shown(value)}: must be True or False")
    return bool(value)


def check_rate(field: str, value: Any) -> float:
    """Require a finite number above 0, and return it as Python's."""
    if not is_number(value) or not 0 < _as_float(value) <= LARGEST:
        raise InvalidInput(f"{field} = {shown(value)}: must be finite and above 0")
    return float(value)


def check_not_negative(field: str, value: Any) -> float:
    """Require a finite number, 0 or more, and return it as Python's."""
    if not is_number(value) or not 0 <= _as_float(value) <= LARGEST:
        raise InvalidInput(f"{field} = {shown(value)}: must be finite and 0 or more")
    return float(value)


def _as_float(value: Any) -> float:
    """Return a number as Python's: beside one of NumPy's narrow types, `LARGEST` would become infinite."""
    try:
        return float(value)
    except OverflowError:  # a whole number of Python
        return math.inf


def are_steps(first: Any, count: Any, length: int, batch_size: Any, rate: Any) -> bool:
    """Return True if these are Python's own numbers and describe steps within `length` entries.

    It asks what the checks of counts, ranges and rates ask, in a fifth of their time. Where it returns False, they
    decide: a number of NumPy is right, too.
    """
    return (
        type(first) is type(count) is type(batch_size) is int
        and type(rate) is float
        and first >= 0
        and 0 < count <= length - first
        and 0 < batch_size <= MOST
        and 0 < rate <= LARGEST
    )


def check_array(field: str, array: Any, shape: tuple[int, ...], dtype: str) -> None:
    """Require a C-contiguous, aligned array of that shape and dtype with finite values. -1 in `shape` fits no array.

    The message writes "rows" in place of -1.
    """
    plain = type(array) in (np.ndarray, np.memmap)  # a subclass may hide entries, as a masked array does
    if not plain or array.shape != shape or array.dtype != np.dtype(dtype):
        got = f"{'×'.join(map(str, array.shape))} of {array.dtype}" if plain else f"a {type(array).__name__}"
        needed = f"{'×'.join('rows' if n < 0 else str(n) for n in shape)} of {dtype}"
        raise InvalidInput(f"{field} is {got}: expected {'' if plain else 'a NumPy array, '}{needed}")
    if not array.flags.c_contiguous:
        raise InvalidInput(f"{field} is not C-contiguous: pass np.ascontiguousarray({field})")
    if not array.flags.aligned:
        raise InvalidInput(f"{field} is not aligned in memory: pass {field}.copy()")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"{_entry(field, array, ~np.isfinite(array))}: every value must be finite")


def check_order(field: str, order: Any, rows: int, *shape: int) -> int:
    """Require row numbers in [0, rows), int64, of shape (*shape, n) with n at least 1; return n."""
    length = order.shape[-1] if isinstance(order, np.ndarray) and order.ndim == len(shape) + 1 else -1
    check_array(field, order, (*shape, length), "int64")
    if length < 1:
        raise InvalidInput(f"{field} is empty: at least one row number is needed")
    if order.min() < 0 or order.max() >= rows:
        raise InvalidInput(f"{_entry(field, order, (order < 0) | (order >= rows))}: row numbers lie in [0, {rows})")
    return length


def check_entries(field: str, numbers: Any, entries: int) -> None:
    """Require at least one number of an entry in [0, entries): int64, of shape (n,)."""
    length = len(numbers) if isinstance(numbers, np.ndarray) and numbers.ndim == 1 else -1
    check_array(field, numbers, (length,), "int64")
    if length < 1:
        raise InvalidInput(f"{field} is empty: at least one entry is needed")
    if numbers.min() < 0 or numbers.max() >= entries:
        wrong = _entry(field, numbers, (numbers < 0) | (numbers >= entries))
        raise InvalidInput(f"{wrong}: entries lie in [0, {entries})")


def check_each(field: str, values: Any, members: int, bad: str, rule: str) -> None:
    """Require one float64 per member, shape (members,), none of them `bad`: "negative" or "not positive"."""
    check_array(field, values, (members,), "float64")
    wrong = values < 0 if bad == "negative" else values <= 0
    if wrong.any():
        raise InvalidInput(f"{_entry(field, values, wrong)}: {rule}")


def _entry(field: str, array: Array, where: Array) -> str:
    """Return the first marked entry as text: ``field[1, 2] = value``."""
    at = tuple(int(i) for i in np.argwhere(where)[0])
    return f"{field}[{', '.join(map(str, at))}] = {array[at]}"
