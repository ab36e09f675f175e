"""Claims about the sensors of a device, read through a made-up NVML."""

from types import SimpleNamespace
from typing import Any

import pytest

from bench import stages
from bench.machine import sensors
from bench.results.schema import DeviceState
from pyfnn import registry
from pyfnn.device import VARIABLE


class NvmlError(Exception):
    pass


def nvml(**changes: Any) -> Any:
    """Return a made-up pynvml with one device, hot and at its power limit."""

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


def test_a_reading_fits_the_results_and_an_idle_device_is_not_limited() -> None:
    sensor = sensors.DeviceSensor(nvml())
    state = DeviceState.model_validate(sensor.read())
    assert (state.sm_mhz, state.memory_mhz, state.watts, state.celsius) == (900, 1800, 650, 71)
    assert state.held_down == ["thermal slowdown by software"]
    assert sensor.describe()["power_limit_watts"] == 700


def test_a_limit_between_two_readings_is_in_the_second() -> None:
    counts = iter([5, 5, 5, 5, 9, 5])  # power, thermal; three times
    violation = lambda *_: SimpleNamespace(violationTime=next(counts))  # noqa: E731
    quiet = {"nvmlDeviceGetCurrentClocksEventReasons": lambda _: 0}
    sensor = sensors.DeviceSensor(nvml(nvmlDeviceGetViolationStatus=violation, **quiet))
    assert [sensor.read()["held_down"] for _ in range(3)] == [[], [], ["power cap"]]


def test_the_sensor_reads_the_device_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-abc")
    monkeypatch.setenv(VARIABLE, "1")
    assert sensors.DeviceSensor(nvml())._device == "GPU-abc"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(sensors.NoSensor, match="no NVIDIA device to read: Invalid Argument"):
        sensors.DeviceSensor(nvml())


@pytest.mark.parametrize("visible", ["", "3"])
def test_a_device_hidden_from_cuda_has_no_sensor(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    closed = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(sensors.NoSensor, match=f"CUDA_VISIBLE_DEVICES = '{visible}' has no device 1"):
        sensors.DeviceSensor(nvml(nvmlShutdown=lambda: closed.append(True)))
    assert closed


def test_a_missing_driver_is_a_reason_for_no_sensor() -> None:
    def absent() -> None:
        raise NvmlError("Driver Not Loaded")

    with pytest.raises(sensors.NoSensor, match="Driver Not Loaded"):
        sensors.DeviceSensor(nvml(nvmlInit=absent))


def test_a_run_without_a_backend_on_a_device_reads_no_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "DeviceSensor", lambda: pytest.fail("looked"))
    with stages._sensor([registry.find("numpy")]) as (sensor, host):
        assert (sensor, host) == (None, {})
