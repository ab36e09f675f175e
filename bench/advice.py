"""Warnings that one can act on: each a row, from facts to what is wrong and what to do. Changes nothing, drops nothing.

Facts are read once, into a value; the rows look at that alone. `of_machine` speaks before a run, `of_run` after it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar, get_args

from bench import availability, blas, machine
from bench.availability import Tried
from bench.blas import Blas
from bench.report.rows import number
from bench.results import BackendResult, Case, Results, When
from bench.workers import MANY_BLOCKS
from pyfnn.manifest import Row

OTHERS = 0.25  # CPUs' worth of work by others; less than that is a desktop at rest
STEAL = 0.01  # of the time of a run
STEAL_NOW = 0.05  # of the moment that is listened to, in which the system counts a few dozen ticks
FLOOR = 0.03
SHORT = 0.9  # of the length that was asked for; a block may come out a little shorter than it was calibrated
AWAY = 0.1  # of the wall time of timed blocks, in which the process was not on a CPU
FREE = 0.1  # of the memory
TAKEN = 0.8  # of the memory, by the processes of a case together
DENORMAL = 1e-3  # of θ's values
WORTH_IT = 1.05  # times as fast, with other kernels
DRIFT = 0.05  # of a ceiling, from before the run to after it
_LISTENING = 0.3  # seconds, for the load
_IMPORTING = 5.0  # seconds, for the frameworks of a run
_NAMED = 3  # cases or backends in a message; the others are counted


class Advice(NamedTuple):
    """What is wrong, in a word and in a sentence, and what to do about it."""

    name: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}. To do: {self.remedy}"


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


@dataclass(frozen=True)
class RunFacts:
    """What is looked at after a run.

    Attributes
    ----------
    results : Results
    steal : float or None
        The share of the run's time which a hypervisor gave to others.
    denormals : mapping of str to float
        The greatest share of denormals on θ's way, by the title of a case.
    """

    results: Results
    steal: float | None = None
    denormals: Mapping[str, float] = field(default_factory=dict)


def read_machine(host: Mapping[str, Any], tried: Sequence[Tried]) -> MachineFacts:
    """The facts, some of them from a description (`bench.machine.describe`); takes a third of a second, and one or two
    more where NumPy's BLAS is worth measuring.
    """
    before = machine.cpu_times()
    time.sleep(_LISTENING)
    use = machine.cpu_times().since(before)
    limits = [size for key in ("memory_bytes", "memory_limit_bytes") if (size := host.get(key))]
    return MachineFacts(
        governors=tuple(host["governors"]),
        others=use.busy_cpus,
        steal=use.steal,
        build_type=host["build"].get("build_type"),
        python_debug=host["python_debug"],
        blas=blas.examine(machine.level(host["instruction_sets"])),
        openmp={one.name: one.openmp for one in tried},
        memory_bytes=min(limits, default=None),
        memory_available_bytes=host.get("memory_available_bytes"),
        cpus=host["usable_cpus"],
        quota=host["cpu_quota"],
    )


def try_frameworks(rows: Sequence[Row]) -> list[Tried]:
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
    return _stolen(facts.steal, STEAL_NOW, "at the moment")


def _stolen(share: float | None, bearable: float, when: str) -> Advice | None:
    if share is None or share <= bearable:
        return None
    return Advice(
        "steal",
        f"the hypervisor gives {number(100 * share, 2)} % of this virtual machine's time to others ({when})",
        "measure at another hour, or on a machine with CPUs of its own; within this one nothing mends it",
    )


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
    now, mended = found.now, found.mended
    if now is None or mended is None:
        return Advice("blas", f"{message}; what that costs could not be measured", remedy)
    factor = mended.gflops / now.gflops
    message += f": {_reached(now)} in float32 on one thread; with {setting} {number(factor)} times that, "
    if mended.kernels != found.wanted:
        remedy = f"it does not heed {blas.VARIABLE}: install NumPy from PyPI, whose OpenBLAS has kernels for every CPU"
    elif factor < WORTH_IT:
        remedy = "nothing: on this CPU newer kernels win next to nothing"
    return Advice("blas", message + _reached(mended), remedy)


def _reached(it: blas.Reached) -> str:
    share = f" ({number(100 * it.gflops / it.peak, 2)} % of the multiply-add peak)" if it.peak else ""
    return f"{number(it.gflops)} GFLOP/s{share}"


def _openmp(facts: MachineFacts) -> Advice | None:
    return _several_openmp({name: [Path(file).name for file in files] for name, files in facts.openmp.items()})


def _several_openmp(runtimes: Mapping[str, Sequence[str]]) -> Advice | None:
    several = {name: files for name, files in runtimes.items() if len(files) > 1}
    if not several:
        return None
    told = _some([f"{name}: {', '.join(files)}" for name, files in several.items()])
    return Advice(
        "openmp",
        f"several OpenMP runtimes in one process, each with threads that may wait spinning in another's time ({told})",
        "install what brings them from one source (all from PyPI, or all from conda-forge), and set "
        "OMP_WAIT_POLICY=passive until then",
    )


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


# After ---------------------------------------------------------------------------------------------------------------


def _floor(facts: RunFacts) -> Advice | None:
    high = {case.title: case.noise_floor for case in facts.results.cases if (case.noise_floor or 0.0) > FLOOR}
    if not high:
        return None
    told = _some([f"{title}: {number(100 * floor, 2)} %" for title, floor in high.items() if floor is not None])
    return Advice(
        "noise floor",
        f"a backend came apart from itself by more than {100 * FLOOR:g} % ({told}): smaller differences were not seen",
        "see to the other warnings, then measure again, with a higher --budget and a lower --precision: more launches",
    )


def _drift(facts: RunFacts) -> Advice | None:
    """Of every ceiling that was probed both before and after."""
    before, after = (_probed(facts.results, when) for when in get_args(When))
    changes = {name: after[name] / before[name] - 1 for name in before.keys() & after.keys()}
    moved = sorted((c for c in changes.items() if abs(c[1]) > DRIFT), key=lambda item: -abs(item[1]))
    if not moved:
        return None
    told = _some([f"{name}: {100 * change:+.2g} %" for name, change in moved])
    return Advice(
        "drift",
        f"what the machine can do changed by more than {100 * DRIFT:g} % over the run ({told}): step times of its "
        "cases are of a faster and a slower machine; ratios, paired within rounds, suffer less",
        "let the machine cool down and come to rest, see to the other warnings, and measure again",
    )


def _probed(results: Results, when: When) -> dict[str, float]:
    """Every ceiling of that time, by a name: the best level of a dtype, since a case is held against that."""
    found: dict[str, float] = {}
    for probed in (one for one in results.ceilings if one.when == when):
        for p in probed.peaks:
            name = f"multiply-adds, {p.dtype}, {_where(p.device, p.threads)}"
            found[name] = max(p.gflops, found.get(name, 0.0))
        for b in probed.bandwidths:
            found[f"memory, {b.traffic}, {_where(b.device, b.threads)}"] = b.gigabytes_per_second
    return found


def _where(device: str, threads: int) -> str:
    return device if device != "cpu" else f"{threads} thread{'s' * (threads != 1)}"


def _short(facts: RunFacts) -> Advice | None:
    wanted = float(facts.results.settings.get("block_seconds", 0.05))
    short = []
    for case, backend in _timed(facts.results):
        block = median(sample.seconds for sample in backend.samples)
        if block < SHORT * wanted * (1 if case.members == 1 else MANY_BLOCKS):
            short.append(f"{backend.instance} in {case.title}: {number(1000 * block)} ms")
    if not short:
        return None
    many = any(case.members > 1 for case in facts.results.cases)
    longer = f", of many networks {1000 * MANY_BLOCKS * wanted:g} ms" if many else ""
    return Advice(
        "samples too short",
        f"timed blocks shorter than {1000 * wanted:g} ms{longer} ({_some(short)}): "
        "clocks and interrupts weigh more in them",
        "where a block ends with the workload's order of rows, more rows (in a suite file) make it longer; else "
        "measure again while the machine is idle",
    )


def _away(facts: RunFacts) -> Advice | None:
    """Of a single thread, which has nobody to wait for; several may, and many networks may be trained call by call."""
    away = []
    for case, backend in _timed(facts.results):
        wall = sum(sample.wall_seconds for sample in backend.samples)
        missing = 1 - sum(sample.cpu_seconds for sample in backend.samples) / wall if wall else 0.0
        if case.threads == case.members == 1 and backend.device == "cpu" and missing > AWAY:
            away.append(f"{backend.instance} in {case.title}: {number(100 * missing, 2)} %")
    if not away:
        return None
    return Advice(
        "load",
        f"others had the CPU for more than {100 * AWAY:g} % of the timed blocks' time ({_some(away)})",
        "end what runs beside, or give the run CPUs of its own (taskset -c LIST), and measure again",
    )


def _openmp_of_run(facts: RunFacts) -> Advice | None:
    """As read back from the processes that were timed; whoever was named before the run need not be again."""
    told = " ".join(warning.message for warning in facts.results.warnings if warning.name == "openmp")
    runtimes = [(b.name, [p.file for p in b.pools or () if p.kind == "openmp"]) for _, b in _timed(facts.results)]
    return _several_openmp({name: files for name, files in runtimes if len(files) > 1 and f"{name}: " not in told})


def _steal_of_run(facts: RunFacts) -> Advice | None:
    return _stolen(facts.steal, STEAL, "over the whole run")


def _denormals(facts: RunFacts) -> Advice | None:
    found = {title: share for title, share in facts.denormals.items() if share > DENORMAL}
    if not found:
        return None
    told = _some([f"{title}: {number(100 * share, 2)} %" for title, share in found.items()])
    return Advice(
        "denormals",
        f"θ holds denormals ({told}), on which a CPU may take a hundred times as long: the times hang on values",
        "a smaller l2 or learning_rate, another seed, or fewer rows in a suite file keep θ away from them",
    )


def _memory_of_run(facts: RunFacts) -> Advice | None:
    """The processes of a launch are alive together."""
    host = facts.results.host
    limits = [size for key in ("memory_bytes", "memory_limit_bytes") if (size := host.get(key))]
    taken = {case.title: sum(b.peak_rss_bytes or 0 for b in case.backends) for case in facts.results.cases}
    if not limits or not taken:
        return None
    title, most = max(taken.items(), key=lambda item: item[1])
    if most <= TAKEN * min(limits):
        return None
    return Advice(
        "memory",
        f"the processes of {title} had {most / 2**20:.0f} MiB together, of {min(limits) / 2**20:.0f}: near the limit, "
        "where the system may swap or end them",
        "measure fewer backends at once (--backends), or smaller workloads",
    )


def _timed(results: Results) -> list[tuple[Case, BackendResult]]:
    return [(case, b) for case in results.cases for b in case.backends if b.status == "ok" and b.samples]


def _some(told: Sequence[str]) -> str:
    more = len(told) - _NAMED
    return "; ".join([*told[:_NAMED], *([f"and {more} more"] if more > 0 else [])])


# The tables ----------------------------------------------------------------------------------------------------------

Facts = TypeVar("Facts", MachineFacts, RunFacts)

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
RUN_ROWS: tuple[Callable[[RunFacts], Advice | None], ...] = (
    _floor,
    _drift,
    _short,
    _away,
    _openmp_of_run,
    _steal_of_run,
    _denormals,
    _memory_of_run,
)


def of_machine(facts: MachineFacts) -> tuple[Advice, ...]:
    """What a run on this machine should be warned of."""
    return _said(MACHINE_ROWS, facts)


def of_run(facts: RunFacts) -> tuple[Advice, ...]:
    """What a reader of this run should be warned of."""
    return _said(RUN_ROWS, facts)


def _said(rows: Sequence[Callable[[Facts], Advice | None]], facts: Facts) -> tuple[Advice, ...]:
    return tuple(advice for row in rows if (advice := row(facts)))
