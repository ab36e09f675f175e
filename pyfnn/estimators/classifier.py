"""`FNNClassifier`: a feed-forward network for labels, with the interface of scikit-learn's `MLPClassifier`."""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d

from pyfnn import losses
from pyfnn.errors import shown
from pyfnn.estimators import checks
from pyfnn.estimators.base import NetworkEstimator, Self, trains_in_epochs
from pyfnn.estimators.labels import Labels
from pyfnn.estimators.plan import Scorer
from pyfnn.training.data import Rows
from pyfnn.validation import Array


class FNNClassifier(ClassifierMixin, NetworkEstimator):
    """Classification by a feed-forward network that minimizes the cross-entropy.

    Up to two classes share one sigmoid output, more have a softmax output each; with several columns of 0 and 1 as y,
    each label has a sigmoid output of its own. The interface is that of scikit-learn's `MLPClassifier`, except that
    there are no sample weights and no sparse X. Parameters start as `pyfnn.initialize` draws them by the scheme
    ``glorot``.
    """

    _labels: Labels

    @property
    def _loss(self) -> str:
        return self._labels.loss

    @property
    def classes_(self) -> Array:
        """Labels, sorted, in the order of the columns of `predict_proba`."""
        return self._labels.classes

    def _read(self, X: Any, y: Any, *, fresh: bool, classes: Any = None) -> Rows:
        x, y = checks.training_rows(self, X, y, fresh=fresh)
        y = y.toarray() if issparse(y) else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if fresh:
            self._labels = Labels.of(y, classes)
        return x, self._labels.encode(y, self.dtype)

    def _strata(self, targets: Array) -> Array | None:
        return targets[:, 0] if targets.shape[1] == 1 else None  # as scikit-learn, which keeps two classes' shares

    def _scorer(self, targets: Array) -> Scorer:
        """Score by the accuracy; with several labels a row, by the share of rows in which all are right."""
        decided = losses.TABLE[self._loss].decided
        right = decided(targets)
        return lambda outputs: float((decided(outputs) == right).all(axis=1).mean())

    @trains_in_epochs
    def partial_fit(self: Self, X: Any, y: Any, classes: Any = None) -> Self:
        """Train one epoch on X and y, and continue from the last call. Only with the solvers "adam" and "sgd".

        Parameters
        ----------
        X, y
            As for `fit`; y need not have all labels.
        classes : array-like, shape (n_classes,)
            All labels of all calls, which the first call needs.
        """
        self._validate_params()
        if not self.__sklearn_is_fitted__():
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._train_part(X, y, classes=classes)
            return self
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes = {shown(classes)}: they were {shown(self.classes_)} in the first call")
        self._train_part(X, y)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable label of each row: (rows,); with several a row, (rows, n_classes) of 0 and 1."""
        outputs = self._outputs(X)
        return self._labels.decode(outputs)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class: (rows, n_classes)."""
        outputs = self._outputs(X)
        return self._labels.probabilities(outputs)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`: (rows, n_classes)."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
