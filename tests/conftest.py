"""Rules for all tests: one thread for NumPy's BLAS, a fresh cache of problems and one browser for each module."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.browser import chromium
from threadpoolctl import threadpool_limits

from bench.suites.problem import make_problem

# In this process, for the oracle: on CPUs that other tests use, a product shared by threads waits for the last of them.
threadpool_limits(1, user_api="blas")


@pytest.fixture(autouse=True, scope="module")
def _forget_problems() -> None:
    """Forget the problems of other modules: some tests shorten their orders."""
    make_problem.cache_clear()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium, started for the tests of a module that ask for it."""
    with chromium() as found:
        yield found
