"""Definition of a dataset: rows, their split, and scaling fitted on the training rows alone. Loads nothing."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = NDArray[np.int64]
Task = Literal["regression", "classification"]


class Table(NamedTuple):
    """Result of a loader: x and y in float64, before the split. Fields as in `Dataset`."""

    x: Array
    y: Array
    task: Task
    features: tuple[str, ...]
    classes: tuple[str, ...]
    citation: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset and its split.

    Attributes
    ----------
    name : str
    x : ndarray, shape (rows, features), C-contiguous
        Features in the units of the source; see `standardized`.
    y : ndarray, shape (rows, outputs), C-contiguous
        Targets; one-hot in a classification.
    task : {"regression", "classification"}
    features, classes : tuple of str
        Names of the columns of x and, in a classification, of y; else classes is empty.
    citation : str
        Source to cite.
    train, validation, test : ndarray of int64
        Row numbers of each part.
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
        """Return the same data with x scaled by a `Standardizer` that is fitted on the training rows."""
        return replace(self, x=Standardizer.fit(self.x[self.train]).apply(self.x))


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Map x to (x - mean) / scale, column by column. mean, scale: (features,), float64."""

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, x: Array) -> "Standardizer":
        """Fit mean and standard deviation to x: (rows, features); a constant column gets scale 1."""
        constant = x.max(axis=0) == x.min(axis=0)
        deviation = x.std(axis=0, dtype=np.float64)
        return cls(x.mean(axis=0, dtype=np.float64), np.where(constant | (deviation == 0), 1.0, deviation))

    def apply(self, x: Array) -> Array:
        """Return the scaled rows: (rows, features), of the dtype of x, C-contiguous."""
        return np.ascontiguousarray((x - self.mean) / self.scale, dtype=x.dtype)


def split(rows: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Shuffle row numbers into training (70 %), validation (15 %, both rounded down) and test rows (the rest).

    The split ignores duplicate rows: copies may be in different parts. With fewer than 7 rows, a part is empty.

    Parameters
    ----------
    rows, seed : int

    Returns
    -------
    tuple of three ndarray of int64
    """
    order = np.random.Generator(np.random.PCG64(seed)).permutation(rows).astype(np.int64)
    n_train, n_validation = rows * 70 // 100, rows * 15 // 100
    return order[:n_train], order[n_train : n_train + n_validation], order[n_train + n_validation :]


def one_hot(labels: Rows, classes: int) -> Array:
    """Return an array (rows, classes), with 1 at each row's label and 0 elsewhere."""
    return np.asarray(np.eye(classes)[labels])
