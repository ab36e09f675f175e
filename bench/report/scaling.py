"""The figure of a sweep: cost against batch, width, depth or threads; one panel per division, one line per backend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator

from bench.format import Unit, bounds_of, centre_of, interval_of, unit_of
from bench.report.drawing import (
    AXIS,
    BARS,
    EDGE,
    LINE,
    SHADE,
    SINGLE_LAUNCH,
    WIDTH,
    log_axis,
    put_footnotes,
    shortened,
    spread,
    width_of,
    wrapped,
)
from bench.report.style import BackendStyle, backend_style
from bench.report.sweeps import SweepView
from bench.results.schema import Estimate

IDEAL = "ideal"  # id of the line's group in an SVG file
ACROSS = {
    "batch": "Batch size (rows, log)",
    "width": "Width of the hidden layers (log)",
    "depth": "Hidden layers (log)",
    "threads": "Threads (log)",
}
_LEFT, _LEAST, _APART = 0.62, 1.1, 0.36  # inches: room for the y axis; least height of a panel; gap between panels
_NAME = 1.4 * LINE  # inches of a panel's height per name, so that the names of close lines stay apart
_LEADER = 0.16  # inches from a panel to its names


@dataclass(frozen=True)
class CostLine:
    """The costs of a backend by value on the axis, and its look."""

    name: str
    label: str
    style: BackendStyle
    costs: dict[int, Estimate | float]


def scaling(sweep: SweepView, footnotes: Sequence[str]) -> Figure | None:
    """Draw cost against the axis of the sweep, both on log axes, with intervals; None where no backend has two costs.

    Along batch the cost is the step time over the batch size, along other axes the step time. Each line has its name at
    its end.
    """
    panels = [(division, found) for division, found in cost_lines(sweep).items() if found]
    if not any(len(line.costs) > 1 for _, found in panels for line in found):
        return None
    unit = unit_of(centre_of(cost) for _, found in panels for line in found for cost in line.costs.values())
    foot = wrapped([*_notes(sweep, panels), *footnotes])
    right = max(width_of(shortened(line.label)) for _, found in panels for line in found) + _LEADER + 2 * EDGE
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


def cost_lines(sweep: SweepView) -> dict[str, list[CostLine]]:
    """Return the lines of the timed backends by division."""
    found = {}
    for division, names in sweep.divisions.items():
        costs = {name: _costs(sweep, name) for name in sorted(names)}
        found[division] = [
            CostLine(name, sweep.labels[name], backend_style(name), own) for name, own in costs.items() if own
        ]
    return found


def _costs(sweep: SweepView, name: str) -> dict[int, Estimate | float]:
    """Return the seconds per step, along batch per row, by value on the axis."""
    backends = {
        point.value: backend for point in sweep.points for backend in point.view.backends if backend.name == name
    }
    found: dict[int, Estimate | float] = {}
    for value, backend in backends.items():
        rows, step = (value if sweep.along == "batch" else 1), backend.step
        if isinstance(step, Estimate):
            found[value] = Estimate(step.median / rows, step.low / rows, step.high / rows)
        elif step:
            found[value] = step / rows
    return found


def _bounds(sweep: SweepView, panels: Sequence[tuple[str, Sequence[CostLine]]], unit: Unit) -> list[float]:
    """Return the bounds of the y axis, the same in all panels so that divisions can be compared."""
    costs = [cost for _, found in panels for line in found for cost in line.costs.values()]
    ideal = [y for _, found in panels for y in _ideal(sweep, found).values()]
    return [bound / unit.seconds for cost in costs for bound in bounds_of(cost)] + [y / unit.seconds for y in ideal]


def _ideal(sweep: SweepView, found: Sequence[CostLine]) -> dict[int, float]:
    """Return, along threads, the fastest time at the fewest threads divided evenly among more; else nothing."""
    first = sweep.points[0].value
    times = [centre_of(line.costs[first]) for line in found if first in line.costs]
    if sweep.along != "threads" or not times:
        return {}
    return {point.value: min(times) * first / point.value for point in sweep.points}


def _panel(
    axes: Axes,
    sweep: SweepView,
    found: Sequence[CostLine],
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
    for line in found:
        _draw(axes, line, values, unit)
    per_row = " per row" if sweep.along == "batch" else ""
    step = "Network-step time" if sweep.points[0].view.case.members > 1 else "Step time"
    axes.set_ylabel(f"{step}{per_row} ({unit.name}, log)")
    _names_beside(axes, found, values[-1], unit, inches)


def _draw(axes: Axes, line: CostLine, values: Sequence[int], unit: Unit) -> None:
    """Draw the line of a backend, broken where it has no time, with its intervals and marks."""
    costs = [centre_of(line.costs[value]) / unit.seconds if value in line.costs else math.nan for value in values]
    axes.plot(values, costs, color=line.style.colour, linewidth=0.9, zorder=2, label=line.label)
    for value, cost in line.costs.items():
        interval = interval_of(cost)
        if interval:
            ends = [bound / unit.seconds for bound in interval]
            axes.plot(
                [value, value], ends, color=line.style.colour, linewidth=0.9, marker="_", markersize=3.5, zorder=2
            )
        axes.plot(
            [value], [centre_of(cost) / unit.seconds], marker=line.style.marker, markersize=2.8, markeredgewidth=0.7,
            markerfacecolor=line.style.colour if interval else "white", markeredgecolor=line.style.colour, zorder=3,
        )  # fmt: skip


def _ticks(axes: Axes, values: Sequence[int], inches: float) -> list[int]:
    """Return all values where their numbers fit on the axis, else every second, third and so on."""
    to_fraction = axes.transData + axes.transAxes.inverted()
    places = {value: inches * to_fraction.transform((value, 1.0))[0] for value in values}
    for every in range(1, len(values)):
        some = values[::every]
        gaps = (places[b] - places[a] - (width_of(f"{a}") + width_of(f"{b}")) / 2 for a, b in pairwise(some))
        if min(gaps, default=1.0) > EDGE:
            return list(some)
    return [values[0]]


def _names_beside(axes: Axes, found: Sequence[CostLine], last: int, unit: Unit, inches: tuple[float, float]) -> None:
    """Write the name of each line to the right of the panel and join it to the line's last point; no names overlap.

    The joining line is dotted where the cost line ends before the last value, so that it does not look like a
    measurement.
    """
    wide, high = inches
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = {}
    for line in found:
        value, cost = max(line.costs.items())
        ends[line.name] = to_fraction.transform((value, centre_of(cost) / unit.seconds))
    rising = sorted(found, key=lambda line: float(ends[line.name][1]))
    places = spread([high * float(ends[line.name][1]) for line in rising], LINE, high)
    for line, inch in zip(rising, places, strict=True):
        x, y = ends[line.name]
        leader = Line2D([x, 1.0, 1 + _LEADER / wide], [y, y, inch / high], transform=axes.transAxes, zorder=1)
        leader.set(color=line.style.colour, linewidth=0.5, linestyle="-" if last in line.costs else ":", clip_on=False)
        axes.add_line(leader)
        at = 1 + (_LEADER + EDGE / 2) / wide
        axes.text(at, inch / high, shortened(line.label), transform=axes.transAxes, va="center_baseline")


def _notes(sweep: SweepView, panels: Sequence[tuple[str, Sequence[CostLine]]]) -> list[str]:
    costs = [cost for _, found in panels for line in found for cost in line.costs.values()]
    intervals = list(map(interval_of, costs))
    notes = [*([BARS] if any(intervals) else []), *([] if all(intervals) else [SINGLE_LAUNCH])]
    if sweep.along == "threads":
        notes.append("Grey: linear speedup of the division's fastest time at the fewest threads.")
    absent = _not_timed(sweep)
    return [" ".join(notes), *([f"No time: {'; '.join(absent)}."] if absent else [])]


def _not_timed(sweep: SweepView) -> list[str]:
    """Return the backends without a time, with the values and the status."""
    missing: dict[tuple[str, str], list[int]] = {}
    for point in sweep.points:
        for backend in point.view.backends:
            if backend.step is None:
                missing.setdefault((backend.label, backend.status), []).append(point.value)
    everywhere = len(sweep.points)
    return [
        f"{label} ({status})" if len(values) == everywhere else f"{label} at {', '.join(map(str, values))} ({status})"
        for (label, status), values in missing.items()
    ]
