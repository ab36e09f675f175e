"""The description of this machine in the results: hardware, system, versions, limits and load. Changes nothing."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

import pyfnn
from pyfnn import compiled
from pyfnn.errors import BackendUnavailable

_INSTRUCTION_SETS = ("sse4", "avx", "fma", "asimd", "sve")
_LEVELS = {  # the instruction sets that each x86-64 level requires, the highest level first
    "v4": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "v3": {"avx2", "fma"},
}
_CACHES = ("l1_data_cache_size", "l2_cache_size", "l3_cache_size")  # py-cpuinfo's names
_SYS = Path("/sys")  # Linux only; on other systems these facts are unknown
_ROOT = Path("/")
_DROPPED = ("inactive_file", "active_file", "slab_reclaimable")  # parts of a control group's memory that can be freed
_IN_CONTAINER = ("docker", "containerd", "kubepods", "lxc", "libpod")  # names in the cgroup of process 1


def describe_machine() -> dict[str, Any]:
    """Return CPU, memory, system, versions, build of the native parts and load, JSON-ready; None for unknown values."""
    cpu = _cpu()
    flags = cpu.get("flags", [])
    sizes: Mapping[str, Any] = caches() or {str(n): cpu.get(name) for n, name in enumerate(_CACHES, 1)}
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    return {
        "cpu_model": cpu.get("brand_raw", platform.processor() or "unknown"),
        "architecture": platform.machine(),
        "instruction_sets": [flag for flag in flags if flag.startswith(_INSTRUCTION_SETS)],
        "l1_data_cache_bytes": sizes.get("1"),
        "l2_cache_bytes": sizes.get("2"),
        "l3_cache_bytes": sizes.get("3"),
        "physical_cores": physical,
        "logical_cpus": logical,
        "usable_cpus": len(usable_cpus()) or None,
        "cpu_quota": cpu_quota(),
        "smt": smt(physical, logical),
        "governors": governors(),
        "turbo": turbo(),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_limit_bytes": memory_limit(),
        "container": container(),
        "virtual_machine": virtual_machine(flags),
        "system": platform.platform(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "python_debug": hasattr(sys, "gettotalrefcount"),
        "numpy": np.__version__,
        "pyfnn": pyfnn.__version__,
        "build": build_info(),
        **momentary(),
    }


def _cpu() -> dict[str, Any]:
    """Return what is known of the CPU, by py-cpuinfo's names; where Linux has it in a file, from there.

    py-cpuinfo takes a second.
    """
    first = (_read(_ROOT / "proc/cpuinfo") or "").partition("\n\n")[0]
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    if "model name" in facts and "flags" in facts:  # as on x86-64
        return {"brand_raw": facts["model name"], "flags": facts["flags"].split()}
    from cpuinfo import get_cpu_info

    found: dict[str, Any] = get_cpu_info()
    return found


def installed_packages() -> dict[str, str]:
    """Return the version of every Python distribution that is installed, by its name."""
    found = {str(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def momentary() -> dict[str, Any]:
    """Return the values that change during a run: load, temperature in °C and available bytes."""
    return {
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "celsius": celsius(),
        "memory_available_bytes": available_memory(),
    }


def build_info() -> dict[str, Any]:
    """Return the build settings of the native parts, or the reason and remedy if they are absent."""
    try:
        info = compiled.build_info()
    except BackendUnavailable as error:
        return {"absent": error.reason, "remedy": error.remedy}
    return {name.lower(): value for name, value in vars(info).items() if name.isupper() and name != "SOURCES"}


def level(instruction_sets: Iterable[str]) -> str | None:
    """Return the x86-64 level of a CPU with these: ``v4`` (AVX-512), ``v3`` (AVX2 and FMA) or None below that."""
    return next((name for name, required in _LEVELS.items() if required <= set(instruction_sets)), None)


def usable_cpus() -> set[int]:
    """Return the CPUs that this process may use; empty if the system has no affinity."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


# Facts from Linux's files --------------------------------------------------------------------------------------------


def _read(path: Path) -> str | None:
    """Return the text of a kernel file; None if it is missing or not readable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def caches() -> dict[str, int]:
    """Return the bytes of the first CPU's data and unified caches, by level (py-cpuinfo may mix up the levels)."""
    found = {}
    for folder in sorted(_SYS.glob("devices/system/cpu/cpu0/cache/index*")):
        level, kind, size = (_read(folder / name) or "" for name in ("level", "type", "size"))
        if kind in ("Data", "Unified") and size.endswith("K"):
            found[level] = 1024 * int(size[:-1])
    return found


def smt(physical: int | None, logical: int | None) -> bool | None:
    """Return True if two hardware threads share a core; None if unknown."""
    active = _read(_SYS / "devices/system/cpu/smt/active")
    if active in ("0", "1"):
        return active == "1"
    return logical > physical if physical and logical else None


