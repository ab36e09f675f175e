"""The tables and figures of `bench.history`: backends over many runs, with their changes. Computes nothing."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator

from bench.format import number, with_interval
from bench.report.drawing import (
    AXIS,
    EDGE,
    LINE,
    MUTED,
    PAGE,
    WIDE,
    log_axis,
    put_footnotes,
    shortened,
    spread,
    width_of,
    wrapped,
)
from bench.report.render import ReportTable
from bench.report.style import BackendStyle, backend_style
from bench.results.history import Change, History, Series

CHANGE: Final = "change"  # id of the marks' groups in an SVG file
_LEFT, _PANEL, _APART = 0.55, 1.5, 0.42  # inches: room for the y axis; least height of a panel; gap between panels
_LEADER = 0.16  # inches from a panel to its names
_DATE_WIDTH = 0.75  # inches for a date below the axis
_DAY = 10  # characters of a date

_RULE = (
    "A change is a step in a backend's ratio to the reference that random orders of its runs show in at most one of "
    "twenty histories, over all backends together (rank test with binary segmentation). Its interval is for a known "
    "place. A last run that differs from those before it is no change yet: compare it with bench.compare."
)
_FEW = "With so many backends, a change can be found in at least {needed} runs; this history has {runs}."


def history_tables(history: History) -> list[ReportTable]:
    """Return the ratio of every backend since its last change, and its changes; a table for each case."""
    columns = ("backend", "runs", "since", "ratio since then", "changes, new ÷ old [95 %]")
    tables = [
        ReportTable(f"{case}: ratios to {reference}", columns, (("", tuple(_cells(history, one) for one in own)),))
        for (case, reference), own in _cases(history)
    ]
    if tables:
        tables[-1] = ReportTable(tables[-1].title, columns, tables[-1].sections, tuple(_notes(history)))
    return tables


def history_rows(history: History) -> Iterator[tuple[str, ...]]:
    """Yield a line of names, then one line for each backend and run, for CSV. `change` is new ÷ old, where one is."""
    yield "run", "created", "case", "backend", "reference", "ratio", "change", "change_low", "change_high", "p"
    for series in history.series:
        changes = {change.run: change for change in series.changes}
        for point in series.points:
            run, found = history.runs[point.run], changes.get(point.run)
            numbers = (found.change.median, found.change.low, found.change.high, found.p) if found else ()
            cells = [f"{value:.9g}" for value in (point.ratio, *numbers)]
            yield (
                run.name,
                run.created,
                series.case,
                series.backend,
                series.reference,
                *cells,
                *[""] * (5 - len(cells)),
            )


def history_figures(history: History) -> Iterator[Figure]:
    """Draw the ratios in order of time, a panel for each case, with the levels between changes; on one page or more."""
    panels = [(title, list(own)) for title, own in _cases(history)]
    pages: list[list[tuple[tuple[str, str], list[Series]]]] = []
    room = 0.0
    for panel in panels:
        high = _height(panel[1]) + _APART
        if not pages or room < high:
            pages.append([])
            room = PAGE - AXIS - 3 * LINE
        pages[-1].append(panel)
        room -= high
    yield from (_page(history, page) for page in pages)


def _cases(history: History) -> Iterator[tuple[tuple[str, str], Iterator[Series]]]:
    ordered = sorted(history.series, key=lambda series: (series.case, series.reference))
    return groupby(ordered, key=lambda series: (series.case, series.reference))


def _cells(history: History, series: Series) -> tuple[str, ...]:
    last = series.levels[-1]
    span = f"{number(last.ratio)} ({number(last.least)} to {number(last.greatest)})"
    changes = "; ".join(_change(history, change) for change in series.changes)
    return series.backend, str(len(series.points)), _day(history, last.first), span, changes or "none shown"


def _change(history: History, change: Change) -> str:
    return f"{_day(history, change.run)}, {history.runs[change.run].name}: {with_interval(change.change)}"


def _day(history: History, run: int) -> str:
    return history.runs[run].created[:_DAY]


def _notes(history: History) -> Iterator[str]:
    runs = history.runs
    count = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    yield f"{count} from {_day(history, 0)} to {_day(history, len(runs) - 1)} on {history.machine}."
    yield "The ratio is the median of the runs since then, with the least and the greatest."
    yield _RULE
    if len(runs) < history.runs_needed:
        yield _FEW.format(needed=history.runs_needed, runs=len(runs))
    yield from (f"UNLIKE RUNS, taken together because of --force: {one}" for one in history.differences)
    yield from (f"CONTINUED although something had changed (--force): {one}" for one in history.forced)


def _height(series: Sequence[Series]) -> float:
    return max(_PANEL, 1.2 * LINE * len(series))


def _page(history: History, panels: Sequence[tuple[tuple[str, str], list[Series]]]) -> Figure:
    foot = wrapped(["Lines: the median between changes. Rings: the first run after a change.", history.machine], WIDE)
    heights = [_height(own) for _, own in panels]
    height = sum(heights) + _APART * len(panels) + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDE, height))
    right = max(width_of(shortened(one.backend)) for _, own in panels for one in own) + _LEADER + 2 * EDGE
    wide, top = WIDE - _LEFT - right, height
    for ((case, reference), own), high in zip(panels, heights, strict=True):
        top -= _APART + high
        axes = figure.add_axes((_LEFT / WIDE, top / height, wide / WIDE, high / height))
        title = textwrap.shorten(f"{case}: ratios to {reference}", 110, placeholder="…")
        axes.set_title(title, loc="left", fontsize="medium", weight="bold", pad=3)
        _panel(axes, history, own, (wide, high))
    put_footnotes(figure, foot)
    return figure


def _panel(axes: Axes, history: History, series: Sequence[Series], inches: tuple[float, float]) -> None:
    log_axis(axes, "y", [point.ratio for one in series for point in one.points])
    runs = len(history.runs)
    axes.set_xlim(-0.5, runs - 0.5)
    step = max(1, -(-runs // max(1, int(inches[0] / _DATE_WIDTH))))
    shown = range(0, runs, step)
    axes.xaxis.set_major_locator(FixedLocator(list(shown)))
    axes.xaxis.set_major_formatter(FixedFormatter([_day(history, run) for run in shown]))
    axes.set_ylabel("Ratio")
    ends = []
    for one in series:
        style = backend_style(one.backend)
        _draw(axes, one, style)
        ends.append((one, style.colour))
    _names(axes, ends, inches)


def _draw(axes: Axes, series: Series, style: BackendStyle) -> None:
    """Draw the points of a backend, the level between changes, and a ring at the first run after each change."""
    places = [point.run for point in series.points]
    ratios = [point.ratio for point in series.points]
    axes.plot(places, ratios, color=style.colour, marker=style.marker, markersize=2.4, linestyle="none", zorder=3)
    for level in series.levels:
        ends = level.first - 0.4, level.last + 0.4
        axes.plot(ends, [level.ratio, level.ratio], color=style.colour, linewidth=1.0, zorder=2)
    by_run = dict(zip(places, ratios, strict=True))
    for change in series.changes:
        axes.plot(
            [change.run], [by_run[change.run]], marker="o", markersize=6.5, markerfacecolor="none",
            markeredgecolor=style.colour, markeredgewidth=0.9, zorder=4, gid=CHANGE,
        )  # fmt: skip


def _names(axes: Axes, series: Sequence[tuple[Series, str]], inches: tuple[float, float]) -> None:
    """Write each name to the right of the panel and join it to the backend's last point; no names overlap."""
    wide, high = inches
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = [(to_fraction.transform((one.points[-1].run, one.points[-1].ratio)), one, colour) for one, colour in series]
    ends.sort(key=lambda end: float(end[0][1]))
    places = spread([high * float(end[0][1]) for end in ends], LINE, high)
    for ((x, y), one, colour), inch in zip(ends, places, strict=True):
        leader = Line2D([x, 1.0, 1 + _LEADER / wide], [y, y, inch / high], transform=axes.transAxes, zorder=1)
        leader.set(color=colour, linewidth=0.5, linestyle=":", clip_on=False)
        axes.add_line(leader)
        at = 1 + (_LEADER + EDGE / 2) / wide
        name = shortened(one.backend)
        axes.text(at, inch / high, name, transform=axes.transAxes, va="center_baseline", color=MUTED)
