"""Tables of experiments, as Markdown for readers and as CSV with every digit."""

import csv
from collections.abc import Sequence
from pathlib import Path

from bench.format import number
from bench.report.render import ReportTable, markdown

ABSENT = "–"  # a value that is not there, in Markdown; in CSV an empty cell
DIGITS = 4  # of a float in Markdown


def write_table(
    folder: Path,
    name: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str = "",
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write a table as NAME.md and NAME.csv, and return the files.

    Parameters
    ----------
    folder : Path
    name : str
        Stem of the files' names.
    header : sequence of str
    rows : sequence of sequences
        As many values a row as the header has. A float has four digits in Markdown and all of its digits in CSV; a
        string is as it is in both.
    title : str, optional
        Heading in Markdown.
    notes : sequence of str, optional
        Notes below the table in Markdown.
    """
    table = ReportTable(title, tuple(header), (("", tuple(tuple(map(_shown, row)) for row in rows)),), tuple(notes))
    page, sheet = folder / f"{name}.md", folder / f"{name}.csv"
    page.write_text((f"# {title}\n\n" if title else "") + markdown(table), encoding="utf-8")
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *rows])
    return [page, sheet]


def _shown(value: object) -> str:
    if value is None:
        return ABSENT
    if not isinstance(value, float):
        return str(value)
    plain = value == 0 or 1e-5 <= abs(value) < 1e7
    return number(value, DIGITS) if plain else f"{value:.{DIGITS - 1}e}"
