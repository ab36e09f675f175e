"""Claims about the probe of CUDA devices, run on the CPU (tests/cuda_on_cpu): it does the work that it counts.

test_gpu.py tests its speed on a GPU, and the instructions of the matrix units, which are only compiled here.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cuda_on_cpu import Device
from support.cuda_kernels import compiled, shared_folder
from support.requirements import require

from bench.machine import device_probe, sweep_size
from bench.machine.device_probe import UNITS, Burst, Probe
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.manifest import native_folder

SOURCE = native_folder() / "c_cuda" / "probe.cu"
EVERY_UNIT = sorted({unit for units in UNITS.values() for unit in units})


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(shared_folder(tmp_path_factory), "probe", SOURCE)


@pytest.fixture
def device(library: Path) -> Device:
    device = Device(library)
    device.reset()
    return device


@pytest.fixture
def probe(library: Path, device: Device) -> Probe:
    del device
    return Probe(library)


def burst_of(probe: Probe, unit: str, rounds: int, blocks: int = 2) -> Burst:
    burst = probe.multiply_adds(unit, rounds, blocks, 1.0, 1.0)
    assert burst is not None
    return burst


@pytest.mark.parametrize("unit", EVERY_UNIT)
def test_a_chain_that_adds_1_in_each_step_counts_the_steps(probe: Probe, device: Device, unit: str) -> None:
    """Chains start at 0 to 7; x <- x * 1 + 1 gives the exact sum of the closed form in either dtype."""
    for rounds, blocks in ((1, 1), (3, 2)):
        burst = burst_of(probe, unit, rounds, blocks)
        assert burst.sum == burst.chains * (3.5 + burst.steps)
        assert burst.amount == 2 * burst.chains * burst.steps
    assert burst.chains == 2 * 256 * 8
    assert device.findings == []


@pytest.mark.parametrize("unit", EVERY_UNIT)
def test_twice_the_rounds_are_twice_the_operations(probe: Probe, unit: str) -> None:
    once, twice = burst_of(probe, unit, 1), burst_of(probe, unit, 2)
    assert twice.amount == 2 * once.amount
    assert twice.sum - once.sum == once.amount / 2


@pytest.mark.parametrize("unit", ["FNN_PROBE_FLOAT32", "FNN_PROBE_FLOAT64"])
def test_chains_with_the_timed_factors_stay_near_1(probe: Probe, unit: str) -> None:
    burst = probe.multiply_adds(unit, 4, 1)
    assert burst is not None
    assert burst.sum == pytest.approx(burst.chains, rel=1e-6)


def test_a_copy_is_complete_at_any_length(probe: Probe, device: Device) -> None:
    for packs in (1, 255, 256 * 3 + 1, 256 * 64 + 17):  # within a block, beyond one, in fours and the rest
        source = np.random.default_rng(packs).integers(0, 256, 16 * packs).astype(np.uint8)
        burst, arrived = probe.copy(source.nbytes, 2, source)
        assert arrived is not None
        assert arrived.tobytes() == source.tobytes()
        assert burst.amount == 2 * 2 * source.nbytes
    assert device.findings == []


def test_all_kernels_are_run_here(probe: Probe, device: Device) -> None:
    for unit in EVERY_UNIT:
        burst_of(probe, unit, 1)
    probe.copy(4096, 1)
    names = re.findall(r"__global__ [^;{]*?\b(\w+)\([^)]*\) \{", SOURCE.read_text(encoding="utf-8"))
    assert len(names) == 3
    assert {name.rpartition("::")[2] for name in device.kernels()} == set(names)


def test_the_devices_time_is_within_the_wall_time(probe: Probe) -> None:
    for burst in (burst_of(probe, "FNN_PROBE_FLOAT32", 50), probe.copy(2**16, 3)[0]):
        assert 0 < burst.device_seconds <= burst.wall_seconds * 1.01 + 1e-4


CALLS: tuple[Callable[[Probe], object], ...] = (
    lambda probe: probe.multiply_adds("FNN_PROBE_MATRIX64", 1, 0),
    lambda probe: probe.multiply_adds("FNN_PROBE_FLOAT64", 1, 1),
    lambda probe: probe.copy(4096, 2, np.zeros(4096, np.uint8)),
)


FREED = 4  # at most, in a call: two arrays and two events; errors of freeing are not reported


def words_of(call: Callable[[], object]) -> str | None:
    """Return the message of the error that the call raises; None if it raises none."""
    try:
        call()
    except PyfnnError as error:
        return str(error)
    return None


@pytest.mark.parametrize("call", range(len(CALLS)))
def test_every_failed_cuda_call_is_reported_and_leaves_no_memory_behind(
    call: int, probe: Probe, device: Device
) -> None:
    CALLS[call](probe)
    device.reset()
    CALLS[call](probe)
    silent = 0
    for number in range(1, device.calls + 1):
        device.fail_at(number)
        message = words_of(lambda: CALLS[call](probe))
        device.fail_at(0)
        assert message is None or ": " in message
        assert device.left == []
        silent += message is None
    assert silent <= FREED, "only errors of freeing may go unreported"
    CALLS[call](probe)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda probe: probe.multiply_adds("FNN_PROBE_FLOAT32", 0), "rounds be at least 1"),
        (lambda probe: probe.multiply_adds("FNN_PROBE_FLOAT32", 1, -1), r"blocks must lie in \[0, 2\^20\]"),
        (lambda probe: probe.copy(17, 1), "bytes must be a multiple of 16 and at least 16"),
        (lambda probe: probe.copy(16, 0), "passes at least 1"),
    ],
)
def test_invalid_arguments_are_refused_by_name(call: Callable[[Probe], object], words: str, probe: Probe) -> None:
    with pytest.raises(PyfnnError, match=words):
        call(probe)


def test_without_a_device_the_reason_is_given(library: Path, device: Device) -> None:
    device.devices(0)
    with pytest.raises(BackendUnavailable, match="no CUDA device"):
        Probe(library)
    assert "no CUDA device" in device_probe.answer(["float32"], 0.01, library)["absent"]
    device.devices(1)


def test_an_answer_has_every_unit_of_every_dtype_and_the_memory(
    library: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    del device
    monkeypatch.setattr(device_probe, "_BURST", 1e-4)
    monkeypatch.setattr(sweep_size, "LEAST", 2**14)
    monkeypatch.setattr(sweep_size, "CACHES", 0)
    answer = device_probe.answer(["float32", "float64"], 1e-3, library)
    found = [(peak["dtype"], peak["level"]) for peak in answer["peaks"]]
    assert found == [("float32", "sm_90"), ("float64", "sm_90"), ("float64", "sm_90 matrix units")]
    assert all(peak["gflops"] > 0 and peak["device"] == "cuda" for peak in answer["peaks"])
    (memory,) = answer["bandwidths"]
    assert (memory["traffic"], memory["bytes"]) == ("copy", 2**15)
    assert memory["gigabytes_per_second"] > 0


PRODUCTS = {75: [], 80: ["m8n8k4"] * 8, 90: ["m16n8k16"]}  # instructions of a 16 x 16 by 16 x 8 product, by capability


@pytest.mark.parametrize("capability", PRODUCTS)
def test_compiled_kernels_have_their_instructions_in_the_loop_and_no_local_memory(
    capability: int, tmp_path: Path
) -> None:
    nvcc = shutil.which("nvcc")
    require("nvcc", nvcc is not None, "install the CUDA toolkit, or put its nvcc on PATH")
    ptx = tmp_path / "probe.ptx"
    command = [str(nvcc), "-std=c++17", "-O3", "-ptx", f"-arch=compute_{capability}", "-o", str(ptx), str(SOURCE)]
    subprocess.run(command, check=True, capture_output=True)
    kernels = {body.split("(")[0]: body for body in ptx.read_text(encoding="utf-8").split(".entry ")[1:]}
    (chained32,), (chained64,) = ([b for n, b in kernels.items() if f"chainedI{t}" in n] for t in "fd")
    assert (chained32.count("fma.rn.f32"), chained64.count("fma.rn.f64")) == (32 * 8, 32 * 8)
    (multiplied,) = (body for name, body in kernels.items() if "multiplied" in name)
    unrolled, chains = 8, 2
    assert re.findall(r"mma\.sync\.aligned\.(\w+)\.", multiplied) == PRODUCTS[capability] * unrolled * chains
    (copied,) = (body for name, body in kernels.items() if "copied" in name)
    assert len(re.findall(r"ld\.global\.nc\.v4|ld\.global\.v4", copied)) >= 5
    assert len(re.findall(r"st\.global\.v4", copied)) >= 5
    assert not any(".local" in body for body in kernels.values()), "registers are spilled to memory"
