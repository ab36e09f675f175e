"""The terminal's report of a run: for each case a bar a backend with time, ratio and verdict, in at most 80 columns."""

import math
from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from bench.format import centre_of, number, with_margin
from bench.report.notes import parts_note
from bench.report.render import rich_table
from bench.report.run_view import RunView
from bench.report.sentences import case_sentences, rows_text
from bench.report.tables import sweep_tables, where
from bench.report.views import BackendView, CaseView

WIDTH = 80  # columns
NAME, TIME, BAR, RATIO, VERDICT = 20, 8, 21, 15, 9  # columns; with four gaps and the indent, 79
REASON_LINES = 3  # of a failure
_EIGHTHS = " ▏▎▍▌▋▊▉"
_STYLES = {"faster": "green", "slower": "red", "same": "cyan", "undecided": "yellow"}


def show(view: RunView, console: Console) -> None:
    """Print the bars of every case, the tables of every sweep, and what was not timed with reason and remedy."""
    if mark := parts_note(view.results):
        console.print(Text(mark, style="yellow"))
    if not view.cases:
        console.print(Text("No case was measured."))
    for case in view.cases:
        for bar in case_lines(case, plain=not console.encoding.lower().startswith("utf")):
            console.print(bar, no_wrap=True, overflow="ellipsis", crop=True)
        for sentence in case_sentences(case):
            console.print(Text(f"  {sentence.text}", style="dim"), width=WIDTH)
        console.print()
    for sweep in view.sweeps:
        for table in sweep_tables(sweep):
            console.print(rich_table(table))
    for backend in view.not_timed:
        place = where(backend, view.results)
        console.print(Text.assemble((backend.instance, "bold"), f": {backend.status} {place}"))
        reasons = backend.reason.splitlines()[:REASON_LINES]
        for line in [*reasons, *([f"remedy: {backend.remedy}"] if backend.remedy else [])]:
            console.print(Text(f"  {line}"))


def case_lines(view: CaseView, *, plain: bool = False) -> Iterator[Text]:
    """Yield the lines of a case, each of at most `WIDTH` columns: title, heads, a bar for each backend.

    `plain` is for a terminal that has no block characters.
    """
    case = view.case
    yield Text(_fit(f"{case.title} · {rows_text(case)}", WIDTH), style="bold")
    steps = [centre_of(backend.step) for backend in view.backends if backend.step]
    if steps:
        start = 10.0 ** math.floor(math.log10(min(steps)) - 0.05)  # so that the fastest has a bar, too
        scale = f"log, from {number(start / view.unit.seconds, 1)} {view.unit.name}"
        heads = (_fit("", NAME), view.unit.name.rjust(TIME), _fit(scale, BAR), _fit("ratio ±95 %", RATIO), "verdict")
        yield Text("  " + " ".join(heads).rstrip(), style="dim")
    for division, group in view.groups:
        if len(view.groups) > 1 or division != "plain":
            yield Text(_fit(division, WIDTH), style="italic cyan")
        for backend in group:
            yield _line(backend, view, start if steps else 1.0, max(steps, default=1.0), plain)


def _line(backend: BackendView, view: CaseView, start: float, longest: float, plain: bool) -> Text:
    name = _fit(backend.label, NAME)
    if backend.step is None:
        return Text.assemble(f"  {name} ", (_fit(backend.status, WIDTH - NAME - 4), "red"))
    time = number(centre_of(backend.step) / view.unit.seconds)
    bar = _bar(math.log(centre_of(backend.step) / start) / math.log(longest / start), plain)
    verdict = backend.result.verdict if backend.ratio else backend.verdict
    ratio = with_margin(backend.ratio) if backend.ratio else ""
    return Text.assemble(
        f"  {name} {time.rjust(TIME)} ",
        (bar, "blue"),
        f" {_fit(ratio, RATIO)} ",
        (_fit(verdict or "", VERDICT).rstrip(), _STYLES.get(verdict or "", "")),
    )


def _bar(share: float, plain: bool) -> str:
    """Return a bar of this share of `BAR` columns, to an eighth of a column; if `plain`, of ASCII."""
    if plain:
        return ("=" * max(1, round(BAR * min(share, 1.0)))).ljust(BAR)
    eighths = max(1, round(8 * BAR * min(share, 1.0)))
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(BAR)


def _fit(text: str, width: int) -> str:
    """Return text on one line of exactly `width` columns: filled, or cut with an ellipsis."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return set_cell_size(line, width) if cell_len(line) <= width else set_cell_size(line, width - 1) + "…"
