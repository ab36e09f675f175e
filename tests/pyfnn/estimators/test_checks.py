"""Claims about the quick checks: they accept what scikit-learn's accept, with the same result, and no more."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data

from pyfnn.estimators import FNNClassifier, FNNRegressor, checks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(1)
X = RNG.normal(size=(20, 3))
Y = X[:, 0].copy()
NAN, WIDE = X.copy(), X.copy()
NAN[3, 1], WIDE[2, 2] = np.nan, 1e300  # the latter is infinite in float32
PLAIN: dict[str, tuple[Any, Any]] = {
    "float64": (X, Y),
    "float32": (X.astype("f4"), Y.astype("f4")),
    "Fortran order": (np.asfortranarray(X), Y),
    "a view": (X[::2, ::-1], Y[::2]),
    "integers as targets": (X, np.arange(20)),
    "several targets": (X, X),
}
OTHER: dict[str, tuple[Any, Any]] = {
    "lists": (X.tolist(), Y.tolist()),
    "integers": (np.arange(60).reshape(20, 3), Y),
    "objects": (X.astype(object), Y),
    "a matrix": (np.ma.array(X), Y),
    "NaN": (NAN, Y),
    "too large": (WIDE, Y),
    "no rows": (X[:0], Y[:0]),
    "no columns": (X[:, :0], Y),
    "one dimension": (Y, Y),
    "other rows": (X, Y[:-1]),
    "NaN as a target": (X, NAN[:, 1]),
    "complex targets": (X, Y + 1j),
    "none": (X, None),
}


def read(function: Any, *arguments: Any, **options: Any) -> Any:
    """Return the result of a check, or the text of its error."""
    try:
        return function(*arguments, **options)
    except (ValueError, TypeError) as error:
        return str(error)


def scikit_learns(estimator: FNNRegressor, x: Any, y: Any) -> Any:
    return read(validate_data, estimator, x, y, reset=True, dtype="float32", order="C", multi_output=True)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("kind", [*PLAIN, *OTHER])
def test_rows_are_read_as_scikit_learn_reads_them(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = {**PLAIN, **OTHER}[kind]
    ours, theirs = FNNRegressor(), FNNRegressor()
    expected = scikit_learns(theirs, x, y)
    if kind in PLAIN:
        monkeypatch.setattr(checks, "validate_data", None)  # it is not called
    found = read(checks.training_rows, ours, x, y, fresh=True)
    if isinstance(expected, str):
        assert found == expected
        return
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype
        assert mine.flags.c_contiguous
    assert ours.n_features_in_ == theirs.n_features_in_ == 3


@pytest.mark.parametrize("kind", PLAIN)
def test_inputs_of_predictions_are_read_without_scikit_learn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = FNNRegressor((4,), max_iter=2).fit(X, Y)
    expected = fitted.predict(PLAIN[kind][0].tolist())
    monkeypatch.setattr(checks, "validate_data", None)
    np.testing.assert_array_equal(fitted.predict(PLAIN[kind][0]), expected)


def test_other_columns_than_the_fitted_ones_and_names_are_left_to_scikit_learn() -> None:
    fitted = FNNRegressor((4,), max_iter=2).fit(X, Y)
    with pytest.raises(ValueError, match="X has 2 features, but FNNRegressor is expecting 3"):
        fitted.predict(X[:, :2])
    with pytest.raises(ValueError, match="X has 2 features, but FNNRegressor is expecting 3"):
        fitted.partial_fit(X[:, :2], Y)
    assert fitted.fit(X[:, :2], Y).n_features_in_ == 2
    fitted.feature_names_in_ = np.array(["a", "b"], dtype=object)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X[:, :2])
    fitted.fit(X, Y)
    assert not hasattr(fitted, "feature_names_in_")
    with pytest.raises(NotFittedError):
        FNNRegressor().predict(X)


@pytest.mark.parametrize("kind", [FNNRegressor, FNNClassifier])
def test_defaults_hold_by_scikit_learns_constraints_and_are_not_asked_again(
    kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    BaseEstimator._validate_params(kind())
    assert checks.parameters_hold(kind())
    monkeypatch.setattr(checks, "_holds", None)
    assert checks.parameters_hold(kind())


def test_a_default_that_breaks_its_rule_is_refused_too() -> None:
    class Mistaken(FNNRegressor):
        def __init__(self, alpha: float = -1.0) -> None:
            super().__init__(alpha=alpha)

    with pytest.raises(ValueError, match="The 'alpha' parameter of Mistaken must be"):
        Mistaken().fit(X, Y)


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", 0),
        ("activation", 3),
        ("alpha", -1e-9),
        ("shuffle", 1),
        ("n_iter_no_change", 1.5),
        ("tol", "small"),
        ("threads", 0),
    ],
)
@pytest.mark.parametrize("kind", [FNNRegressor, FNNClassifier])
def test_a_wrong_parameter_is_refused_in_scikit_learns_words(kind: type[Any], name: str, value: Any, call: str) -> None:
    estimator = kind(**{name: value})
    assert not checks.parameters_hold(estimator)
    with pytest.raises(ValueError, match=f"The '{name}' parameter of {kind.__name__} must be"):
        getattr(estimator, call)(X, Y > 0)
