"""What this machine is, and what it is doing, as far as a reader of the results must know. Changes nothing."""

import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import cpuinfo
import numpy as np
import psutil

import pyfnn
from pyfnn import compiled
from pyfnn.errors import BackendUnavailable

_INSTRUCTION_SETS = ("sse4", "avx", "fma", "asimd", "sve")
_LEVELS = {  # of x86-64, the highest first: what a CPU must have
    "v4": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "v3": {"avx2", "fma"},
}
_CACHES = ("l1_data_cache_size", "l2_cache_size", "l3_cache_size")  # py-cpuinfo's names
_SYS = Path("/sys")  # Linux; elsewhere what is in it stays unknown
_ROOT = Path("/")
_DROPPED = ("inactive_file", "active_file", "slab_reclaimable")  # of a control group's memory, before it runs out
_IN_CONTAINER = ("docker", "containerd", "kubepods", "lxc", "libpod")  # in the cgroup of process 1


def describe_machine() -> dict[str, Any]:
    """CPU, clock, memory, load, system, versions, and how the native parts were built. JSON-ready; None: unknown."""
    cpu = cpuinfo.get_cpu_info()
    flags = cpu.get("flags", [])
    sizes = caches() or {str(n): cpu.get(name) for n, name in enumerate(_CACHES, 1)}
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


def momentary() -> dict[str, Any]:
    """Of that what changes while a run lasts."""
    return {
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "celsius": celsius(),
        "memory_available_bytes": available_memory(),
    }


def build_info() -> dict[str, Any]:
    """How the native parts were built, or why there are none."""
    try:
        info = compiled.build_info()
    except BackendUnavailable as error:
        return {"absent": error.reason, "remedy": error.remedy}
    return {name.lower(): value for name, value in vars(info).items() if name.isupper() and name != "SOURCES"}


def level(instruction_sets: Iterable[str]) -> str | None:
    """The x86-64 level of a CPU with these, ``v4`` (AVX-512) or ``v3`` (AVX2 and FMA); None below that."""
    return next((name for name, wanted in _LEVELS.items() if wanted <= set(instruction_sets)), None)


def usable_cpus() -> set[int]:
    """The CPUs that this process may use; empty where the system does not tell."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


# Linux tells by files ------------------------------------------------------------------------------------------------


def _read(path: Path) -> str | None:
    """What a file of the kernel says; None where there is none, or it is not for us."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def caches() -> dict[str, int]:
    """Bytes of the first CPU's data and unified caches, by level; py-cpuinfo may take one level for another."""
    found = {}
    for folder in sorted(_SYS.glob("devices/system/cpu/cpu0/cache/index*")):
        level, kind, size = (_read(folder / name) or "" for name in ("level", "type", "size"))
        if kind in ("Data", "Unified") and size.endswith("K"):
            found[level] = 1024 * int(size[:-1])
    return found


def smt(physical: int | None, logical: int | None) -> bool | None:
    """Whether two hardware threads share a core."""
    said = _read(_SYS / "devices/system/cpu/smt/active")
    if said in ("0", "1"):
        return said == "1"
    return logical > physical if physical and logical else None


def governors() -> list[str]:
    """The frequency governors of the CPUs that may be used, each once; empty where none can be read."""
    numbers = usable_cpus() or set(range(psutil.cpu_count() or 0))
    files = (_SYS / f"devices/system/cpu/cpu{number}/cpufreq/scaling_governor" for number in numbers)
    return sorted({said for file in files if (said := _read(file))})


