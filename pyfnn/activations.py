"""Table of the oracle's activation functions, one row each, and the parser of their spellings.

A spelling may carry a parameter in parentheses, as in ``leaky_relu(0.05)``; without one, the row's default applies.
Backends have their own implementations; nothing here is fast.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn.errors import InvalidInput, UnknownName, shown

Array = NDArray[Any]  # any float dtype, up to longdouble
Parameter = Any  # float; number of pieces; or a layer's slopes, (1, m_l)


@dataclass(frozen=True)
class ActivationRow:
    """One activation. Functions take (Z, parameter) and keep the shape and dtype of Z, which is (B, m_l).

    All may have further axes before these two, for a stack of networks.

    Two activations have a layout of their own. Where `slope_derivative` is given, each unit learns a slope, a parameter
    of the network, and the activation's parameter is the value at which all start. Where `most_pieces` is above 1, the
    parameter is the number of pieces k: Z is (B, k m_l), a unit's pieces adjacent, and f(Z) is (B, m_l).

    Attributes
    ----------
    value, derivative, second_derivative : callable
        f(Z), f'(Z) and f''(Z); f'' is correct away from the kinks only. With pieces, f' has the shape of Z: the
        derivative of each unit by each of its pieces.
    kinks : callable
        parameter -> the points where f' jumps. Pieces: a value of all of them at which f' jumps.
    jump : callable
        parameter -> the largest jump of f' at a kink; 0 without kinks.
    piecewise_linear : bool
        f' is computed without rounding error.
    default : float or None
        Parameter used where a spelling gives none; None where the activation takes no parameter.
    he_initialization : bool
        W before this activation starts as He et al. 2015 propose, else as Glorot and Bengio 2010 do.
    slope_derivative : callable or None
        Z -> ∂f/∂s, s the unit's learned slope; None where nothing is learned.
    most_pieces : int
        Largest number of pieces of a unit; the smallest is 2 where this is above 1.
    """

    value: Callable[[Array, Parameter], Array]
    derivative: Callable[[Array, Parameter], Array]
    second_derivative: Callable[[Array, Parameter], Array]
    kinks: Callable[[Parameter], tuple[float, ...]] = lambda _: ()
    jump: Callable[[Parameter], Any] = lambda _: 0.0
    piecewise_linear: bool = False
    default: float | None = None
    he_initialization: bool = False
    slope_derivative: Callable[[Array], Array] | None = None
    most_pieces: int = 1

    @property
    def hidden_only(self) -> bool:
        """True where the activation has a layout of its own, which the output layer has not."""
        return self.slope_derivative is not None or self.most_pieces > 1


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


def _leaky(Z: Array, a: Parameter) -> Array:
    return np.where(Z > 0, Z, a * Z)


def _leaky_derivative(Z: Array, a: Parameter) -> Array:
    return np.where(Z > 0, np.ones_like(Z), a * np.ones_like(Z))


def _inside(Z: Array, bound: float) -> Array:
    return (np.abs(Z) < bound).astype(Z.dtype)


def _zero(Z: Array, _: Parameter) -> Array:
    return np.zeros_like(Z)


def _by_unit(Z: Array, pieces: int) -> Array:
    """Return a view of shape (B, m_l, pieces)."""
    return Z.reshape(*Z.shape[:-1], -1, pieces)


def _first_largest(Z: Array, pieces: int) -> Array:
    """Return 1 at the first of each unit's largest pieces, 0 elsewhere."""
    by_unit = _by_unit(Z, pieces)
    first: Array = (by_unit.argmax(axis=-1)[..., None] == np.arange(pieces)).astype(Z.dtype)
    return first.reshape(Z.shape)


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
        value=_leaky,
        derivative=_leaky_derivative,
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
    "prelu": ActivationRow(
        value=_leaky,
        derivative=_leaky_derivative,
        second_derivative=_zero,
        piecewise_linear=True,
        kinks=lambda _: (0.0,),  # a slope of 1 does not stay 1
        jump=lambda slopes: abs(1 - slopes),
        default=0.25,
        he_initialization=True,
        slope_derivative=lambda Z: np.minimum(Z, 0),
    ),
    "maxout": ActivationRow(
        value=lambda Z, k: _by_unit(Z, k).max(axis=-1),
        derivative=_first_largest,
        second_derivative=_zero,
        piecewise_linear=True,
        kinks=lambda _: (0.0,),
        jump=lambda _: 1.0,
        default=2,
        he_initialization=True,
        most_pieces=16,
    ),
}

