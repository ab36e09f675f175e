"""Claims about the estimators as scikit-learn's: its own checks pass, on each backend of this process."""

from functools import partial
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from support.requirements import require

from pyfnn.errors import BackendUnavailable
from pyfnn.estimators import FNNClassifier, FNNRegressor
from pyfnn.estimators.models import backend
from pyfnn.network import DTYPES

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:batch_size",
    "ignore:.*overflow encountered in cast",
)
BACKENDS = ["numpy", "c", "cpp", "cpp-blas", "cpp-tuned", "numba", "jax", "torch", "sklearn"]
KINDS = [FNNRegressor, FNNClassifier]
ORDER = "check_methods_sample_order_invariance"  # the check allows differences of 1e-7, about one rounding of float32


@parametrize_with_checks([kind(dtype=dtype) for kind in KINDS for dtype in DTYPES])  # type: ignore[untyped-decorator]
def test_scikit_learns_checks_pass_for_cpp_tuned(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.soak
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BACKENDS)
def test_scikit_learns_checks_pass_for_each_backend_of_this_process(name: str, dtype: str) -> None:
    try:
        backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
    apart = {ORDER: "XLA rounds a row by its place among the others"} if (name, dtype) == ("jax", "float32") else {}
    checks = partial(estimator_checks_generator, expected_failed_checks=apart, mark="skip")
    failures = []
    for kind in KINDS:
        for estimator, check in checks(kind(backend=name, dtype=dtype)):
            try:
                check(estimator)
            except SkipTest:  # as the checks skip
                pass
            except Exception as error:  # noqa: BLE001
                failures.append((kind.__name__, check, error))
    assert not failures


@pytest.mark.soak
def test_the_predictions_of_jax_for_rows_in_another_order_differ_by_rounding_alone() -> None:
    rng = np.random.default_rng(0)
    X, order = rng.normal(size=(20, 3)), rng.permutation(20)
    estimator = FNNRegressor(backend="jax", dtype="float32", random_state=0, max_iter=5).fit(X, X[:, 0])
    np.testing.assert_allclose(estimator.predict(X[order]), estimator.predict(X)[order], rtol=1e-5, atol=1e-6)
