"""The problems that the arms train on: a dataset, split and scaled by a seed, with its error and its score."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyfnn import datasets
from pyfnn.datasets import Standardizer
from pyfnn.validation import Array

DATASETS = ("wine-red", "wine-white", "digits")
HIDDEN = (100,)  # widths of the hidden layers, scikit-learn's default; they are of relu
LEAST_PROBABILITY = 1e-7  # below which the cross-entropy of an error takes this

Predict = Callable[[Array], Array]
"""Outputs for x, (rows, m_0): (rows,) of a regression, or probabilities (rows, classes)."""


@dataclass(frozen=True, eq=False)
class Rows:
    """x: (rows, m_0), float32, standardized; y: (rows,), standardized marks in float32 or labels in int64."""

    x: Array
    y: Array


@dataclass(frozen=True, eq=False)
class Problem:
    """Training, validation and test rows of a dataset.

    Attributes
    ----------
    name : str
    classes : int
        0 of a regression.
    """

    name: str
    classes: int
    train: Rows
    validation: Rows
    test: Rows

    @classmethod
    def make(cls, name: str, seed: int) -> "Problem":
        """Load a dataset, with the split of a seed: 70 % training, 15 % validation and 15 % test rows."""
        data = datasets.load(name, seed).standardized()
        y = data.y.argmax(axis=1) if data.classes else Standardizer.fit(data.y[data.train]).apply(data.y)[:, 0].copy()
        parts = (Rows(data.x[rows], y[rows]) for rows in (data.train, data.validation, data.test))
        return cls(name, len(data.classes), *parts)

    def error(self, predict: Predict) -> float:
        """Return the validation error: mean squared error of standardized marks, or mean cross-entropy."""
        outputs, y = predict(self.validation.x).astype(np.float64), self.validation.y
        if not self.classes:
            return float(((outputs - y) ** 2).mean())
        return float(-np.log(np.maximum(outputs[np.arange(len(y)), y], LEAST_PROBABILITY)).mean())

    def score(self, predict: Predict) -> float:
        """Return the score of the test rows: R², or the share of right labels."""
        outputs, y = predict(self.test.x).astype(np.float64), self.test.y
        if self.classes:
            return float((outputs.argmax(axis=1) == y).mean())
        return float(1 - ((outputs - y) ** 2).mean() / y.astype(np.float64).var())