_SPELLING = re.compile(r"(?P<name>[a-z_0-9]+)(\((?P<parameter>[^()]*)\))?")


@dataclass(frozen=True)
class Activation:
    """An activation with its parameter bound.

    Attributes
    ----------
    name : str
        The canonical spelling, which every backend receives: ``tanh``, ``leaky_relu(0.01)``, ``maxout(2)``.
    row : ActivationRow
        The row of the table, with the functions.
    parameter : float, int or ndarray
        The bound parameter; 0 where the row takes none. A layer's slopes, (1, m_l), after `with_slopes`.
    """

    name: str
    row: ActivationRow
    parameter: Parameter

    @property
    def key(self) -> str:
        """Name without the parameter, a key of `TABLE`."""
        return self.name.split("(")[0]

    @property
    def pieces(self) -> int:
        """Number of columns of Z for each unit, k."""
        return int(self.parameter) if self.row.most_pieces > 1 else 1

    def __reduce__(self) -> tuple[Callable[[str], "Activation"], tuple[str]]:
        """Pickle by name, since the row's functions have none."""
        return parse, (self.name,)

    def with_slopes(self, slopes: Array) -> "Activation":
        """Return this activation with a layer's learned slopes, (1, m_l); itself where it learns none."""
        return self if self.row.slope_derivative is None else replace(self, parameter=slopes)

    def __call__(self, Z: Array) -> Array:
        """Return f(Z): (B, m_l)."""
        return self.row.value(Z, self.parameter)

    def derivative(self, Z: Array) -> Array:
        """Return f'(Z), of the shape of Z; at a kink, the value that the row gives: relu'(0) = 0."""
        return self.row.derivative(Z, self.parameter)

    def second_derivative(self, Z: Array) -> Array:
        """Return f''(Z), of the shape of Z; correct away from the kinks."""
        return self.row.second_derivative(Z, self.parameter)

    def of_each_piece(self, G: Array) -> Array:
        """Repeat the number of each unit, G: (B, m_l), for each of its k pieces: (B, k m_l)."""
        return G if self.pieces == 1 else np.repeat(G, self.pieces, axis=-1)

    def largest_piece(self, X: Array) -> Array:
        """Return the largest of the numbers of each unit's pieces. X: (B, k m_l); result: (B, m_l)."""
        return X if self.pieces == 1 else np.asarray(_by_unit(X, self.pieces).max(axis=-1))

    @property
    def kinks(self) -> tuple[float, ...]:
        """Points where f' jumps."""
        return self.row.kinks(self.parameter)

    @property
    def jump(self) -> Any:
        """Largest jump of f' at a kink; 0 without kinks. With slopes, that of each unit: (1, m_l)."""
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
        The parameter is not a finite number, or the activation takes none; a number of pieces is not a whole number
        from 2 on, or is too large.
    """
    if not isinstance(text, str):
        raise UnknownName("activation", text, TABLE)
    return _parsed(text)


@lru_cache(maxsize=1024)  # a parse takes longer than the step of a small network
def _parsed(text: str) -> Activation:
    match = _SPELLING.fullmatch(text)
    if match is None or match["name"] not in TABLE:
        raise UnknownName("activation", match["name"] if match else text, TABLE)
    name, written = match["name"], match["parameter"]
    row = TABLE[name]
    if row.default is None:
        if written is not None:
            raise InvalidInput(f"activation {shown(text)}: {name} takes no parameter")
        return Activation(name, row, 0.0)
    try:
        parameter = row.default if written is None else float(written)
    except ValueError:
        parameter = math.nan
    if not math.isfinite(parameter):
        raise InvalidInput(f"activation {shown(text)}: the parameter must be a finite number")
    if row.most_pieces > 1:
        if parameter != int(parameter) or not 2 <= parameter <= row.most_pieces:
            rule = f"the number of pieces must be a whole number from 2 to {row.most_pieces}"
            raise InvalidInput(f"activation {shown(text)}: {rule}")
        parameter = int(parameter)
    return Activation(f"{name}({parameter!r})", row, parameter)
