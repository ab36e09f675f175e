"""Baselines on the same splits: a constant, least squares, scikit-learn's network as it comes."""

import warnings
from typing import Any

import numpy as np

from bench.experiments.wine.data import Split
from bench.experiments.wine.treatments import mean_squared_error

NAMES = {
    "constant": "mean of the training labels (label variance)",
    "least_squares": "least squares",
    "sklearn": "scikit-learn's MLPRegressor, its defaults",
}


def baselines(split: Split, seed: int) -> dict[str, Any]:
    """Return the mean squared error of each baseline on the test rows, by its key in `NAMES`.

    Parameters
    ----------
    split : Split
        Standardized. The validation rows are not used: no baseline has anything to choose.
    seed : int
        ``random_state`` of scikit-learn's network.
    """
    constant = np.full(split.y_test.shape, split.y_train.mean())
    with_ones = [np.column_stack([x, np.ones(len(x))]) for x in (split.x_train, split.x_test)]
    weights = np.linalg.lstsq(with_ones[0], split.y_train, rcond=None)[0]
    predictions = {"constant": constant, "least_squares": with_ones[1] @ weights, "sklearn": _sklearn(split, seed)}
    return {name: mean_squared_error(outputs, split.y_test) for name, outputs in predictions.items()}


def _sklearn(split: Split, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its default of 200 epochs is part of the baseline
        network = MLPRegressor(random_state=seed).fit(split.x_train, split.y_train[:, 0])
    return network.predict(split.x_test)[:, None]
