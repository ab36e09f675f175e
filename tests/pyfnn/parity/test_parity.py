"""Claims about parity: correct implementations always pass the battery, and planted bugs never do.

bench/experiments/calibrate_parity.py draws the random networks.
"""

import math
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest
from planted.model import BUGS, ENTRY_BUGS, PlantedBackend
from support.batteries import APART, CHUNKS, drawn, random_batteries
from support.requirements import require

import pyfnn
from bench.experiments.calibrate_parity import OracleBackend, random_case
from pyfnn import oracle, parity
from pyfnn.activations import parse
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity import trajectory
from pyfnn.parity.battery import Trial
from pyfnn.parity.evidence import Check, Evidence
from pyfnn.validation import Array

SIZES = (6, 8, 5, 3)
SOAK = 1000  # further networks in the long run
CORRECT = ["planted", "numpy", "c", "cpp", "cpp-blas", "cpp-mkl", "cpp-xsmm"]
CANNOT_SHOW = {("relu_at_zero", "tanh"): "tanh has no kink"}
# Start of evidence.worst.what, for the bugs in one place of the network.
NAMED = {
    "missing_batch_mean": "d",
    "last_sample_dropped": "loss",
    "no_activation_mask": "dW_2",
    "zeroed_bias_gradient": "db_1",
    "l2_on_biases": "db_3",
    "no_l2": "dW_3",
    "l2_not_in_loss": "loss",
    "transposed_weights": "outputs",
    "updated_before_propagated": "displacement of",
    "short_batch_full_size": "displacement of",
    "relu_at_zero": "dW_2",
    "nan": "dW_1",
    "stale_order": "displacement of",
    "sequential_order": "displacement of",
    "article": "dW_3",
    "hoisted": "checksum of time forward",
    "no_backward_when_timed": "checksum of time gradient",
    "end_rows_when_timed": "checksum of time forward",
    "one_entry_when_timed": "checksum of time gradient",
    "missing_dW_when_timed": "checksum of time gradient",
    "reset_incomplete": "theta after reset",
    "reading_moves_theta": "theta after calls that only read it",
    "half_precision_sum": "outputs",
}


@cache
def _battery(activation: str, loss: str, dtype: str, batch: int) -> list[Trial]:
    rng = np.random.default_rng(batch)
    network = Network(SIZES, activation, loss, dtype=dtype)
    x, y = rng.normal(size=(200, SIZES[0])), np.eye(SIZES[-1])[rng.integers(SIZES[-1], size=200)]
    return parity.battery(network, initialize(network, 5), x.astype(dtype), y.astype(dtype), batch)


def _judge(backend: Backend, battery: list[Trial]) -> Evidence:
    return parity.examine(backend.create, battery, deterministic=backend.description.deterministic)


def _correct(name: str) -> Backend:
    if name == "planted":
        return PlantedBackend(None)
    try:
        return pyfnn.load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise


def _accepts(backend: Backend, battery: list[Trial], case: str) -> None:
    evidence = _judge(backend, battery)
    assert evidence.passed, f"{case}: {evidence.worst}; {battery[0].network}"


@pytest.mark.parametrize("name", CORRECT)  # varies fastest: the tests of one chunk share its batteries
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_correct_backend_is_never_rejected(name: str, dtype: str, chunk: int) -> None:
    backend = _correct(name)
    batteries = random_batteries(chunk, dtype)
    seeds = {seed for seed, _ in batteries}  # together, the chunks have 200 different networks per dtype
    assert len(seeds) * CHUNKS >= 200
    assert chunk * APART <= min(seeds) <= max(seeds) < (chunk + 1) * APART
    for seed, battery in batteries:
        _accepts(backend, battery, f"random_case({seed}, {dtype!r})")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_correct_backend_is_not_rejected_on_many_more_networks(dtype: str) -> None:
    backends = [_correct(name) for name in CORRECT]
    for seed, battery in islice(drawn(CHUNKS, dtype), SOAK):
        for backend in backends:
            _accepts(backend, battery, f"{backend.description.name}, random_case({seed}, {dtype!r})")


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_implementation_with_sequential_sums_is_not_rejected(dtype: str) -> None:
    for seed, battery in random_batteries(0, dtype):
        _accepts(OracleBackend(sequential=True), battery, f"random_case({seed}, {dtype!r})")


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_always_rejected(bug: str, activation: str, dtype: str, batch: int) -> None:
    evidence = _judge(PlantedBackend(bug), _battery(activation, "squared_error", dtype, batch))
    if (bug, activation) in CANNOT_SHOW:
        assert evidence.passed
    else:
        assert not evidence.passed, BUGS[bug]
        assert evidence.summary()["passed"] is False