def governors() -> list[str]:
    """Return the frequency governors of the usable CPUs, each once; empty if none can be read."""
    numbers = usable_cpus() or set(range(psutil.cpu_count() or 0))
    files = (_SYS / f"devices/system/cpu/cpu{number}/cpufreq/scaling_governor" for number in numbers)
    return sorted({name for file in files if (name := _read(file))})


def turbo() -> bool | None:
    """Return True if clocks may rise above the nominal frequency; None if unknown."""
    boost = _read(_SYS / "devices/system/cpu/cpufreq/boost")
    no_turbo = _read(_SYS / "devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo in ("0", "1"):
        return no_turbo == "0"
    return boost == "1" if boost in ("0", "1") else None


def celsius() -> float | None:
    """Return the highest temperature of all the machine's sensors, in °C; None if it has none."""
    read: Callable[[], dict[str, list[Any]]] | None = getattr(psutil, "sensors_temperatures", None)
    found = [sensor.current for sensors in (read() if read else {}).values() for sensor in sensors if sensor.current]
    return max(found, default=None)


def memory_limit() -> int | None:
    """Return the control group's memory limit in bytes; None if there is none below the machine's memory."""
    files = (_SYS / "fs/cgroup/memory.max", _SYS / "fs/cgroup/memory/memory.limit_in_bytes")
    limit = next((text for file in files if (text := _read(file))), "")
    return int(limit) if limit.isdecimal() and int(limit) < psutil.virtual_memory().total else None


def available_memory() -> int:
    """Return the available bytes of the machine or its control group, whichever has fewer; freeable caches included."""
    free, limit = int(psutil.virtual_memory().available), memory_limit()
    group = _SYS / "fs/cgroup"
    for file in (group / "memory.current", group / "memory/memory.usage_in_bytes"):
        used = _read(file) or ""
        if limit is not None and used.isdecimal():
            counted = dict(line.split() for line in (_read(file.parent / "memory.stat") or "").splitlines())
            dropped = sum(int(counted.get(f"total_{name}", counted.get(name, 0))) for name in _DROPPED)
            return max(0, min(free, limit - int(used) + dropped))
    return free


def cpu_quota() -> float | None:
    """Return the control group's limit of CPU time, in CPUs; None if there is none."""
    group = _SYS / "fs/cgroup"
    quota, _, period = (_read(group / "cpu.max") or "").partition(" ")
    if not period:
        quota, period = (_read(group / f"cpu/cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def container() -> str | None:
    """Return the kind of container that this process runs in; None if there is no sign of one."""
    if (_ROOT / ".dockerenv").exists():
        return "docker"
    if (_ROOT / "run/.containerenv").exists():
        return "podman"
    if name := os.environ.get("container"):  # noqa: SIM112  # set by systemd-nspawn, LXC and podman
        return name
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    group = _read(_ROOT / "proc/1/cgroup") or ""
    return next((name for name in _IN_CONTAINER if name in group), None)


def virtual_machine(flags: Iterable[str]) -> str | None:
    """Return the product's name, ``yes`` if only the CPU's flag shows one, or None if there is no sign of one."""
    if "hypervisor" not in flags:
        return None
    return _read(_SYS / "class/dmi/id/product_name") or _read(_SYS / "hypervisor/type") or "yes"


# CPU use --------------------------------------------------------------------------------------------------------------


class CpuTimes(NamedTuple):
    """Seconds since an arbitrary start, summed over the usable CPUs."""

    total: float
    busy: float  # steal excluded
    steal: float | None  # None if the system does not count it
    cpus: int

    def since(self, before: "CpuTimes") -> "CpuUse":
        """Return the CPU use between two readings; None in both fields if no time was counted."""
        total = self.total - before.total
        if total <= 0:
            return CpuUse(None, None)
        stolen = None if self.steal is None or before.steal is None else (self.steal - before.steal) / total
        return CpuUse(self.cpus * max(0.0, self.busy - before.busy) / total, stolen)


class CpuUse(NamedTuple):
    """The number of busy CPUs on average, and the share of time that the hypervisor gave to others; None: unknown."""

    busy_cpus: float | None
    steal: float | None


def cpu_times() -> CpuTimes:
    """Read the system's CPU time counters."""
    counted, usable = psutil.cpu_times(percpu=True), usable_cpus()
    if usable and max(usable) < len(counted):
        counted = [times for number, times in enumerate(counted) if number in usable]
    # User time includes guest time; waiting for a disk counts as idle.
    idle = sum(times.idle + getattr(times, "iowait", 0.0) for times in counted)
    steal = sum(times.steal for times in counted) if hasattr(counted[0], "steal") else None
    guests = sum(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0) for times in counted)
    total = sum(sum(times) for times in counted) - guests
    return CpuTimes(total, total - idle - (steal or 0.0), steal, len(counted))
