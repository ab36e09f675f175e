"""What a dataset is: rows, their three parts, and scaling fitted on the training part alone. Loads nothing."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = NDArray[np.int64]
Task = Literal["regression", "classification"]


class Table(NamedTuple):
    """What a loader reads: x and y in float64, before any split. Fields as in `Dataset`."""

    x: Array
    y: Array
    task: Task
    features: tuple[str, ...]
    classes: tuple[str, ...]
    citation: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset and its parts.

    Attributes
    ----------
    name : str
    x : ndarray, shape (rows, features), C-contiguous
        As the source has it; see `standardized`.
    y : ndarray, shape (rows, outputs), likewise
        One-hot for a classification.
    task : {"regression", "classification"}
    features, classes : tuple of str
        Names of the columns of x, and of those of y in a classification (else empty).
    citation : str
    train, validation, test : ndarray of int64
        Row numbers.
    """

    name: str
    x: Array
    y: Array
    task: Task
    features: tuple[str, ...]
    classes: tuple[str, ...]
    citation: str
    train: Rows
    validation: Rows
    test: Rows

    def standardized(self) -> "Dataset":
        """The same data with x scaled by a `Standardizer` fitted on the training rows."""
        return replace(self, x=Standardizer.fit(self.x[self.train]).apply(self.x))


@dataclass(frozen=True, eq=False)
class Standardizer:
    """(x - mean) / scale, column by column. mean, scale: (features,), float64."""

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, x: Array) -> "Standardizer":
        """Mean and standard deviation of x: (rows, features); a constant column has scale 1."""
        constant = x.max(axis=0) == x.min(axis=0)
        deviation = x.std(axis=0, dtype=np.float64)
        return cls(x.mean(axis=0, dtype=np.float64), np.where(constant | (deviation == 0), 1.0, deviation))

    def apply(self, x: Array) -> Array:
        """Scaled rows: (rows, features), of the dtype of x, C-contiguous."""
        return np.ascontiguousarray((x - self.mean) / self.scale, dtype=x.dtype)


def split(rows: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows: 70 %, 15 % (both rounded down) and the rest, shuffled by the seed.

    Exact duplicates among the rows are not looked for: they may fall on both sides. Below 7 rows a part is empty.
    """
    order = np.random.Generator(np.random.PCG64(seed)).permutation(rows).astype(np.int64)
    n_train, n_validation = rows * 70 // 100, rows * 15 // 100
    return order[:n_train], order[n_train : n_train + n_validation], order[n_train + n_validation :]


def one_hot(labels: Rows, classes: int) -> Array:
    """(rows, classes), 1 at each row's label."""
    return np.asarray(np.eye(classes)[labels])