@pytest.mark.parametrize("loss", ["half_squared_error", "softmax_cross_entropy", "sigmoid_cross_entropy"])
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_rejected_under_every_loss(bug: str, loss: str) -> None:
    assert not _judge(PlantedBackend(bug), _battery("relu", loss, "float32", 32)).passed


@cache
def _wide_battery(dtype: str) -> list[Trial]:
    network = Network((300, 100, 3), "tanh", "squared_error", dtype=dtype)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 300)).astype(dtype), rng.normal(size=(100, 3)).astype(dtype)
    return parity.battery(network, initialize(network, 5), x, y, 2)[:1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bug", ENTRY_BUGS)
def test_one_wrong_entry_among_30000_is_rejected_by_its_own_bound(bug: str, dtype: str) -> None:
    evidence = _judge(PlantedBackend(bug), _wide_battery(dtype))
    assert any(check.what.startswith("dW_1[") for check in evidence.failures), ENTRY_BUGS[bug]
    assert _judge(PlantedBackend(), _wide_battery(dtype)).passed


def test_the_norm_of_a_large_tensor_does_not_show_a_small_entry_that_is_1_percent_off() -> None:
    evidence = _judge(PlantedBackend("small_entry_off"), _wide_battery("float32"))
    assert "dW_1" not in {check.what for check in evidence.failures}


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bug", ENTRY_BUGS)
def test_one_wrong_entry_of_a_small_network_is_rejected(bug: str, dtype: str, batch: int) -> None:
    assert not _judge(PlantedBackend(bug), _battery("tanh", "squared_error", dtype, batch)).passed


def _slips(dtype: str, times: float) -> set[str]:
    """Return the bugs that pass on any of the networks when all bounds are so many times as large."""

    def passes(bug: str, activation: str, batch: int) -> bool:
        evidence = _judge(PlantedBackend(bug), _battery(activation, "squared_error", dtype, batch))
        return all(replace(check, bound=times * check.bound).passed for check in evidence.checks)

    tried = [
        (bug, activation) for bug in BUGS for activation in ("tanh", "relu") if (bug, activation) not in CANNOT_SHOW
    ]
    return {bug for bug, activation in tried if any(passes(bug, activation, batch) for batch in (1, 32))}


@pytest.mark.parametrize("dtype", DTYPES)
def test_with_100_times_the_constant_every_planted_bug_is_still_rejected(dtype: str) -> None:
    assert not _slips(dtype, 100)


def test_with_1000_times_the_constant_four_bugs_pass_in_float32() -> None:
    assert _slips("float32", 1000) == {"l2_on_biases", "l2_not_in_loss", "half_precision_sum", "missing_dW_when_timed"}
    assert not _slips("float64", 1000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bug", NAMED)
def test_the_evidence_names_the_tensor_at_fault(bug: str, dtype: str) -> None:
    activation = "relu" if bug == "relu_at_zero" else "tanh"
    evidence = _judge(PlantedBackend(bug), _battery(activation, "squared_error", dtype, 32))
    assert evidence.worst.what.startswith(NAMED[bug]), str(evidence.worst)
    assert evidence.worst in evidence.failures


def test_nondeterministic_bits_are_rejected_unless_declared() -> None:
    battery = _battery("tanh", "squared_error", "float32", 32)
    backend = PlantedBackend("nondeterministic")
    strict = parity.examine(backend.create, battery)
    assert {check.what for check in strict.failures} == {"the same call twice"}
    assert parity.examine(backend.create, battery, deterministic=False).passed


def article_errors(start: str, seed: int) -> list[float]:
    """Return ‖dW_l − exact‖ / ‖exact‖ of the article's gradient for l = 2 .. L: a network in wine's shape, one row."""
    network = Network((11, 50, 30, 20, 10, 5, 1), "tanh", "squared_error", dtype="float64")
    rng = np.random.default_rng(seed)
    theta = initialize(network, seed) if start == "fan_in" else 2 * initialize(network, seed, "uniform01") - 1
    x, y = rng.normal(size=(1, 11)), rng.normal(size=(1, 1))
    with PlantedBackend("article").create(network, theta) as model:
        model.load(x, y, np.zeros(1, np.int64))
        found = network.layers(model.loss_and_gradient(0, 1)[1])
    exact = network.layers(oracle.loss_and_gradient(network, theta, x, y)[1])
    return [float(np.linalg.norm(f.W - e.W) / np.linalg.norm(e.W)) for f, e in zip(found[1:], exact[1:], strict=True)]


# Initialized from U(-1, 1), the errors of all layers and seeds are 27 to 382 %; from fan_in, 0.3 to 55 %. From U(0, 1),
# every unit is saturated and the exact gradient vanishes.
@pytest.mark.parametrize(("start", "least", "most"), [("fan_in", 0.1, 0.5), ("U(-1, 1)", 0.5, 4.0)])
def test_the_articles_gradient_is_wrong_in_every_layer_above_the_first(start: str, least: float, most: float) -> None:
    errors = np.median([article_errors(start, seed) for seed in range(30)], axis=0)
    assert (errors > least).all(), errors
    assert (errors < most).all(), errors


@pytest.mark.parametrize("scheme", ["fan_in", "uniform01"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 32])
def test_the_articles_gradient_is_rejected_on_the_articles_network(scheme: str, dtype: str, batch: int) -> None:
    network = Network((11, 50, 30, 20, 10, 5, 1), "tanh", "squared_error", dtype=dtype)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(100, 11)).astype(dtype), rng.normal(size=(100, 1)).astype(dtype)
    battery = parity.battery(network, initialize(network, 1, scheme), x, y, batch)
    evidence = _judge(PlantedBackend("article"), battery)
    assert evidence.worst.what == "dW_6"
    assert evidence.worst.trial == "own"
    assert _judge(PlantedBackend(), battery).passed


def test_float64_networks_are_held_to_float64_bounds() -> None:
    single, double = (_battery("tanh", "squared_error", dtype, 32) for dtype in DTYPES)
    for coarse, fine in zip(single, double, strict=True):
        for name, bound in fine.bounds.items():
            assert bound < 1e-8 * coarse.bounds[name]


def test_an_error_of_nan_never_passes() -> None:
    assert not Check("own", "loss", math.nan, 1.0).passed
    assert not Check("own", "loss", math.nan, math.inf).passed
    assert not Evidence((Check("own", "loss", 0.0, 1.0), Check("own", "loss", math.nan, 1.0))).passed


def test_only_an_error_of_0_passes_a_bound_of_0() -> None:
    exact = Check("own", "loss", 0.0, 0.0)
    assert exact.passed
    assert exact.share == 0
    assert not Check("own", "loss", 5e-324, 0.0).passed
    assert Check("own", "loss", 5e-324, 0.0).share == math.inf


def test_evidence_without_checks_does_not_pass() -> None:
    assert not Evidence(()).passed


def test_the_worst_of_passed_checks_is_nearest_to_its_bound() -> None:
    near, far = Check("own", "loss", 0.9, 1.0), Check("own", "outputs", 5.0, 10.0)
    assert Evidence((far, near)).worst is near


def test_the_small_variant_has_a_short_batch_and_nonzero_l2_and_biases() -> None:
    _, small = _battery("tanh", "squared_error", "float32", 1)
    assert small.network.l2 == 0.01
    assert all(b.all() for _, b in small.network.layers(small.theta))
    assert all(size % 2 for size in small.network.sizes)
    assert len(small.network.sizes) == len(SIZES)
    assert sorted((t.steps, t.count % t.batch_size) for t in small.trajectories) == [(1, 0), (1, 3), (20, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 32])
def test_a_trajectory_moves_theta_by_about_a_tenth(batch: int, dtype: str) -> None:
    for trial in _battery("tanh", "squared_error", dtype, batch)[:2]:
        for end in (t.theta for t in trial.trajectories):
            moved = np.linalg.norm((end - trial.theta).astype(float)) / np.linalg.norm(trial.theta)
            assert 0.01 < moved < 0.5


@pytest.mark.parametrize("batch", [1, 32])
def test_the_first_step_uses_the_rows_of_outputs_loss_and_gradient(batch: int) -> None:
    own = _battery("relu", "squared_error", "float32", batch)[0]
    assert sorted(own.order[:batch]) == list(range(own.first, own.first + own.count))


def test_no_pre_activation_is_near_a_kink() -> None:
    own = _battery("relu", "squared_error", "float32", 32)[0]
    theta = own.theta.astype(np.longdouble)
    for at in range(0, len(own.order), 32):
        rows = own.order[at : at + 32]
        for Z in oracle.forward(own.network, theta, own.x[rows]).Z[:-1]:
            assert np.abs(Z).min() > 1e-7
        gradient = oracle.loss_and_gradient(own.network, theta, own.x[rows], own.y[rows])[1]
        theta = theta - np.longdouble(own.trajectories[0].learning_rate) * gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("hidden", "output"),
    [("sigmoid", "relu"), ("tanh", "relu"), (("relu", "sigmoid"), "sigmoid"), (("relu", "relu"), "relu")],
)
def test_a_wrong_derivative_at_0_is_rejected_in_every_layer(
    hidden: str | tuple[str, ...], output: str, dtype: str
) -> None:
    network = Network(SIZES, hidden, "squared_error", output_activation=output, dtype=dtype)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, SIZES[0])).astype(dtype), rng.normal(size=(200, SIZES[-1])).astype(dtype)
    battery = parity.battery(network, initialize(network, 5), x, y, 8)
    kinked = [at for at, f in enumerate([*network.hidden_activations, parse(output)]) if f.name == "relu"]
    for at, trial in zip(kinked, battery[2:], strict=True):
        for layer, Z in enumerate(oracle.forward(trial.network, trial.theta, trial.x).Z):
            assert not Z.any() if layer == at else (Z > 0).all()
        evidence = _judge(PlantedBackend("relu_at_zero"), [trial])
        assert evidence.worst.what == f"dW_{at + 1}"
    _accepts(PlantedBackend(), battery, "no bug")


