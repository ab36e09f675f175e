"""Claims about how the estimators train: early stopping, warm starts, parts, rates, and what they refuse."""

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.estimators import FNNClassifier, FNNRegressor
from pyfnn.estimators.base import NetworkEstimator
from pyfnn.estimators.plan import Course, Plan
from pyfnn.network import Network, initialize
from pyfnn.training import Cosine, FitDiverged
from pyfnn.validation import Array

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(1)
X = RNG.normal(size=(90, 4))
Y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
CLASSES = np.array(["a", "b", "c"])[np.digitize(Y, (-0.5, 0.5))]


def regressor(**changes: Any) -> FNNRegressor:
    return FNNRegressor(**{"hidden_layer_sizes": (8,), "max_iter": 5, "batch_size": 16, "random_state": 2, **changes})


@quiet
def test_the_same_random_state_gives_the_same_bits_and_another_one_does_not() -> None:
    first, again, other = (regressor(random_state=seed).fit(X, Y).theta_ for seed in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@quiet
def test_parameters_start_as_initialize_draws_them_and_the_penalty_is_scikit_learns() -> None:
    fitted = regressor(alpha=0.32, learning_rate_init=1e-12, solver="sgd", momentum=0.0).fit(X, Y)
    network = Network((4, 8, 1), "relu", "half_squared_error", l2=0.32 / 16)
    assert fitted.network_ == network
    seed = 2  # the random state
    np.testing.assert_allclose(fitted.theta_, initialize(network, seed, "glorot"), atol=1e-6)
    assert regressor(alpha=0.9, solver="lbfgs").fit(X, Y).network_.l2 == 0.9 / 90


@quiet
def test_coefs_and_intercepts_are_views_that_predictions_follow() -> None:
    fitted = regressor().fit(X, Y)
    assert [W.shape for W in fitted.coefs_] == [(4, 8), (8, 1)]
    assert all(np.shares_memory(part, fitted.theta_) for part in (*fitted.coefs_, *fitted.intercepts_))
    before = fitted.predict(X)
    fitted.intercepts_[1][:] += 5
    np.testing.assert_allclose(fitted.predict(X), before + 5, rtol=1e-5)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs", "cg"])
def test_early_stopping_restores_the_parameters_with_the_best_score(solver: str) -> None:
    noise = np.random.default_rng(5).normal(size=len(X))
    settings = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 500, "n_iter_no_change": 4, "tol": 0.0}
    fitted = regressor(solver=solver, learning_rate_init=0.02, hidden_layer_sizes=(50,), **settings).fit(X, noise)
    scores = fitted.validation_scores_
    assert scores is not None
    assert len(scores) == fitted.n_iter_ < 500
    assert fitted.best_validation_score_ == max(scores)
    assert scores.index(max(scores)) == len(scores) - 6  # stopped after more than n_iter_no_change epochs
    rows, held = fitted._split(fitted._read(X, noise, fresh=True), 0.3, fitted._seed())
    assert len(rows[0]) == 63
    assert fitted._scorer(held[1])(fitted._outputs_of(held[0])) == max(scores)
    assert fitted.best_loss_ is None


def test_without_early_stopping_the_training_loss_decides_and_the_last_parameters_stay() -> None:
    fitted = regressor(max_iter=2000, tol=0.01, n_iter_no_change=3).fit(X, Y)
    assert fitted.n_iter_ == len(fitted.loss_curve_) < 2000
    best = np.minimum.accumulate([np.inf, *fitted.loss_curve_])
    waits = fitted.loss_curve_ > best[:-1] - 0.01
    assert waits[-4:].all()
    assert not waits[-5]
    assert fitted.loss_ == fitted.loss_curve_[-1]
    assert fitted.best_loss_ == min(fitted.loss_curve_)
    assert fitted.validation_scores_ is None
    assert fitted.best_validation_score_ is None


@quiet
@pytest.mark.parametrize("changes", [{"backend": "numpy"}, {"batch_size": 1}], ids=str)
def test_where_steps_sum_no_losses_the_loss_is_that_of_all_rows_after_the_epoch(changes: dict[str, Any]) -> None:
    fitted = regressor(**changes, solver="sgd", momentum=0.0).fit(X, Y)
    with fitted._lend(fitted.network_, fitted.theta_) as model:
        model.load(X.astype("f4"), Y[:, np.newaxis].astype("f4"), np.zeros(1, np.int64))
        assert model.loss(0, len(X)) == fitted.loss_


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_training_that_reaches_max_iter_warns(solver: str) -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter = 5 iterations reached") as record:
        regressor(solver=solver).fit(X, Y)
    assert record[0].filename == __file__


