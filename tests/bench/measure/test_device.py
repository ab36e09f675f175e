"""Claims about backends on a device that hold without one: whose clock, whose ceiling, what is said where it is absent.

What only a device can show is in test_gpu.py.
"""

import importlib.metadata
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from planted.model import PlantedBackend, PlantedModel
from support.requirements import require
from support.rogue import loaded, rogue
from support.sample_results import events, results_of

from bench import format, run
from bench.arguments import chosen_rows, chosen_suite, parser
from bench.machine import ceilings, device_probe, sensors
from bench.report import figures, rows, summary, tables
from bench.report.drawing import ROOF
from bench.results import derive
from bench.results.schema import BackendResult, DeviceState, Results, ResultsError
from bench.results.store import load_results, save_results
from bench.suites import load
from bench.suites.load import load_suite
from bench.suites.problem import bytes_moved
from bench.suites.suite import CaseKey
from pyfnn import registry
from pyfnn.device import VARIABLE, check_number, device_number
from pyfnn.ensemble import Ensemble
from pyfnn.errors import BackendUnavailable, ProtocolError, PyfnnError
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.process import protocol
from pyfnn.validation import Array
from pyfnn.worker import Host

NETWORK = Network((3, 4, 2), "tanh", "squared_error")
ON_DEVICE = [row.name for row in registry.rows().values() if row.device == "cuda"]


# The device's own clock -----------------------------------------------------------------------------------------------


class TickingModel(PlantedModel):
    """Its device's clock runs at half of ours, and is read in training alone."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        super()._train(first, count, batch_size, learning_rate)
        self.device_seconds = 0.25
        return 0.5


class Ticking(PlantedBackend):
    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return TickingModel(network, theta)


def prepared(held: Model | Ensemble) -> Any:
    order = np.arange(5) if isinstance(held, Model) else np.tile(np.arange(5), (held.members, 1))
    held.load(np.ones((5, 3), "f4"), np.ones((5, 2), "f4"), order)
    return held


def test_a_time_by_the_devices_clock_is_that_of_the_last_call_alone() -> None:
    model = prepared(Ticking().create(NETWORK, initialize(NETWORK, 0)))
    seen = [model.device_seconds]
    calls: list[Callable[[], float]] = [
        lambda: model.train(0, 5, 2, 0.1),
        lambda: model.time("forward", 0, 2, 3),
    ]
    for call in calls:
        call()
        seen.append(model.device_seconds)
    assert seen == [None, 0.25, None]


def test_members_one_after_the_other_have_the_sum_of_their_device_times_or_none() -> None:
    thetas = np.stack([initialize(NETWORK, seed) for seed in range(3)])
    for backend, wanted in ((Ticking(), 0.75), (PlantedBackend(), None)):
        many = prepared(backend.create_many(NETWORK, thetas))
        many.train(0, 5, 2, 0.1)
        assert many.device_seconds == wanted


def test_a_host_passes_it_on_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / protocol.NETWORK).write_text(protocol.format_setup(protocol.Setup(NETWORK, 5, 5, 1)))
    arrays = {"theta": initialize(NETWORK, 0), "x": np.ones((5, 3), "f4"), "y": np.ones((5, 2), "f4")}
    for name, array in {**arrays, "order": np.arange(5)}.items():
        protocol.write_array(tmp_path / f"{name}.bin", array)
    host = Host(Ticking(), tmp_path)
    host.answer("init")
    assert protocol.parse_reply(host.answer("train 0 5 2 0.1"))[1] == {"seconds": "0.5", "device_seconds": "0.25"}
    assert set(protocol.parse_reply(host.answer("time forward 0 2 3"))[1]) == {"seconds", "checksum"}


# θ in WORKDIR is what was given: what the rogue says of time is all that is looked at.
TRAINS = """if line.startswith("train"):
    reply('ok\\tseconds=2\\tdevice_seconds={said}')
