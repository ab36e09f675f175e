"""The figures that tell a whole run at a glance: everybody's speed on every workload, and speed against lines of code.

What they may say is decided in `rows`; ratios alone are drawn, so what has none is told in words.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.format import Quantity, number
from bench.report.drawing import (
    AXIS,
    BLACK,
    EDGE,
    FAINT,
    GAP,
    LEGEND,
    LINE,
    ROW,
    SHADE,
    WIDE,
    WIDTH,
    WORD,
    division_handle,
    log_axis,
    marker_of,
    ordered,
    put_footnotes,
    shortened,
    spread,
    width_of,
    wrapped,
)
from bench.report.rows import DIVISIONS, BackendView, CaseView

PANELS = 4  # workloads beside each other
_APART = 0.2  # rows between the dtypes of a backend
_VALUE = "0.000×"  # room for what stands behind each row of a panel

Column = Sequence[CaseView]  # one workload's cases, one a dtype


def relative(row: BackendView) -> Quantity | None:
    """How many times faster than the reference, which itself is once as fast."""
    return Quantity(1.0) if row.verdict == "reference" and row.step else row.ratio


def standing(name: str, cases: Iterable[CaseView]) -> float | None:
    """The geometric mean of a backend's ratios over these cases; None where one is missing (Fleming and Wallace 1986,
    "How not to lie with statistics").
    """
    ratios = [relative(row) for rows in cases for row in rows.rows if row.backend.name == name]
    if not ratios or any(ratio is None for ratio in ratios):
        return None
    return math.exp(fmean(math.log(ratio.value) for ratio in ratios if ratio))


def overview(cases: Sequence[CaseView], footnotes: Sequence[str]) -> Figure:
    """A row a backend, a panel a workload, a mark a dtype: the ratio to the reference, with its interval.

    Parameters
    ----------
    cases : sequence of CaseRows
        Of one operation and thread count.
    footnotes : sequence of str
    """
    columns = _columns(cases)
    groups = _groups(cases)
    names = [name for _, some in groups for name in some]
    dtypes = list(dict.fromkeys(rows.case.dtype for rows in cases))
    labels = {row.backend.name: shortened(row.label) for rows in reversed(cases) for row in rows.rows}
    width = WIDE if len(columns) > 1 else WIDTH
    notes = [_dtypes_note(dtypes), _missing_note(cases, dtypes[1:]), _reference_note(cases), *footnotes]
    foot = wrapped(filter(None, notes), width)
    spanned = ROW * (len(names) + GAP * (len(groups) - 1))
    height = 4.4 * LINE + spanned + AXIS + LINE * len(foot) + EDGE
    left, value = max(width_of(label) for label in labels.values()) + 2 * EDGE, width_of(_VALUE) + 2 * EDGE
    panel = (width - left - len(columns) * value) / len(columns)
    figure = Figure(figsize=(width, height))
    case = cases[0].case
    title = f"{case.operation} · {case.threads} thread{'s' * (case.threads != 1)}"
    figure.text(EDGE / width, (height - 1.2 * LINE) / height, title, weight="bold", va="baseline")
    handles = [division_handle(division) for division, _ in groups]
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 1 - 1.4 * LINE / height), ncols=5, **LEGEND)
    bottom = AXIS + LINE * len(foot) + EDGE
    bounds, places = _bounds(cases), _places(groups)
    for at, column in enumerate(columns):
        x = left + at * (panel + value)
        axes = figure.add_axes((x / width, bottom / height, panel / width, spanned / height))
        _overview_panel(axes, column, groups, dtypes, bounds)
        axes.set_title(column[0].case.workload, fontsize="medium", weight="bold", pad=3)
        axes.set_yticks([places[name] for name in names], [labels[name] for name in names] if at == 0 else [])
        axes.tick_params(axis="y", length=0)
    put_footnotes(figure, foot)
    return figure


def effort(cases: Sequence[CaseView], footnotes: Sequence[str]) -> Figure | None:
    """Speed against lines of code, a point a backend; None where fewer than two have both.

    Parameters
    ----------
    cases : sequence of CaseRows
        Of one operation, dtype and thread count.
    footnotes : sequence of str
    """
    found = {row.backend.name: row for rows in cases for row in rows.rows if row.backend.source_lines}
    points = [(row, float(row.backend.source_lines or 0), standing(name, cases)) for name, row in found.items()]
    drawn = sorted(((row, x, y) for row, x, y in points if y is not None), key=lambda point: point[2])
    if len(drawn) < 2:
        return None
    case = cases[0].case
    workloads = ", ".join(dict.fromkeys(rows.case.workload for rows in cases))
    mean = "geometric mean over" if len(cases) > 1 else "on"
    without = [row.label for row, _, y in points if y is None]
    notes = [
        f"Speed: {mean} {workloads}.",
        "Lines that hold code of the network itself, neither blank nor comment; not those that speak the protocol, or "
        "bind a library. What a framework does for its user is no line of theirs.",
        *([f"No ratio in some case: {', '.join(without)}."] if without else []),
        _reference_note(cases),
    ]
    foot = wrapped([note for note in [*notes, *footnotes] if note])
    plot, left, right = max(2.4, LINE * (len(drawn) + 1)), 0.5, max(width_of(row.label) for row, _, _ in drawn) + 0.3
    height = 3.2 * LINE + plot + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    title = f"Speed against effort · {case.operation} · {case.dtype} · {case.threads} thread{'s' * (case.threads != 1)}"
    figure.text(EDGE / WIDTH, (height - 1.2 * LINE) / height, title, weight="bold", va="baseline")
    handles = [division_handle(division) for division in ordered({row.backend.division for row, _, _ in drawn})]
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 1 - 1.4 * LINE / height), ncols=5, **LEGEND)
    box = (left / WIDTH, (AXIS + LINE * len(foot) + EDGE) / height, (WIDTH - left - right) / WIDTH, plot / height)
    _effort_panel(figure.add_axes(box), drawn, plot, f"Speed relative to {_references(cases)} (×)")
    put_footnotes(figure, foot)
    return figure


# Panels --------------------------------------------------------------------------------------------------------------


def _overview_panel(
    axes: Axes,
    column: Column,
    groups: Sequence[tuple[str, Sequence[str]]],
    dtypes: Sequence[str],
    bounds: Sequence[float],
) -> None:
    places, across = _places(groups), axes.get_yaxis_transform()  # x in fractions of the axes, y in rows
    log_axis(axes, "x", bounds)
    floors = [rows.floor for rows in column if rows.floor is not None]
    if floors:
        axes.axvspan(1 / (1 + max(floors)), 1 + max(floors), color=SHADE, linewidth=0, zorder=0)
    axes.axvline(1, color=BLACK, linewidth=0.4, zorder=1)
    for name, y in places.items():
        axes.axhline(y, color=FAINT, linewidth=0.5, zorder=0.5)
        own = [(dtypes.index(rows.case.dtype), row) for rows in column for row in rows.rows if row.backend.name == name]
        drawn = [(at, row, ratio) for at, row in own if (ratio := relative(row))]
        for at, row, ratio in drawn:
            _mark(axes, row, ratio, y + _APART * (at - (len(dtypes) - 1) / 2), filled=at == 0)
        first = next((row for at, row in own if at == 0), None)
        if drawn and drawn[0][0] == 0:
            value = f"{number(drawn[0][2].value)}×"
            axes.annotate(
                value, (1, y), xycoords=across, xytext=(72 * EDGE, 0), textcoords="offset points", va="center_baseline"
            )
        else:  # told where the mark is missing; the other dtypes' marks stand beside it
            word = first.status if first else "not in this case"
            axes.text(0.02, y, "no ratio" if word == "ok" else word, transform=across, ha="left", **WORD)
    axes.set_ylim(max(places.values()) + 0.5, -0.5)
    axes.set_xlabel(f"Speed relative to {_references(column)} (×)", labelpad=1)


def _mark(axes: Axes, row: BackendView, ratio: Quantity, y: float, *, filled: bool) -> None:
    marker, colour = marker_of(row)
    if ratio.interval:
        axes.plot(ratio.interval, [y, y], color=colour, linewidth=0.9, zorder=2)
    face = colour if filled else "white"
    axes.plot([ratio.value], [y], marker=marker, markersize=3, markerfacecolor=face, markeredgecolor=colour, zorder=3)


def _effort_panel(axes: Axes, drawn: Sequence[tuple[BackendView, float, float]], plot: float, label: str) -> None:
    log_axis(axes, "x", [x for _, x, _ in drawn])
    log_axis(axes, "y", [y for _, _, y in drawn])
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = [to_fraction.transform((x, y)) for _, x, y in drawn]
    places = spread([plot * y for _, y in ends], LINE, plot)
    for (row, x, y), (across, up), inch in zip(drawn, ends, places, strict=True):
        marker, colour = marker_of(row)
        axes.plot([x], [y], marker=marker, markersize=3.8, color=colour, linestyle="none", zorder=3)
        leader = Line2D([across, 1.0, 1.04], [up, inch / plot, inch / plot], transform=axes.transAxes, zorder=1)
        leader.set(color=colour, linewidth=0.4, alpha=0.6, clip_on=False)
        axes.add_line(leader)
        axes.text(1.05, inch / plot, row.label, transform=axes.transAxes, va="center_baseline")
    axes.set_xlabel("Lines of code", labelpad=1)
    axes.set_ylabel(label)


# What stands where ---------------------------------------------------------------------------------------------------


def _columns(cases: Sequence[CaseView]) -> list[list[CaseView]]:
    names = dict.fromkeys(rows.case.workload for rows in cases)
    return [[rows for rows in cases if rows.case.workload == name] for name in names]


def _groups(cases: Sequence[CaseView]) -> list[tuple[str, list[str]]]:
    """Backends by division; the fastest over the cases that they have first, then those without a ratio."""
    division = {row.backend.name: row.backend.division for rows in cases for row in rows.rows}
    known = {name: [r.value for rows in cases for row in rows.rows if row.backend.name == name and (r := relative(row))]
             for name in division}  # fmt: skip
    means = {name: fmean(map(math.log, ratios)) if ratios else -math.inf for name, ratios in known.items()}

    def place(name: str) -> tuple[int, str]:
        own = division[name]
        return (DIVISIONS.index(own) if own in DIVISIONS else len(DIVISIONS)), own

    by_speed = sorted(sorted(division, key=lambda name: -means[name]), key=place)
    return [(own, list(some)) for own, some in groupby(by_speed, key=lambda name: division[name])]


def _places(groups: Sequence[tuple[str, Sequence[str]]]) -> dict[str, float]:
    """The y of each backend, in rows, a gap between divisions."""
    pairs = [(name, group) for group, (_, some) in enumerate(groups) for name in some]
    return {name: at + GAP * group for at, (name, group) in enumerate(pairs)}


def _bounds(cases: Iterable[CaseView]) -> list[float]:
    ratios = [ratio for rows in cases for row in rows.rows if (ratio := relative(row))]
    return [1.0, *(bound for ratio in ratios for bound in (ratio.interval or (ratio.value,)))]


def _references(cases: Iterable[CaseView]) -> str:
    names = dict.fromkeys(rows.case.reference for rows in cases if rows.case.reference)
    return " or ".join(names) or "nobody"


def _reference_note(cases: Sequence[CaseView]) -> str:
    names = {rows.case.reference for rows in cases}
    return "" if len(names) == 1 else "The reference is not the same in all cases: see the tables."


def _missing_note(cases: Sequence[CaseView], dtypes: Sequence[str]) -> str:
    """Who has no open mark, and why: the filled ones' absence is told in place."""
    missing = [
        f"{row.backend.name} on {rows.case.workload} ({row.status if row.status != 'ok' else 'no ratio'})"
        for rows in cases
        for row in rows.rows
        if rows.case.dtype in dtypes and relative(row) is None
    ]
    return f"Without a mark in {' and '.join(dtypes)}: {', '.join(missing)}." if missing else ""


def _dtypes_note(dtypes: Sequence[str]) -> str:
    """Which mark is which; the numbers are the first's."""
    if len(dtypes) == 1:
        return f"{dtypes[0]}."
    return f"Filled, above, and in numbers: {dtypes[0]}; open, below: {' and '.join(dtypes[1:])}."
