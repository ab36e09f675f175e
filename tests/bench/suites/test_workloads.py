"""Claims about the named workloads: from their θ at their rate, the loss falls and stays down.

Values must not become subnormal either, because the cost of a step would then depend on more than its shapes.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from support.requirements import require

from bench.suites import load
from bench.suites.load import load_suite
from bench.suites.problem import MIN_ORDER, Problem, make_problem
from bench.suites.suite import Workload
from pyfnn import oracle
from pyfnn.errors import BackendUnavailable, Diverged
from pyfnn.model import Model
from pyfnn.registry import load_backend
from pyfnn.validation import Array

WORKLOADS = load.built_in_workloads()
# Epochs of the quick run, and steps of the long run: a million, or as many as fit ten minutes.
EPOCHS = {
    "wine-shallow": 40,
    "wine-deep": 40,
    "wine-batch": 40,
    "digits": 40,
    "mlp": 10,
    "wide": 3,
    "ensemble": 40,
    "ensemble-4096": 4,
}
STEPS = dict.fromkeys(WORKLOADS, 10**6) | {"mlp": 200_000, "wide": 2_000}
SWEPT = {
    name: workload
    for suite, workloads in map(load_suite, load.built_in_suites())
    if suite.sweep
    for name, workload in workloads.items()
    if name in suite.workloads and name not in WORKLOADS
}
LONG = 2 * MIN_ORDER  # rows: more than any timed block uses
SMALL = 64  # rows of a minibatch
WATCHED = 1024  # rows whose gradients and activations are searched for subnormals
MARKS = 8


@dataclass(frozen=True)
class Course:
    """The outcome of a long training. losses: at the start and after each of equal parts; theta: at the end."""

    losses: list[float]
    theta: Array

    @property
    def grew(self) -> bool:
        """True if the loss ended well above its minimum; a millionth of the first loss counts as zero."""
        return not self.losses[-1] <= 1.2 * min(self.losses) + 1e-6 * self.losses[0]


def model_of(problem: Problem) -> Model:
    """Return a model of the C backend, or of NumPy for large networks, where its BLAS is faster."""
    large = problem.network.n_parameters > 10**5
    try:
        backend = load_backend("numpy" if large else "c")
    except BackendUnavailable as error:
        require("c", False, str(error))
        raise
    model = backend.create(problem.network, problem.theta)
    model.load(problem.x, problem.y, problem.order)
    return model


def train(workload: Workload, problem: Problem, epochs: int) -> Course:
    """Train whole epochs; the order is repeated when it ends."""
    rows, held = workload.rows, len(problem.order) // workload.rows
    marks = {round(epochs * part / MARKS) for part in range(1, MARKS + 1)}
    with model_of(problem) as model:
        losses = [model.loss_and_gradient(0, rows)[0]]
        for epoch in range(epochs):
            model.train(epoch % held * rows, rows, workload.batch, workload.learning_rate)
            if epoch + 1 in marks:
                losses.append(model.loss_and_gradient(0, rows)[0])
        return Course(losses, model.theta())


def subnormals(values: Array) -> float:
    """Return the share of values that are subnormal in their dtype."""
    return float(np.mean((values != 0) & (np.abs(values) < np.finfo(values.dtype).tiny)))


def most_subnormals(workload: Workload, problem: Problem, theta: Array) -> float:
    """Return the largest share of subnormals in the parameters, an activation or the gradient of a minibatch."""
    rows = min(workload.rows, WATCHED)
    run = oracle.forward(problem.network, theta, problem.x[:rows])
    starts = range(0, rows, max(workload.batch, rows // 32))
    batches = [slice(at, at + workload.batch) for at in starts]
    gradients = [oracle.loss_and_gradient(problem.network, theta, problem.x[b], problem.y[b])[1] for b in batches]
    return max(subnormals(values) for values in (theta, *run.Z, *run.A, *gradients))


def problem_of(name: str, dtype: str) -> tuple[Workload, Problem]:
    return WORKLOADS[name], make_problem(WORKLOADS[name], dtype)


def test_every_workload_is_tested() -> None:
    assert EPOCHS.keys() == STEPS.keys() == WORKLOADS.keys()


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_loss_halves_within_the_epochs_of_a_training_curve_and_no_value_becomes_subnormal(name: str) -> None:
    workload, problem = problem_of(name, "float32")
    course = train(workload, problem, EPOCHS[name])
    assert course.losses[-1] < course.losses[0] / 2
    assert not course.grew
    assert most_subnormals(workload, problem, course.theta) < 1e-3


@pytest.mark.parametrize("name", SWEPT)
def test_the_loss_falls_at_every_value_of_a_sweep_and_no_value_becomes_subnormal(name: str) -> None:
    workload = SWEPT[name]
    problem = make_problem(workload, "float32")
    course = train(workload, problem, EPOCHS[workload.name.split("@")[0]])
    fallen = 0.8 if workload.batch > SMALL else 0.5  # large minibatches are few, at the rate of many small ones
    assert course.losses[-1] < fallen * course.losses[0]
    assert not course.grew
    assert most_subnormals(workload, problem, course.theta) < 1e-3


@pytest.mark.soak
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WORKLOADS | SWEPT)
def test_a_workload_is_stable_over_a_long_run(name: str, dtype: str) -> None:
    workload = (WORKLOADS | SWEPT)[name]
    problem = make_problem(workload, dtype)
    long = STEPS[name] * workload.batch if name in STEPS else LONG
    course = train(workload, problem, -(-long // workload.rows))
    assert not course.grew
    assert most_subnormals(workload, problem, course.theta) < 1e-3


def test_every_member_of_the_ensemble_learns_over_its_whole_order() -> None:
    workload, problem = problem_of("ensemble", "float32")
    own, count = problem.members, problem.n_order
    assert own is not None
    try:
        backend = load_backend("cpp-tuned")
    except BackendUnavailable as error:
        require("cpp-tuned", False, str(error))
    with backend.create_many(problem.network, own.thetas, own.l2) as many:
        many.load(problem.x, problem.y, own.orders)
        many.train(0, count, workload.batch, own.rates)
        ends = many.thetas()
    for before, after, lam in zip(own.thetas, ends, own.l2, strict=True):
        network = replace(problem.network, l2=float(lam))
        losses = [float(oracle.loss_and_gradient(network, theta, problem.x, problem.y)[0]) for theta in (before, after)]
        assert losses[1] < losses[0] / 2
    assert subnormals(ends) < 1e-3


def test_a_rate_that_is_too_high_is_found() -> None:
    workload, problem = problem_of("wine-deep", "float32")
    with pytest.raises(Diverged):
        train(workload.model_copy(update={"learning_rate": 5.0}), problem, 40)


def test_a_loss_that_rises_again_is_found() -> None:
    theta = np.ones(1, "float32")
    assert Course([1.0, 0.1, 0.2], theta).grew
    assert Course([1.0, 0.1, np.nan], theta).grew
    assert not Course([1.0, 0.1, 0.11], theta).grew


def test_subnormal_parameters_are_found() -> None:
    workload, problem = problem_of("wine-deep", "float32")
    theta = problem.theta.copy()
    theta[::100] = 1e-40
    assert most_subnormals(workload, problem, problem.theta) == 0
    assert most_subnormals(workload, problem, theta) > 5e-3


def test_both_dtypes_of_a_workload_start_from_the_same_numbers() -> None:
    for workload in WORKLOADS.values():
        if workload.name == "wide":  # 8 million parameters would take long and show nothing new
            continue
        single, double = (make_problem(workload, dtype) for dtype in ("float32", "float64"))
        assert replace(double.network, dtype="float32") == single.network
        for ours, theirs in ((single.theta, double.theta), (single.x, double.x), (single.y, double.y)):
            np.testing.assert_array_equal(ours, theirs.astype("float32"))
