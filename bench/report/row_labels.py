"""The rows of dot plots: a heading for each division, and below it a line per backend with name and language."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from bench.report.drawing import EDGE, MUTED, inches_wide, shortened, width_of
from bench.report.style import BLACK, language_mark
from bench.report.views import BackendView


@dataclass(frozen=True)
class Row:
    """A backend in a dot plot.

    Attributes
    ----------
    name, label : str
    mark : str
        Mark of the language; empty where the name is that of the language.
    y : float
        Place in lines from the top.
    muted : bool
        True where the backend has no value.
    """

    name: str
    label: str
    mark: str
    y: float
    muted: bool


@dataclass(frozen=True)
class Rows:
    """The rows of a panel, the headings of its divisions with their places, and its height in lines."""

    rows: tuple[Row, ...]
    headings: tuple[tuple[str, float], ...]
    span: float

    @property
    def places(self) -> dict[str, float]:
        """Place of each backend by name, in lines from the top."""
        return {row.name: row.y for row in self.rows}


def rows_of(groups: Iterable[tuple[str, Sequence[BackendView]]]) -> Rows:
    """Return the rows of these divisions."""
    rows, headings, y = list[Row](), list[tuple[str, float]](), 0.0
    for division, backends in groups:
        headings.append((division, y))
        for backend in backends:
            y += 1
            rows.append(Row(backend.name, shortened(backend.label), _mark(backend), y, backend.step is None))
        y += 1
    return Rows(tuple(rows), tuple(headings), max(1.0, y))


def _mark(backend: BackendView) -> str:
    language = backend.result.language
    return "" if language.lower() == backend.name else language_mark(language)


def left_of(panels: Iterable[Rows]) -> float:
    """Return the inches that names, languages and headings need to the left of panels below each other."""
    some = list(panels)
    names = max((width_of(row.label) for rows in some for row in rows.rows), default=0.0)
    headings = max((width_of(division) for rows in some for division, _ in rows.headings), default=0.0)
    return max(names + _marks_width(some), headings) + 3 * EDGE


def _marks_width(panels: Sequence[Rows]) -> float:
    return max((width_of(row.mark) for rows in panels for row in rows.rows), default=0.0)


def label_rows(axes: Axes, rows: Rows, left: float | None) -> None:
    """Write names, languages and headings to the left of a panel, `left` inches wide; none if `left` is None.

    As texts, not as labels of ticks: each tick is five artists.
    """
    axes.yaxis.set_visible(False)
    axes.set_ylim(rows.span - 0.5, -0.5)
    if left is None:
        return
    names = _marks_width([rows]) + 1.5 * EDGE
    for row in rows.rows:
        _beside(axes, row.label, row.y, names, ha="right", color=MUTED if row.muted else BLACK)
        _beside(axes, row.mark, row.y, EDGE / 2, ha="right")
    for division, y in rows.headings:
        _beside(axes, division, y, left - EDGE, ha="left", style="italic")


def _beside(axes: Axes, text: str, y: float, inches: float, color: str = MUTED, **looks: Any) -> None:
    """Write text `inches` to the left of a panel."""
    if text:
        axes.text(
            -inches / inches_wide(axes),
            y,
            text,
            transform=axes.get_yaxis_transform(),
            va="center_baseline",
            color=color,
            **looks,
        )
