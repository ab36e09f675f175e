"""The classes of a classifier: targets for the network from labels, and labels from the network's outputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from pyfnn.validation import Array


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes that a classifier knows, in the order of the network's outputs.

    Up to two classes share one sigmoid output, the probability of the second one. More have a softmax output each. In
    a multilabel problem, each label has a sigmoid output.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
        Sorted.
    multilabel : bool
        A row may have any number of the labels.
    """

    classes: Array
    multilabel: bool = False

    @classmethod
    def of(cls, y: Array, classes: Any = None) -> "Labels":
        """Return the labels of y, shape (rows,) or (rows, n_classes); or `classes`, where y need not have them all.

        Raises
        ------
        ValueError
            y holds no labels, but numbers, or several labels a row that are not 0 or 1.
        """
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        check_classification_targets(y)
        if kind == "multilabel-indicator":
            return cls(np.arange(y.shape[1]), multilabel=True)
        if y.ndim != 1:
            raise ValueError(f"y is {kind}: one column of labels is needed, or several of 0 and 1")
        return cls(np.unique(y if classes is None else classes))

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the network."""
        return 1 if len(self.classes) <= 2 and not self.multilabel else len(self.classes)

    @property
    def loss(self) -> str:
        """Name of the network's loss."""
        return "sigmoid_cross_entropy" if self.multilabel or self.n_outputs == 1 else "softmax_cross_entropy"

    def encode(self, y: Array, dtype: str) -> Array:
        """Return the targets: (rows, n_outputs).

        Raises
        ------
        ValueError
            y has other labels.
        """
        if self.multilabel:
            if y.ndim != 2 or y.shape[1] != len(self.classes) or not np.isin(y, (0, 1)).all():
                raise ValueError(f"y must have {len(self.classes)} columns of 0 and 1, as in the first call")
            return np.ascontiguousarray(y, dtype)
        new = np.setdiff1d(y, self.classes)
        if y.ndim != 1 or len(new):
            raise ValueError(f"y has labels that are not in classes_ = {self.classes}: {new}")
        codes = np.searchsorted(self.classes, y)
        if self.n_outputs == 1:
            return codes[:, np.newaxis].astype(dtype)
        return np.eye(self.n_outputs, dtype=dtype)[codes]

    def decode(self, outputs: Array) -> Array:
        """Return the most probable labels of outputs (rows, n_outputs): (rows,); multilabel: (rows, n_outputs)."""
        if self.multilabel:
            return (outputs > 0.5).astype(int)
        if self.n_outputs > 1:
            return np.asarray(self.classes[outputs.argmax(axis=1)])
        second = (outputs[:, 0] > 0.5).astype(int)
        return np.asarray(self.classes[np.minimum(second, len(self.classes) - 1)])

    def probabilities(self, outputs: Array) -> Array:
        """Return the probability of each class: (rows, n_classes)."""
        if self.multilabel or self.n_outputs > 1:
            return outputs
        if len(self.classes) == 1:
            return np.ones_like(outputs)
        return np.hstack([1 - outputs, outputs])
