"""Claims that need a CUDA device, about every backend on one: pytest -m gpu. Without a device they are skipped.

`compute-sanitizer` runs them too (nox -s gpu_sanitize). Claims that hold on any machine are in test_device.py.
"""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from support.requirements import require

import pyfnn
from bench.experiments.calibrate_parity import random_case
from bench.machine import ceilings, device_probe, sensors
from bench.results.derive import IMPLAUSIBLE
from pyfnn import parity, registry
from pyfnn.backend import Backend
from pyfnn.device import VARIABLE
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.model import Model
from pyfnn.network import DTYPES, Network, initialize

pytestmark = pytest.mark.gpu
NAMES = [row.name for row in registry.rows().values() if row.device == "cuda"]
OURS = [name for name in NAMES if registry.find(name).division != "framework"]
SHAPES = [
    Network((11, 50, 30, 20, 10, 5, 1), "tanh", "squared_error", l2=0.01),
    Network((13, 17, 3), "relu", "softmax_cross_entropy"),
    Network((300, 257, 129, 10), "relu", "softmax_cross_entropy", l2=1e-4),
    Network((130, 513, 65), "sigmoid", "sigmoid_cross_entropy"),
]


def reason_for_absence() -> str:
    """Return the reason why there is no device; "" where there is one."""
    try:
        device_probe.Probe()
    except BackendUnavailable as error:
        return str(error)
    return ""


@pytest.fixture(autouse=True)
def device() -> None:
    """Skip without a CUDA device."""
    reason = reason_for_absence()
    require("gpu", not reason, reason)


def load(name: str) -> Backend:
    """Load a backend. With a device, this project's must load; those of a framework may be absent."""
    try:
        return pyfnn.load_backend(name)
    except BackendUnavailable as error:
        require("gpu" if name in OURS else name, False, str(error))
        raise


def data(network: Network, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    y = np.eye(network.sizes[-1], dtype=network.dtype)[rng.integers(network.sizes[-1], size=rows)]
    return x, y, rng.integers(rows, size=4 * rows)


def loaded(name: str, network: Network, rows: int = 70, seed: int = 0) -> Model:
    model = load(name).create(network, initialize(network, seed))
    model.load(*data(network, rows, seed))
    return model


def batteries(dtype: str) -> Iterator[list[parity.Trial]]:
    for shape in SHAPES:
        network = Network(shape.sizes, shape.activation, shape.loss, shape.l2, dtype=dtype)
        x, y, _ = data(network, 200)
        for batch in (1, 32):
            yield parity.battery(network, initialize(network, 5), x, y, batch)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_each_backend_passes_the_battery_at_small_and_large_shapes(name: str, dtype: str) -> None:
    backend = load(name)
    for battery in batteries(dtype):
        evidence = parity.examine(backend.create, battery, deterministic=backend.description.deterministic)
        assert evidence.passed, f"{evidence.worst}; {battery[0].network}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OURS)
def test_this_projects_backends_pass_on_random_networks(name: str, dtype: str) -> None:
    backend, passed = load(name), 0
    for seed in range(60):
        try:
            evidence = parity.examine(backend.create, random_case(seed, dtype, wide=seed % 10 == 0).battery())
        except Unsupported:  # too few rows without kinks, or an absent function
            continue
        assert evidence.passed, f"{evidence.worst}; seed {seed}"
        passed += 1
    assert passed >= 20


@pytest.mark.parametrize("name", NAMES)
def test_the_same_steps_give_the_same_bits_in_one_call_or_several(name: str) -> None:
    for network in SHAPES:
        model = loaded(name, network)
        if not load(name).description.deterministic:
            pytest.skip(f"{name} is not declared deterministic")
        model.train(0, 200, 8, 0.01)
        whole = model.theta()
        for pieces in ([(0, 200)], [(0, 8), (8, 96), (104, 96)]):
            model.reset()
            for first, count in pieces:
                model.train(first, count, 8, 0.01)
            assert model.theta().tobytes() == whole.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_each_member_of_an_ensemble_passes_the_battery(name: str, dtype: str) -> None:
    backend = load(name)
    members = 600 if name in OURS else 8  # more than a device has multiprocessors
    network = Network((11, 20, 10, 1), "tanh", "squared_error", dtype=dtype)
    thetas = np.stack([initialize(network, seed) for seed in range(members)])
    x, y, _ = data(network, 100)
    l2 = 10.0 ** np.random.default_rng(1).uniform(-4, -2, members)
    trials = parity.many_battery(network, thetas, l2, x, y, 4)
    evidence = parity.examine_many(backend.create_many, trials, deterministic=backend.description.deterministic)
    assert evidence.passed, evidence.worst


@pytest.mark.parametrize("name", NAMES)
def test_models_that_train_alternately_are_independent(name: str) -> None:
    ends = []
    for seed, network in enumerate(SHAPES):
        with loaded(name, network, seed=seed) as alone:
            alone.train(0, 64, 8, 0.01)
            ends.append(alone.theta())
    models = [loaded(name, network, seed=seed) for seed, network in enumerate(SHAPES)]
    for first in range(0, 64, 8):
        for model in models:
            model.train(first, 8, 8, 0.01)
    for model, end in zip(models, ends, strict=True):
        assert model.theta().tobytes() == end.tobytes()
        model.close()


@pytest.mark.parametrize("name", NAMES)
def test_the_device_time_is_within_the_wall_time_and_near_it_in_long_calls(name: str) -> None:
    model = loaded(name, SHAPES[2], rows=4096)
    model.train(0, 4096, 32, 1e-4)
    if model.device_seconds is None:
        pytest.skip(f"{name} does not measure the device time")
    seconds = model.train(0, 4 * 4096, 32, 1e-4)
    assert 0 < model.device_seconds <= seconds * 1.01 + 1e-4
    assert model.device_seconds > 0.8 * seconds
    assert model.time("gradient", 0, 64, 50) + 1e-4 >= model.device_seconds * 0.99


@pytest.mark.parametrize("name", OURS)
def test_this_projects_backends_measure_the_device_time(name: str) -> None:
    model = loaded(name, SHAPES[0])
    model.train(0, 64, 1, 0.01)
    assert model.device_seconds is not None


@pytest.mark.parametrize("name", NAMES)
def test_products_are_not_rounded_to_tf32(name: str) -> None:
    """Multiply by 1 + 2^-12, which TF32, with ten bits after the leading one, rounds to 1."""
    network = Network((64, 64), (), "squared_error")
    theta = np.zeros(network.n_parameters, "f4")
    for W, _ in network.layers(theta):
        W[:] = np.eye(64, dtype="f4") * np.float32(1 + 2**-12)
    with load(name).create(network, theta) as model:
        model.load(np.ones((64, 64), "f4"), np.zeros((64, 64), "f4"), np.arange(64))
        assert (model.forward(0, 64) == np.float32(1 + 2**-12)).all()


@pytest.mark.parametrize("name", OURS)
def test_an_absent_device_is_refused_with_a_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "4096")
    with pytest.raises((BackendUnavailable, pyfnn.PyfnnError), match="4096"):
        pyfnn.load_backend(name).create(SHAPES[0], initialize(SHAPES[0], 0))


