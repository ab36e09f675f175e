"""Claims about the proof of momentum, Nesterov's momentum and Adam: correct ones pass, and planted bugs never do."""

from functools import cache

import numpy as np
import pytest
from planted.optimizers import BUGS, OptimizerBackend
from support.requirements import require

import pyfnn
from bench.experiments.calibrate_parity import random_case
from pyfnn import parity
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.optimizers import TABLE, Adam, Momentum, Named, parse
from pyfnn.parity.battery import Trial
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C
from pyfnn.parity.trajectory import OracleTrajectory
from pyfnn.parity.updates import Point, errors_of_step, moved
from pyfnn.validation import Array, Order

SIZES = (6, 8, 5, 3)
STATEFUL = ["momentum", "nesterov", "adam"]
CORRECT = ["planted", "numpy", "c", "cpp", "cpp-tuned", "cpp-blas", "cpp-xsmm"]
SOAK = 300  # random networks of each dtype and optimizer in the long run


def _data(dtype: str) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, SIZES[0])), np.eye(SIZES[-1])[rng.integers(SIZES[-1], size=200)]
    return x.astype(dtype), y.astype(dtype)


@cache
def _battery(activation: str, loss: str, dtype: str, batch: int, optimizer: Named) -> list[Trial]:
    network = Network(SIZES, activation, loss, dtype=dtype)
    return parity.battery(network, initialize(network, 5), *_data(dtype), batch, optimizer=optimizer)


def _backend(name: str) -> Backend:
    if name == "planted":
        return OptimizerBackend()
    try:
        return pyfnn.load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise


@pytest.mark.parametrize("name", CORRECT)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", STATEFUL)
def test_a_correct_optimizer_passes(name: str, dtype: str, optimizer: str) -> None:
    backend = _backend(name)
    assert optimizer in backend.description.optimizers
    for activation, loss in (("tanh", "squared_error"), ("relu", "softmax_cross_entropy")):
        for batch in (1, 32):
            trials = _battery(activation, loss, dtype, batch, parse(optimizer))
            evidence = parity.examine(backend.create, trials)
            assert evidence.passed, f"{activation}, batch {batch}: {evidence.worst}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", STATEFUL)
def test_a_correct_optimizer_passes_on_random_networks(dtype: str, optimizer: str) -> None:
    backends, judged = [_backend(name) for name in CORRECT], 0
    for seed in range(SOAK):
        try:
            trials = random_case(seed, dtype).battery(parse(optimizer))
        except Unsupported:
            continue
        judged += 1
        for backend in backends:
            evidence = parity.examine(backend.create, trials)
            assert evidence.passed, f"{backend.description.name}, random_case({seed}, {dtype!r}): {evidence.worst}"
    assert judged > 0.9 * SOAK


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_of_an_optimizer_is_rejected(bug: str, dtype: str, batch: int) -> None:
    name, what = BUGS[bug]
    for activation in ("tanh", "relu"):
        trials = _battery(activation, "squared_error", dtype, batch, parse(name))
        evidence = parity.examine(OptimizerBackend(bug).create, trials)
        assert not evidence.passed, what
        assert evidence.failures[0].what.startswith(("displacement of ", "velocity of ", "v of ")), evidence.failures


def _walked(bug: str | None, optimizer: Named, dtype: str, steps: int) -> list[parity.Check]:
    """Return the checks of a segment of three steps, after a training of so many steps."""
    network = Network(SIZES, "relu", "squared_error", l2=0.01, dtype=dtype)
    (x, y), batch, rate = _data(dtype), 8, 0.002
    order: Order = np.random.default_rng(1).integers(len(x), size=(steps + 3) * batch)
    with OptimizerBackend(bug).create(network, initialize(network, 1)) as model:
        model.load(x, y, order)
        model.train(0, steps * batch, batch, rate, optimizer)
        before, state = model.theta(), model.optimizer_state()
        model.train(steps * batch, 3 * batch, batch, rate, optimizer)
        after, states = model.theta(), (state, model.optimizer_state())
    rows = order[steps * batch :]
    return list(parity.segment_checks("steps", network, before, after, x, y, rows, batch, rate, optimizer, states))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [Momentum(nesterov=False), Momentum(), Adam(), Adam(0.99, 0.9, 1e-4)], ids=str)
