"""Warnings about a finished run: budget, A/A misses, drift, short blocks, stolen time, subnormals, memory.

They follow from the results' derived fields; nothing is computed from samples here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from bench.advice.advice import Advice, advice_from, several_openmp, some_of, stolen_time
from bench.format import number, threads_text
from bench.measure.block import least_block
from bench.measure.settings import Settings
from bench.results.derive import a_a_missed
from bench.results.schema import BackendResult, Case, Results, TimingSummary
from bench.statistics import special
from bench.statistics.intervals import CONFIDENCE, MIN_LAUNCHES
from bench.terms import When

STEAL = 0.01  # share of a run's time
CHANCE = 0.01  # probability of as many misses, under which they are no chance
SHORT = 0.9  # share of the requested block length; a block may be a little shorter than calibrated
OFF_CPU = 0.1  # share of the timed blocks' wall time without the process on a CPU
MEMORY_USED = 0.8  # share of the memory, of all processes of a case together
SUBNORMAL = 1e-3  # share of θ's values
DRIFT = 0.05  # change of a ceiling over the run, as a fraction


@dataclass(frozen=True)
class RunFacts:
    """Facts about a finished run.

    Attributes
    ----------
    results : Results
    steal : float or None
        Share of the run's time that a hypervisor gave to other machines.
    subnormals : mapping of str to float
        Greatest share of subnormal values in θ during training, by title of a case.
    """

    results: Results
    steal: float | None = None
    subnormals: Mapping[str, float] = field(default_factory=dict)


def _budget(facts: RunFacts) -> Advice | None:
    """Warn of cases with fewer launches than the least, because the budget bounds the run."""
    results = facts.results
    least = int(results.settings.get("min_launches", MIN_LAUNCHES))
    made = [(case, max((s.launches for c, _, s in _timed(results) if c is case), default=0)) for case in results.cases]
    few = [f"{case.title}: {count}" for case, count in made if 0 < count < least]
    if not few or not results.settings.get("bounded") or results.finished is None:
        return None
    needed = len(made) * max(least * (case.measured_seconds or 0.0) / count for case, count in made if count)
    return Advice(
        "budget",
        f"--budget {float(results.settings['budget']):g} left out launches: fewer than {least} ({some_of(few)}) give "
        "wide intervals, and one gives none",
        f"--budget {math.ceil(needed)} is about enough for {least} launches in each case; without --budget they are "
        "always made",
    )


def _a_a(facts: RunFacts) -> Advice | None:
    """Warn where more intervals of a backend against itself miss 1 than chance explains."""
    counts = [a_a_missed(case) for case in facts.results.cases]
    missed, count = (sum(each) for each in zip(*counts, strict=True)) if counts else (0, 0)
    if special.bdtrc(missed - 1, count, 1 - CONFIDENCE) >= CHANCE:
        return None
    return Advice(
        "A/A",
        f"{missed} of {count} intervals of a backend against itself miss 1, where one in twenty should: other "
        "differences in this run may be false too",
        "resolve the other warnings, then measure again",
    )


def _drift(facts: RunFacts) -> Advice | None:
    """Warn of ceilings that changed between the probes before and after the run."""
    before, after = (_probed(facts.results, when) for when in get_args(When))
    changes = {name: after[name] / before[name] - 1 for name in before.keys() & after.keys()}
    moved = sorted((c for c in changes.items() if abs(c[1]) > DRIFT), key=lambda item: -abs(item[1]))
    if not moved:
        return None
    listed = some_of([f"{name}: {100 * change:+.2g} %" for name, change in moved])
    return Advice(
        "drift",
        f"peak rates of the machine changed by more than {100 * DRIFT:g} % over the run ({listed}): step times of "
        "early and late cases are not comparable; ratios, which are paired within rounds, suffer less",
        "let the machine cool down, resolve the other warnings, and measure again",
    )


def _probed(results: Results, when: When) -> dict[str, float]:
    """Return the ceilings of one time by name; of a dtype's levels the best, which shares of the peak refer to."""
    found: dict[str, float] = {}
    for probed in (one for one in results.ceilings if one.when == when):
        for p in probed.peaks:
            name = f"multiply-adds, {p.dtype}, {_where(p.device, p.threads)}"
            found[name] = max(p.gflops, found.get(name, 0.0))
        for b in (b for b in probed.bandwidths if not b.cache):  # probes of caches are too short to show a drift
            found[f"memory, {b.traffic}, {_where(b.device, b.threads)}"] = b.gigabytes_per_second
    return found


def _where(device: str, threads: int) -> str:
    return device if device != "cpu" else threads_text(threads)


