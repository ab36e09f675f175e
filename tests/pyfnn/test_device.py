"""Claims about devices that hold on machines without one: the clock of a device, its number, and what is missing.

Claims that need a device are in tests/test_gpu.py.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from planted.model import PlantedBackend, PlantedModel
from support.rogue import loaded, rogue

from pyfnn import registry
from pyfnn.device import VARIABLE, check_number, device_number
from pyfnn.ensemble import Ensemble
from pyfnn.errors import BackendUnavailable, ProtocolError
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.process import protocol
from pyfnn.validation import Array
from pyfnn.worker import Host

NETWORK = Network((3, 4, 2), "tanh", "squared_error")
ON_DEVICE = [row.name for row in registry.rows().values() if row.device == "cuda"]


class TickingModel(PlantedModel):
    """A model whose device clock runs at half speed, and is read in training only."""

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


def test_the_device_time_is_that_of_the_last_call() -> None:
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


def test_an_ensemble_run_member_by_member_has_the_sum_of_the_device_times_or_none() -> None:
    thetas = np.stack([initialize(NETWORK, seed) for seed in range(3)])
    for backend, wanted in ((Ticking(), 0.75), (PlantedBackend(), None)):
        many = prepared(backend.create_many(NETWORK, thetas))
        many.train(0, 5, 2, 0.1)
        assert many.device_seconds == wanted


def test_a_host_reports_the_device_time_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / protocol.NETWORK).write_text(protocol.format_setup(protocol.Setup(NETWORK, 5, 5, 1)))
    arrays = {"theta": initialize(NETWORK, 0), "x": np.ones((5, 3), "f4"), "y": np.ones((5, 2), "f4")}
    for name, array in {**arrays, "order": np.arange(5)}.items():
        protocol.write_array(tmp_path / f"{name}.bin", array)
    host = Host(Ticking(), tmp_path)
    host.answer("init")
    protocol.write_array(tmp_path / "probes.bin", np.array([3]))
    fields = protocol.parse_reply(host.answer("train 0 5 2 0.1"))[1]
    assert float(fields.pop("cpu_seconds")) > 0
    assert fields == {"seconds": "0.5", "device_seconds": "0.25"}
    assert set(protocol.parse_reply(host.answer("time forward 0 2 3 1"))[1]) == {"seconds", "cpu_seconds", "checksum"}


# θ stays as given: these tests look at the reported times only.
TRAINS = """if line.startswith("train"):
    reply('ok\\tseconds=2\\tdevice_seconds={reported}')
else:
    import shutil
    shutil.copy(sys.argv[1] + "/theta.bin", sys.argv[1] + "/theta_out.bin")
    reply('ok\\tthreads=1')"""


def test_a_model_of_a_worker_has_the_device_time_that_the_worker_reports() -> None:
    with rogue(TRAINS.format(reported="1.5")) as worker:
        model = loaded(worker)
        assert model.train(0, 1, 1, 0.1) == 2
        assert model.device_seconds == 1.5


@pytest.mark.parametrize("reported", ["-1", "inf", "nan", "soon"])
def test_a_device_time_that_is_not_a_duration_violates_the_protocol(reported: str) -> None:
    with (
        rogue(TRAINS.format(reported=reported)) as worker,
        pytest.raises(ProtocolError, match=f"device_seconds={reported}"),
    ):
        loaded(worker).train(0, 1, 1, 0.1)


@pytest.mark.parametrize("name", ON_DEVICE)
def test_a_device_number_that_is_not_a_whole_number_is_refused_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "first")
    with pytest.raises(BackendUnavailable) as caught:
        device_number()
    assert caught.value.reason == "PYFNN_CUDA_DEVICE = 'first': must be a whole number, at least 0"
    with pytest.raises(BackendUnavailable):
        registry.load(registry.find(name))


def test_a_device_number_beyond_the_last_is_refused_with_the_number_of_devices() -> None:
    check_number(1, 2)
    with pytest.raises(BackendUnavailable, match="PYFNN_CUDA_DEVICE = 2: there are 2 CUDA devices"):
        check_number(2, 2)


@pytest.mark.parametrize("name", ["torch-cuda", "torch-cuda-graph"])
def test_the_pytorch_backends_name_what_is_missing_for_a_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_jax_backend_names_what_is_missing_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_every_number_of_steps_is_cut_into_a_few_lengths_that_are_compiled_once() -> None:
    pytest.importorskip("jax", reason="jax is missing: pip install 'pyfnn[jax]'")
    from pyfnn.backends.jax_loops import lengths

    for steps in (1, 3, 20, 1023, 1024, 5000):
        assert sum(lengths(steps)) == steps
    assert len({length for steps in range(1, 3000) for length in lengths(steps)}) == 6
    assert lengths(0) == []


def test_the_clock_of_pytorch_starts_and_stops_with_an_idle_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record the order in which made-up events and the clock are used."""
    torch = pytest.importorskip("torch", reason="torch is missing: pip install 'pyfnn[torch]'")

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
    monkeypatch.setattr("pyfnn.loadable.time", SimpleNamespace(perf_counter=clock, process_time=lambda: 0.0))
    row = replace(registry.find("torch-cuda"), device="cpu")
    model: Any = registry.load(row).create(NETWORK, initialize(NETWORK, 0))
    model._device = SimpleNamespace(type="cuda")
    assert model._clocked(lambda: seen.append("work")) == 5.0
    assert seen == ["idle", "clock", "record", "work", "record", "idle", "clock"]
    assert model.device_seconds == 1.5


def test_steps_captured_in_a_graph_advance_their_rows_on_the_device() -> None:
    """Call the steps on the CPU instead of replaying them: they must need no arguments, as a replay takes none."""
    pytest.importorskip("torch", reason="torch is missing: pip install 'pyfnn[torch]'")
    row = replace(registry.find("torch-cuda-graph"), device="cpu")
    model = prepared(registry.load(row).create(NETWORK, initialize(NETWORK, 0)))
    model.train(0, 5, 2, 0.1)
    steps = model._steps
    (captured, short), at = steps.captured.values(), steps.at
    assert len(steps.captured) == 2
    assert captured is not short
    at.fill_(1)
    captured()
    assert at.item() == 3
    for rate in range(1, 40):
        model.train(0, 5, 2, rate / 1000)
    assert len(steps.captured) <= 16
    model.load(np.ones((5, 3), "f4"), np.ones((5, 2), "f4"), np.arange(5))
    assert not steps.captured, "captured steps read the old buffers"
