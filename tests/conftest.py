"""Rules for all tests: which of them run alone, and a fresh cache of problems for each module."""

import fcntl
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from bench.suites.problem import make_problem


@pytest.fixture(autouse=True, scope="module")
def _forget_problems() -> None:
    """Forget the problems of other modules: some tests shorten their orders."""
    make_problem.cache_clear()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test marked `alone` while no other test runs, under `pytest -n` too.

    Two locks per run: all tests hold `room`, one marked `alone` exclusively. `door` lets them in one by one, so that a
    test that waits for an empty room is not overtaken.
    """
    workers = getattr(item.config, "workerinput", None)
    if workers is None:  # one process: every test runs alone
        return (yield)
    folder = Path(tempfile.gettempdir()) / f"pyfnn-tests-{workers['testrunuid']}"
    folder.mkdir(exist_ok=True)
    alone = item.get_closest_marker("alone") is not None
    with (folder / "room").open("w") as room:
        with (folder / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        return (yield)