@quiet
@pytest.mark.parametrize("make", [regressor, lambda **k: regressor(solver="sgd", **k)], ids=["adam", "sgd"])
def test_parts_continue_with_the_optimizers_state_also_after_pickling(make: Callable[..., FNNRegressor]) -> None:
    one, two = make(), make()
    for _ in range(3):
        one.partial_fit(X, Y)
        two = pickle.loads(pickle.dumps(two.partial_fit(X, Y)))
    np.testing.assert_array_equal(one.theta_, two.theta_)
    assert one.n_iter_ == 1
    assert len(one.loss_curve_) == 3
    assert one.t_ == 270
    forgetful = copy.deepcopy(one)
    forgetful._state = {}
    assert (forgetful.partial_fit(X, Y).theta_ != one.partial_fit(X, Y).theta_).any()


@quiet
def test_an_estimator_keeps_its_model_between_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, once = regressor().partial_fit(X, Y), regressor().fit(X, Y)
    from pyfnn.estimators import models

    monkeypatch.setattr(models, "backend", None)  # a further model cannot be made
    fitted.partial_fit(X, Y).predict(X)
    np.testing.assert_array_equal(fitted.fit(X, Y).theta_, once.theta_)


@quiet
def test_a_model_keeps_small_data_and_lets_go_of_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyfnn.estimators import models

    fitted = regressor().fit(X, Y)
    ((_, model),) = fitted._models._kept
    assert model.data_bytes == X.size * 4 + Y.size * 4
    monkeypatch.setattr(models, "_KEPT", model.data_bytes - 1)
    fitted.predict(X)
    assert fitted._models._kept[0][1] is model
    assert model.data_bytes == 5 * 4


@quiet
def test_without_shuffling_an_epoch_of_parts_is_an_epoch_of_fit() -> None:
    whole = regressor(shuffle=False, max_iter=3).fit(X, Y)
    parts = regressor(shuffle=False)
    for _ in range(3):
        parts.partial_fit(X, Y)
    np.testing.assert_array_equal(parts.theta_, whole.theta_)


@quiet
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs", "cg"])
def test_a_warm_start_continues_from_the_last_parameters(solver: str) -> None:
    fitted = regressor(solver=solver, warm_start=True).fit(X, Y)
    losses = len(fitted.loss_curve_)
    fitted.fit(X, Y)
    assert fitted.loss_ < fitted.loss_curve_[losses - 1]
    assert fitted.n_iter_ == 5
    before = fitted.theta_
    fitted.set_params(learning_rate_init=1e-9, solver="sgd").fit(X, Y)
    np.testing.assert_allclose(fitted.theta_, before, atol=1e-6)  # the rate is that of this call
    with pytest.raises(ValueError, match="the training cannot continue"):
        fitted.set_params(hidden_layer_sizes=(9,)).fit(X, Y)


def raising(error: BaseException, call: int = 4) -> Callable[[int], float]:
    """Return a schedule whose call of this number raises the error."""
    calls = count(1)

    def rate(epoch: int) -> float:
        del epoch
        if next(calls) == call:
            raise error
        return 0.02

    return rate


@quiet
@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": raising(RuntimeError("schedule"))},
        {"learning_rate": raising(KeyboardInterrupt(), call=1)},
        {"learning_rate_init": 1e30},
    ],
    ids=["an error", "an interruption in the first epoch", "a divergence"],
)
def test_a_warm_start_that_fails_leaves_parameters_scores_and_losses_as_they_were(change: dict[str, Any]) -> None:
    settings = {"solver": "sgd", "warm_start": True, "early_stopping": True, "validation_fraction": 0.3}
    fitted = regressor(**settings, learning_rate_init=0.02).fit(X, Y)
    before, course = fitted.theta_.copy(), copy.deepcopy(fitted._course)
    with pytest.raises((RuntimeError, KeyboardInterrupt, FitDiverged)):
        fitted.set_params(**change).fit(X, Y)
    np.testing.assert_array_equal(fitted.theta_, before)
    assert fitted._course == course
    fitted.set_params(learning_rate="constant", learning_rate_init=0.02, max_iter=50).fit(X, Y)
    _, held = fitted._split(fitted._read(X, Y, fresh=False), 0.3, fitted._seed())
    assert fitted._scorer(held[1])(fitted._outputs_of(held[0])) == fitted.best_validation_score_


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupted_fit_warns_and_keeps_its_whole_epochs(early_stopping: bool) -> None:
    settings = {"early_stopping": early_stopping, "validation_fraction": 0.3, "learning_rate": "constant"}
    fitted = regressor(**settings).set_params(learning_rate=raising(KeyboardInterrupt()))
    with pytest.warns(ConvergenceWarning, match="interrupted: the estimator has what the first 3 epochs learned"):
        fitted.fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="max_iter = 3"):
        whole = regressor(**settings).set_params(learning_rate=lambda _: 0.02, max_iter=3).fit(X, Y)
    np.testing.assert_array_equal(fitted.theta_, whole.theta_)
    assert fitted.loss_curve_ == whole.loss_curve_
    assert fitted.n_iter_ == 3


