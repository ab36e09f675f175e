"""The tables of `bench.compare`: ratios of several runs beside each other, and their changes. Computes nothing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from bench.format import number, unit_of, with_interval, with_margin
from bench.report.render import ReportTable, markdown
from bench.results.changes import Comparison, Entry
from bench.results.schema import Estimate

_SINGLE = (
    "One run a side: how much two runs of one build differ is estimated from the table itself, taking most backends to "
    "be unchanged. A change of the machine between the runs may still look like one of a backend. Three runs a side, "
    "or both builds in one run, show more."
)
_UNJUDGED = "Without verdicts: these take one run a side and at least 4 backends besides references, or 3 runs a side."
_VERDICTS = (
    "Verdicts hold over the whole table: in at most one table of twenty is a backend falsely called faster or slower. "
    "Same: shown to be within ±{margin:g} %. The interval is for one change alone."
)
_INTERLEAVED = (
    "Both revisions took turns in one run, so that a change of the machine affects both. Above 1: the new is faster."
)
_OVER_RUNS = "Over runs: 95 %, with the run as the unit. Such a ratio holds for this machine, not for one hour of it."
_FEW = "A ratio over runs needs at least 3."


Cells = tuple[str, ...]


def changes_tables(comparison: Comparison) -> list[ReportTable]:
    """Return the change of every backend, a table for each case; the last one has the notes."""
    if comparison.revisions:
        return _revision_tables(comparison)
    columns = ("backend", "old ratio", "new ratio", "new ÷ old [95 %]", "verdict")

    def cells(entry: Entry) -> Cells:
        sides = _side(entry.over_old, entry.old), _side(entry.over_new, entry.new)
        if entry.change is None or not comparison.judged:
            return entry.backend, *sides, "" if entry.change is None else number(entry.change.median), ""
        return entry.backend, *sides, with_interval(entry.change), entry.verdict or ""

    notes = [_VERDICTS.format(margin=100 * comparison.margin)] if comparison.judged else [_UNJUDGED]
    notes.append(_OVER_RUNS if comparison.old_runs > 1 else _SINGLE)
    return _by_case(comparison, columns, cells, notes)


def _revision_tables(comparison: Comparison) -> list[ReportTable]:
    """Return the change of every backend from one revision to another, which one run has measured."""
    columns = ("backend", *(f"a step, {revision}" for revision in comparison.revisions), "new ÷ old [95 %]", "verdict")

    def cells(entry: Entry) -> Cells:
        change = with_interval(entry.change) if entry.change else ""
        return entry.backend, _step(entry.old_step), _step(entry.new_step), change, entry.verdict or ""

    return _by_case(comparison, columns, cells, [_VERDICTS.format(margin=100 * comparison.margin), _INTERLEAVED])


def _step(step: Estimate | None) -> str:
    """Return a step time with its unit."""
    if step is None:
        return ""
    unit = unit_of([step.median])
    return f"{with_interval(step, unit.seconds)} {unit.name}"


def runs_tables(comparison: Comparison) -> list[ReportTable]:
    """Return the ratio of every backend over all runs and in each of them, a table for each case."""
    columns = ("backend", f"over {comparison.old_runs} run{'s' * (comparison.old_runs != 1)} [95 %]", "in each run")

    def cells(entry: Entry) -> Cells:
        over = with_interval(entry.over_old) if entry.over_old else ""
        return entry.backend, over, ", ".join(number(ratio) for ratio in entry.old)

    note = _OVER_RUNS if any(entry.over_old for entry in comparison.entries) else _FEW
    return _by_case(comparison, columns, cells, [note])


def changes_markdown(tables: Iterable[ReportTable]) -> str:
    """Return the tables as Markdown, each under its title, for a pull request."""
    return "\n".join(f"### {table.title}\n\n{markdown(table)}" for table in tables)


def _by_case(
    comparison: Comparison, columns: tuple[str, ...], cells: Callable[[Entry], Cells], notes: Sequence[str]
) -> list[ReportTable]:
    remarks = [f"UNLIKE RUNS, compared because of --force: {difference}" for difference in comparison.differences]
    remarks += [f"CONTINUED although something had changed (--force): {change}" for change in comparison.forced]
    remarks += [f"Not compared: {one}" for one in comparison.only]
    grouped = groupby(comparison.entries, key=lambda entry: (entry.case, entry.reference))
    tables = [
        ReportTable(f"{case}: {_subject(comparison, reference)}", columns, (("", tuple(map(cells, own))),))
        for (case, reference), own in grouped
    ]
    if not tables:
        tables = [ReportTable("Nothing to compare", columns, ())]
    tables[-1] = replace(tables[-1], notes=(*notes, *remarks))
    return tables


def _subject(comparison: Comparison, reference: str) -> str:
    return " against ".join(reversed(comparison.revisions)) if comparison.revisions else f"ratios to {reference}"


def _side(over: Estimate | None, each: Sequence[float]) -> str:
    return with_margin(over) if over else ", ".join(map(number, each))