else:
    import shutil
    shutil.copy(sys.argv[1] + "/theta.bin", sys.argv[1] + "/theta_out.bin")
    reply('ok\\tthreads=1')"""


def test_the_other_end_takes_it_in() -> None:
    with rogue(TRAINS.format(said="1.5")) as worker:
        model = loaded(worker)
        assert model.train(0, 1, 1, 0.1) == 2
        assert model.device_seconds == 1.5


@pytest.mark.parametrize("said", ["-1", "inf", "nan", "soon"])
def test_a_device_time_that_is_none_is_not_the_protocol(said: str) -> None:
    with rogue(TRAINS.format(said=said)) as worker, pytest.raises(ProtocolError, match=f"device_seconds={said}"):
        loaded(worker).train(0, 1, 1, 0.1)


# Results and report ---------------------------------------------------------------------------------------------------


def probes(peak: float | None, bandwidth: float = 4000.0) -> dict[str, Any]:
    """The CPU does 250 GFLOP/s of float32, the device `peak`."""
    levels: list[dict[str, Any]] = [{"level": "v4", "dtype": "float32", "threads": 1, "gflops": 250.0}]
    memory: list[dict[str, Any]] = [{"traffic": "triad", "threads": 1, "bytes": 2**30, "gigabytes_per_second": 12.5}]
    if peak:
        levels.append({**levels[0], "device": "cuda", "level": "sm_90", "gflops": peak})
        memory.append({**memory[0], "device": "cuda", "traffic": "copy", "gigabytes_per_second": bandwidth})
    return {"event": "ceilings", "when": "before", "peaks": levels, "bandwidths": memory}


def told(*further: dict[str, Any], share: float | None = None, device: str = "cuda") -> Results:
    """A made-up run in which cpp-tuned is on a device, whose clock saw `share` of each block."""

    def with_device() -> Iterator[dict[str, Any]]:
        for event in events(("numpy", "cpp-tuned"), ("wine-deep", "mlp"), {}):
            if event["event"] == "run":
                yield event
                yield from further
            elif event["event"] == "case":
                yield {**event, "bytes_per_step": event["flops_per_step"] / 2, "ceiling_gflops": None}
            elif event.get("name") == "cpp-tuned":
                yield {**event, "device": device}
            elif event["event"] == "sample" and event["instance"].startswith("cpp-tuned") and share:
                yield {**event, "device_seconds": share * event["seconds"]}
            else:
                yield event

    return results_of(with_device())


def backend(outcome: Results, name: str = "cpp-tuned") -> BackendResult:
    return next(b for b in outcome.cases[0].backends if b.instance == name)


def test_a_backend_is_held_against_the_device_it_computes_on() -> None:
    speed = backend(told()).gflops
    assert speed is not None
    for device, status in (("cuda", "ok"), ("cpu", "implausible")):
        low = {**probes(10 * speed), "peaks": [{**p, "gflops": speed / 2} for p in probes(None)["peaks"]]}
        low["peaks"].append({**probes(10 * speed)["peaks"][1]})
        assert backend(told(low, device=device)).status == status
    ours = backend(told(probes(10 * speed)))
    assert ours.ceiling_share == pytest.approx(0.1)
    too_fast = backend(told(probes(speed / 2)))
    assert too_fast.status == "implausible"
    assert "2.00 of the best multiply-add probe of cuda" in too_fast.reason


def test_without_a_probe_of_the_device_there_is_no_share_and_that_is_said() -> None:
    outcome = told(probes(None))
    assert backend(outcome).ceiling_share is None
    assert backend(outcome, "numpy").ceiling_share is not None
    assert "cuda was not probed, so its backends have no share of a peak" in summary.text(outcome, [])


def test_the_table_has_the_devices_time_beside_the_wall_time_where_there_is_one() -> None:
    (case, _) = rows.case_views(told(share=0.99))
    table = tables.case_table(case)
    column = table.columns.index(f"by its device's clock, {case.unit.name}")
    cells = {row[0]: row[column] for _, group in table.sections for row in group}
    assert cells["numpy"] == ""
    step, on_device = backend(told(share=0.99)).step_seconds, backend(told(share=0.99)).device_step_seconds
    assert step is not None
    assert on_device is not None
    assert on_device.median == pytest.approx(0.99 * step.median)
    assert cells["cpp-tuned"].startswith(format.number(on_device.median / case.unit.seconds)[:3])
    assert not any("device" in column for column in tables.case_table(rows.case_views(told())[0]).columns)


def test_a_wall_time_that_the_devices_clock_does_not_account_for_is_told() -> None:
    words = "By its device's clock less passed than 95 % of the step time of cpp-tuned (90 %)"
    assert words in summary.text(told(share=0.9), [])
    assert "By its device's clock less" not in summary.text(told(share=0.96), [])


def test_one_sample_without_a_device_time_leaves_none_for_the_backend() -> None:
    outcome = told(share=0.9)
    samples = backend(outcome).samples
    assert derive._by_device(samples) != []
    assert derive._by_device([*samples[1:], samples[0].model_copy(update={"device_seconds": None})]) == []


def test_what_is_said_of_a_device_survives_the_disk_and_an_edit_is_seen(tmp_path: Path) -> None:
    state = {"event": "device_state", "case": 0, "launch": 0, "round": 1, "sm_mhz": 1980, "held_down": ["power cap"]}
    outcome = told(probes(9e4), state, share=0.9)
    path = save_results(outcome, tmp_path)
    assert load_results(tmp_path) == outcome
    for place, value in ((("device_ceilings", "cuda"), 8e4), (("backends", 2, "device_step_seconds", "median"), 1.0)):
        data = json.loads(path.read_text())
        at = data["cases"][0]
        names: Sequence[Any] = place
        for name in names[:-1]:
            at = at[name]
        at[names[-1]] = value
        (tmp_path / "edited").mkdir(exist_ok=True)
        (tmp_path / "edited" / "results.json").write_text(json.dumps(data))
        with pytest.raises(ResultsError, match="does not follow from the samples"):
            load_results(tmp_path / "edited")


def test_the_roofline_has_each_devices_roof_and_its_points_under_them() -> None:
    outcome = told(probes(9e4))
    drawn = dict(figures.figures(outcome))
    (axes,) = drawn["roofline_train_float32_1t"].axes
    roofs = [line for line in axes.lines if line.get_gid() == ROOF]
    assert [line.get_label() for line in roofs] == ["cpu", "cuda"]
    x, y = (np.asarray(values) for values in roofs[1].get_data())
    assert y.max() == 9e4
    assert x[1] == pytest.approx(9e4 / 4000)
    points = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    assert len(points) == 4
    hollow = [line for line in points if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 2
    assert {float(np.asarray(line.get_xdata())[0]) for line in points} == {2.0}
    assert "roofline_train_float32_1t" not in dict(figures.figures(told()))


def test_every_point_of_the_roofline_is_a_backend_of_the_legend_and_no_two_look_alike() -> None:
    (figure,) = (drawn for stem, drawn in figures.figures(told(probes(9e4))) if stem.startswith("roofline"))
    (axes,) = figure.axes
    points = {str(line.get_label()): line for line in axes.lines if line.get_marker() not in ("None", "")}
    (legend,) = figure.legends
    named = {text.get_text() for text in legend.get_texts()}
    assert set(points) == named - {"roof: cpu", "roof: cuda"} == {b.name for b in told().cases[0].backends}
    assert len({(line.get_marker(), line.get_markeredgecolor()) for line in points.values()}) == len(points) >= 2


def test_the_intensity_is_operations_over_the_bytes_of_theta_and_rows() -> None:
    workload = load.built_in_workloads()["wine-shallow"]
    key = CaseKey(workload, "train", "float64", 1)
    n = 11 * 10 + 10 + 10 + 1
    assert bytes_moved(key, workload.network("float64")) == 8 * (2 * n + 11 + 1)
    key = CaseKey(workload, "forward", "float64", 1)
    assert bytes_moved(key, workload.network("float64")) == 8 * (n + 11 + 1)


def test_a_clock_held_down_is_told_with_how_often() -> None:
    state = {"event": "device_state", "sm_mhz": 1980.0, "watts": 650.0, "celsius": 60}
    outcome = told(state, {**state, "held_down": ["power cap"], "sm_mhz": 1500.0})
    text = summary.text(outcome, [])
    assert "the device's clocks were held down (power cap) in 1 of 2 readings" in text
    assert "| SM clock, MHz | 1980 | 1500 | 1980 | 1500 |" in text
    assert rows.device_warnings(told(state)) == ()


def test_a_device_that_was_timed_and_not_looked_at_is_told() -> None:
    assert rows.device_warnings(told()) == ("the device's clocks, power and temperature were not noted: no reading",)
    assert rows.device_warnings(told(device="cpu")) == ()


# Sensors --------------------------------------------------------------------------------------------------------------


class NvmlError(Exception):
    pass


def nvml(**changes: Any) -> Any:
    """A made-up pynvml: one device, hot and at its power limit."""

    def by_index(number: int) -> str:
        if number:
            raise NvmlError("Invalid Argument")
        return "device"

    def not_there(*_: Any) -> Any:
        raise NvmlError("Not Supported")

    answers: dict[str, Any] = {
        "NVMLError": NvmlError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByIndex": by_index,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetName": lambda _: "Made-up GPU",
        "nvmlDeviceGetUUID": lambda _: "GPU-0",
        "nvmlSystemGetDriverVersion": lambda: "1.2",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=2**37),
        "nvmlDeviceGetMaxClockInfo": lambda _, kind: 1000 * kind,
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 700_000,
        "nvmlDeviceGetPowerUsage": lambda _: 650_000,
        "nvmlDeviceGetClockInfo": lambda _, kind: 900 * kind,
        "nvmlDeviceGetTemperature": lambda *_: 71,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda _: 0x01 | 0x20,
        "nvmlDeviceGetViolationStatus": not_there,
    }
    return SimpleNamespace(**{**answers, **changes})


def test_a_reading_is_a_state_of_the_results_and_being_idle_holds_nothing_down() -> None:
    sensor = sensors.Sensor(nvml())
    state = DeviceState.model_validate(sensor.read())
    assert (state.sm_mhz, state.memory_mhz, state.watts, state.celsius) == (900, 1800, 650, 71)
    assert state.held_down == ["thermal slowdown by software"]
    assert sensor.describe()["power_limit_watts"] == 700


def test_what_held_clocks_down_between_two_readings_is_in_the_second() -> None:
    counts = iter([5, 5, 5, 5, 9, 5])  # power, thermal; three times
    violation = lambda *_: SimpleNamespace(violationTime=next(counts))  # noqa: E731
    quiet = {"nvmlDeviceGetCurrentClocksEventReasons": lambda _: 0}
    sensor = sensors.Sensor(nvml(nvmlDeviceGetViolationStatus=violation, **quiet))
    assert [sensor.read()["held_down"] for _ in range(3)] == [[], [], ["power cap"]]


def test_the_sensor_is_that_of_the_device_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-abc")
    monkeypatch.setenv(VARIABLE, "1")
    assert sensors.Sensor(nvml())._device == "GPU-abc"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(sensors.NoSensor, match="no NVIDIA device to read: Invalid Argument"):
        sensors.Sensor(nvml())


@pytest.mark.parametrize("visible", ["", "3"])
def test_a_device_that_cuda_is_not_shown_has_no_sensor(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    closed = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(sensors.NoSensor, match=f"CUDA_VISIBLE_DEVICES = '{visible}' has no device 1"):
        sensors.Sensor(nvml(nvmlShutdown=lambda: closed.append(True)))
    assert closed


def test_no_driver_is_a_reason_and_no_error_of_a_run() -> None:
    def absent() -> None:
        raise NvmlError("Driver Not Loaded")

    with pytest.raises(sensors.NoSensor, match="Driver Not Loaded"):
        sensors.Sensor(nvml(nvmlInit=absent))


def test_a_run_without_a_backend_on_a_device_looks_at_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Sensor", lambda: pytest.fail("looked"))
    with run._sensor([registry.find("numpy")]) as (sensor, host):
        assert (sensor, host) == (None, {})


# What is absent -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_DEVICE)
def test_a_device_number_that_is_none_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "first")
    with pytest.raises(BackendUnavailable) as caught:
        device_number()
    assert caught.value.reason == "PYFNN_CUDA_DEVICE = 'first': must be a whole number, at least 0"
    with pytest.raises(BackendUnavailable):
        registry.load(registry.find(name))


def test_a_device_beyond_those_there_are_is_refused_with_their_number() -> None:
    check_number(1, 2)
    with pytest.raises(BackendUnavailable, match="PYFNN_CUDA_DEVICE = 2: there are 2 CUDA devices"):
        check_number(2, 2)


@pytest.mark.parametrize("name", ["torch-cuda", "torch-cuda-graph"])
def test_pytorch_says_what_it_lacks_for_a_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is missing: pip install 'pyfnn[torch]'")
    row = registry.find(name)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BackendUnavailable, match=r"PyTorch .* was built without CUDA \(pip install torch --index-url"):
        registry.load(row)

    def is_available() -> bool:
        import warnings

        warnings.warn("CUDA initialization: driver too old", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    with pytest.raises(BackendUnavailable, match="finds no CUDA device: CUDA initialization: driver too old"):
        registry.load(row)


def test_jax_says_what_it_lacks_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax", reason="jax is missing: pip install 'pyfnn[jax]'")
    import pyfnn.backends.jax as ours

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    with pytest.raises(BackendUnavailable, match=r"JAX .* has no CUDA plugin \(pip install 'jax\[cuda13\]'\)"):
        registry.load(registry.find("jax-cuda"))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [SimpleNamespace(name="xla_cuda13")])

    def unknown(*_: Any) -> Any:
        raise RuntimeError("Unknown backend cuda\nand more")

    monkeypatch.setattr(ours, "_device", unknown)
    with pytest.raises(BackendUnavailable, match="finds no CUDA device: Unknown backend cuda"):
        registry.load(registry.find("jax-cuda"))


def test_any_number_of_steps_is_made_of_lengths_that_few_programs_serve() -> None:
    pytest.importorskip("jax", reason="jax is missing: pip install 'pyfnn[jax]'")
    from pyfnn.backends.jax import _lengths

    for steps in (1, 3, 20, 1023, 1024, 5000):
        assert sum(_lengths(steps)) == steps
    assert len({length for steps in range(1, 3000) for length in _lengths(steps)}) == 6
    assert _lengths(0) == []


def test_pytorchs_clock_runs_from_an_idle_device_to_an_idle_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up events: the order in which they and the clock are asked is all that is looked at."""
    torch = pytest.importorskip("torch", reason="torch is missing: pip install 'pyfnn[torch]'")
    import pyfnn.backends.torch as ours

    seen: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            seen.append("record")

        def elapsed_time(self, after: "Event") -> float:
            assert after is not self
            return 1500.0

    def clock() -> float:
        seen.append("clock")
        return float(len(seen))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: seen.append("idle"))
    monkeypatch.setattr(ours, "time", SimpleNamespace(perf_counter=clock))
    row = registry.find("torch-cuda").model_copy(update={"device": "cpu"})
    model: Any = registry.load(row).create(NETWORK, initialize(NETWORK, 0))
    model._device = SimpleNamespace(type="cuda")
    assert model._clocked(lambda: seen.append("work")) == 5.0
    assert seen == ["idle", "clock", "record", "work", "record", "idle", "clock"]
    assert model.device_seconds == 1.5


