"""Odd values for each argument at the public boundary, and the call that must not end in a raw error of Python."""

import math
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pyfnn.errors import PyfnnError
from pyfnn.network import Network, initialize
from pyfnn.optimizers import Adam, Momentum

NETWORK = Network((3, 4, 2), "tanh", "squared_error", l2=0.01)
ROWS = 9
THETA = initialize(NETWORK, 1)
X = np.linspace(-1, 1, ROWS * 3, dtype="f4").reshape(ROWS, 3)
Y = np.linspace(0, 1, ROWS * 2, dtype="f4").reshape(ROWS, 2)
ORDER = np.arange(ROWS - 1, -1, -1)
STATE = Adam().start(THETA)


class Unprintable:
    """A value whose text cannot be made."""

    def __repr__(self) -> str:
        raise ValueError("no text")


def _arrays() -> Iterator[Any]:
    for array in (X, Y, ORDER, THETA):
        yield from (array[::2], array[:1], array[:0], array.T.copy(), array.astype("f8"), array.astype(">f4"))
        yield from (array.astype(object), array.astype("U3"), array.astype(complex), array.astype(bool))
        yield from (np.ma.masked_less(array, 0), np.asmatrix(array), array.tolist(), memoryview(array.tobytes()))
        yield np.full_like(array, -1)
        if array.dtype.kind == "f":
            yield from (np.full_like(array, math.nan), np.full_like(array, np.finfo(array.dtype).max))
        raw = np.zeros(array.nbytes + 1, np.uint8)
        yield np.frombuffer(raw.data, array.dtype, array.size, 1).reshape(array.shape)  # not aligned
        yield np.broadcast_to(array[:1], array.shape)
    yield from (
        np.array(3),
        np.array("x"),
        np.array(None),
        np.zeros((2, 0)),
        np.zeros((1, 1, 1)),
        np.zeros(2, [("a", "i4")]),
    )


_NUMBERS: tuple[Any, ...] = (
    *(0, 1, 2, 3, 9, 10, -1, 255, 256, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400),
    *(
        10**5000,
        0.0,
        -0.0,
        0.5,
        1.0,
        2.5,
        1e-320,
        1e308,
        math.inf,
        -math.inf,
        math.nan,
        1j,
        Decimal("0.1"),
        Fraction(1, 3),
    ),
    *(np.uint8(250), np.int8(-128), np.uint64(2**64 - 1), np.int64(2**62), np.float16(2), np.float32(0.1)),
    *(np.longdouble("1e4000"), np.bool_(True), np.datetime64("2025-01-01"), np.timedelta64(1, "s"), np.str_("tanh")),
)
_OTHERS: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        "",
        "tanh",
        "forward",
        "identity",
        "adam",
        "numpy",
        "float32",
        "\x00",
        "a" * 10_000,
        b"",
        b"tanh",
    ),
    *((), (3, 4, 2), [3, [4], 2], (3, "4", 2), (3, 4.0, 2), (3, 4.5, 2), (2**60, 2**60), (10**400, 1), (3, 0), (3, -1)),
    *(
        {},
        {"m": 1},
        {1: THETA, "v": THETA, "steps": 0},
        set(),
        range(3),
        iter([3, 4, 2]),
        object(),
        Unprintable(),
        int,
        len,
    ),
    *(np.dtype("float32"), np.float32, Ellipsis, NotImplemented, NETWORK, STATE, Momentum(0.5), Adam()),
)
with warnings.catch_warnings():  # NumPy advises against its matrices
    warnings.simplefilter("ignore")
    ODD = [*_NUMBERS, *_OTHERS, *_arrays()]
ANY = (
    st.integers(0, len(ODD) - 1).map(ODD.__getitem__)
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
)


def attempt(call: Callable[[], object]) -> bool:
    """Make a call; return False where it raises an error of pyfnn, which must have a message."""
    with np.errstate(all="ignore"):
        try:
            call()
        except PyfnnError as error:
            message = str(error)
        else:
            return True
    assert 0 < len(message.strip()) < 2000
    return False