@quiet
def test_fit_starts_at_the_initial_rate_again_and_parts_keep_the_one_that_adaptive_has_reached() -> None:
    fitted = regressor(solver="sgd", learning_rate="adaptive", warm_start=True, tol=10.0, n_iter_no_change=1)
    reached = fitted.set_params(max_iter=8).fit(X, Y)._course.rate
    assert reached < fitted.learning_rate_init
    assert fitted.set_params(tol=0.0).partial_fit(X, Y)._course.rate == reached
    assert fitted.set_params(learning_rate_init=0.01).fit(X, Y)._course.rate == 0.01


@quiet
def test_rates_follow_a_schedule_of_pyfnn_over_all_parts() -> None:
    seen: list[int] = []

    def schedule(epoch: int) -> float:
        seen.append(epoch)
        return Cosine(0.01, 10)(epoch)

    fitted = regressor(learning_rate=schedule).fit(X, Y)
    fitted.partial_fit(X, Y)
    assert seen == [0, 1, 2, 3, 4, 5]


@quiet
def test_a_cosine_that_is_too_short_for_the_epochs_of_all_calls_is_refused_before_them() -> None:
    fitted = regressor(learning_rate=Cosine(0.01, 6)).fit(X, Y).partial_fit(X, Y)
    for train in (fitted.partial_fit, fitted.set_params(warm_start=True).fit):
        with pytest.raises(ValueError, match=r"its rate is 0 after 6 epochs, and the training has"):
            train(X, Y)
    assert len(fitted.loss_curve_) == 6


