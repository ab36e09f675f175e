"""Table of the oracle's losses, one row each, with all that parity and the datasets need to know of a loss.

Shapes: Z, Y and T are (batch, m_L): pre-activations and outputs of the last layer, and targets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyfnn.activations import sigmoid, sigmoid_derivative
from pyfnn.errors import InvalidInput

if TYPE_CHECKING:  # a worker's process draws nothing, and NumPy takes a fifth of its start to import its generators
    from numpy.random import Generator

Array = NDArray[Any]


@dataclass(frozen=True)
class OutputFunction:
    """An output activation that a loss fuses.

    Attributes
    ----------
    value : callable
        Z -> Y.
    rounding_scale : callable
        (Z, Y, M_Z) -> M_Y, the size of what is added up in Y; see `pyfnn.parity.rounding`.
    sums_outputs : bool
        Each entry of Y comes from a sum over the outputs of its row.
    """

    value: Callable[[Array], Array]
    rounding_scale: Callable[[Array, Array, Array], Array]
    sums_outputs: bool = False

    def __call__(self, Z: Array) -> Array:
        """Return Y."""
        return self.value(Z)


@dataclass(frozen=True)
class Loss:
    """One loss L(y, t), whose derivative with respect to y (where an output function is fused, to z) is c (y - t).

    Attributes
    ----------
    value : callable
        (Z, Y, T) -> the loss of each row, (batch,). With a stack of networks, Z and Y have one more axis, the first:
        (stack, batch).
    factor : float
        c.
    rounding_scale : callable
        (Z, Y, T, M_Z, M_residual, relative) -> M of each row's loss, (batch,): the size of what is added up in it.
        M_residual is M of Y - T; relative, the relative rounding error of Y; see `pyfnn.parity.rounding`.
    draw_targets : callable
        (shape, rng) -> targets of that shape, float64, that suit this loss.
    check_targets : callable
        T -> None; raises `InvalidInput` for targets that do not suit this loss.
    fuses : str or None
        Output activation that belongs to this loss, a name of `FUSED`; None where any elementwise one fits.
    most_probable : callable or None
        Y -> the most probable targets, where Y are probabilities.
    """

    value: Callable[[Array, Array, Array], Array]
    factor: float
    rounding_scale: Callable[[Array, Array, Array, Array, Array, float], Array]
    draw_targets: "Callable[[tuple[int, int], Generator], Array]"
    check_targets: Callable[[Array], None]
    fuses: str | None = None
    most_probable: Callable[[Array], Array] | None = None

    def derivative(self, Y: Array, T: Array) -> Array:
        """Return dL/dY; where an output function is fused, dL/dZ."""
        return self.factor * (Y - T)

    def decided(self, Y: Array) -> Array:
        """Return the most probable targets where Y are probabilities, else Y."""
        return Y if self.most_probable is None else self.most_probable(Y)

    @property
    def output_function(self) -> OutputFunction | None:
        """The output activation that this loss fuses."""
        return None if self.fuses is None else FUSED[self.fuses]


def softmax(Z: Array) -> Array:
    """Return exp(Z) over its row sum, without overflow for logits of any size."""
    e = np.exp(Z - Z.max(axis=-1, keepdims=True))
    Y: Array = e / e.sum(axis=-1, keepdims=True)
    return Y


def _softmax_scale(_: Array, Y: Array, M_Z: Array) -> Array:
    spread = np.sqrt((Y**2 * M_Z**2).sum(axis=1, keepdims=True))
    return np.asarray(Y * np.sqrt(1 + M_Z**2 + spread**2))


def _sigmoid_scale(Z: Array, Y: Array, M_Z: Array) -> Array:
    return np.asarray(np.hypot(Y, sigmoid_derivative(Z) * M_Z))


FUSED: dict[str, OutputFunction] = {
    "softmax": OutputFunction(softmax, _softmax_scale, sums_outputs=True),
    "sigmoid": OutputFunction(sigmoid, _sigmoid_scale),
}


def _squared_error_scale(_Z: Array, Y: Array, T: Array, _M_Z: Array, M_residual: Array, relative: float) -> Array:
    """Return M of (Y - T)², to second order, since Y - T may be 0."""
    terms = 2 * np.abs(Y - T) * M_residual + relative * M_residual**2
    return np.asarray(terms.sum(axis=1))


def _softmax_cross_entropy(Z: Array, _: Array, T: Array) -> Array:
    below = Z - Z.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(below).sum(axis=-1, keepdims=True))
    loss: Array = (T * (log_sum - below)).sum(axis=-1)
    return loss


def _softmax_cross_entropy_scale(Z: Array, Y: Array, T: Array, M_Z: Array, _M_residual: Array, _: float) -> Array:
    top = Z.max(axis=1, keepdims=True)
    log_sum = np.abs(top) + np.log(np.exp(Z - top).sum(axis=1, keepdims=True))
    return np.asarray((T * (M_Z + np.abs(Z) + log_sum) + Y * M_Z).sum(axis=1))


def _sigmoid_cross_entropy(Z: Array, _: Array, T: Array) -> Array:
    loss: Array = (np.maximum(Z, 0) - Z * T + np.log1p(np.exp(-np.abs(Z)))).sum(axis=-1)
    return loss


def _sigmoid_cross_entropy_scale(Z: Array, Y: Array, T: Array, M_Z: Array, _M_residual: Array, _: float) -> Array:
    return np.asarray((np.abs(Y - T) * M_Z + np.abs(Z) + 1).sum(axis=1))


def _draw_normal(shape: tuple[int, int], rng: "Generator") -> Array:
    return rng.normal(size=shape)


def _draw_classes(shape: tuple[int, int], rng: "Generator") -> Array:
    rows, outputs = shape
    return np.asarray(np.eye(outputs)[rng.integers(outputs, size=rows)])


def _draw_probabilities(shape: tuple[int, int], rng: "Generator") -> Array:
    return rng.random(shape)


def _accept_any(T: Array) -> None:
    del T


def _check_probabilities(T: Array) -> None:
    if T.min() < 0 or T.max() > 1:
        row, column = np.argwhere((T < 0) | (T > 1))[0]
        raise InvalidInput(f"y[{row}, {column}] = {T[row, column]}: the targets of a cross-entropy lie in [0, 1]")


def _check_distributions(T: Array) -> None:
    _check_probabilities(T)
    off = np.abs(T.sum(axis=1, dtype=np.float64) - 1)
    if off.max() > 1e-5:
        row = int(off.argmax())
        raise InvalidInput(f"y[{row}] sums to {T[row].sum()}: for softmax_cross_entropy each row of targets sums to 1")


TABLE: dict[str, Loss] = {
    "squared_error": Loss(
        value=lambda _, Y, T: ((Y - T) ** 2).sum(axis=-1),
        factor=2.0,
        rounding_scale=_squared_error_scale,
        draw_targets=_draw_normal,
        check_targets=_accept_any,
    ),
    "half_squared_error": Loss(
        value=lambda _, Y, T: ((Y - T) ** 2).sum(axis=-1) / 2,
        factor=1.0,
        rounding_scale=lambda *sizes: _squared_error_scale(*sizes) / 2,
        draw_targets=_draw_normal,
        check_targets=_accept_any,
    ),
    "softmax_cross_entropy": Loss(
        value=_softmax_cross_entropy,
        factor=1.0,
        rounding_scale=_softmax_cross_entropy_scale,
        draw_targets=_draw_classes,
        check_targets=_check_distributions,
        fuses="softmax",
        most_probable=lambda Y: np.asarray(np.eye(Y.shape[1])[Y.argmax(axis=1)]),
    ),
    "sigmoid_cross_entropy": Loss(
        value=_sigmoid_cross_entropy,
        factor=1.0,
        rounding_scale=_sigmoid_cross_entropy_scale,
        draw_targets=_draw_probabilities,
        check_targets=_check_probabilities,
        fuses="sigmoid",
        most_probable=lambda Y: (Y > 0.5).astype(np.float64),
    ),
}