def test_a_network_whose_rows_are_all_on_a_kink_is_rejected() -> None:
    network = Network((2, 3, 1), "relu", "squared_error")
    theta = initialize(network, 0)
    network.layers(theta)[0].b[:] = -network.layers(theta)[0].W.sum(0)
    with pytest.raises(Unsupported, match="only 0 of 9 rows are clear of this network's kinks: 4 are needed"):
        parity.battery(network, theta, np.ones((9, 2), "f4"), np.ones((9, 1), "f4"), 4)


def test_inputs_that_are_all_0_can_be_judged() -> None:
    network = Network((2, 3, 1), "relu", "squared_error")
    battery = parity.battery(network, initialize(network, 0), np.zeros((9, 2), "f4"), np.ones((9, 1), "f4"), 4)
    assert _judge(PlantedBackend(), battery).passed


def test_a_network_with_a_zero_gradient_can_be_judged() -> None:
    network = Network((2, 3, 1), "relu", "squared_error")
    theta = initialize(network, 0)
    network.layers(theta)[0].b[:] = -100
    x, y = np.ones((9, 2), "f4"), np.zeros((9, 1), "f4")
    assert _judge(PlantedBackend(), parity.battery(network, theta, x, y, 4)).passed


def test_an_unsteady_trajectory_gets_a_lower_rate() -> None:
    case = random_case(1108, "float32")  # at the usual rate, rounding errors grow by 1e4 in 20 steps
    own = case.battery()[0]
    usual = 0.1 / parity.STEPS * np.linalg.norm(case.theta) / np.linalg.norm(own.gradient.astype(float))
    moved = np.linalg.norm((own.trajectories[0].theta - own.theta).astype(float))
    allowed = math.hypot(*own.trajectories[0].bound.values())
    assert own.trajectories[0].learning_rate < usual
    assert allowed < 0.2 * moved


