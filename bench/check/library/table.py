"""Table of the arguments that a library must refuse, by their names in fnn.h."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.check.library.calls import ENTRIES, READ, ROWS, WRITTEN, Raw
from pyfnn.backends.c import argument_names

_LARGEST = 2**63 - 1
_LEAST = ("rows", "n_order", "count", "batch_size", "repeats", "n_probes")  # each at least 1
_RATES = (math.nan, 0.0, -0.0, -0.1, math.inf, -math.inf)
_OPERATIONS = (2, -1, 2**31 - 1)


@dataclass(frozen=True)
class BadCall:
    """A call that a library must refuse.

    Attributes
    ----------
    kind : str
        The rule that it breaks: null, range, least, rate, order, operation or probes.
    function : str
    changed : dict
        The arguments that differ from those of a valid call, by name; None is NULL.
    """

    kind: str
    function: str
    changed: dict[str, Any]


def bad_calls(raw: Raw, *kinds: str) -> Iterator[BadCall]:
    """Generate the calls on a loaded model that a library must refuse; those of some kinds, or all."""
    for call in _all_bad_calls(raw):
        if not kinds or call.kind in kinds:
            yield call


def _all_bad_calls(raw: Raw) -> Iterator[BadCall]:
    for function in raw.functions:
        names = argument_names(function)
        for name in names:
            if name in ("model", *WRITTEN, *READ):
                yield BadCall("null", function, {name: None})
            if name in _LEAST:
                yield from (BadCall("least", function, {name: value}) for value in (0, -1, -_LARGEST - 1))
        if "first" in names:
            length = ENTRIES if function.startswith("fnn_train") else ROWS
            yield from (BadCall("range", function, {"first": a, "count": n}) for a, n in _ranges(length))
        if "learning_rate" in names:
            yield from (BadCall("rate", function, {"learning_rate": rate}) for rate in _RATES)
        if "learning_rates" in names:
            yield from (
                BadCall("rate", function, {"learning_rates": with_last(raw, "learning_rates", rate)}) for rate in _RATES
            )
        if "operation" in names:
            yield from (BadCall("operation", function, {"operation": value}) for value in _OPERATIONS)
        for name in ("order", "orders"):
            if name in names:
                yield from (BadCall("order", function, {name: order}) for order in _orders(raw.arrays[name]))
        if "probes" in names:
            yield from (BadCall("probes", function, changed) for changed in _probes(raw))


def _ranges(length: int) -> tuple[tuple[int, int], ...]:
    """Return pairs (first, count) outside [0, length), some with a sum that overflows an int64_t."""
    return (
        (0, length + 1), (length, 1), (length - 1, 2), (-1, 1), (-1, 4), (-4, 8), (-_LARGEST - 1, 1),
        (1, _LARGEST), (_LARGEST, 1), (_LARGEST, _LARGEST), (_LARGEST, 2),
    )  # fmt: skip


def _orders(valid: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for entry, value in ((0, -1), (7, ROWS), (-1, ROWS), (-1, 2**62), (3, -_LARGEST - 1)):
        order = valid.copy()
        order.flat[entry] = value
        yield order


def with_last(raw: Raw, name: str, value: float) -> NDArray[Any]:
    """Return a copy of an array whose last number is another one."""
    array: NDArray[Any] = raw.arrays[name].copy()
    array.flat[-1] = value
    return array


def _probes(raw: Raw) -> Iterator[dict[str, Any]]:
    lib, count = raw.subject.lib, ROWS - 2
    lengths = {lib.FNN_FORWARD: count * raw.shape[-1], lib.FNN_GRADIENT: len(raw.start)}
    for operation, length in lengths.items():
        for value in (length, -1, 2**62):
            yield {"operation": operation, "probes": np.asarray([0, value], np.int64)}


def invalid_networks() -> list[dict[str, Any]]:
    """Return fields of fnn_network that fnn_create must refuse; None is NULL."""
    most = 2**31 - 1
    sizes = [(0, 4, 2), (3, 0, 2), (3, 4, 0), (3, -4, 2), (-(2**63), 4, 2), None]
    return [
        *({"n_layers": value} for value in (0, -1, -most - 1)),
        *({"threads": value} for value in (0, -1)),
        *({"sizes": value} for value in sizes),
        {"activations": None}, {"activations": (None, "identity")}, {"activations": ("tanh", None)}, {"loss": None},
    ]  # fmt: skip
