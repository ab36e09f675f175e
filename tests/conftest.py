"""What all tests share: skips that say what is missing, and that CI turns into failures."""

import pytest

from bench.suites.problem import make_problem


@pytest.fixture(autouse=True, scope="module")
def _no_problem_of_another_modules() -> None:
    """Some tests make orders short: what they leave in the cache is theirs alone."""
    make_problem.cache_clear()
