"""The figure of a sweep: cost against batch, width, depth or threads, a line a backend, a panel a division.

What it may say is decided in `rows` and `sweeps`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator

from bench.format import Quantity, Unit, unit_of
from bench.report.drawing import (
    AXIS,
    DIVISION_STYLE,
    EDGE,
    LINE,
    LINE_COLOURS,
    LINE_STYLES,
    OTHER_STYLE,
    SHADE,
    WIDTH,
    log_axis,
    put_footnotes,
    shortened,
    spread,
    width_of,
    wrapped,
)
from bench.report.sweeps import SweepView

IDEAL = "ideal"  # the line's group in the SVG
ACROSS = {
    "batch": "Batch (rows)",
    "width": "Width of the hidden layers",
    "depth": "Hidden layers",
    "threads": "Threads",
}
_LEFT, _LEAST, _APART = 0.62, 1.1, 0.36  # inches: for the y axis; a panel's height, at least; between panels
_NAME = 1.4 * LINE  # inches of a panel's height for each name, so that lines that are close can be told apart
_LEADER = 0.16  # inches from a panel to its names


@dataclass(frozen=True)
class Curve:
    """A backend's costs by value, and how they are drawn."""

    name: str
    label: str
    marker: str
    colour: str
    dashes: str
    costs: dict[int, Quantity]


def scaling(sweep: SweepView, footnotes: Sequence[str]) -> Figure | None:
    """Cost against what is varied, both on log axes, with 95 % bars; None where no backend has two times.

    Along batch the cost is a row's, the step's over the batch; else a step's. Every line is named beside its end.

    Parameters
    ----------
    sweep : Sweep
    footnotes : sequence of str
    """
    panels = [(division, found) for division, found in curves(sweep).items() if found]
    if not any(len(curve.costs) > 1 for _, found in panels for curve in found):
        return None
    unit = unit_of(cost.value for _, found in panels for curve in found for cost in curve.costs.values())
    foot = wrapped([*_notes(sweep, panels), *footnotes])
    right = max(width_of(shortened(curve.label)) for _, found in panels for curve in found) + _LEADER + 2 * EDGE
    heights = [max(_LEAST, _NAME * len(found)) for _, found in panels]
    height = LINE + sum(heights) + _APART * len(panels) + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    figure.text(EDGE / WIDTH, (height - 1.2 * LINE) / height, sweep.title, weight="bold", va="baseline")
    bounds = _bounds(sweep, panels, unit)
    top, wide = height - LINE, WIDTH - _LEFT - right
    for (division, found), high in zip(panels, heights, strict=True):
        top -= _APART + high
        axes = figure.add_axes((_LEFT / WIDTH, top / height, wide / WIDTH, high / height))
        axes.set_title(division, loc="left", fontsize="medium", style="italic", pad=3)
        _panel(axes, sweep, found, unit, bounds, (wide, high))
    axes.set_xlabel(ACROSS[sweep.along], labelpad=1)
    put_footnotes(figure, foot)
    return figure


