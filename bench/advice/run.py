"""Warnings about a finished run: noise, drift, short blocks, stolen time, subnormals, memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import get_args

from bench.advice.advice import Advice, advice_from, several_openmp, some_of, stolen_time
from bench.format import number
from bench.measure.networks import MANY_BLOCKS
from bench.results.schema import BackendResult, Case, Results
from bench.terms import When

STEAL = 0.01  # of the time of a run
FLOOR = 0.03
SHORT = 0.9  # of the length that was asked for; a block may come out a little shorter than it was calibrated
AWAY = 0.1  # of the wall time of timed blocks, in which the process was not on a CPU
TAKEN = 0.8  # of the memory, by the processes of a case together
SUBNORMAL = 1e-3  # of θ's values
DRIFT = 0.05  # of a ceiling, from before the run to after it


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


# After ---------------------------------------------------------------------------------------------------------------


def _floor(facts: RunFacts) -> Advice | None:
    high = {case.title: case.noise_floor for case in facts.results.cases if (case.noise_floor or 0.0) > FLOOR}
    if not high:
        return None
    told = some_of([f"{title}: {number(100 * floor, 2)} %" for title, floor in high.items() if floor is not None])
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
    told = some_of([f"{name}: {100 * change:+.2g} %" for name, change in moved])
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
        f"timed blocks shorter than {1000 * wanted:g} ms{longer} ({some_of(short)}): "
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
        f"others had the CPU for more than {100 * AWAY:g} % of the timed blocks' time ({some_of(away)})",
        "end what runs beside, or give the run CPUs of its own (taskset -c LIST), and measure again",
    )


def _openmp_of_run(facts: RunFacts) -> Advice | None:
    """As read back from the processes that were timed; whoever was named before the run need not be again."""
    told = " ".join(warning.message for warning in facts.results.warnings if warning.name == "openmp")
    runtimes = [(b.name, [p.file for p in b.pools or () if p.kind == "openmp"]) for _, b in _timed(facts.results)]
    return several_openmp({name: files for name, files in runtimes if len(files) > 1 and f"{name}: " not in told})


def _steal_of_run(facts: RunFacts) -> Advice | None:
    return stolen_time(facts.steal, STEAL, "over the whole run")


def _subnormals(facts: RunFacts) -> Advice | None:
    found = {title: share for title, share in facts.denormals.items() if share > SUBNORMAL}
    if not found:
        return None
    told = some_of([f"{title}: {number(100 * share, 2)} %" for title, share in found.items()])
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


RUN_ROWS: tuple[Callable[[RunFacts], Advice | None], ...] = (
    _floor,
    _drift,
    _short,
    _away,
    _openmp_of_run,
    _steal_of_run,
    _subnormals,
    _memory_of_run,
)


def advice_on_run(facts: RunFacts) -> tuple[Advice, ...]:
    """What a reader of this run should be warned of."""
    return advice_from(RUN_ROWS, facts)
