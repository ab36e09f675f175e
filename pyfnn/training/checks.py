"""Checks of arguments that `fit`, `minimize` and `diagnose` share. Each raises `InvalidInput`, naming the argument."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pyfnn.errors import InvalidInput, shown
from pyfnn.training.history import Callback
from pyfnn.validation import check_count, check_not_negative


def check_rule_to_stop(patience: Any, tolerance: Any) -> None:
    """Require a number of epochs or None, and a tolerance."""
    if patience is not None:
        check_count("patience", patience)
    check_not_negative("tolerance", tolerance)


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """Return the callbacks as a list."""
    listed = list(callbacks) if isinstance(callbacks, Iterable) else None
    if listed is None or not all(map(callable, listed)):
        raise InvalidInput(f"callbacks = {shown(callbacks)}: must be a sequence of functions of an Epoch")
    return listed


def check_rows(field: str, array: Any, width: int | None = None) -> None:
    """Require an array of finite floating-point numbers, (rows, width), with at least one row."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f" or len(array) == 0:
        raise InvalidInput(f"{field} must be a NumPy array of floating-point numbers, with at least one row")
    if width is not None and array.shape[1] != width:
        raise InvalidInput(f"{field} has {array.shape[1]} columns: the network needs {width}")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{field} has values that are not finite")
