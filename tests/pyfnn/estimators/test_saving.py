"""Claims about saved estimators: they come back with the same bits, and no file that is damaged or foreign does."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import pyfnn
from pyfnn import storage
from pyfnn.errors import InvalidInput
from pyfnn.estimators import FNNClassifier, FNNRegressor
from pyfnn.estimators.saving import _FORMAT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X = np.random.default_rng(1).normal(size=(40, 3))
CODES = np.digitize(X[:, 0], (-0.5, 0.5))
STRINGS = CODES.astype(str)
CASES: dict[str, tuple[Any, Any]] = {
    "regressor": (FNNRegressor((4, 3), ("tanh", "elu(0.5)"), n_iter_no_change=np.inf), X[:, :2]),
    "stopped early": (FNNRegressor(4, solver="sgd", early_stopping=True, dtype="float64"), X[:, 0]),
    "lbfgs": (FNNRegressor(4, solver="lbfgs", alpha=np.float64(0.1)), X[:, 0]),
    "numbers": (FNNClassifier(4, random_state=np.int64(3)), CODES),
    "strings": (FNNClassifier(4, random_state=0), STRINGS),
    "objects": (FNNClassifier(4), STRINGS.astype(object)),
    "labels": (FNNClassifier(4), (X > 0).astype(int)),
}


@cache
def fit(name: str) -> Any:
    estimator, y = CASES[name]
    return estimator.set_params(max_iter=2).fit(X, y)


@pytest.mark.parametrize("name", CASES)
def test_an_estimator_comes_back_with_the_same_bits(name: str, tmp_path: Path) -> None:
    fitted = fit(name)
    fitted.save(tmp_path / "kept.npz")
    again = type(fitted).load(str(tmp_path / "kept.npz"))
    assert again.get_params() == fitted.get_params()
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(again.theta_, fitted.theta_)
    for attribute in ("network_", "n_iter_", "loss_curve_", "validation_scores_", "t_", "n_features_in_"):
        assert getattr(again, attribute) == getattr(fitted, attribute)
    if isinstance(fitted, FNNClassifier):
        assert again.classes_.dtype == fitted.classes_.dtype
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_parts_continue_with_the_same_bits_after_saving(tmp_path: Path) -> None:
    fitted = FNNRegressor(4, random_state=1).partial_fit(X, X[:, 0])
    fitted.save(tmp_path / "kept")
    again = FNNRegressor.load(tmp_path / "kept").partial_fit(X, X[:, 0])
    np.testing.assert_array_equal(again.theta_, fitted.partial_fit(X, X[:, 0]).theta_)


def test_names_of_features_come_back(tmp_path: Path) -> None:
    fitted = FNNRegressor(4, max_iter=1).fit(X, X[:, 0])
    fitted.feature_names_in_ = np.array(["a", "b", "c"], dtype=object)
    fitted.save(tmp_path / "kept")
    assert FNNRegressor.load(tmp_path / "kept").feature_names_in_.tolist() == ["a", "b", "c"]


def test_what_cannot_be_saved_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        FNNRegressor().save(tmp_path / "kept")
    for change in ({"random_state": np.random.RandomState(1)}, {"learning_rate": len}):
        fitted = FNNRegressor(4, max_iter=1).fit(X, X[:, 0]).set_params(**change)
        with pytest.raises(InvalidInput, match=rf"{next(iter(change))} = .* cannot be saved"):
            fitted.save(tmp_path / "kept")
    assert not list(tmp_path.iterdir())


def test_a_file_cut_short_or_with_a_changed_byte_is_refused_or_gives_the_same_bits(tmp_path: Path) -> None:
    path, fitted = tmp_path / "kept", fit("strings")
    fitted.save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    for at in rng.choice(len(whole), 150, replace=False).tolist():
        changed = bytearray(whole)
        changed[at] ^= 1 << int(rng.integers(8))
        for wrong in (whole[:at], bytes(changed)):
            path.write_bytes(wrong)
            if (again := loaded_unless_refused(path)) is not None:  # a byte that no reader uses, such as the time
                np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def loaded_unless_refused(path: Path) -> FNNClassifier | None:
    try:
        return FNNClassifier.load(path)
    except InvalidInput:
        return None


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    fit("strings").save(path)
    with pytest.raises(InvalidInput, match="class 'FNNClassifier', not FNNRegressor"):
        FNNRegressor.load(path)
    pyfnn.save(path, fit("strings").network_, fit("strings").theta_)
    with pytest.raises(InvalidInput, match="is a file of pyfnn-network/1, not of pyfnn-estimator/1"):
        FNNClassifier.load(path)
    path.write_text("text")
    with pytest.raises(InvalidInput, match="is not a file of pyfnn-estimator/1"):
        FNNClassifier.load(path)


def test_a_file_with_objects_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path(tmp_path / "ran").touch, ()  # type: ignore[return-value]

    np.savez(tmp_path / "a.npz", header=np.array([Evil()], dtype=object))
    with pytest.raises(InvalidInput, match="is not a file of"):
        FNNRegressor.load(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parameters", {"solver": "newton"}),
        ("parameters", {"colour": "red"}),
        ("parameters", None),
        ("network", {"sizes": [3, 4, 3], "activation": "relu", "loss": "hinge"}),
        ("network", {"sizes": [3, 5, 3], "activation": "relu", "loss": "softmax_cross_entropy"}),
        ("network", {"sizes": [3, 4, 3], "activation": "relu", "loss": "squared_error"}),
        ("course", {"rate": 1, "colour": "red"}),
        ("feature_names", ["a"]),
        ("multilabel", True),
        ("n_iter", "many"),
    ],
)
def test_an_edited_file_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    fit("strings").save(path)
    header, arrays = storage.read(path, _FORMAT)
    for wrong in ({**header, field: value}, {name: part for name, part in header.items() if name != field}):
        storage.write(path, _FORMAT, wrong, arrays)
        with pytest.raises(InvalidInput, match="kept is damaged"):
            FNNClassifier.load(path)
    for wrong in ({**arrays, "theta": arrays["theta"][1:]}, {**arrays, "classes": arrays["classes"][1:]}):
        storage.write(path, _FORMAT, header, wrong)
        with pytest.raises(InvalidInput, match="kept is damaged"):
            FNNClassifier.load(path)


def test_classes_that_are_objects_but_no_strings_are_not_saved(tmp_path: Path) -> None:
    """They would come back as strings."""
    fitted = FNNClassifier(4).partial_fit(X, CODES, classes=np.array([0, 1, 2], dtype=object))
    with pytest.raises(InvalidInput, match="classes of Python objects cannot be saved"):
        fitted.save(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []
