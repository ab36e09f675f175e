"""The datasets by name. Each loader has its own file; what a dataset is, stands in dataset.py."""

from collections.abc import Callable

import numpy as np

from pyfnn.datasets import diabetes, digits, moons, wine
from pyfnn.datasets.dataset import Dataset, Table, split
from pyfnn.errors import UnknownName
from pyfnn.network import DTYPES

__all__ = ["LOADERS", "Dataset", "Standardizer", "load", "split", "teacher"]

LOADERS: dict[str, Callable[[int], Table]] = {
    "moons": moons.load,
    "digits": digits.load,
    "diabetes": diabetes.load,
    "wine-red": lambda _: wine.load(wine.RED),
    "wine-white": lambda _: wine.load(wine.WHITE),
}


def load(name: str, seed: int = 0, dtype: str = "float32") -> Dataset:
    """A dataset, split 70/15/15 by the seed; its x as the source has it (see `Dataset.standardized`).

    Parameters
    ----------
    name : str
        See `LOADERS`.
    seed : int
        Of the split, and of the draws where the data are drawn.
    dtype : {"float32", "float64"}

    Raises
    ------
    UnknownName
        No such dataset or dtype.
    DatasetError
        A file that cannot be had, or is not what it should be: which one, why, and how to get it again.
    """
    if name not in LOADERS:
        raise UnknownName("dataset", name, LOADERS)
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    table = LOADERS[name](seed)
    x, y = (np.ascontiguousarray(values, dtype) for values in (table.x, table.y))
    return Dataset(name, x, y, *table[2:], *split(len(x), seed))
