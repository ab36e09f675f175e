"""Rules for all tests: one thread for NumPy's BLAS, and a fresh cache of problems for each module."""

import pytest
from threadpoolctl import threadpool_limits

from bench.suites.problem import make_problem

# In this process, for the oracle: on CPUs that other tests use, a product shared by threads waits for the last of them.
threadpool_limits(1, user_api="blas")


@pytest.fixture(autouse=True, scope="module")
def _forget_problems() -> None:
    """Forget the problems of other modules: some tests shorten their orders."""
    make_problem.cache_clear()
