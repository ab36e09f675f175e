"""Several runs of one machine beside each other: a ratio over all of them, and its change between two sides.

Reads results, and refuses runs that differ by more than their builds. Writes no file.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Final, Literal, NamedTuple

from bench.results.derive import on_clock
from bench.results.schema import BackendResult, Case, Estimate, Results
from bench.statistics.intervals import log_ratios
from bench.statistics.runs import Change, ChangeVerdict, Runs, can_judge, changes, over_runs
from bench.terms import Value, WorkloadFacts
from pyfnn.errors import PyfnnError

COMPARISON: Final = "pyfnn-comparison/1"
MACHINE: Final = (
    "cpu_model",
    "architecture",
    "physical_cores",
    "logical_cpus",
    "usable_cpus",
    "cpu_quota",
    "l3_cache_bytes",
    "memory_bytes",
    "virtual_machine",
)
"""Fields of `Results.host` in which compared runs agree. Kernel, Python, compilers and flags may be what changed."""

METHOD: Final = ("block_seconds", "burst_seconds")
"""Settings in which they agree: the length of a block may shift a ratio."""

WORK: Final = ("clock", "batch", "learning_rate", "flops_per_step", "members", "data", "optimizer")
"""Fields of a case in which they agree."""

DEFINITION: Final = tuple(field for field in WorkloadFacts.model_fields if field not in ("name", "note"))
"""Fields of the workload of a case in which they agree, where both files have it."""


class UnlikeRuns(PyfnnError):
    """Runs that cannot be compared; the message names the difference."""


class Entry(Value):
    """One backend in one case, in all runs.

    Attributes
    ----------
    case, backend, reference : str
    old, new : list of float
        How many times faster than the reference the backend is, in each run.
    over_old, over_new : Estimate or None
        The same over the runs of a side; None for fewer than three.
    change : Estimate or None
        The new ratio over the old one; None with one side, and where a side lacks the backend.
    verdict : str or None
        Holds over the whole table.
    old_step, new_step : Estimate or None
        Seconds of a step at each of two revisions that one run measured; None where the sides are runs.
    """

    case: str
    backend: str
    reference: str
    old: list[float]
    new: list[float] = []
    over_old: Estimate | None = None
    over_new: Estimate | None = None
    change: Estimate | None = None
    verdict: ChangeVerdict | None = None
    old_step: Estimate | None = None
    new_step: Estimate | None = None


class Comparison(Value):
    """Runs beside each other.

    Attributes
    ----------
    differences : list of str
        In what the runs are unlike, where they were compared nevertheless.
    forced : list of str
        What changed between the parts of a run that was continued nevertheless.
    only : list of str
        Cases and backends that some runs lack.
    judged : bool
        False where there are too few runs or backends for a verdict.
    revisions : list of str
        The old and the new revision, where one run measured both; see `bench.results.revisions`.
    lost : list of str
        Cases and backends that only the old revision has times of.
    """

    schema_: Literal["pyfnn-comparison/1"] = COMPARISON
    old_runs: int
    new_runs: int
    margin: float
    differences: list[str] = []
    forced: list[str] = []
    only: list[str] = []
    judged: bool
    entries: list[Entry] = []
    revisions: list[str] = []
    lost: list[str] = []


class EntryKey(NamedTuple):
    """The place of a backend in a table: its case, its name, and the reference of its ratio."""

    case: str
    backend: str
    reference: str


def unlike(named: Mapping[str, Results]) -> list[str]:
    """Return the differences between runs for which ratios may differ without any change of a build.

    Parameters
    ----------
    named : mapping of str to Results
        Runs by a name for messages.
    """
    (first, base), *others = named.items()
    found = []
    for name, results in others:
        pairs = [(f"host.{field}", base.host.get(field), results.host.get(field)) for field in MACHINE]
        pairs += [(f"settings.{field}", base.settings.get(field), results.settings.get(field)) for field in METHOD]
        ours, theirs = _cases(base), _cases(results)
        for title in ours.keys() & theirs.keys():
            pairs += [
                (f"{title}: {field}", getattr(ours[title], field), getattr(theirs[title], field)) for field in WORK
            ]
            pairs.append((f"{title}: reference", ours[title].reference, theirs[title].reference))
            pairs += _definitions(title, ours[title].definition, theirs[title].definition)
        found += [f"{what}: {a!r} in {first}, {b!r} in {name}" for what, a, b in pairs if a != b]
    return found


def _definitions(
    title: str, ours: WorkloadFacts | None, theirs: WorkloadFacts | None
) -> Iterator[tuple[str, object, object]]:
    if ours and theirs:
        yield from ((f"{title}: {field}", getattr(ours, field), getattr(theirs, field)) for field in DEFINITION)


def forced(named: Mapping[str, Results]) -> list[str]:
    """Return what changed between the parts of runs that were continued nevertheless."""
    return [f"{name}: {difference}" for name, results in named.items() for difference in results.differences]


def _require_no_copies(named: Mapping[str, Results]) -> None:
    """Raise `UnlikeRuns` where two of the runs hold the same samples: they would count as two."""
    seen: dict[str, str] = {}
    for name, results in named.items():
        samples = [(case.title, b.instance, b.samples) for case in results.cases for b in case.backends if b.samples]
        key = f"{results.created} {results.host} {results.settings} {samples}"
        if samples and key in seen:
            raise UnlikeRuns(f"{name} has the same samples as {seen[key]}: it would count as two runs")
        seen[key] = name


def require_alike(named: Mapping[str, Results], *, force: bool = False) -> list[str]:
    """Return the differences between runs, as `unlike` does; raise `UnlikeRuns` where there are any, unless forced.

    Copies of one run are refused too.
    """
    differences = unlike(named)
    if differences and not force:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UnlikeRuns(f"these runs cannot be compared: {differences[0]}{more}; --force compares them nevertheless")
    _require_no_copies(named)
    return differences


def compare_runs(
    old: Mapping[str, Results], new: Mapping[str, Results], margin: float, *, force: bool = False
) -> Comparison:
    """Compare two sides of runs; with an empty `new`, combine the runs of one.

    Parameters
    ----------
    old, new : mapping of str to Results
        Runs by a name for messages.
    margin : float
        A change shown to be within 1 ± this share is called the same.
    force : bool
        Compare unlike runs as well, and note their differences.

    Raises
    ------
    UnlikeRuns
        The runs differ in the machine, the method or the work, or have no backend in common.
    """
    every = {**old, **new}
    differences = require_alike(every, force=force)
    tables = {name: dict(launch_log_ratios(results)) for name, results in every.items()}
    common = [key for key in next(iter(tables.values())) if all(key in table for table in tables.values())]
    if not common:
        raise UnlikeRuns("these runs have no backend in common that has a ratio in each of them")
    sides = _side(tables, old, common), _side(tables, new, common)
    found: Sequence[Change | None] = changes(*sides, margin) if new else [None] * len(common)
    entries = [
        Entry(
            **key._asdict(),
            old=_ratios(ours),
            new=_ratios(theirs),
            over_old=over_runs(ours),
            over_new=over_runs(theirs),
            change=None if change is None else change.change,
            verdict=None if change is None else change.verdict,
        )
        for key, ours, theirs, change in zip(common, *sides, found, strict=True)
    ]
    return Comparison(
        old_runs=len(old),
        new_runs=len(new),
        margin=margin,
        differences=differences,
        forced=forced(every),
        only=list(_only(tables, common)),
        judged=bool(new) and can_judge(len(old), len(new), len(common)),
        entries=entries,
    )


def _side(
    tables: Mapping[str, Mapping[EntryKey, list[float]]], names: Iterable[str], keys: list[EntryKey]
) -> list[Runs]:
    """Return the log ratios by entry, run and launch."""
    own = [tables[name] for name in names]
    return [[table[key] for table in own] for key in keys]


def _cases(results: Results) -> dict[str, Case]:
    return {case.title: case for case in results.cases}


def launch_log_ratios(results: Results) -> Iterator[tuple[EntryKey, list[float]]]:
    """Yield the log ratios of launches to the reference, of each backend of each case that has at least two."""
    for title, case in _cases(results).items():
        firsts = {b.name: on_clock(b.samples, case.clock) for b in case.backends if _counts(b)}
        base = firsts.pop(case.reference or "", None)
        for name, samples in firsts.items() if base else ():
            logs = log_ratios(base or (), samples)
            if len(logs) > 1:
                yield EntryKey(title, name, str(case.reference)), logs


def _counts(backend: BackendResult) -> bool:
    return backend.status == "ok" and backend.instance == backend.name and backend.copy_of is None


def _ratios(runs: Runs) -> list[float]:
    return [math.exp(fmean(launches)) for launches in runs]


def _only(tables: Mapping[str, Mapping[EntryKey, Any]], common: Iterable[EntryKey]) -> Iterator[str]:
    """Yield what is in some runs only, with a run that has it and one that lacks it."""
    shared = set(common)
    for key in dict.fromkeys(key for table in tables.values() for key in table if key not in shared):
        has = next(name for name, table in tables.items() if key in table)
        lacks = next(name for name, table in tables.items() if key not in table)
        yield f"{key.case}, {key.backend}: in {has}, not in {lacks}"


def slower_by(comparison: Comparison, share: float) -> Sequence[Entry]:
    """Return the entries that are shown to be slower, and by more than `share` of the old step time."""
    limit = 1 / (1 + share)
    return [e for e in comparison.entries if e.verdict == "slower" and e.change and e.change.median < limit]
