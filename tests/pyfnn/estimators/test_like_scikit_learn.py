"""Claims about the estimators beside scikit-learn's: the same steps from the same parameters, scores, attributes."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from pyfnn.estimators import FNNClassifier, FNNRegressor
from pyfnn.estimators.labels import Labels
from pyfnn.validation import Array

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SETTINGS: dict[str, Any] = {
    "hidden_layer_sizes": (7, 5),
    "batch_size": 20,  # divides the rows: scikit-learn's penalty is stronger in a shorter last step
    "alpha": 0.3,
    "learning_rate_init": 0.01,
    "max_iter": 4,
    "shuffle": False,
    "n_iter_no_change": 100,
}
SOLVERS: list[dict[str, Any]] = [
    {"solver": "adam"},
    {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3},
    {"solver": "sgd"},
    {"solver": "sgd", "nesterovs_momentum": False},
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
    {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 10.0, "max_iter": 9},
]
X, NUMBERS = make_regression(60, 6, n_targets=2, random_state=1)
X, NUMBERS = scale(X), scale(NUMBERS)
_, CLASSES = make_classification(60, 6, n_classes=3, n_informative=4, random_state=1)
_, LABELS = make_multilabel_classification(60, 6, n_classes=4, random_state=1)
PROBLEMS = {
    "one output": (FNNRegressor, MLPRegressor, NUMBERS[:, 0]),
    "two outputs": (FNNRegressor, MLPRegressor, NUMBERS),
    "two classes": (FNNClassifier, MLPClassifier, CLASSES == 1),
    "three classes": (FNNClassifier, MLPClassifier, np.array(["low", "middle", "high"])[CLASSES]),
    "labels": (FNNClassifier, MLPClassifier, LABELS),
}


def pair(problem: str, **changes: Any) -> tuple[Any, Any, Array]:
    """Return an estimator of each library at the same parameters, which `fit` continues from, and the targets."""
    ours, theirs, y = PROBLEMS[problem]
    settings = {**SETTINGS, "random_state": 3, **changes}
    mine, other = (
        each.set_params(max_iter=1).fit(X, y) for each in (ours(**settings, dtype="float64"), theirs(**settings))
    )
    for W, b, given, bias in zip(mine.coefs_, mine.intercepts_, other.coefs_, other.intercepts_, strict=True):
        W[:], b[:] = given, bias
    for each in (mine, other):
        each.set_params(**settings, warm_start=True)
    other.best_loss_, other._no_improvement_count, other.t_ = np.inf, 0, 0
    mine._course.best_loss, mine._course.rows = np.inf, 0
    return mine, other, y


def check_parameters(mine: Any, other: Any, tolerance: float = 1e-9) -> None:
    for ours, theirs in ((mine.coefs_, other.coefs_), (mine.intercepts_, other.intercepts_)):
        for tensor, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(tensor, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("changes", SOLVERS, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_training_makes_scikit_learns_steps(problem: str, changes: dict[str, Any]) -> None:
    mine, other, y = pair(problem, **changes)
    before = mine.theta_.copy()
    assert mine.fit(X, y).n_iter_ == other.fit(X, y).n_iter_ == {**SETTINGS, **changes}["max_iter"]
    assert np.abs(mine.theta_ - before).max() > 0.01
    check_parameters(mine, other)
    assert mine.t_ == other.t_
    if problem != "two outputs":  # of which scikit-learn's loss is the mean
        np.testing.assert_allclose(mine.loss_curve_[1:], other.loss_curve_[-mine.n_iter_ :], rtol=1e-7)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh"])
def test_lbfgs_ends_where_scikit_learns_does(activation: str) -> None:
    mine, other, y = pair("one output", solver="lbfgs", activation=activation, max_iter=15)
    assert mine.fit(X, y).n_iter_ == other.fit(X, y).n_iter_ == 15
    check_parameters(mine, other, 1e-5)
    assert mine.loss_ == pytest.approx(other.loss_, rel=1e-6)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_predictions_scores_and_attributes_are_scikit_learns(problem: str) -> None:
    mine, other, y = pair(problem)
    mine.fit(X, y)
    other.fit(X, y)
    for name in ("predict", "predict_proba", "predict_log_proba"):
        assert hasattr(mine, name) == hasattr(other, name)
        if hasattr(mine, name):
            ours, theirs = getattr(mine, name)(X), getattr(other, name)(X)
            assert ours.shape == theirs.shape
            if ours.dtype.kind == "f":
                np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
            else:
                np.testing.assert_array_equal(ours, theirs)
    assert mine.score(X, y) == pytest.approx(other.score(X, y))
    for name in ("n_features_in_", "n_layers_", "n_outputs_", "out_activation_", "validation_scores_"):
        assert getattr(mine, name) == getattr(other, name)


def test_the_validation_scores_are_r2_and_accuracy() -> None:
    rng = np.random.default_rng(0)
    targets, outputs = rng.normal(size=(2, 20, 3))
    assert FNNRegressor()._scorer(targets)(outputs) == pytest.approx(r2_score(targets, outputs))
    targets[:, 0] = 1
    assert FNNRegressor()._scorer(targets)(outputs) == pytest.approx(r2_score(targets, outputs))
    outputs[:, 0] = 1
    assert FNNRegressor()._scorer(targets)(outputs) == pytest.approx(r2_score(targets, outputs))
    for y in (CLASSES, CLASSES == 1, LABELS):
        classifier = FNNClassifier()
        classifier._labels = labels = Labels.of(y)
        outputs = rng.random((60, labels.n_outputs))
        assert classifier._scorer(labels.encode(y, "float64"))(outputs) == accuracy_score(y, labels.decode(outputs))


def test_the_defaults_are_scikit_learns() -> None:
    for ours, theirs in ((FNNRegressor(), MLPRegressor()), (FNNClassifier(), MLPClassifier())):
        mine, other = ours.get_params(), theirs.get_params()
        assert mine.keys() - other.keys() == {"backend", "dtype", "threads"}
        assert other.keys() - mine.keys() <= {"loss"}
        assert all(mine[name] == other[name] for name in mine.keys() & other.keys())
        assert clone(ours).get_params() == mine
