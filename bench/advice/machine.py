"""Warnings about the machine before a run: load, frequency, build, BLAS, OpenMP, memory. Changes nothing.

`read_machine` reads the facts once; each check is a function of them in the table `MACHINE_CHECKS`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.advice.advice import Advice, advice_from, several_openmp, stolen_time
from bench.format import number
from bench.machine import availability, blas, description
from bench.machine.availability import Availability
from bench.machine.blas import NumpyBlas
from bench.machine.cpus import core_count
from pyfnn.manifest import Row

OTHERS = 0.25  # CPUs' worth of work by other processes; an idle desktop stays below
STEAL_NOW = 0.05  # share of the listening time, in which the system counts only a few dozen ticks
FREE = 0.1  # share of the memory
WORTH_IT = 1.05  # speedup by other kernels
_LISTENING = 0.3  # seconds, to measure the load
_IMPORTING = 5.0  # seconds, to import the frameworks of a run


@dataclass(frozen=True)
class MachineFacts:
    """Facts about the machine. A fact that cannot be read is None or empty and causes no warning.

    Attributes
    ----------
    governors : tuple of str
        Frequency governors of the CPUs that this process may use.
    others : float or None
        CPUs' worth of work that other processes did while this one slept.
    steal : float or None
        Share of that time that a hypervisor gave to other machines.
    build_type : str or None
        CMake's build type of the native code.
    python_debug : bool
        True where the interpreter is a debug build.
    blas : NumpyBlas or None
        BLAS of NumPy, if it is an OpenBLAS.
    openmp : mapping of str to tuple of str
        Files of the OpenMP runtimes in a backend's process, by name of the backend.
    memory_bytes, memory_available_bytes : int or None
        Memory of the machine or of its control group: all of it, and the free part.
    cpus : int or None
        Number of CPUs that this process may use.
    quota : float or None
        CPU time limit of the control group, in CPUs.
    cores : int or None
        Number of cores that these CPUs belong to.
    threads : int
        Most threads of a case.
    """

    governors: tuple[str, ...] = ()
    others: float | None = None
    steal: float | None = None
    build_type: str | None = None
    python_debug: bool = False
    blas: NumpyBlas | None = None
    openmp: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    cpus: int | None = None
    quota: float | None = None
    cores: int | None = None
    threads: int = 1


def read_machine(host: Mapping[str, Any], tried: Sequence[Availability], threads: int = 1) -> MachineFacts:
    """Read the facts about this machine. Takes 0.3 s, and 1 to 2 s more where NumPy's BLAS has to be measured.

    Parameters
    ----------
    host : mapping
        Description of the machine: see `bench.machine.description.describe_machine`.
    tried : sequence of Availability
        Backends that were loaded, with the OpenMP runtimes of each.
    threads : int
        Most threads of a case.
    """
    before = description.cpu_times()
    time.sleep(_LISTENING)
    use = description.cpu_times().since(before)
    limits = [size for key in ("memory_bytes", "memory_limit_bytes") if (size := host.get(key))]
    return MachineFacts(
        governors=tuple(host["governors"]),
        others=use.busy_cpus,
        steal=use.steal,
        build_type=host["build"].get("build_type"),
        python_debug=host["python_debug"],
        blas=blas.examine(description.level(host["instruction_sets"])),
        openmp={one.name: one.openmp for one in tried},
        memory_bytes=min(limits, default=None),
        memory_available_bytes=host.get("memory_available_bytes"),
        cpus=host["usable_cpus"],
        quota=host["cpu_quota"],
        cores=core_count(),
        threads=threads,
    )


def try_frameworks(rows: Sequence[Row]) -> list[Availability]:
    """Load the frameworks among a run's backends, each in a process, to find the OpenMP runtimes that they bring."""
    return availability.try_all([row for row in rows if row.division == "framework"], _IMPORTING)


def _governor(facts: MachineFacts) -> Advice | None:
    slow = [name for name in facts.governors if name != "performance"]
    if not slow:
        return None
    return Advice(
        "governor",
        f"the CPU frequency governor is {', '.join(slow)}: the clock rate depends on the load before a sample",
        "run cpupower frequency-set -g performance as root; note the old governor to restore it afterwards",
    )


