"""summary.md: the run in Markdown: its answer, one screen a case, and everything else folded. Computes nothing."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report.facts import flat
from bench.report.notes import parts_note, work_note
from bench.report.render import ReportTable, escape, markdown
from bench.report.run_view import RunView
from bench.report.sentences import Sentence, case_sentences, findings, lead, trust
from bench.report.tables import (
    PAIRS,
    READING,
    backends_table,
    case_table,
    ceilings_table,
    costs_table,
    device_table,
    host_table,
    pair_tables,
    processes_table,
    rates_table,
    sweep_tables,
    where,
)
from bench.report.views import CaseView, device_warnings
from bench.results.schema import Results

REASON_LINES = 20  # of a compiler's output; results.json has all of it


def text(view: RunView, files: Sequence[Path]) -> str:
    """Return the whole summary in Markdown.

    Parameters
    ----------
    view : RunView
    files : sequence of Path
        Files beside the summary. It links the page, shows the PNG files, and links the SVG file of each.
    """
    results = view.results
    parts = [_head(view, files), *_warnings(results), *_sweeps(view), *_cases(view), *_not_timed(view)]
    parts += [*_why(view), *_figures(files), *_folded("Machine, backends, settings", _machine(results))]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _folded(title: str, parts: Sequence[str]) -> Iterator[str]:
    """Yield parts that a reader opens; GitHub reads Markdown inside, where blank lines surround it."""
    if parts:
        yield f"<details><summary>{escape(title)}</summary>"
        yield from parts
        yield "</details>"


def _bullets(sentences: Sequence[Sentence]) -> str:
    return "\n".join(f"- {escape(one.text)}" for one in sentences)


def _head(view: RunView, files: Sequence[Path]) -> str:
    results = view.results
    finished = f"finished {results.finished}" if results.finished else "**not finished**: some results may be missing"
    timed = sum(backend.step is not None for case in view.cases for backend in case.backends)
    count = len(results.cases)
    outcome = f"{count} case{'s' * (count != 1)}, {timed} step time{'s' * (timed != 1)}"
    if not count:
        outcome = "No case was measured"
    elif not timed:
        outcome += ": **no backend was timed**; see the reasons under Not timed"
    times = [f"Begun {results.created}", *(f"continued {part.begun}" for part in results.resumptions), finished]
    mark = f"**{escape(parts_note(results))}**\n\n" if results.differences else ""
    page = next(
        (f" [{path.name}]({path.name}) has figures, comparisons and all rows." for path in files if _is_page(path)), ""
    )
    answer = _bullets([*lead(view), *findings(view)]) if count else ""
    return f"# pyfnn results\n\n{', '.join(times)}. {outcome}.{page}\n\n{mark}{answer}"


def _is_page(path: Path) -> bool:
    return path.suffix == ".html"


def _warnings(results: Results) -> Iterator[str]:
    """Yield the warnings of the run; they stand before the first number of a table."""
    if results.warnings:
        yield "## Warnings"
        yield "\n".join(
            f"- **{escape(one.name)}**, {one.when} measuring: {escape(one.message)}. To do: {escape(one.remedy)}"
            for one in results.warnings
        )


def _sweeps(view: RunView) -> Iterator[str]:
    for sweep in view.sweeps:
        for table in sweep_tables(sweep):
            yield f"## {escape(table.title)}"
            yield markdown(table)


def _cases(view: RunView) -> Iterator[str]:
    for case in view.cases:
        yield f"## {escape(case.case.title)}"
        if work_note(case.case):
            yield escape(work_note(case.case))
        yield markdown(case_table(case))
        yield _bullets(case_sentences(case))
        yield from _folded("Rates, checks, costs, processes, pairs", list(_behind(case)))


def _behind(case: CaseView) -> Iterator[str]:
    yield markdown(rates_table(case))
    for table in (costs_table(case), processes_table(case), *pair_tables(case)):
        if table:
            yield f"{table.title}:"
            yield markdown(table)


def _not_timed(view: RunView) -> Iterator[str]:
    if view.not_timed:
        yield "## Not timed"
    for backend in view.not_timed:
        first, *more = backend.reason.splitlines() or ["no reason was recorded"]
        place = escape(where(backend, view.results))
        parts = [f"- **{escape(backend.instance)}**: {backend.status} {place}: {escape(first)}"]
        if more:
            cut = len(more) - REASON_LINES
            shown = [*more[:REASON_LINES], *([f"({cut} more lines in results.json)"] if cut > 0 else [])]
            parts.append("\n\n" + "\n".join(f"      {line}" for line in shown))
        if backend.remedy:
            parts.append(f"\n\n  Remedy: {escape(backend.remedy)}")
        yield "".join(parts)


def _why(view: RunView) -> Iterator[str]:
    if trust(view):
        yield "## Why believe it"
        yield _bullets(trust(view))
    sentences = [*READING, *([PAIRS] if any(pair_tables(case) for case in view.cases) else [])]
    reading = "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(sentences, 1))
    yield from _folded("How to read this", [reading])


def _figures(files: Sequence[Path]) -> Iterator[str]:
    shown = [path for path in files if path.suffix == ".png"]
    images = [f"![{path.stem}]({path.name})\n\n[{path.stem} as SVG]({path.with_suffix('.svg').name})" for path in shown]
    yield from _folded(f"{len(shown)} figure{'s' * (len(shown) != 1)}", images)


def _machine(results: Results) -> list[str]:
    backends = ["## Backends", markdown(backends_table(results))] if results.cases else []
    return [
        *backends,
        "## Machine",
        *_ceilings(results),
        *_host(results),
        *_device(results),
        _facts(results.host),
        "## Settings",
        _facts({**results.settings, **({"command": shlex.join(results.command)} if results.command else {})}),
    ]


def _ceilings(results: Results) -> Iterator[str]:
    table = ceilings_table(results.ceilings)
    if table:
        yield "Peak rates by probes before and after all measurement:"
        yield markdown(table)
    for probed in results.ceilings:
        if probed.absent:
            yield f"Not probed {probed.when} the measurement: {escape(probed.absent)}"


def _host(results: Results) -> Iterator[str]:
    table = host_table(results.host_states)
    if table:
        yield "Load (before: other processes, just before measuring; after: all processes, over the whole run):"
        yield markdown(table)


def _device(results: Results) -> Iterator[str]:
    table = device_table(results)
    if table:
        yield "Readings of the device's sensors:"
        yield markdown(table)
    for warning in device_warnings(results):
        yield f"**Warning**: {escape(warning)}."


def _facts(facts: Mapping[str, Any]) -> str:
    lines = tuple(flat(facts))
    return markdown(ReportTable("", ("", ""), (("", lines),))) if lines else "Nothing was recorded."