def test_a_segment_of_a_long_training_passes_with_its_state(optimizer: Named, dtype: str) -> None:
    checks = _walked(None, optimizer, dtype, 300)
    assert all(check.passed for check in checks), max(checks, key=lambda check: check.share)
    tensors = 2 * len(SIZES) - 2
    assert len(checks) == tensors * (1 + len(optimizer.vectors)) + optimizer.counts


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bug", sorted(BUGS.keys() - {"state_kept", "own_settings", "no_bias_correction"}))
def test_a_segment_shows_a_planted_bug(bug: str, dtype: str) -> None:
    name = BUGS[bug][0]
    checks = _walked(bug, Adam(0.7, 0.95, 1e-3) if name == "adam" else parse(name), dtype, 6)
    assert not all(check.passed for check in checks), BUGS[bug][1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [Momentum(0.8, nesterov=False), Momentum(0.8), Adam(), Adam(0.5, 0.9, 1e-6)])
def test_the_bound_covers_every_gradient_within_its_rounding_and_little_more(optimizer: Named, dtype: str) -> None:
    rng, unit, rate = np.random.default_rng(0), C * UNIT_ROUNDOFF[dtype], 0.1
    n = 4000
    sizes = 10.0 ** rng.uniform(-12, 1, n)  # gradients from far below the rounding of float32 to far above
    of_gradient: Array = np.maximum(sizes, 10.0 ** rng.uniform(-6, 0, n))
    errors: tuple[Array, ...] = (of_gradient, *(np.zeros(n) for _ in optimizer.vectors))
    exact = Point.of(optimizer, np.zeros(n, np.longdouble))
    near = [exact] * 3
    for _ in range(6):
        gradient = (sizes * rng.normal(size=n)).astype(np.longdouble)
        before, exact = exact, moved(optimizer, exact, gradient, rate)
        bound, of_state = errors_of_step(optimizer, before, exact, gradient, rate, errors, unit)
        errors = (of_gradient, *of_state)
        for at, share in enumerate((np.full(n, -1.0), np.ones(n), rng.uniform(-1, 1, n))):
            there = moved(optimizer, near[at], gradient + share * unit * of_gradient, rate)
            off = np.abs((there.theta - near[at].theta) - (exact.theta - before.theta)).astype(np.float64)
            assert (off <= unit * bound * (1 + 1e-9) + 1e-17).all()  # longdouble has its rounding too
            near[at] = there
        assert (unit * bound <= 2.001 * 10 * rate * np.maximum(1, sizes)).all()  # never more than the longest step


def test_the_oracle_walks_as_the_papers_algorithm() -> None:
    network = Network((3, 4, 1), "tanh", "squared_error", dtype="float64")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    theta = initialize(network, 1).astype(np.longdouble)
    walk = OracleTrajectory(network, Point.of(Adam(), theta), 0.01, "longdouble", 0, Adam())
    m = v = np.zeros_like(theta)
    for t in range(1, 6):
        gradient = pyfnn.oracle.loss_and_gradient(network, theta, x, y)[1]
        m, v = m + (1 - np.longdouble(0.9)) * (gradient - m), v + (1 - np.longdouble(0.999)) * (gradient**2 - v)
        corrected = m / (1 - np.longdouble(0.9) ** t), v / (1 - np.longdouble(0.999) ** t)
        epsilon = np.longdouble(1e-8) / np.sqrt(1 - np.longdouble(0.999) ** t)
        theta = theta - np.longdouble(0.01) * corrected[0] / (np.sqrt(corrected[1]) + epsilon)
        walk.step(x, y)
        np.testing.assert_allclose(walk.theta.astype(np.float64), theta.astype(np.float64), rtol=1e-15)


def test_every_optimizer_of_the_table_has_a_proof() -> None:
    assert {name for name, _ in BUGS.values()} == set(STATEFUL) == TABLE.keys() - {"sgd"}
