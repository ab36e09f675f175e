"""Datasets by name. Each loader has its own file; `dataset` defines `Dataset`."""

from collections.abc import Callable

import numpy as np

from pyfnn import extra
from pyfnn.datasets import diabetes, digits, moons, wine
from pyfnn.datasets.dataset import Dataset, Standardizer, Table, split
from pyfnn.datasets.teacher import teacher
from pyfnn.errors import DatasetError, UnknownName
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
    """Load a dataset, with a random split into 70 % training, 15 % validation and 15 % test rows.

    Parameters
    ----------
    name : str
        Name in `LOADERS`.
    seed : int
        Seed of the split, and of the data where they are random.
    dtype : {"float32", "float64"}

    Returns
    -------
    Dataset
        x is in the units of the source; see `Dataset.standardized`.

    Raises
    ------
    UnknownName
        There is no such dataset or dtype.
    DatasetError
        A file is missing or altered; the message names it, gives the reason, and explains how to get it again. Or a
        package that the loader needs is not installed.
    """
    if name not in LOADERS:
        raise UnknownName("dataset", name, LOADERS)
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    try:
        table = LOADERS[name](seed)
    except ModuleNotFoundError as error:
        raise DatasetError(f"{name} needs the package {error.name}: {extra.REMEDY}") from error
    x, y = (np.ascontiguousarray(values, dtype) for values in (table.x, table.y))
    return Dataset(name, x, y, *table[2:], *split(len(x), seed))
