"""Clocks, power and temperature of a CUDA device, from nvidia-ml-py: read between timed blocks, never within one.

Changes no setting of the device. The report explains the readings.
"""

import os
from collections.abc import Callable
from typing import Any

from pyfnn.device import device_number
from pyfnn.errors import PyfnnError

# NVML's clocksEventReasons (nvml.h) that lower the clocks, except for an idle device and the user's own settings.
HELD_DOWN = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal slowdown by software",
    0x40: "thermal slowdown by hardware",
    0x80: "power brake",
}
_POLICIES = {0: "power cap", 1: "thermal slowdown"}  # NVML_PERF_POLICY_POWER and _THERMAL
_SM, _MEMORY = 1, 2  # NVML_CLOCK_SM and NVML_CLOCK_MEM
_TEMPERATURE = 0  # NVML_TEMPERATURE_GPU


class NoSensor(PyfnnError):
    """The library, the driver or the device is absent."""


class DeviceSensor:
    """The sensors of the device that PYFNN_CUDA_DEVICE names.

    NVML numbers devices along the bus; CUDA puts the fastest first unless CUDA_DEVICE_ORDER is set. On a machine with
    different devices, compare the name to see that it is the right one. CUDA_VISIBLE_DEVICES is honoured.

    Parameters
    ----------
    nvml : module, optional
        pynvml by default.

    Raises
    ------
    NoSensor
        With the reason and the remedy.
    """

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml or _pynvml()
        self._violations: dict[str, int] = {}
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise NoSensor(f"no NVIDIA driver to read: {error}") from None
        try:
            self._device = self._handle()
        except (self._nvml.NVMLError, NoSensor) as error:
            self.close()
            raise NoSensor(f"no NVIDIA device to read: {error}") from None

    def _handle(self) -> Any:
        number = device_number()
        name = str(number)
        if (listed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
            visible = [name.strip() for name in listed.split(",") if name.strip()]
            if number >= len(visible):
                raise NoSensor(f"CUDA_VISIBLE_DEVICES = {listed!r} has no device {number}")
            name = visible[number]
        if name.isdecimal():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        return self._nvml.nvmlDeviceGetHandleByUUID(name)

    def describe(self) -> dict[str, Any]:
        """Return name, driver, memory, highest clocks and power limit, JSON-ready; None for unknown values."""
        ask, device, nvml = self._ask, self._device, self._nvml
        limit = ask(nvml.nvmlDeviceGetEnforcedPowerLimit, device)
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, device)
        return {
            "name": ask(nvml.nvmlDeviceGetName, device),
            "uuid": ask(nvml.nvmlDeviceGetUUID, device),
            "driver": ask(nvml.nvmlSystemGetDriverVersion),
            "memory_bytes": None if memory is None else int(memory.total),
            "most_sm_mhz": ask(nvml.nvmlDeviceGetMaxClockInfo, device, _SM),
            "most_memory_mhz": ask(nvml.nvmlDeviceGetMaxClockInfo, device, _MEMORY),
            "power_limit_watts": None if limit is None else limit / 1000,
        }

    def read(self) -> dict[str, Any]:
        """Read the sensors; return the fields of a `bench.results.schema.DeviceState`.

        `held_down` lists the reasons that lower the clocks now, and those that the driver counted since the last call.
        """
        ask, device, nvml = self._ask, self._device, self._nvml
        power = ask(nvml.nvmlDeviceGetPowerUsage, device)
        return {
            "sm_mhz": ask(nvml.nvmlDeviceGetClockInfo, device, _SM),
            "memory_mhz": ask(nvml.nvmlDeviceGetClockInfo, device, _MEMORY),
            "watts": None if power is None else power / 1000,
            "celsius": ask(nvml.nvmlDeviceGetTemperature, device, _TEMPERATURE),
            "held_down": sorted({*self._reasons(), *self._violated()}),
        }

    def _reasons(self) -> list[str]:
        current = getattr(self._nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        bits = self._ask(current or self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._device) or 0
        return [name for bit, name in HELD_DOWN.items() if bits & bit]

    def _violated(self) -> list[str]:
        """Return the policies whose time counters have increased since the last call."""
        found = []
        for policy, name in _POLICIES.items():
            status = self._ask(self._nvml.nvmlDeviceGetViolationStatus, self._device, policy)
            now = 0 if status is None else int(status.violationTime)
            if now > self._violations.get(name, now):
                found.append(name)
            self._violations[name] = now
        return found

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """Return NVML's answer, or None if this device or driver has none."""
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None

    def close(self) -> None:
        """Release the driver."""
        self._nvml.nvmlShutdown()


def _pynvml() -> Any:
    try:
        import pynvml
    except ImportError:
        raise NoSensor("nvidia-ml-py is not installed: pip install 'pyfnn[gpu]'") from None
    return pynvml