def turbo() -> bool | None:
    """Whether clocks may rise above the nominal one."""
    boost = _read(_SYS / "devices/system/cpu/cpufreq/boost")
    no_turbo = _read(_SYS / "devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo in ("0", "1"):
        return no_turbo == "0"
    return boost == "1" if boost in ("0", "1") else None


def celsius() -> float | None:
    """The highest temperature that any sensor of the machine tells."""
    read: Callable[[], dict[str, list[Any]]] | None = getattr(psutil, "sensors_temperatures", None)
    found = [sensor.current for sensors in (read() if read else {}).values() for sensor in sensors if sensor.current]
    return max(found, default=None)


def memory_limit() -> int | None:
    """The control group's limit of memory, in bytes; None where there is none below what the machine has."""
    files = (_SYS / "fs/cgroup/memory.max", _SYS / "fs/cgroup/memory/memory.limit_in_bytes")
    said = next((text for file in files if (text := _read(file))), "")
    return int(said) if said.isdecimal() and int(said) < psutil.virtual_memory().total else None


def available_memory() -> int:
    """Bytes that may be taken, of the machine's and of its control group's; what files take that can be dropped too."""
    free, limit = int(psutil.virtual_memory().available), memory_limit()
    group = _SYS / "fs/cgroup"
    for used in (group / "memory.current", group / "memory/memory.usage_in_bytes"):
        said = _read(used) or ""
        if limit is not None and said.isdecimal():
            counted = dict(line.split() for line in (_read(used.parent / "memory.stat") or "").splitlines())
            dropped = sum(int(counted.get(f"total_{name}", counted.get(name, 0))) for name in _DROPPED)
            return max(0, min(free, limit - int(said) + dropped))
    return free


def cpu_quota() -> float | None:
    """The control group's limit of CPU time, in CPUs; None where there is none."""
    group = _SYS / "fs/cgroup"
    quota, _, period = (_read(group / "cpu.max") or "").partition(" ")
    if not period:
        quota, period = (_read(group / f"cpu/cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def container() -> str | None:
    """What kind of container this runs in; None where there is no sign of one."""
    if (_ROOT / ".dockerenv").exists():
        return "docker"
    if (_ROOT / "run/.containerenv").exists():
        return "podman"
    if said := os.environ.get("container"):  # noqa: SIM112  # systemd-nspawn, LXC and podman name it so
        return said
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    group = _read(_ROOT / "proc/1/cgroup") or ""
    return next((name for name in _IN_CONTAINER if name in group), None)


def virtual_machine(flags: Iterable[str]) -> str | None:
    """The product's name, or ``yes`` where only the CPU's flag tells; None where there is no sign of one."""
    if "hypervisor" not in flags:
        return None
    return _read(_SYS / "class/dmi/id/product_name") or _read(_SYS / "hypervisor/type") or "yes"


# What it is doing ----------------------------------------------------------------------------------------------------


class CpuTimes(NamedTuple):
    """Seconds since some time ago, of the CPUs that may be used, all together."""

    total: float
    busy: float  # steal excluded
    steal: float | None  # None where the system does not count it
    cpus: int

    def since(self, before: "CpuTimes") -> "CpuUse":
        """What happened between the two; unknown where nothing was counted."""
        total = self.total - before.total
        if total <= 0:
            return CpuUse(None, None)
        stolen = None if self.steal is None or before.steal is None else (self.steal - before.steal) / total
        return CpuUse(self.cpus * max(0.0, self.busy - before.busy) / total, stolen)


class CpuUse(NamedTuple):
    """How many CPUs' worth of work was done, and the share of time that a hypervisor gave to others. None: unknown."""

    busy_cpus: float | None
    steal: float | None


def cpu_times() -> CpuTimes:
    """What the system has counted until now."""
    counted, usable = psutil.cpu_times(percpu=True), usable_cpus()
    if usable and max(usable) < len(counted):
        counted = [times for number, times in enumerate(counted) if number in usable]
    # Guests' time is in user's already; waiting for a disk is idle.
    idle = sum(times.idle + getattr(times, "iowait", 0.0) for times in counted)
    steal = sum(times.steal for times in counted) if hasattr(counted[0], "steal") else None
    guests = sum(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0) for times in counted)
    total = sum(sum(times) for times in counted) - guests
    return CpuTimes(total, total - idle - (steal or 0.0), steal, len(counted))
