"""Claims about the peak rates of a device, found from made-up bursts."""

from collections.abc import Callable

import pytest
from support.requirements import require
from support.sample_results import ceilings_line

from bench.machine import ceilings, device_probe
from pyfnn.device import VARIABLE
from pyfnn.errors import PyfnnError


def made_up(amount: float, seconds: Callable[[int], float], wall: float = 1.0) -> Callable[[int], device_probe.Burst]:
    return lambda n: device_probe.Burst(n * amount, seconds(n), wall * seconds(n), 1, 1, 0.0)


def test_the_best_rate_is_that_of_bursts_that_are_long_by_the_devices_clock() -> None:
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


def test_a_device_clock_that_contradicts_the_drivers_is_an_error() -> None:
    with pytest.raises(PyfnnError, match="the device's clock contradicts the host's"):
        device_probe._best(made_up(1.0, lambda n: 1e-2 * n, wall=0.9), 0.05)


def test_arrays_are_larger_than_the_caches_and_fit_the_free_memory() -> None:
    about = {"cache": 50 * 2**20, "free_memory": 2**37}
    assert device_probe.sweep_bytes(about) == 2**28
    assert device_probe.sweep_bytes({**about, "cache": 2**27}) == 2**29
    assert device_probe.sweep_bytes({**about, "free_memory": 2**20}) == 2**18
    assert device_probe.sweep_bytes({"cache": 0, "free_memory": 1001}) % 16 == 0


def test_the_cpu_has_ceilings_where_the_device_cannot_be_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"peaks": ceilings_line(None)["peaks"], "bandwidths": ceilings_line(None)["bandwidths"]}
    answers = {"cuda": {"absent": "no driver"}, None: ours}
    monkeypatch.setattr(ceilings, "_probe", lambda request, _: answers[request.get("device")])
    found = ceilings.measure_ceilings("before", ("float32",), [1], devices=("cuda",))
    assert len(found.peaks) == 1
    assert found.absent == "cuda: no driver"


def test_the_probe_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "4096")
    answer = device_probe.answer(["float32"], 0.01)
    require("nvcc", "was not built" not in answer["absent"], "the CUDA toolkit, and pip install -e . again")
    assert "an NVIDIA GPU and its driver" in answer["absent"]
