"""Tables of experiments, as Markdown for readers and as CSV with every digit."""

import csv
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from bench.format import entry_text
from bench.report.render import ReportTable, markdown


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
    table = ReportTable(title, tuple(header), (("", tuple(tuple(map(entry_text, row)) for row in rows)),), tuple(notes))
    page, sheet = folder / f"{name}.md", folder / f"{name}.csv"
    page.write_text((f"# {title}\n\n" if title else "") + markdown(table), encoding="utf-8")
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *rows])
    return [page, sheet]


def entry(value: object) -> str | int | float | bool | None:
    """Return an entry of a table as JSON has it: a float that is not finite, and any other value, as its text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else entry_text(value)
    return str(value)