def _others(facts: MachineFacts) -> Advice | None:
    if facts.others is None or facts.others <= OTHERS:
        return None
    return Advice(
        "load",
        f"other processes keep {number(facts.others, 2)} CPUs busy, among those used for measuring",
        "stop them (top shows them), or give the run its own CPUs: taskset -c LIST; else expect wider intervals",
    )


def _steal(facts: MachineFacts) -> Advice | None:
    return stolen_time(facts.steal, STEAL_NOW, "just before measuring")


def _build(facts: MachineFacts) -> Advice | None:
    if facts.build_type is None or facts.build_type.lower() == "release":
        return None
    return Advice(
        "build",
        f"the native code is a {facts.build_type or 'nameless'} build, not Release: its step times are meaningless",
        "pip install -e . --config-settings cmake.build-type=Release",
    )


def _interpreter(facts: MachineFacts) -> Advice | None:
    if not facts.python_debug:
        return None
    return Advice(
        "interpreter",
        "this Python is a debug build with slower calls: backends that Python hosts are slower than necessary",
        "create the virtual environment with a release build of Python",
    )


def _blas(facts: MachineFacts) -> Advice | None:
    """Warn of kernels older than the CPU, also where newer kernels would not be faster; the remedy then says so."""
    found = facts.blas
    if found is None or found.newer is None:
        return None
    setting = f"{blas.VARIABLE}={found.newer}"
    remedy = f"export {setting} before the run; it applies to every OpenBLAS, also to that of cpp-blas"
    message = f"NumPy's {found.name} uses {found.kernels} kernels, which are older than this CPU's instruction set"
    now, fixed = found.now, found.with_fix
    if now is None or fixed is None:
        return Advice("blas", f"{message}; their cost could not be measured", remedy)
    factor = fixed.gflops / now.gflops
    message += f": {_rate(now)} in float32 on one thread; with {setting} {number(factor)} times that, "
    if fixed.kernels != found.newer:
        remedy = f"this BLAS ignores {blas.VARIABLE}: install NumPy from PyPI, whose OpenBLAS has kernels for every CPU"
    elif factor < WORTH_IT:
        remedy = "nothing: on this CPU newer kernels are hardly faster"
    return Advice("blas", message + _rate(fixed), remedy)


def _rate(it: blas.Throughput) -> str:
    share = f" ({number(100 * it.gflops / it.peak, 2)} % of the multiply-add peak)" if it.peak else ""
    return f"{number(it.gflops)} GFLOP/s{share}"


def _openmp(facts: MachineFacts) -> Advice | None:
    return several_openmp({name: [Path(file).name for file in files] for name, files in facts.openmp.items()})


def _memory(facts: MachineFacts) -> Advice | None:
    size, free = facts.memory_bytes, facts.memory_available_bytes
    if size is None or free is None or free >= FREE * size:
        return None
    return Advice(
        "memory",
        f"only {free / 2**20:.0f} of {size / 2**20:.0f} MiB of memory are free: the system may swap or end a worker",
        "stop processes that take much memory, or leave out the largest workloads (--workloads)",
    )


def _quota(facts: MachineFacts) -> Advice | None:
    if facts.quota is None or facts.cpus is None or facts.quota >= facts.cpus:
        return None
    return Advice(
        "cpu quota",
        f"the control group may use the time of {number(facts.quota)} CPUs on {facts.cpus} CPUs: the system halts a "
        "process that uses more, possibly within a sample",
        "give the container whole CPUs instead of a share of their time (docker run --cpuset-cpus), or measure outside",
    )


def _cores(facts: MachineFacts) -> Advice | None:
    if facts.cores is None or facts.cpus is None or facts.threads <= facts.cores or facts.cores == facts.cpus:
        return None
    return Advice(
        "cores",
        f"{facts.threads} threads run on {facts.cores} cores: two threads on one core share its arithmetic units",
        f"measure at most {facts.cores} threads (--threads), or switch simultaneous multithreading off",
    )


MACHINE_CHECKS: tuple[Callable[[MachineFacts], Advice | None], ...] = (
    _governor,
    _others,
    _steal,
    _build,
    _interpreter,
    _blas,
    _openmp,
    _memory,
    _quota,
    _cores,
)


def advice_on_machine(facts: MachineFacts) -> tuple[Advice, ...]:
    """Return the warnings about this machine."""
    return advice_from(MACHINE_CHECKS, facts)
