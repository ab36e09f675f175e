"""Claims about the estimators as scikit-learn's: its own checks pass, on each backend of this process."""

from typing import Any
from unittest import SkipTest

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
    failures = []
    for kind in KINDS:
        for estimator, check in estimator_checks_generator(kind(backend=name, dtype=dtype)):
            try:
                check(estimator)
            except SkipTest:  # as the checks skip
                pass
            except Exception as error:  # noqa: BLE001
                failures.append((kind.__name__, check, error))
    assert not failures
