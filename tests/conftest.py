"""A rule for all tests: a fresh cache of problems for each module."""

import pytest

from bench.suites.problem import make_problem


@pytest.fixture(autouse=True, scope="module")
def _forget_problems() -> None:
    """Forget the problems of other modules: some tests shorten their orders."""
    make_problem.cache_clear()