@quiet
def test_verbose_prints_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = regressor(verbose=True, max_iter=2, early_stopping=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert fitted.validation_scores_ is not None
    assert lines[1] == f"Iteration 2, loss = {fitted.loss_:.8f}, validation score = {fitted.validation_scores_[1]:.6f}"
    assert len(lines) == 2


@quiet
@pytest.mark.parametrize("activation", ["leaky_relu(0.05)", ("tanh", "elu")])
def test_any_activation_of_the_backend_works(activation: Any) -> None:
    fitted = regressor(activation=activation, hidden_layer_sizes=[6, 5], max_iter=300).fit(X, Y)
    assert fitted.score(X, Y) > 0.5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"backend": "cpp-tunde"}, ValueError, "unknown backend 'cpp-tunde'; did you mean 'cpp-tuned'"),
        ({"backend": "cuda"}, BackendUnavailable, r"\(.*\)"),
        ({"backend": "sklearn", "activation": "elu"}, Unsupported, "sklearn has no activation 'elu'"),
        ({"activation": "gelu"}, ValueError, "activation = 'gelu': unknown activation 'gelu'"),
        ({"activation": ["tanh", "tanh"]}, ValueError, "one name per hidden layer, of which there are 1"),
        ({"hidden_layer_sizes": (5, 0)}, ValueError, "every size must be at least 1"),
        ({"momentum": 1.0}, ValueError, "'momentum' parameter of FNNRegressor must be"),
        ({"solver": "newton"}, ValueError, "'solver' parameter of FNNRegressor must be"),
        ({"dtype": "float16"}, ValueError, "'dtype' parameter of FNNRegressor must be"),
        ({"early_stopping": True, "validation_fraction": 0.01}, ValueError, "at least two rows"),
        ({"solver": "sgd", "learning_rate_init": 1e30}, FitDiverged, "non-finite"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    if changes.get("backend") == "cuda":
        from pyfnn.estimators.models import backend

        try:
            backend("cuda")
            pytest.skip("there is a CUDA device")
        except BackendUnavailable:
            pass
    fitted = regressor(**changes)
    with pytest.raises(error, match=message):
        fitted.fit(X, Y)
    with pytest.raises(NotFittedError):
        fitted.predict(X)


def test_parts_are_refused_with_early_stopping_and_with_solvers_of_all_rows() -> None:
    with pytest.raises(ValueError, match="does not support early_stopping"):
        regressor(early_stopping=True).partial_fit(X, Y)
    assert not hasattr(regressor(solver="cg"), "partial_fit")


@quiet
def test_a_batch_of_more_rows_than_there_are_warns_and_takes_all() -> None:
    with pytest.warns(UserWarning, match="batch_size = 1000: there are only 90 rows") as record:
        fitted = regressor(batch_size=1000, alpha=9.0).fit(X, Y)
    assert fitted.network_.l2 == 0.1
    assert {warning.filename for warning in record} == {__file__}


def first_parts() -> tuple[Array, Array]:
    return X[:30], CLASSES[:30]


@quiet
def test_a_classifier_in_parts_knows_all_labels_from_the_first_call() -> None:
    classifier = FNNClassifier((8,), learning_rate_init=0.02, random_state=0)
    with pytest.raises(ValueError, match="classes must be passed"):
        classifier.partial_fit(*first_parts())
    only = CLASSES == "a"
    classifier.partial_fit(X[only], CLASSES[only], classes=["c", "a", "b"])
    assert classifier.classes_.tolist() == ["a", "b", "c"]
    for _ in range(200):
        classifier.partial_fit(X, CLASSES)
    assert classifier.score(X, CLASSES) > 0.7
    with pytest.raises(ValueError, match="labels that are not in classes_"):
        classifier.partial_fit(X[:2], np.array(["a", "d"]))
    with pytest.raises(ValueError, match="in the first call"):
        classifier.partial_fit(*first_parts(), classes=["a", "b"])


def test_both_estimators_document_each_of_their_parameters() -> None:
    for kind in (FNNRegressor, FNNClassifier):
        documented = {line.split(" :")[0].strip() for line in str(kind.__doc__).splitlines() if " : " in line}
        names = {name.strip() for entry in documented for name in entry.split(",")}
        assert set(kind().get_params()) - {"nesterovs_momentum", "learning_rate_init"} <= names
    assert str(NetworkEstimator.__doc__).count("Parameters\n") == 1


@quiet
def test_an_interruption_at_any_moment_of_the_bookkeeping_leaves_a_whole_number_of_epochs() -> None:
    settings = {"early_stopping": True, "validation_fraction": 0.3, "tol": 0.0, "batch_size": 30}
    whole = {n: regressor(max_iter=n, **settings).fit(X, Y) for n in range(1, 5)}
    best = [whole[n].theta_.tobytes() for n in whole]
    assert best[1] != best[2] != best[3], "no epoch has the best score so far"
    ends = set()
    for moment in count():
        fitted = regressor(max_iter=4, **settings)
        with interrupted_at(moment, first=2, last=2) as happened:
            fitted.fit(X, Y)
        if not happened:
            break
        n = fitted.n_iter_
        ends.add(n)
        assert fitted.theta_.tobytes() == best[n - 1], f"after {moment} steps of the interpreter"
        assert fitted._course == whole[n]._course
    assert ends == {2, 3}
    assert moment > 50


@contextmanager
def interrupted_at(moment: int, *, first: int, last: int) -> Iterator[list[int]]:
    """Interrupt at a step of the interpreter in `Plan.after`, counted over its calls `first` to `last`, from 0."""
    bookkeeping = {f.__code__ for f in (Plan.after, Plan._end_of_epoch, Plan._lowers_the_rate, Course.add)}
    steps, calls, happened = count(), count(-1), list[int]()
    at = -1

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal at
        if frame.f_code not in bookkeeping:
            return None
        if event == "call" and frame.f_code is Plan.after.__code__:
            at = next(calls) + 1
        frame.f_trace_opcodes = True
        if event == "opcode" and first <= at <= last and next(steps) == moment:
            happened.append(moment)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield happened
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("change", [{"solver": "sgd"}, {"solver": "sgd", "momentum": 0.0}])
def test_a_part_after_another_solver_was_set_begins_with_a_new_optimizer(change: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    first = FNNRegressor(4, random_state=0).partial_fit(x, x[:, 0])
    theta = first.theta_.copy()
    first.set_params(**change).partial_fit(x, x[:, 0])
    assert not np.array_equal(first.theta_, theta)
    assert first.t_ == 80


@pytest.mark.parametrize("solver", ["lbfgs", "cg"])
def test_a_search_that_is_over_before_its_first_iteration_has_a_loss(solver: str) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    fitted = FNNRegressor(4, solver=solver, tol=1e3, random_state=0).fit(x, x[:, 0])
    assert fitted.n_iter_ == 0
    assert fitted.loss_ == fitted.best_loss_ == fitted.loss_curve_[0]
    assert np.isfinite(fitted.loss_)
