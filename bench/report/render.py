"""A table, and its rendering as Markdown and for the terminal."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class ReportTable:
    """A table with a title, columns, sections and notes. A section has a name, possibly empty, and lines of cells."""

    title: str
    columns: tuple[str, ...]
    sections: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    notes: tuple[str, ...] = ()


def markdown(table: ReportTable) -> str:
    """Return a table as GitHub-flavoured Markdown with its notes below, without its title."""
    lines = [_line(table.columns), _line(["---"] * len(table.columns))]
    for name, rows in table.sections:
        if name:
            lines.append(_line([f"**{escape(name)}**", *[""] * (len(table.columns) - 1)]))
        lines += [_line(escape(cell) for cell in row) for row in rows]
    notes = "\n".join(f"- {escape(note)}" for note in table.notes)
    return "\n".join(lines) + (f"\n\n{notes}" if notes else "") + "\n"


def escape(text: str) -> str:
    """Return `text` on one line with Markdown's markup escaped; a command in it can still be copied."""
    text = re.sub(r"(\\+)(?=[|<*\]])", r"\1\1", text)  # backslashes before markup would take the one that escapes it
    for markup in ("|", "<", "*"):
        text = text.replace(markup, f"\\{markup}")
    text = text.replace("](", "]\\(")  # neither links nor images
    return " ".join(text.split())


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rich_table(table: ReportTable) -> Group:
    """Return a table for the terminal with its notes below."""
    grid = Table(title=Text(table.title, style="bold"), title_justify="left", box=None, pad_edge=False)
    for column in table.columns:
        grid.add_column(Text(column), overflow="fold", header_style="dim")
    for name, rows in table.sections:
        if name:
            grid.add_row(Text(name, style="italic cyan"))
        for row in rows:
            grid.add_row(*map(Text, row))
    return Group(grid, *(Text(note, style="dim") for note in table.notes), Text())
