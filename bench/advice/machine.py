"""Warnings that one can act on: each a row, from facts to what is wrong and what to do. Changes nothing, drops nothing.

Facts are read once, into a value; the rows look at that alone. `of_machine` speaks before a run, `of_run` after it.
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
from bench.machine.blas import Blas
from pyfnn.manifest import Row

OTHERS = 0.25  # CPUs' worth of work by others; less than that is a desktop at rest
STEAL_NOW = 0.05  # of the moment that is listened to, in which the system counts a few dozen ticks
FREE = 0.1  # of the memory
WORTH_IT = 1.05  # times as fast, with other kernels
_LISTENING = 0.3  # seconds, for the load
_IMPORTING = 5.0  # seconds, for the frameworks of a run


@dataclass(frozen=True)
class MachineFacts:
    """What is looked at before a run; what cannot be read is None or empty, and has no warning.

    Attributes
    ----------
    governors : tuple of str
        Of the CPUs that may be used.
    others : float or None
        CPUs' worth of work that others did while this process slept.
    steal : float or None
        The share of that time which a hypervisor gave to others.
    build_type : str or None
        CMake's, of the native parts.
    python_debug : bool
        Whether the interpreter is a debug build.
    blas : Blas or None
        NumPy's, if it is an OpenBLAS.
    openmp : mapping of str to tuple of str
        The OpenMP runtimes in a backend's process, by its name.
    memory_bytes, memory_available_bytes : int or None
        What the machine or its control group has, and what of that is free.
    cpus : int or None
        That may be used.
    quota : float or None
        The control group's limit of CPU time, in CPUs.
    """

    governors: tuple[str, ...] = ()
    others: float | None = None
    steal: float | None = None
    build_type: str | None = None
    python_debug: bool = False
    blas: Blas | None = None
    openmp: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    cpus: int | None = None
    quota: float | None = None


def read_machine(host: Mapping[str, Any], tried: Sequence[Availability]) -> MachineFacts:
    """The facts, some of them from a description (`bench.machine.describe`); takes a third of a second, and one or two
    more where NumPy's BLAS is worth measuring.
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
    )


def try_frameworks(rows: Sequence[Row]) -> list[Availability]:
    """Those of a run's backends that bring runtimes of their own, each in a process, within a few seconds."""
    return availability.try_all([row for row in rows if row.division == "framework"], _IMPORTING)


# Before --------------------------------------------------------------------------------------------------------------


def _governor(facts: MachineFacts) -> Advice | None:
    slow = [name for name in facts.governors if name != "performance"]
    if not slow:
        return None
    return Advice(
        "governor",
        f"the CPU's frequency governor is {', '.join(slow)}: clocks follow the load, and a sample its predecessors",
        "as root, cpupower frequency-set -g performance; note the old one, to go back to it afterwards",
    )


def _others(facts: MachineFacts) -> Advice | None:
    if facts.others is None or facts.others <= OTHERS:
        return None
    return Advice(
        "load",
        f"others keep {number(facts.others, 2)} CPUs busy, of those that are measured on",
        "end or wait for what runs beside (top shows it), or give the run CPUs of its own: taskset -c LIST",
    )


def _steal(facts: MachineFacts) -> Advice | None:
    return stolen_time(facts.steal, STEAL_NOW, "at the moment")


def _build(facts: MachineFacts) -> Advice | None:
    if facts.build_type is None or facts.build_type.lower() == "release":
        return None
    return Advice(
        "build",
        f"the native parts are a {facts.build_type or 'nameless'} build, not Release: their times say nothing",
        "pip install -e . -C cmake.build-type=Release",
    )


def _interpreter(facts: MachineFacts) -> Advice | None:
    if not facts.python_debug:
        return None
    return Advice(
        "interpreter",
        "this Python is a debug build, slower at every call: what Python hosts is slower than it need be",
        "make the virtual environment with a release build of Python",
    )


def _blas(facts: MachineFacts) -> Advice | None:
    """Told even where newer kernels would win nothing; then so is that."""
    found = facts.blas
    if found is None or found.wanted is None:
        return None
    setting = f"{blas.VARIABLE}={found.wanted}"
    remedy = f"export {setting} before the run; every OpenBLAS heeds it, cpp-blas's too"
    message = f"NumPy's {found.name} took {found.kernels} kernels, older than this CPU's instruction set"
    now, mended = found.now, found.with_fix
    if now is None or mended is None:
        return Advice("blas", f"{message}; what that costs could not be measured", remedy)
    factor = mended.gflops / now.gflops
    message += f": {_reached(now)} in float32 on one thread; with {setting} {number(factor)} times that, "
    if mended.kernels != found.wanted:
        remedy = f"it does not heed {blas.VARIABLE}: install NumPy from PyPI, whose OpenBLAS has kernels for every CPU"
    elif factor < WORTH_IT:
        remedy = "nothing: on this CPU newer kernels win next to nothing"
    return Advice("blas", message + _reached(mended), remedy)


def _reached(it: blas.Throughput) -> str:
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
        f"{free / 2**20:.0f} MiB of memory are free, of {size / 2**20:.0f}: what is measured may be swapped out or end",
        "end what takes it, or leave out the largest workloads (--workloads)",
    )


def _quota(facts: MachineFacts) -> Advice | None:
    if facts.quota is None or facts.cpus is None or facts.quota >= facts.cpus:
        return None
    return Advice(
        "cpu quota",
        f"the control group may use {number(facts.quota)} CPUs' time on {facts.cpus} CPUs: whoever uses more is halted "
        "for the rest of a period, in the middle of a sample",
        "give the container CPUs instead of a share of their time (docker run --cpuset-cpus), or measure outside it",
    )


MACHINE_ROWS: tuple[Callable[[MachineFacts], Advice | None], ...] = (
    _governor,
    _others,
    _steal,
    _build,
    _interpreter,
    _blas,
    _openmp,
    _memory,
    _quota,
)


def advice_on_machine(facts: MachineFacts) -> tuple[Advice, ...]:
    """What a run on this machine should be warned of."""
    return advice_from(MACHINE_ROWS, facts)
