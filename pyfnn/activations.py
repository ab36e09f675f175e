"""Table of the oracle's activation functions, one row each, and the parser of their spellings.

A spelling may carry a parameter in parentheses, as in ``leaky_relu(0.05)``; without one, the row's default applies.
Backends have their own implementations; nothing here is fast.
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
class ActivationRow:
    """One elementwise activation. Functions take (Z, parameter) and keep the shape and dtype of Z.

    Attributes
    ----------
    value, derivative, second_derivative : callable
        f(Z), f'(Z) and f''(Z); f'' is correct away from the kinks only.
    kinks : callable
        parameter -> the points where f' jumps.
    jump : callable
        parameter -> the largest jump of f' at a kink; 0 without kinks.
    piecewise_linear : bool
        f' is computed without rounding error.
    default : float or None
        Parameter used where a spelling gives none; None where the activation takes no parameter.
    he_initialization : bool
        W before this activation starts as He et al. 2015 propose, else as Glorot and Bengio 2010 do.
    """

    value: Callable[[Array, float], Array]
    derivative: Callable[[Array, float], Array]
    second_derivative: Callable[[Array, float], Array]
    kinks: Callable[[float], tuple[float, ...]] = lambda _: ()
    jump: Callable[[float], float] = lambda _: 0.0
    piecewise_linear: bool = False
    default: float | None = None
    he_initialization: bool = False


def sigmoid(Z: Array) -> Array:
    """Return 1 / (1 + exp(-Z)), without overflow at either end."""
    e = np.exp(-np.abs(Z))
    positive: Array = np.where(Z >= 0, 1, e) / (1 + e)
    return positive


def sigmoid_derivative(Z: Array) -> Array:
    """Return sigmoid'(Z) = sigmoid(Z) sigmoid(-Z), without cancellation at either end."""
    return sigmoid(Z) * sigmoid(-Z)


def _softplus(Z: Array) -> Array:
    return np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z)))


def _inside(Z: Array, bound: float) -> Array:
    return (np.abs(Z) < bound).astype(Z.dtype)


def _zero(Z: Array, _: float) -> Array:
    return np.zeros_like(Z)


TABLE: dict[str, ActivationRow] = {
    "identity": ActivationRow(
        value=lambda Z, _: Z.copy(),
        derivative=lambda Z, _: np.ones_like(Z),
        second_derivative=_zero,
        piecewise_linear=True,
    ),
    "sigmoid": ActivationRow(
        value=lambda Z, _: sigmoid(Z),
        derivative=lambda Z, _: sigmoid_derivative(Z),
        second_derivative=lambda Z, _: sigmoid_derivative(Z) * (1 - 2 * sigmoid(Z)),
    ),
    "tanh": ActivationRow(
        value=lambda Z, _: np.tanh(Z),
        derivative=lambda Z, _: 1 - np.tanh(Z) ** 2,
        second_derivative=lambda Z, _: -2 * np.tanh(Z) * (1 - np.tanh(Z) ** 2),
    ),
    "relu": ActivationRow(
        value=lambda Z, _: np.maximum(Z, 0),
        derivative=lambda Z, _: (Z > 0).astype(Z.dtype),
        second_derivative=_zero,
        piecewise_linear=True,
        kinks=lambda _: (0.0,),
        jump=lambda _: 1.0,
        he_initialization=True,
    ),
    "leaky_relu": ActivationRow(
        value=lambda Z, a: np.where(Z > 0, Z, a * Z),
        derivative=lambda Z, a: np.where(Z > 0, np.ones_like(Z), np.full_like(Z, a)),
        second_derivative=_zero,
        piecewise_linear=True,
        kinks=lambda a: (0.0,) if a != 1 else (),
        jump=lambda a: abs(1 - a),
        default=0.01,
        he_initialization=True,
    ),
    "elu": ActivationRow(
        value=lambda Z, a: np.where(Z > 0, Z, a * np.expm1(np.minimum(Z, 0))),
        derivative=lambda Z, a: np.where(Z > 0, np.ones_like(Z), a * np.exp(np.minimum(Z, 0))),
        second_derivative=lambda Z, a: np.where(Z > 0, np.zeros_like(Z), a * np.exp(np.minimum(Z, 0))),
        kinks=lambda a: (0.0,) if a != 1 else (),
        jump=lambda a: abs(1 - a),
        default=1.0,
        he_initialization=True,
    ),
    "softplus": ActivationRow(
        value=lambda Z, _: _softplus(Z),
        derivative=lambda Z, _: sigmoid(Z),
        second_derivative=lambda Z, _: sigmoid_derivative(Z),
        he_initialization=True,
    ),
    "hard_sigmoid": ActivationRow(
        value=lambda Z, _: np.clip(Z / 4 + Z.dtype.type(0.5), 0, 1),
        derivative=lambda Z, _: _inside(Z, 2) / 4,
        second_derivative=_zero,
        piecewise_linear=True,
        kinks=lambda _: (-2.0, 2.0),
        jump=lambda _: 0.25,
    ),
    "hard_tanh": ActivationRow(
        value=lambda Z, _: np.clip(Z, -1, 1),
        derivative=lambda Z, _: _inside(Z, 1),
        second_derivative=_zero,
        piecewise_linear=True,
        kinks=lambda _: (-1.0, 1.0),
        jump=lambda _: 1.0,
    ),
}

_SPELLING = re.compile(r"(?P<name>[a-z_0-9]+)(\((?P<parameter>[^()]*)\))?")


@dataclass(frozen=True)
class Activation:
    """An activation with its parameter bound.

    Attributes
    ----------
    name : str
        The canonical spelling, which every backend receives: ``tanh``, ``leaky_relu(0.01)``.
    row : ActivationRow
        The row of the table, with the functions.
    parameter : float
        The bound parameter; 0 where the row takes none.
    """

    name: str
    row: ActivationRow
    parameter: float

    @property
    def key(self) -> str:
        """Name without the parameter, a key of `TABLE`."""
        return self.name.split("(")[0]

    def __reduce__(self) -> tuple[Callable[[str], "Activation"], tuple[str]]:
        """Pickle by name, since the row's functions have none."""
        return parse, (self.name,)

    def __call__(self, Z: Array) -> Array:
        """Return f(Z), elementwise."""
        return self.row.value(Z, self.parameter)

    def derivative(self, Z: Array) -> Array:
        """Return f'(Z), elementwise; at a kink, the value that the row gives: relu'(0) = 0."""
        return self.row.derivative(Z, self.parameter)

    def second_derivative(self, Z: Array) -> Array:
        """Return f''(Z), elementwise; correct away from the kinks."""
        return self.row.second_derivative(Z, self.parameter)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Points where f' jumps."""
        return self.row.kinks(self.parameter)

    @property
    def jump(self) -> float:
        """Largest jump of f' at a kink; 0 without kinks."""
        return self.row.jump(self.parameter)


def parse(text: str) -> Activation:
    """Return the activation that a spelling names.

    Parameters
    ----------
    text : str
        A name, or a name with its parameter in parentheses: ``relu``, ``elu(0.5)``.

    Raises
    ------
    UnknownName
        The table has no such activation.
    InvalidInput
        The parameter is not a finite number, or the activation takes none.
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
