"""`FNNRegressor`: a feed-forward network for numbers, with the interface of scikit-learn's `MLPRegressor`."""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d

from pyfnn.estimators import checks
from pyfnn.estimators.base import NetworkEstimator, Self, trains_in_epochs
from pyfnn.estimators.plan import Scorer
from pyfnn.training.data import Rows
from pyfnn.validation import Array


class FNNRegressor(RegressorMixin, NetworkEstimator):
    """Regression by a feed-forward network that minimizes half the squared error, summed over outputs.

    The interface is that of scikit-learn's `MLPRegressor`, except that there are no sample weights, no sparse X, and
    no ``loss="poisson"``. Parameters start as `pyfnn.initialize` draws them by the scheme ``glorot``.
    """

    _loss = "half_squared_error"

    def _read(self, X: Any, y: Any, *, fresh: bool) -> Rows:
        x, y = checks.training_rows(self, X, y, fresh=fresh, y_numeric=True)
        y = y.toarray() if issparse(y) else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return x, np.ascontiguousarray(y.reshape(len(x), -1), self.dtype)

    def _scorer(self, targets: Array) -> Scorer:
        """Score by R², the mean over outputs, as `sklearn.metrics.r2_score`."""
        spread = ((targets - targets.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=0, dtype=np.float64)
        constant = spread == 0
        divisor = np.where(constant, 1, spread)

        def score(outputs: Array) -> float:
            unexplained = ((outputs - targets) ** 2).sum(axis=0, dtype=np.float64)
            each = 1 - unexplained / divisor
            each[constant & (unexplained > 0)] = 0
            return float(each.mean())

        return score

    @trains_in_epochs
    def partial_fit(self: Self, X: Any, y: Any) -> Self:
        """Train one epoch on X and y, and continue from the last call. Only with the solvers "adam" and "sgd".

        Parameters
        ----------
        X, y
            As for `fit`.
        """
        self._validate_params()
        self._train_part(X, y)
        return self

    def predict(self, X: Any) -> Array:
        """Return the predictions for X: (rows,), or (rows, outputs) where there are several."""
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs
