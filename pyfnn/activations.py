"""The activation functions of the oracle: one row each. Backends have their own; nothing here is fast.

A name may carry a parameter in parentheses, ``leaky_relu(0.05)``; without one the row's default holds.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn.errors import InvalidInput, UnknownName

Array = NDArray[Any]  # any float dtype, up to longdouble


@dataclass(frozen=True)
class Row:
    """One elementwise activation. Functions take (Z, parameter) and keep the shape and dtype of Z."""

    function: Callable[[Array, float], Array]
    derivative: Callable[[Array, float], Array]
    curvature: Callable[[Array, float], Array]  # the second derivative, away from the kinks
    kinks: Callable[[float], tuple[float, ...]] = lambda _: ()  # where the derivative jumps
    piecewise_linear: bool = False
    default: float | None = None  # None: the activation takes no parameter


def sigmoid(Z: Array) -> Array:
    """1 / (1 + exp(-Z)), without overflow at either end."""
    e = np.exp(-np.abs(Z))
    positive: Array = np.where(Z >= 0, 1, e) / (1 + e)
    return positive


def _softplus(Z: Array) -> Array:
    return np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z)))


def _sigmoid_slope(Z: Array) -> Array:
    return sigmoid(Z) * sigmoid(-Z)


def _inside(Z: Array, bound: float) -> Array:
    return (np.abs(Z) < bound).astype(Z.dtype)


def _zero(Z: Array, _: float) -> Array:
    return np.zeros_like(Z)


TABLE: dict[str, Row] = {
    "identity": Row(
        function=lambda Z, _: Z.copy(),
        derivative=lambda Z, _: np.ones_like(Z),
        curvature=_zero,
        piecewise_linear=True,
    ),
    "sigmoid": Row(
        function=lambda Z, _: sigmoid(Z),
        derivative=lambda Z, _: _sigmoid_slope(Z),
        curvature=lambda Z, _: _sigmoid_slope(Z) * (1 - 2 * sigmoid(Z)),
    ),
    "tanh": Row(
        function=lambda Z, _: np.tanh(Z),
        derivative=lambda Z, _: 1 - np.tanh(Z) ** 2,
        curvature=lambda Z, _: -2 * np.tanh(Z) * (1 - np.tanh(Z) ** 2),
    ),
    "relu": Row(
        function=lambda Z, _: np.maximum(Z, 0),
        derivative=lambda Z, _: (Z > 0).astype(Z.dtype),
        curvature=_zero,
        piecewise_linear=True,
        kinks=lambda _: (0.0,),
    ),
    "leaky_relu": Row(
        function=lambda Z, a: np.where(Z > 0, Z, a * Z),
        derivative=lambda Z, a: np.where(Z > 0, np.ones_like(Z), np.full_like(Z, a)),
        curvature=_zero,
        piecewise_linear=True,
        kinks=lambda a: (0.0,) if a != 1 else (),
        default=0.01,
    ),
    "elu": Row(
        function=lambda Z, a: np.where(Z > 0, Z, a * np.expm1(np.minimum(Z, 0))),
        derivative=lambda Z, a: np.where(Z > 0, np.ones_like(Z), a * np.exp(np.minimum(Z, 0))),
        curvature=lambda Z, a: np.where(Z > 0, np.zeros_like(Z), a * np.exp(np.minimum(Z, 0))),
        kinks=lambda a: (0.0,) if a != 1 else (),
        default=1.0,
    ),
    "softplus": Row(
        function=lambda Z, _: _softplus(Z),
        derivative=lambda Z, _: sigmoid(Z),
        curvature=lambda Z, _: _sigmoid_slope(Z),
    ),
    "hard_sigmoid": Row(
        function=lambda Z, _: np.clip(Z / 4 + Z.dtype.type(0.5), 0, 1),
        derivative=lambda Z, _: _inside(Z, 2) / 4,
        curvature=_zero,
        piecewise_linear=True,
        kinks=lambda _: (-2.0, 2.0),
    ),
    "hard_tanh": Row(
        function=lambda Z, _: np.clip(Z, -1, 1),
        derivative=lambda Z, _: _inside(Z, 1),
        curvature=_zero,
        piecewise_linear=True,
        kinks=lambda _: (-1.0, 1.0),
    ),
}

_SPELLING = re.compile(r"(?P<name>[a-z_0-9]+)(\((?P<parameter>[^()]*)\))?")


@dataclass(frozen=True)
class Activation:
    """An activation with its parameter bound; `name` is the canonical spelling.

    Attributes
    ----------
    name : str
        As every backend is told it, for instance ``tanh`` or ``leaky_relu(0.01)``.
    row : Row
        Its functions.
    parameter : float
        The bound parameter; 0 where the row takes none.
    """

    name: str
    row: Row
    parameter: float

    def __call__(self, Z: Array) -> Array:
        """f(Z), elementwise."""
        return self.row.function(Z, self.parameter)

    def derivative(self, Z: Array) -> Array:
        """f'(Z), elementwise; at a kink, the value its row gives: relu'(0) = 0."""
        return self.row.derivative(Z, self.parameter)

    def curvature(self, Z: Array) -> Array:
        """f''(Z), elementwise."""
        return self.row.curvature(Z, self.parameter)

    @property
    def kinks(self) -> tuple[float, ...]:
        """The points where f' jumps."""
        return self.row.kinks(self.parameter)


def parse(text: str) -> Activation:
    """The activation that a spelling names.

    Parameters
    ----------
    text : str
        A name, or a name with its parameter in parentheses: ``relu``, ``elu(0.5)``.

    Raises
    ------
    UnknownName
        No such activation.
    InvalidInput
        A parameter that is no finite number, or one for an activation that takes none.
    """
    match = _SPELLING.fullmatch(text) if isinstance(text, str) else None
    if match is None or match["name"] not in TABLE:
        raise UnknownName("activation", match["name"] if match else str(text), TABLE)
    name, written = match["name"], match["parameter"]
    row = TABLE[name]
    if row.default is None:
        if written is not None:
            raise InvalidInput(f"activation {text!r}: {name} takes no parameter")
        return Activation(name, row, 0.0)
    try:
        parameter = row.default if written is None else float(written)
    except ValueError:
        parameter = math.nan
    if not math.isfinite(parameter):
        raise InvalidInput(f"activation {text!r}: the parameter must be a finite number")
    return Activation(f"{name}({parameter!r})", row, parameter)
