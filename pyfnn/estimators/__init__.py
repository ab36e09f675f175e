"""Estimators with the interface of scikit-learn's `MLPRegressor` and `MLPClassifier`, on any backend.

`FNNRegressor` and `FNNClassifier` train one network; `search` trains a grid of them. Nothing here computes a network.
"""

from pyfnn import extra

try:
    from pyfnn.estimators.classifier import FNNClassifier
    from pyfnn.estimators.grid import SearchResult, search
    from pyfnn.estimators.regressor import FNNRegressor
except ImportError as error:
    if str(error.name).partition(".")[0] not in ("sklearn", "scipy"):
        raise
    raise ImportError(f"pyfnn.estimators needs scikit-learn 1.6 or newer ({error}): {extra.ESTIMATORS}") from error

__all__ = ["FNNClassifier", "FNNRegressor", "SearchResult", "search"]