def test_steps_to_be_captured_count_their_rows_on_the_device() -> None:
    """On the CPU they are called in place of being replayed; what a replay cannot be told must not be needed."""
    pytest.importorskip("torch", reason="torch is missing: pip install 'pyfnn[torch]'")
    row = registry.find("torch-cuda-graph").model_copy(update={"device": "cpu"})
    model = prepared(registry.load(row).create(NETWORK, initialize(NETWORK, 0)))
    model.train(0, 5, 2, 0.1)
    (captured, short), at = model._captured.values(), model._at
    assert len(model._captured) == 2
    assert captured is not short
    at.fill_(1)
    captured()
    assert at.item() == 3
    for rate in range(1, 40):
        model.train(0, 5, 2, rate / 1000)
    assert len(model._captured) <= 16
    model.load(np.ones((5, 3), "f4"), np.ones((5, 2), "f4"), np.arange(5))
    assert not model._captured, "they read the buffers of before"


# Probes of a device ---------------------------------------------------------------------------------------------------


def made_up(amount: float, seconds: Callable[[int], float], wall: float = 1.0) -> Callable[[int], device_probe.Burst]:
    return lambda n: device_probe.Burst(n * amount, seconds(n), wall * seconds(n), 1, 1, 0.0)


def test_the_best_rate_is_that_of_bursts_long_enough_by_the_devices_clock() -> None:
    assert device_probe._best(made_up(6.0, lambda n: 1e-3 * n), 0.05) == pytest.approx(6000)
    lengths: list[int] = []
    burst = made_up(1.0, lambda n: 1e-4 + 1e-3 * n)

    def seen(n: int) -> device_probe.Burst:
        lengths.append(n)
        return burst(n)

    device_probe._best(seen, 0.05)
    assert lengths[:4] == [1, 2, 4, 8]
    assert set(lengths[4:]) == {8}
    assert device_probe._best(lambda _: None, 0.05) is None


