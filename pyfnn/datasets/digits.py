"""Handwritten digits, 8 by 8 pixels from 0 to 16, from scikit-learn: 1797 rows, 64 features, 10 classes."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyfnn.datasets.dataset import Table, one_hot
from pyfnn.validation import Array

CITATION = (
    "E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, "
    "doi 10.24432/C50P49, CC BY 4.0; its test part, as scikit-learn ships it."
)
_SIDE, _CLASSES = 8, 10
_FILE = "datasets/data/digits.csv.gz"  # of scikit-learn


def load(seed: int = 0) -> Table:
    """Load the digits; the seed is not used."""
    del seed
    pixels, digits = _read()
    features = tuple(f"pixel_{row}_{column}" for row in range(_SIDE) for column in range(_SIDE))
    classes = tuple(map(str, range(_CLASSES)))
    return Table(pixels, one_hot(digits, _CLASSES), "classification", features, classes, CITATION)


def _read() -> tuple[Array, NDArray[np.int64]]:
    """Return pixels, shape (1797, 64), and digits, shape (1797,), without the seconds that importing sklearn takes."""
    package = find_spec("sklearn")
    file = Path(package.origin).parent / _FILE if package and package.origin else None
    if file is None or not file.is_file():
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        return pixels, labels
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)