def curves(sweep: SweepView) -> dict[str, list[Curve]]:
    """Every backend that has a time, by division and name. Colours go by the name, so that they are the same where the
    same backends take part.
    """
    found = {}
    for division, names in sweep.divisions.items():
        marker = DIVISION_STYLE.get(division, OTHER_STYLE)[0]
        costs = {name: _costs(sweep, name) for name in sorted(names)}
        found[division] = [
            Curve(
                name,
                sweep.labels[name],
                marker,
                LINE_COLOURS[at % len(LINE_COLOURS)],
                LINE_STYLES[at // len(LINE_COLOURS) % len(LINE_STYLES)],
                own,
            )
            for at, (name, own) in enumerate(costs.items())
            if own
        ]
    return found


def _costs(sweep: SweepView, name: str) -> dict[int, Quantity]:
    """Seconds a step, along batch a row, by value."""
    rows = {point.value: row for point in sweep.points for row in point.rows.rows if row.backend.name == name}
    found = {}
    for value, row in rows.items():
        shared = value if sweep.along == "batch" else 1
        if row.step:
            low, high = row.step.interval or (0.0, 0.0)
            interval = (low / shared, high / shared) if row.step.interval else None
            found[value] = Quantity(row.step.value / shared, interval)
    return found


def _bounds(sweep: SweepView, panels: Sequence[tuple[str, Sequence[Curve]]], unit: Unit) -> list[float]:
    """Of the y axis, the same in all panels: cost in one division may be held against that in another."""
    costs = [cost for _, found in panels for curve in found for cost in curve.costs.values()]
    ideal = [y for _, found in panels for y in _ideal(sweep, found).values()]
    return [bound / unit.seconds for cost in costs for bound in (cost.interval or (cost.value,))] + [
        y / unit.seconds for y in ideal
    ]


def _ideal(sweep: SweepView, found: Sequence[Curve]) -> dict[int, float]:
    """Along threads: the fastest at the fewest, were its time shared evenly by more; by value. Else nothing."""
    first = sweep.points[0].value
    times = [curve.costs[first].value for curve in found if first in curve.costs]
    if sweep.along != "threads" or not times:
        return {}
    return {point.value: min(times) * first / point.value for point in sweep.points}


def _panel(
    axes: Axes,
    sweep: SweepView,
    found: Sequence[Curve],
    unit: Unit,
    bounds: Sequence[float],
    inches: tuple[float, float],
) -> None:
    values = [point.value for point in sweep.points]
    log_axis(axes, "x", values)
    log_axis(axes, "y", bounds)
    shown = _ticks(axes, values, inches[0])
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{value}" for value in shown]))
    ideal = _ideal(sweep, found)
    if ideal:
        times = [y / unit.seconds for y in ideal.values()]
        axes.plot(list(ideal), times, color=SHADE, linewidth=1.6, zorder=0, gid=IDEAL)
    for curve in found:
        _draw(axes, curve, values, unit)
    a_row = " a row" if sweep.along == "batch" else ""
    step = "Network-step time" if sweep.points[0].rows.case.members > 1 else "Step time"
    axes.set_ylabel(f"{step}{a_row} ({unit.name})")
    _names_beside(axes, found, values[-1], unit, inches)


def _draw(axes: Axes, curve: Curve, values: Sequence[int], unit: Unit) -> None:
    """Its line, broken where it has no time, and its bars and marks."""
    costs = [curve.costs[value].value / unit.seconds if value in curve.costs else math.nan for value in values]
    axes.plot(values, costs, color=curve.colour, linestyle=curve.dashes, linewidth=0.9, zorder=2, label=curve.label)
    for value, cost in curve.costs.items():
        if cost.interval:
            ends = [bound / unit.seconds for bound in cost.interval]
            axes.plot([value, value], ends, color=curve.colour, linewidth=0.9, marker="_", markersize=3.5, zorder=2)
        axes.plot(
            [value], [cost.value / unit.seconds], marker=curve.marker, markersize=2.6, markeredgewidth=0.7,
            markerfacecolor=curve.colour if cost.interval else "white", markeredgecolor=curve.colour, zorder=3,
        )  # fmt: skip


def _ticks(axes: Axes, values: Sequence[int], inches: float) -> list[int]:
    """All the values where their numbers have room, else every second, third and so on."""
    to_fraction = axes.transData + axes.transAxes.inverted()
    places = {value: inches * to_fraction.transform((value, 1.0))[0] for value in values}
    for every in range(1, len(values)):
        some = values[::every]
        gaps = (places[b] - places[a] - (width_of(f"{a}") + width_of(f"{b}")) / 2 for a, b in pairwise(some))
        if min(gaps, default=1.0) > EDGE:
            return list(some)
    return [values[0]]


def _names_beside(axes: Axes, found: Sequence[Curve], last: int, unit: Unit, inches: tuple[float, float]) -> None:
    """A name to the right of each line, joined to its last point; names keep a line's distance.

    What joins is dotted where a line ends before the last value, and so cannot be taken for a measurement.
    """
    wide, high = inches
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = {}
    for curve in found:
        value, cost = max(curve.costs.items())
        ends[curve.name] = to_fraction.transform((value, cost.value / unit.seconds))
    rising = sorted(found, key=lambda curve: float(ends[curve.name][1]))
    places = spread([high * float(ends[curve.name][1]) for curve in rising], LINE, high)
    for curve, inch in zip(rising, places, strict=True):
        x, y = ends[curve.name]
        leader = Line2D([x, 1.0, 1 + _LEADER / wide], [y, y, inch / high], transform=axes.transAxes, zorder=1)
        leader.set(color=curve.colour, linewidth=0.5, linestyle="-" if last in curve.costs else ":", clip_on=False)
        axes.add_line(leader)
        at = 1 + (_LEADER + EDGE / 2) / wide
        axes.text(at, inch / high, shortened(curve.label), transform=axes.transAxes, va="center_baseline")


def _notes(sweep: SweepView, panels: Sequence[tuple[str, Sequence[Curve]]]) -> list[str]:
    costs = [cost for _, found in panels for curve in found for cost in curve.costs.values()]
    notes = []
    if any(cost.interval for cost in costs):
        notes.append("Bars: 95\N{NO-BREAK SPACE}% intervals over launches, where wider than the mark.")
    if not all(cost.interval for cost in costs):
        notes.append("Hollow: a single launch, no interval.")
    if sweep.along == "threads":
        notes.append("Grey: the time of a division's fastest at the fewest threads, were it shared evenly by more.")
    absent = _absent(sweep)
    return [" ".join(notes), *([f"No time: {'; '.join(absent)}."] if absent else [])]


def _absent(sweep: SweepView) -> list[str]:
    """Who has no time, at which values, and why."""
    missing: dict[tuple[str, str], list[int]] = {}
    for point in sweep.points:
        for row in point.rows.rows:
            if row.step is None:
                missing.setdefault((row.label, row.status), []).append(point.value)
    everywhere = len(sweep.points)
    return [
        f"{label} ({status})" if len(values) == everywhere else f"{label} at {', '.join(map(str, values))} ({status})"
        for (label, status), values in missing.items()
    ]