@pytest.mark.parametrize("seed", [49, 312])  # a single layer each
def test_errors_of_several_steps_that_point_the_same_way_by_chance_are_no_growth(seed: int) -> None:
    random_case(seed, "float32").battery()  # raises Unsupported where errors seem to grow at every rate


def test_a_large_network_is_judged_in_float64_with_twice_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def bounds() -> Array:
        network = Network(SIZES, "tanh", "squared_error")
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(50, 6)).astype("f4"), rng.normal(size=(50, 3)).astype("f4")
        (own, *_) = parity.battery(network, initialize(network, 5), x, y, 8)
        return np.array([*own.bounds.values(), *own.trajectories[0].bound.values()])

    small = bounds()
    monkeypatch.setattr("pyfnn.parity.trajectory.AFFORDABLE", 0)
    monkeypatch.setitem(trajectory._PERTURBED, "float64", trajectory._PERTURBED["longdouble"])
    assert bounds() / small == pytest.approx(2, rel=1e-3)


def test_the_same_seed_gives_the_same_battery() -> None:
    once, again = (random_case(3, "float32").battery() for _ in range(2))
    assert all(a.order.tobytes() == b.order.tobytes() for a, b in zip(once, again, strict=True))
    assert all(a.bounds == b.bounds for a, b in zip(once, again, strict=True))


def test_a_network_whose_trajectory_leaves_the_finite_numbers_is_rejected() -> None:
    network = Network((2, 4, 4, 4, 1), "identity", "squared_error")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)).astype("f4"), rng.normal(size=(60, 1)).astype("f4")
    x[2:] *= 1e18  # the first batch, which determines the rate, is far smaller than the rest
    with pytest.raises(Unsupported, match="rounding errors grow even at learning_rate = "):
        parity.battery(network, initialize(network, 3), x, y, 2)
