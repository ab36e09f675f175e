"""The rows of a training: training rows first, validation rows behind them, and the orders of the epochs."""

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyfnn.errors import InvalidInput, shown
from pyfnn.model import Model
from pyfnn.validation import Array, Order

Rows = tuple[Array, Array]
_SPLIT = 0  # in place of the epoch's number, from 1, in the seed of the split


class Generators:
    """The generators of the epochs of a training: PCG64 of its seed, `number` jumps ahead for epoch `number`.

    A jump is that of `numpy.random.PCG64.jumped`. To seed a generator anew takes longer than to order 1000 rows.
    """

    _JUMP = 210306068529402873165736369884012333109  # draws

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)
        self._start = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def of(self, number: int) -> np.random.Generator:
        """Return the generator of an epoch (from 1), valid until the next call; 0 is that of the split."""
        self._bits.state = self._start
        self._bits.advance(number * self._JUMP)
        return self._generator


def generator(seed: int, number: int) -> np.random.Generator:
    """Return a generator of its own: `Generators.of`."""
    return Generators(seed).of(number)


def _is_table(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.ndim == 2


@dataclass(frozen=True, eq=False)
class Data:
    """x: (rows + validation_rows, m_0); y: (rows + validation_rows, m_L); shuffle: each epoch has a new order."""

    x: Array
    y: Array
    rows: int
    validation_rows: int
    shuffle: bool = True

    @classmethod
    def make(cls, x: Array, y: Array, validation: Rows | float | None, seed: int) -> "Data":
        """Put the validation rows behind the training rows, or split them off where `validation` is a share."""
        for field, array in (("x", x), ("y", y)):
            if not _is_table(array) or len(array) == 0:
                raise InvalidInput(f"{field} must be an array of rows, with at least one")
        if validation is None:
            return cls(x, y, len(x), 0)
        if isinstance(validation, (float, np.floating)):
            return cls._split(x, y, float(validation), seed)
        if not isinstance(validation, tuple) or len(validation) != 2 or not all(map(_is_table, validation)):
            raise InvalidInput("validation must be a pair of arrays (x, y), or a share of the rows in (0, 1)")
        for field, ours, theirs in (("x", x, validation[0]), ("y", y, validation[1])):
            if ours.shape[1:] != theirs.shape[1:]:
                raise InvalidInput(f"validation {field} has rows of shape {theirs.shape[1:]}, not {ours.shape[1:]}")
            if ours.dtype != theirs.dtype:
                raise InvalidInput(f"validation {field} is of {theirs.dtype}, not of {ours.dtype}")
        if len(validation[0]) != len(validation[1]) or len(validation[0]) == 0:
            raise InvalidInput(f"validation has {len(validation[0])} rows of x and {len(validation[1])} of y")
        return cls(np.concatenate([x, validation[0]]), np.concatenate([y, validation[1]]), len(x), len(validation[0]))

    @classmethod
    def _split(cls, x: Array, y: Array, share: float, seed: int) -> "Data":
        if not 0 < share < 1 or len(x) < 2 or len(y) != len(x):
            raise InvalidInput(f"validation = {shown(share)}: must lie in (0, 1), with at least two rows of x and of y")
        taken = min(max(1, round(share * len(x))), len(x) - 1)
        order = generator(seed, _SPLIT).permutation(len(x))
        order = np.concatenate([np.sort(order[taken:]), np.sort(order[:taken])])
        return cls(x[order], y[order], len(x) - taken, taken)

    def orders(self, seed: int, epochs: Collection[int]) -> Order:
        """Return the orders of some epochs (from 1), one after the other: (number of epochs · rows,)."""
        if not self.shuffle:
            return np.tile(np.arange(self.rows), len(epochs))
        generators = Generators(seed)
        return np.concatenate([generators.of(epoch).permutation(self.rows) for epoch in epochs])

    def shuffled(self, order: Order) -> Rows:
        """Return x and y with the training rows in this order."""
        x, y = self.x.copy(), self.y.copy()
        x[: self.rows], y[: self.rows] = self.x[order], self.y[order]
        return x, y

    def losses(self, model: Model, given: float | None = None) -> tuple[float, float]:
        """Return the loss of the training rows, or `given` in its place, and of the validation rows, or NaN."""
        loss = model.loss(0, self.rows) if given is None else given
        return loss, model.loss(self.rows, self.validation_rows) if self.validation_rows else math.nan

    def digest(self) -> str:
        """Return the SHA-256 of all rows and of the number of training rows."""
        return digest(self.x, self.y, np.array([self.rows]))


def digest(*arrays: Any) -> str:
    """Return the SHA-256 of arrays: their shapes, dtypes and numbers."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.shape}{array.dtype}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