def test_a_device_clock_ahead_of_ours_makes_no_ceiling() -> None:
    with pytest.raises(PyfnnError, match="the device's clock contradicts ours"):
        device_probe._best(made_up(1.0, lambda n: 1e-2 * n, wall=0.9), 0.05)


def test_sweeps_are_beyond_the_caches_and_within_what_is_free() -> None:
    about = {"cache": 50 * 2**20, "free_memory": 2**37}
    assert device_probe.sweep_bytes(about) == 2**28
    assert device_probe.sweep_bytes({**about, "cache": 2**27}) == 2**29
    assert device_probe.sweep_bytes({**about, "free_memory": 2**20}) == 2**18
    assert device_probe.sweep_bytes({"cache": 0, "free_memory": 1001}) % 16 == 0


def test_a_device_that_cannot_be_probed_costs_the_cpus_ceilings_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"peaks": probes(None)["peaks"], "bandwidths": probes(None)["bandwidths"]}
    answers = {"cuda": {"absent": "no driver"}, None: ours}
    monkeypatch.setattr(ceilings, "_probe", lambda request, _: answers[request.get("device")])
    found = ceilings.measure_ceilings("before", ("float32",), [1], devices=("cuda",))
    assert len(found.peaks) == 1
    assert found.absent == "cuda: no driver"


def test_the_library_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver, or of a device beyond those there are."""
    monkeypatch.setenv(VARIABLE, "4096")
    said = device_probe.answer(["float32"], 0.01)
    require("nvcc", "was not built" not in said["absent"], "the CUDA toolkit, and pip install -e . again")
    assert "an NVIDIA GPU and its driver" in said["absent"]


# The suite ------------------------------------------------------------------------------------------------------------


def test_a_suite_may_name_its_backends_and_others_take_none_on_a_device() -> None:
    def chosen(name: str, *further: str) -> list[str]:
        arguments = parser().parse_args(["--suite", name, *further])
        return [row.name for row in chosen_rows(arguments, chosen_suite(arguments)[0])]

    assert chosen("gpu") == list(load_suite("gpu")[0].backends)
    assert set(ON_DEVICE) <= set(chosen("gpu"))
    assert chosen("gpu", "--backends", "numpy,c") == ["numpy", "c"]
    for name in load.built_in_suites():
        if name != "gpu":
            assert not set(chosen(name)) & set(ON_DEVICE)


def test_the_suite_for_devices_is_done_in_eight_minutes() -> None:
    assert load_suite("gpu")[0].budget < 480
