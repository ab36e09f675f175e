"""Rules for all tests: one thread for NumPy's BLAS, the same random examples in each run, and two fixtures."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from support.browser import chromium
from threadpoolctl import threadpool_limits

from bench.suites.problem import make_problem
from pyfnn.process import worker

# In this process, for the oracle: on CPUs that other tests use, a product shared by threads waits for the last of them.
threadpool_limits(1, user_api="blas")

worker._ENDING = 60.0  # seconds: the supervisor of a process that ended may wait for a CPU

# A red run must come from a change, so each run has the same examples; those of `fresh` are new ones (`nox -s fuzz`).
# No example has a time limit: a busy machine pauses a process for seconds.
_patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("same", _patient, derandomize=True)
hypothesis.settings.register_profile("fresh", _patient, derandomize=False, print_blob=True)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True, scope="module")
def _forget_problems() -> None:
    """Forget the problems of other modules: some tests shorten their orders."""
    make_problem.cache_clear()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium, started for the tests of a module that ask for it."""
    with chromium() as found:
        yield found