def test_the_ceilings_are_plausible_and_consistent() -> None:
    found = ceilings.measure_ceilings("before", DTYPES, [1], devices=("cuda",))
    assert found.absent == ""
    peaks = {(peak.dtype, peak.level): peak.gflops for peak in found.peaks if peak.device == "cuda"}
    (memory,) = (b.gigabytes_per_second for b in found.bandwidths if b.device == "cuda")
    single = max(speed for (dtype, _), speed in peaks.items() if dtype == "float32")
    double = max(speed for (dtype, _), speed in peaks.items() if dtype == "float64")
    about = device_probe.Probe().about
    at_most = about["processors"] * 256 * 2 * 4.0  # GFLOP/s: 256 multiply-adds a cycle and processor, at 4 GHz
    assert 1000 < single < at_most
    assert double < IMPLAUSIBLE * single * 1.2
    assert 50 < memory < 20_000
    assert single / memory > 1, "copies are faster than arithmetic in registers"


def test_two_probes_in_a_row_agree() -> None:
    rates = [device_probe.answer(["float32"], 0.2)["peaks"][0]["gflops"] for _ in range(2)]
    assert math.isclose(*rates, rel_tol=0.1)


def test_the_matrix_units_compute_in_full_float64() -> None:
    burst = device_probe.Probe().multiply_adds("FNN_PROBE_MATRIX64", 3, 2, 1 + 2.0**-40, 0.0)
    if burst is None:
        pytest.skip("this device lacks the unit")
    expected = burst.chains * 3.5 + burst.chains * burst.steps * (1 + 2.0**-40)
    assert burst.sum == pytest.approx(expected, rel=2.0**-47)


@pytest.mark.parametrize("unit", ["FNN_PROBE_FLOAT32", "FNN_PROBE_FLOAT64", "FNN_PROBE_MATRIX64"])
def test_the_probe_counts_its_multiply_adds(unit: str) -> None:
    burst = device_probe.Probe().multiply_adds(unit, 3, 2, 1.0, 1.0)
    if burst is None:
        pytest.skip("this device lacks the unit")
    assert burst.sum == burst.chains * (3.5 + burst.steps) == burst.chains * 3.5 + burst.amount / 2


def test_a_copy_on_the_device_is_complete() -> None:
    source = np.random.default_rng(0).integers(0, 256, 16 * 1_000_003).astype(np.uint8)
    _, arrived = device_probe.Probe().copy(source.nbytes, 2, source)
    assert arrived is not None
    assert arrived.tobytes() == source.tobytes()


def test_the_sensors_describe_the_device() -> None:
    try:
        sensor = sensors.DeviceSensor()
    except sensors.NoSensor as error:
        require("nvidia-ml-py", False, str(error))
        raise
    assert sensor.describe()["name"] == device_probe.Probe().about["name"]
    state = sensor.read()
    assert state["sm_mhz"] > 0
    sensor.close()
