"""The losses of the oracle and the error they send back: one row each.

Shapes: Z, Y and T are (batch, outputs): pre-activations, outputs and targets of the last layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn.activations import sigmoid
from pyfnn.errors import InvalidInput

Array = NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """One loss. `fuses` names the output activation that belongs to it, or None where any elementwise one fits."""

    per_row: Callable[[Array, Array, Array], Array]  # (Z, Y, T) -> (batch,)
    slope: Callable[[Array, Array], Array]  # (Y, T) -> dL/dY; where fused, dL/dZ
    check_targets: Callable[[Array], None]
    fuses: str | None = None


def softmax(Z: Array) -> Array:
    """exp(Z) over its row sum, without overflow for logits of any size."""
    e = np.exp(Z - Z.max(axis=1, keepdims=True))
    Y: Array = e / e.sum(axis=1, keepdims=True)
    return Y


def _softmax_cross_entropy(Z: Array, _: Array, T: Array) -> Array:
    below = Z - Z.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(below).sum(axis=1, keepdims=True))
    loss: Array = (T * (log_sum - below)).sum(axis=1)
    return loss


def _sigmoid_cross_entropy(Z: Array, _: Array, T: Array) -> Array:
    loss: Array = (np.maximum(Z, 0) - Z * T + np.log1p(np.exp(-np.abs(Z)))).sum(axis=1)
    return loss


def _any_targets(T: Array) -> None:
    del T


def _probabilities(T: Array) -> None:
    if T.min() < 0 or T.max() > 1:
        row, column = np.argwhere((T < 0) | (T > 1))[0]
        raise InvalidInput(f"y[{row}, {column}] = {T[row, column]}: the targets of a cross-entropy lie in [0, 1]")


def _distributions(T: Array) -> None:
    _probabilities(T)
    off = np.abs(T.sum(axis=1, dtype=np.float64) - 1)
    if off.max() > 1e-5:
        row = int(off.argmax())
        raise InvalidInput(f"y[{row}] sums to {T[row].sum()}: for softmax_cross_entropy each row of targets sums to 1")


TABLE: dict[str, Loss] = {
    "squared_error": Loss(
        per_row=lambda _, Y, T: ((Y - T) ** 2).sum(axis=1),
        slope=lambda Y, T: 2 * (Y - T),
        check_targets=_any_targets,
    ),
    "half_squared_error": Loss(
        per_row=lambda _, Y, T: ((Y - T) ** 2).sum(axis=1) / 2,
        slope=lambda Y, T: Y - T,
        check_targets=_any_targets,
    ),
    "softmax_cross_entropy": Loss(
        per_row=_softmax_cross_entropy,
        slope=lambda Y, T: Y - T,
        check_targets=_distributions,
        fuses="softmax",
    ),
    "sigmoid_cross_entropy": Loss(
        per_row=_sigmoid_cross_entropy,
        slope=lambda Y, T: Y - T,
        check_targets=_probabilities,
        fuses="sigmoid",
    ),
}

FUSED: dict[str, Callable[[Array], Array]] = {"softmax": softmax, "sigmoid": sigmoid}
