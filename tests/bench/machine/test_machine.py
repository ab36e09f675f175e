"""Claims about the description of the machine in every result."""

import json
import os
import platform
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from cpuinfo import get_cpu_info

from bench.machine import description
from bench.machine.description import CpuTimes, describe_machine
from pyfnn import compiled
from pyfnn.errors import BackendUnavailable


def test_the_machine_is_described_in_json() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine, allow_nan=False)) == machine
    assert machine["memory_bytes"] > 2**20
    assert machine["logical_cpus"] >= 1
    assert all(machine[key] for key in ("cpu_model", "architecture", "system", "python", "numpy", "pyfnn"))


def test_the_cpu_is_the_one_that_py_cpuinfo_finds() -> None:
    """The model and flags come from a file where Linux has them there: py-cpuinfo takes a second."""
    machine, found = describe_machine(), get_cpu_info()
    assert machine["cpu_model"] == found.get("brand_raw", platform.processor() or "unknown")
    theirs = {flag for flag in found.get("flags", []) if flag.startswith(("avx", "fma", "asimd", "sve"))}
    assert {flag for flag in machine["instruction_sets"] if not flag.startswith("sse")} == theirs


@pytest.mark.usefixtures("system")
def test_a_cpu_without_a_file_is_described_by_py_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"brand_raw": "Neoverse-N1", "flags": ["asimd", "crc32"], "l2_cache_size": 2**20}
    monkeypatch.setattr("cpuinfo.get_cpu_info", lambda: found)
    machine = describe_machine()
    assert (machine["cpu_model"], machine["instruction_sets"]) == ("Neoverse-N1", ["asimd"])
    assert machine["l2_cache_bytes"] == 2**20


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_only_usable_cpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert describe_machine()["usable_cpus"] == 1


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root folder of a simulated Linux, without any file."""
    monkeypatch.setattr(description, "_SYS", tmp_path / "sys")
    monkeypatch.setattr(description, "_ROOT", tmp_path)
    monkeypatch.setattr(description, "usable_cpus", lambda: {0, 1})
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.mark.usefixtures("system")
def test_facts_without_a_file_are_unknown_and_not_guessed() -> None:
    assert (description.governors(), description.turbo(), description.container(), description.memory_limit()) == (
        [],
        None,
        None,
        None,
    )
    assert (description.caches(), description.smt(None, 4), description.virtual_machine([])) == ({}, None, None)


def test_governors_of_usable_cpus_are_listed_once(system: Path) -> None:
    for number, name in enumerate(("powersave", "powersave", "performance")):
        write(system / f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor", name)
    assert description.governors() == ["powersave"]


@pytest.mark.parametrize(
    ("file", "text", "on"),
    [
        ("cpufreq/boost", "1", True),
        ("cpufreq/boost", "0", False),
        ("intel_pstate/no_turbo", "1", False),
        ("intel_pstate/no_turbo", "0", True),
    ],
)
def test_turbo_is_read_from_either_driver(file: str, text: str, on: bool, system: Path) -> None:
    write(system / "sys/devices/system/cpu" / file, text)
    assert description.turbo() is on


def test_caches_are_listed_by_level_without_instruction_caches(system: Path) -> None:
    for index, cache in enumerate((("1", "Data", "32K"), ("1", "Instruction", "64K"), ("3", "Unified", "32768K"))):
        for name, text in zip(("level", "type", "size"), cache, strict=True):
            write(system / f"sys/devices/system/cpu/cpu0/cache/index{index}/{name}", text)
    assert description.caches() == {"1": 2**15, "3": 2**25}


def test_smt_is_read_from_the_kernel_or_follows_from_more_cpus_than_cores(system: Path) -> None:
    assert (description.smt(4, 8), description.smt(4, 4)) == (True, False)
    write(system / "sys/devices/system/cpu/smt/active", "0")
    assert description.smt(4, 8) is False


def test_a_container_and_its_memory_limit_are_recognised(system: Path) -> None:
    write(system / "proc/1/cgroup", "0::/kubepods/pod1")
    assert description.container() == "kubepods"
    write(system / ".dockerenv", "")
    assert description.container() == "docker"
    write(system / "sys/fs/cgroup/memory.max", str(2**20))
    assert description.memory_limit() == 2**20
    write(system / "sys/fs/cgroup/memory.max", "max")
    assert description.memory_limit() is None


def test_a_virtual_machine_is_recognised_by_the_cpus_flag_and_named_if_it_has_a_name(system: Path) -> None:
    assert description.virtual_machine(["hypervisor"]) == "yes"
    write(system / "sys/class/dmi/id/product_name", "KVM")
    assert description.virtual_machine(["hypervisor"]) == "KVM"


def test_available_memory_is_the_lesser_of_the_machines_and_the_control_groups(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has = SimpleNamespace(total=2**34, available=2**33)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: has)
    assert description.available_memory() == 2**33
    write(system / "sys/fs/cgroup/memory.max", str(2**31))
    write(system / "sys/fs/cgroup/memory.current", str(2**30))
    assert description.available_memory() == 2**30
    write(system / "sys/fs/cgroup/memory.stat", f"anon 3\ninactive_file {2**28}\nactive_file 5\nslab_reclaimable 7\n")
    assert description.available_memory() == 2**30 + 2**28 + 12
    has.available = 2**20
    assert description.available_memory() == 2**20
    write(system / "sys/fs/cgroup/memory.max", "max")
    assert description.available_memory() == 2**20


def test_memory_of_a_version_1_control_group_is_read(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=2**34, available=2**33))
    group = system / "sys/fs/cgroup/memory"
    write(group / "memory.limit_in_bytes", str(2**31))
    write(group / "memory.usage_in_bytes", str(2**30))
    write(group / "memory.stat", f"inactive_file 1\ntotal_inactive_file {2**28}\nactive_file 1\ntotal_active_file 5")
    assert description.available_memory() == 2**30 + 2**28 + 5


def test_a_quota_of_cpu_time_is_given_in_cpus(system: Path) -> None:
    assert description.cpu_quota() is None
    write(system / "sys/fs/cgroup/cpu.max", "max 100000")
    assert description.cpu_quota() is None
    write(system / "sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert description.cpu_quota() == 1.5


def test_the_quota_of_a_version_1_control_group_is_read(system: Path) -> None:
    write(system / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")
    write(system / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert description.cpu_quota() is None
    write(system / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000")
    assert description.cpu_quota() == 0.5


def test_a_level_needs_all_its_instruction_sets() -> None:
    avx512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
    assert description.level({*avx512, "avx2", "fma"}) == "v4"
    assert description.level({"avx512f", "avx2", "fma"}) == "v3"
    assert description.level({"sse4_2"}) is None


def test_cpu_use_is_the_difference_of_two_readings_and_steal_is_not_busy() -> None:
    before, after = CpuTimes(100.0, 40.0, 1.0, 2), CpuTimes(110.0, 45.0, 2.0, 2)
    assert after.since(before) == (1.0, 0.1)
    assert after._replace(steal=None).since(before).steal is None
    assert before.since(before) == (None, None)


def test_the_cpu_time_of_a_process_counts_as_busy() -> None:
    before, end = description.cpu_times(), time.process_time() + 0.4
    while time.process_time() < end:
        pass
    assert description.cpu_times().busy - before.busy > 0.3


def test_the_build_settings_of_the_native_parts_are_included(monkeypatch: pytest.MonkeyPatch) -> None:
    built = SimpleNamespace(C_FLAGS="-O3", C_COMPILER="GNU 12", SOURCES={"x": {}}, __name__="pyfnn._build_info")
    monkeypatch.setattr(compiled, "build_info", lambda: built)
    assert description.build_info() == {"c_flags": "-O3", "c_compiler": "GNU 12"}


def test_the_reason_for_absent_native_parts_is_included(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise BackendUnavailable("nothing is compiled", "compile it")

    monkeypatch.setattr(compiled, "build_info", absent)
    assert description.build_info() == {"absent": "nothing is compiled", "remedy": "compile it"}
