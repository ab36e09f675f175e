"""Rows in the shape of the wine data, few and random, and the real ones where they are. No claims."""

import itertools
import os
from pathlib import Path

import numpy as np

from bench.experiments.wine.data import Split
from pyfnn.datasets import wine
from support.requirements import require


def small_split(train: int = 40, others: int = 15, seed: int = 0) -> Split:
    """Return training rows, and `others` validation and test rows each, of a noisy function; x is about N(0, 1)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(train + 2 * others, 11))
    y = 5 + np.tanh(x[:, :1]) + 0.3 * x[:, 1:2] + 0.1 * rng.normal(size=(len(x), 1))
    ends = [0, train, train + others, train + 2 * others]
    return Split(*(array[a:b] for a, b in itertools.pairwise(ends) for array in (x, y)))


def raw_split(seed: int = 0) -> Split:
    """Return such rows with positive x up to about 100, as the wines' own units have."""
    split = small_split(seed=seed)
    scale = np.geomspace(0.1, 30, 11)
    x_train, x_validation, x_test = (np.abs(scale * (x + 2)) for x in (split.x_train, split.x_validation, split.x_test))
    return Split(x_train, split.y_train, x_validation, split.y_validation, x_test, split.y_test)


def require_wine() -> None:
    """Skip the test without the real wine files."""
    folder = Path(os.environ.get("PYFNN_DATA_DIR", "/nonexistent"))
    present = all((folder / source.file).exists() for source in (wine.RED, wine.WHITE))
    require("wine data", present, f"set PYFNN_DATA_DIR to a folder with the two files of {wine.UCI}")
