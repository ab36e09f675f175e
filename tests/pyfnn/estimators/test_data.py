"""Claims about the data that the estimators take: labels of all kinds, few rows, several outputs, data frames."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.preprocessing import MultiLabelBinarizer
from support.requirements import require

from pyfnn.errors import InvalidInput
from pyfnn.estimators import FNNClassifier, FNNRegressor
from pyfnn.validation import Array

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(1)
X = RNG.normal(size=(80, 3))
CODES = np.digitize(X[:, 0], (-0.5, 0.5))


@pytest.mark.parametrize(
    "classes",
    [
        np.array([-7, 0, 2**40]),
        np.array([0.0, 1.0, 5.0]),
        np.array(["no", "maybe", "certainly"]),
        np.array(["no", "maybe", "certainly"], dtype=object),
        np.array([False, True]),
        np.array([3, 9], np.int8),
        np.array(["only"]),
    ],
    ids=str,
)
def test_labels_of_any_type_come_back_as_they_were(classes: Array) -> None:
    y = classes[CODES % len(classes)]
    fitted = FNNClassifier((20,), learning_rate_init=0.02, random_state=0).fit(X, y)
    assert fitted.classes_.dtype == fitted.predict(X).dtype == classes.dtype
    np.testing.assert_array_equal(fitted.classes_, np.unique(y))
    assert fitted.score(X, y) > 0.9
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (80, len(classes))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(X))


def test_several_labels_a_row_may_come_as_a_sparse_array() -> None:
    y = MultiLabelBinarizer().fit_transform([[name for name, x in zip("ab", row, strict=False) if x > 0] for row in X])
    fitted = FNNClassifier((20,), learning_rate_init=0.02, random_state=0).fit(X, csr_array(y))
    assert fitted.out_activation_ == "logistic"
    assert fitted.score(X, y) > 0.9
    assert ((fitted.predict_proba(X) > 0.5) == fitted.predict(X)).all()
    with pytest.raises(ValueError, match="2 columns of 0 and 1"):
        fitted.partial_fit(X, np.eye(3, dtype=int)[CODES])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (X[:, 0], "Unknown label type: continuous"),
        (np.stack([CODES, CODES], axis=1), "y is multiclass-multioutput: one column of labels is needed"),
        (X[:, :2], "Unknown label type: continuous-multioutput"),
    ],
)
def test_targets_that_are_no_labels_are_refused(y: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FNNClassifier().fit(X, y)


@pytest.mark.parametrize("kind", [FNNRegressor, FNNClassifier])
def test_one_row_is_enough(kind: type[Any]) -> None:
    fitted = kind(max_iter=3).fit(X[:1], [4])
    assert fitted.predict(X[:1]).shape == (1,)
    if kind is FNNClassifier:
        assert fitted.predict(X).tolist() == [4] * 80
        assert (fitted.predict_proba(X) == 1).all()


def test_several_outputs_are_learned_at_once() -> None:
    y = np.stack([X[:, 0], np.sin(X[:, 1]), X[:, 2] ** 2], axis=1)
    fitted = FNNRegressor((40,), learning_rate_init=0.02, random_state=0).fit(X, y)
    assert fitted.n_outputs_ == 3
    assert fitted.predict(X).shape == (80, 3)
    assert fitted.score(X, y) > 0.95


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_of_the_estimators_dtype(dtype: str) -> None:
    fitted = FNNRegressor(max_iter=1, dtype=dtype).fit(X, X[:, 0])
    assert fitted.predict(X.astype("f4")).dtype == fitted.theta_.dtype == dtype
    assert fitted.set_params(dtype="float32").predict(X).dtype == dtype


def test_targets_beyond_the_dtype_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"y\[0, 0\] = inf"), np.errstate(over="ignore"):
        FNNRegressor(max_iter=1).fit(X, np.full(80, 1e300))


def frame(library: str) -> Any:
    try:
        module = __import__(library)
    except ImportError:
        require(library, False, f"pip install {library}")
    return module.DataFrame(dict(zip("abc", X.T, strict=True)))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_are_taken_with_the_names_of_their_columns(library: str) -> None:
    data = frame(library)
    fitted = FNNClassifier((5,), max_iter=2, random_state=0).fit(data, CODES.astype(str))
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    plain = FNNClassifier((5,), max_iter=2, random_state=0).fit(X, CODES.astype(str))
    np.testing.assert_array_equal(fitted.predict_proba(data), plain.predict_proba(X))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(data[["b", "a", "c"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X)


def test_a_series_of_labels_is_taken() -> None:
    data = frame("pandas")
    data["label"] = np.array(["low", "middle", "high"])[CODES]
    fitted = FNNClassifier((20,), learning_rate_init=0.02, random_state=0).fit(data[["a", "b", "c"]], data["label"])
    assert fitted.classes_.tolist() == ["high", "low", "middle"]
    assert fitted.score(data[["a", "b", "c"]], data["label"]) > 0.9
