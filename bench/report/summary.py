"""summary.md: a run told in one page of text, with its tables and links to its figures. Decides nothing: see `rows`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report.render import Table, escape, markdown
from bench.report.rows import case_views, device_warnings, not_timed
from bench.report.sweeps import sweeps_of
from bench.report.tables import (
    PAIRS,
    READING,
    backends_table,
    case_table,
    ceilings_table,
    costs_table,
    device_table,
    host_table,
    matrix_tables,
    processes_table,
    sweep_tables,
    where,
)
from bench.results.schema import Results

REASON_LINES = 20  # of a compiler's words; the rest is in results.json


def text(results: Results, figures: Sequence[Path]) -> str:
    """The whole summary, in Markdown.

    Parameters
    ----------
    results : Results
    figures : sequence of Path
        Files beside the summary; the PNG ones are shown, each with its SVG linked.
    """
    parts = [_head(results), *_warnings(results), *_sweeps(results), *_cases(results), *_absences(results)]
    parts += _figures(figures)
    if results.cases:
        parts += ["## Backends", markdown(backends_table(results))]
    parts += [
        "## Machine",
        *_ceilings(results),
        *_host(results),
        *_device(results),
        _facts(results.host),
        "## Settings",
        _facts(results.settings),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _head(results: Results) -> str:
    finished = f"finished {results.finished}" if results.finished else "**not finished**: what was measured until then"
    timed = sum(row.step is not None for rows in case_views(results) for row in rows.rows)
    count = len(results.cases)
    outcome = f"{count} case{'s' * (count != 1)}, {timed} step time{'s' * (timed != 1)}"
    if not count:
        outcome = "No case was measured"
    elif not timed:
        outcome += ": **no backend was timed**; why is told below"
    told = [*READING, *([PAIRS] if any(matrix_tables(rows) for rows in case_views(results)) else [])]
    reading = "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(told, 1))
    return f"# pyfnn results\n\nBegun {results.created}, {finished}. {outcome}.\n\n## How to read this\n\n{reading}"


def _warnings(results: Results) -> Iterator[str]:
    """What stood in the way, told before any number is."""
    if results.warnings:
        yield "## Warnings"
        yield "\n".join(
            f"- **{escape(one.name)}**, {one.when} measuring: {escape(one.message)}. To do: {escape(one.remedy)}"
            for one in results.warnings
        )


def _sweeps(results: Results) -> Iterator[str]:
    """What the cases of a sweep say together, before each says its own."""
    for sweep in sweeps_of(case_views(results))[0]:
        for table in sweep_tables(sweep):
            yield f"## {escape(table.title)}"
            yield markdown(table)


def _cases(results: Results) -> Iterator[str]:
    for rows in case_views(results):
        yield f"## {escape(rows.case.title)}"
        yield markdown(case_table(rows))
        for table in (costs_table(rows), processes_table(rows), *matrix_tables(rows)):
            if table:
                yield f"{table.title}:"
                yield markdown(table)


def _absences(results: Results) -> Iterator[str]:
    absences = not_timed(results)
    if absences:
        yield "## Not timed"
    for absence in absences:
        first, *more = absence.reason.splitlines() or ["no reason was recorded"]
        parts = [f"- **{absence.instance}**: {absence.status} {escape(where(absence, results))}: {escape(first)}"]
        if more:
            cut = len(more) - REASON_LINES
            shown = [*more[:REASON_LINES], *([f"({cut} more lines in results.json)"] if cut > 0 else [])]
            parts.append("\n\n" + "\n".join(f"      {line}" for line in shown))
        if absence.remedy:
            parts.append(f"\n\n  Remedy: {escape(absence.remedy)}")
        yield "".join(parts)


def _figures(figures: Sequence[Path]) -> Iterator[str]:
    shown = [path for path in figures if path.suffix == ".png"]
    if shown:
        yield "## Figures"
    for path in shown:
        yield f"![{path.stem}]({path.name})\n\n[{path.stem} as SVG]({path.with_suffix('.svg').name})"


def _ceilings(results: Results) -> Iterator[str]:
    table = ceilings_table(results.ceilings)
    if table:
        yield "What it could do, by probes before and after all measurement:"
        yield markdown(table)
    for probed in results.ceilings:
        if probed.absent:
            yield f"Not probed {probed.when} the measurement: {escape(probed.absent)}"


def _host(results: Results) -> Iterator[str]:
    table = host_table(results.host_states)
    if table:
        yield "What it was doing (before: others, at the moment; after: everybody, over the run):"
        yield markdown(table)


def _device(results: Results) -> Iterator[str]:
    table = device_table(results)
    if table:
        yield "What the device's sensors said:"
        yield markdown(table)
    for warning in device_warnings(results):
        yield f"**Warning**: {escape(warning)}."


def _facts(facts: Mapping[str, Any]) -> str:
    lines = tuple(_flat(facts))
    return markdown(Table("", ("", ""), (("", lines),))) if lines else "Nothing was recorded."


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{prefix}{key}", shown