def _short(facts: RunFacts) -> Advice | None:
    requested = float(facts.results.settings.get("block_seconds", Settings.block_seconds))
    short = []
    for case, backend, summary in _timed(facts.results):
        block, least = summary.median_block_seconds, least_block(requested, case.clock, case.members)
        if block is not None and block < SHORT * least:
            short.append(f"{backend.instance} in {case.title}: {number(1000 * block)} of {1000 * least:g} ms")
    if not short:
        return None
    return Advice(
        "samples too short",
        f"timed blocks are shorter than they should be ({some_of(short)}): clock resolution and interrupts have more "
        "weight in them",
        "give the workload more rows in a suite file: blocks that come out too short are made longer, but end where "
        "the sample order ends",
    )


def _off_cpu(facts: RunFacts) -> Advice | None:
    """Warn of processes that were kept off the CPU. Only single threads count: several threads may wait for each other.

    Many networks do not count either, because some backends train them call by call.
    """
    off_cpu, wall = [], False
    for case, backend, summary in _timed(facts.results):
        missing = summary.off_cpu_share
        if missing is None:
            missing = 0.0 if summary.cpu_per_wall_second is None else 1 - summary.cpu_per_wall_second
        if case.threads == case.members == 1 and backend.device == "cpu" and missing > OFF_CPU:
            off_cpu.append(f"{backend.instance} in {case.title}: {number(100 * missing, 2)} %")
            wall = wall or case.clock == "wall"
    if not off_cpu:
        return None
    effect = "step times in wall time include it" if wall else "step times are CPU time and leave it out"
    return Advice(
        "load",
        f"processes did not run for more than {100 * OFF_CPU:g} % of their timed blocks ({some_of(off_cpu)}): others "
        f"had the CPU, or they slept; {effect}",
        "stop other processes, or give the run its own CPUs (taskset -c LIST), and measure again",
    )


def _openmp_of_run(facts: RunFacts) -> Advice | None:
    """Warn of the timed processes, except for backends in a warning from before the run."""
    named = " ".join(warning.message for warning in facts.results.warnings if warning.name == "openmp")
    runtimes = [(b.name, [p.file for p in b.pools or () if p.kind == "openmp"]) for _, b, _ in _timed(facts.results)]
    return several_openmp({name: files for name, files in runtimes if len(files) > 1 and f"{name}: " not in named})


def _steal_of_run(facts: RunFacts) -> Advice | None:
    return stolen_time(facts.steal, STEAL, "over the whole run")


def _subnormals(facts: RunFacts) -> Advice | None:
    found = {title: share for title, share in facts.subnormals.items() if share > SUBNORMAL}
    if not found:
        return None
    listed = some_of([f"{title}: {number(100 * share, 2)} %" for title, share in found.items()])
    return Advice(
        "subnormals",
        f"θ holds subnormal values ({listed}), with which a CPU can be a hundred times slower: step times "
        "depend on values",
        "in a suite file, use a smaller l2 or learning_rate, another seed, or fewer rows",
    )


def _memory_of_run(facts: RunFacts) -> Advice | None:
    """Warn where the processes of a launch, which are alive together, nearly fill the memory."""
    host = facts.results.host
    limits = [size for key in ("memory_bytes", "memory_limit_bytes") if (size := host.get(key))]
    taken = {case.title: sum(b.peak_rss_bytes or 0 for b in case.backends) for case in facts.results.cases}
    if not limits or not taken:
        return None
    title, most = max(taken.items(), key=lambda item: item[1])
    if most <= MEMORY_USED * min(limits):
        return None
    return Advice(
        "memory",
        f"the processes of {title} used {most / 2**20:.0f} of {min(limits) / 2**20:.0f} MiB of memory together: near "
        "the limit the system may swap or end them",
        "measure fewer backends at once (--backends), or smaller workloads",
    )


def _timed(results: Results) -> list[tuple[Case, BackendResult, TimingSummary]]:
    """Return every backend that was timed, with its case and the totals over its timed blocks."""
    backends = ((case, b, b.timing_summary) for case in results.cases for b in case.backends if b.status == "ok")
    return [(case, backend, summary) for case, backend, summary in backends if summary]


RUN_CHECKS: tuple[Callable[[RunFacts], Advice | None], ...] = (
    _budget,
    _a_a,
    _drift,
    _short,
    _off_cpu,
    _openmp_of_run,
    _steal_of_run,
    _subnormals,
    _memory_of_run,
)


def advice_on_run(facts: RunFacts) -> tuple[Advice, ...]:
    """Return the warnings about a finished run."""
    return advice_from(RUN_CHECKS, facts)
