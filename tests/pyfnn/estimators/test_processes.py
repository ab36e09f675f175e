"""Claims about the estimators with threads and processes: grid searches, forks, and use by several threads at once."""

import gc
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import psutil
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.processes import until

import pyfnn
from pyfnn.errors import BackendUnavailable, UnknownName
from pyfnn.estimators import FNNRegressor
from pyfnn.training import FitDiverged

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
X = np.random.default_rng(1).normal(size=(60, 3))
Y = X[:, 0] * X[:, 1]


def fitted(**changes: Any) -> FNNRegressor:
    estimator = FNNRegressor((8,), random_state=0, **{"max_iter": 5, **changes})
    estimator.fit(X, Y)
    return estimator


def in_a_fork(work: Callable[[], None]) -> int:
    """Run `work` in a forked child, for 60 seconds at most; return its exit status, 0 where nothing was raised."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("processes", ["loky", "multiprocessing"])
def test_a_grid_search_over_a_pipeline_with_two_processes_finds_what_one_finds(processes: str) -> None:
    fitted(threads=2)  # its threads wait in this process when the others are forked
    pipeline = make_pipeline(StandardScaler(), FNNRegressor((8,), max_iter=5, random_state=0))
    grid = {"fnnregressor__alpha": [0.0, 1.0], "fnnregressor__solver": ["adam", "lbfgs"]}
    one = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    with joblib.parallel_config(processes):
        two = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(two.predict(X), one.predict(X))


def test_an_estimator_starts_no_threads_but_those_it_may_use() -> None:
    def has_threads(number: int) -> bool:
        return until(lambda: psutil.Process().num_threads() == number)  # the system may count one that has just ended

    fitted()
    gc.collect()
    before = psutil.Process().num_threads()
    alone = fitted()
    assert has_threads(before)
    both = fitted(threads=2)
    assert has_threads(before + 1)
    del alone, both
    assert has_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_predicts_trains_on_and_drops_an_estimator_of_its_parent(threads: int) -> None:
    parent = fitted(threads=threads)
    expected = parent.predict(X)
    kept = [parent]

    def work() -> None:
        np.testing.assert_array_equal(kept[0].predict(X), expected)
        kept[0].partial_fit(X, Y)
        kept.clear()

    del parent
    assert in_a_fork(work) == 0
    assert in_a_fork(kept.clear) == 0
    np.testing.assert_array_equal(kept[0].predict(X), expected)


def test_several_threads_may_predict_at_once() -> None:
    estimator = fitted()
    parts = [X[at : at + 7] for at in range(50)]
    expected = [estimator.predict(part) for part in parts]
    with ThreadPoolExecutor(8) as threads:
        for got, right in zip(threads.map(estimator.predict, parts * 4), expected * 4, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-6)


def test_a_pickled_estimator_predicts_the_same_bits_and_holds_no_model() -> None:
    estimator = fitted()
    estimator.predict(X)
    again = pickle.loads(pickle.dumps(estimator))
    assert not again._models._kept
    np.testing.assert_array_equal(again.predict(X), estimator.predict(X))


def test_the_errors_of_a_worker_come_back_whole() -> None:
    with pytest.raises(FitDiverged) as diverged:
        fitted(solver="sgd", learning_rate_init=1e30)
    errors = [diverged.value, BackendUnavailable("no compiler", "install one"), UnknownName("backend", "x", ["y"])]
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__dict__.keys() == error.__dict__.keys()


def test_a_model_is_closed_when_its_estimator_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[pyfnn.Model] = []
    estimator = fitted()
    [(_, model)] = estimator._models._kept
    monkeypatch.setattr(type(model), "close", lambda model: closed.append(model))
    del estimator
    assert closed == [model]
