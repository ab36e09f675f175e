"""The wines as the treatments use them: rows with or without duplicates, split by a seed, standardized."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bench.experiments.engine.cell import Settings
from pyfnn.datasets import Standardizer, split, wine
from pyfnn.validation import Array

SOURCES = {"red": wine.RED, "white": wine.WHITE}


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of one split in float64. x: (rows, 11), in the units of the source; y: (rows, 1)."""

    x_train: Array
    y_train: Array
    x_validation: Array
    y_validation: Array
    x_test: Array
    y_test: Array

    def standardized(self) -> "Split":
        """Return the same rows with x scaled by mean and deviation of the training rows."""
        scaler = Standardizer.fit(self.x_train)
        x = (scaler.apply(each) for each in (self.x_train, self.x_validation, self.x_test))
        y = (self.y_train, self.y_validation, self.y_test)
        return Split(*(array for pair in zip(x, y, strict=True) for array in pair))


@lru_cache(maxsize=4)
def rows(name: str, duplicates: bool) -> tuple[Array, Array]:
    """Return x, (rows, 11), and y, (rows, 1), of a wine, in the order of the file.

    Parameters
    ----------
    name : {"red", "white"}
    duplicates : bool
        False: of rows that agree in all features and in y, the first alone. 240 red and 937 white rows are dropped.
    """
    table = wine.load(SOURCES[name])
    if duplicates:
        return table.x, table.y
    _, first = np.unique(np.hstack([table.x, table.y]), axis=0, return_index=True)
    first.sort()
    return table.x[first], table.y[first]


def requires(settings: Settings) -> None:
    """Raise `DatasetError` where a wine's file is missing or altered."""
    del settings
    for name in SOURCES:
        rows(name, True)


def prepare(name: str, duplicates: bool, seed: int) -> Split:
    """Return the split of a seed: 70 % training, 15 % validation, 15 % test rows."""
    x, y = rows(name, duplicates)
    return Split(*(array[part] for part in split(len(x), seed) for array in (x, y)))
