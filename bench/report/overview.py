"""The figures of a whole run: speed of each backend on each workload, and speed against lines of code.

Both draw ratios to the reference only. Where there is no ratio, words say why.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.format import bounds_of, centre_of, interval_of, number, threads_text
from bench.report.drawing import (
    AXIS,
    EDGE,
    FAINT,
    GAP,
    LINE,
    ROW,
    SHADE,
    WIDE,
    WIDTH,
    WORD,
    division_handle,
    log_axis,
    marker_of,
    put_footnotes,
    put_head,
    shortened,
    spread,
    width_of,
    wrapped,
)
from bench.report.style import BLACK
from bench.report.views import BackendView, CaseView, division_place, in_division_order
from bench.results.schema import Estimate

PANELS = 4  # workloads side by side
_APART = 0.2  # lines between the dtypes of a backend
_VALUE = "0.000×"  # widest text to the right of a panel

Column = Sequence[CaseView]  # the cases of one workload, one per dtype


def relative(backend: BackendView) -> Estimate | float | None:
    """Return how many times faster the backend is than the reference; 1 for the reference itself."""
    return 1.0 if backend.verdict == "reference" and backend.step else backend.ratio


def standing(name: str, cases: Iterable[CaseView]) -> float | None:
    """Return the geometric mean of a backend's ratios over these cases; None where a ratio is missing.

    Source: Fleming and Wallace 1986, "How not to lie with statistics".
    """
    ratios = [relative(backend) for view in cases for backend in view.backends if backend.name == name]
    if not ratios or any(ratio is None for ratio in ratios):
        return None
    return math.exp(fmean(math.log(centre_of(ratio)) for ratio in ratios if ratio))


def overview(cases: Sequence[CaseView], footnotes: Sequence[str]) -> Figure:
    """Draw the ratios to the reference with intervals: one line per backend, panel per workload, mark per dtype.

    Parameters
    ----------
    cases : sequence of CaseView
        Cases of one operation and thread count.
    footnotes : sequence of str
    """
    columns = _columns(cases)
    groups = _groups(cases)
    names = [name for _, some in groups for name in some]
    dtypes = list(dict.fromkeys(view.case.dtype for view in cases))
    labels = {backend.name: shortened(backend.label) for view in reversed(cases) for backend in view.backends}
    width = WIDE if len(columns) > 1 else WIDTH
    notes = [_dtypes_note(dtypes), _missing_note(cases, dtypes[1:]), _reference_note(cases), *footnotes]
    foot = wrapped(filter(None, notes), width)
    spanned = ROW * (len(names) + GAP * (len(groups) - 1))
    height = 4.4 * LINE + spanned + AXIS + LINE * len(foot) + EDGE
    left, value = max(width_of(label) for label in labels.values()) + 2 * EDGE, width_of(_VALUE) + 2 * EDGE
    panel = (width - left - len(columns) * value) / len(columns)
    figure = Figure(figsize=(width, height))
    case = cases[0].case
    title = f"{case.operation} · {threads_text(case.threads)}"
    put_head(figure, title, [division_handle(division) for division, _ in groups])
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
    """Draw speed against lines of code, one point per backend; None where fewer than two backends have both.

    Parameters
    ----------
    cases : sequence of CaseView
        Cases of one operation, dtype and thread count.
    footnotes : sequence of str
    """
    found = {backend.name: backend for view in cases for backend in view.backends if backend.result.source_lines}
    points = [
        (backend, float(backend.result.source_lines or 0), standing(name, cases)) for name, backend in found.items()
    ]
    drawn = sorted(((backend, x, y) for backend, x, y in points if y is not None), key=lambda point: point[2])
    if len(drawn) < 2:
        return None
    case = cases[0].case
    workloads = ", ".join(dict.fromkeys(view.case.workload for view in cases))
    mean = "geometric mean of the ratios on" if len(cases) > 1 else "ratio on"
    without = [backend.label for backend, _, y in points if y is None]
    notes = [
        f"Speed: {mean} {workloads}.",
        "Lines of code: of the network only, without blank lines, comments, protocol and bindings. The code inside a "
        "framework does not count.",
        *([f"No ratio in some case: {', '.join(without)}."] if without else []),
        _reference_note(cases),
    ]
    foot = wrapped([note for note in [*notes, *footnotes] if note])
    plot, left, right = (
        max(2.4, LINE * (len(drawn) + 1)),
        0.5,
        max(width_of(backend.label) for backend, _, _ in drawn) + 0.3,
    )
    height = 3.2 * LINE + plot + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    title = f"Speed against effort · {case.operation} · {case.dtype} · {threads_text(case.threads)}"
    divisions = in_division_order({backend.division for backend, _, _ in drawn})
    put_head(figure, title, [division_handle(division) for division in divisions])
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
    places, across = _places(groups), axes.get_yaxis_transform()  # x in fractions of the axes, y in lines
    log_axis(axes, "x", bounds)
    margins = [view.margin for view in column if view.margin is not None]
    if margins:
        axes.axvspan(1 / (1 + max(margins)), 1 + max(margins), color=SHADE, linewidth=0, zorder=0)
    axes.axvline(1, color=BLACK, linewidth=0.4, zorder=1)
    for name, y in places.items():
        axes.axhline(y, color=FAINT, linewidth=0.5, zorder=0.5)
        own = [
            (dtypes.index(view.case.dtype), backend)
            for view in column
            for backend in view.backends
            if backend.name == name
        ]
        drawn = [(at, backend, ratio) for at, backend in own if (ratio := relative(backend))]
        for at, backend, ratio in drawn:
            _mark(axes, backend, ratio, y + _APART * (at - (len(dtypes) - 1) / 2), filled=at == 0)
        first = next((backend for at, backend in own if at == 0), None)
        if drawn and drawn[0][0] == 0:
            value = f"{number(centre_of(drawn[0][2]))}×"
            axes.annotate(
                value, (1, y), xycoords=across, xytext=(72 * EDGE, 0), textcoords="offset points", va="center_baseline"
            )
        else:  # the mark of the first dtype is missing; marks of other dtypes may stand beside the word
            word = first.status if first else "not in this case"
            axes.text(0.02, y, "no ratio" if word == "ok" else word, transform=across, ha="left", **WORD)
    axes.set_ylim(max(places.values()) + 0.5, -0.5)
    axes.set_xlabel(f"Speed relative to {_references(column)} (×)", labelpad=1)


def _mark(axes: Axes, backend: BackendView, ratio: Estimate | float, y: float, *, filled: bool) -> None:
    marker, colour = marker_of(backend)
    interval = interval_of(ratio)
    if interval:
        axes.plot(interval, [y, y], color=colour, linewidth=0.9, zorder=2)
    face = colour if filled else "white"
    axes.plot(
        [centre_of(ratio)], [y], marker=marker, markersize=3, markerfacecolor=face, markeredgecolor=colour, zorder=3
    )


def _effort_panel(axes: Axes, drawn: Sequence[tuple[BackendView, float, float]], plot: float, label: str) -> None:
    log_axis(axes, "x", [x for _, x, _ in drawn])
    log_axis(axes, "y", [y for _, _, y in drawn])
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = [to_fraction.transform((x, y)) for _, x, y in drawn]
    places = spread([plot * y for _, y in ends], LINE, plot)
    for (backend, x, y), (across, up), inch in zip(drawn, ends, places, strict=True):
        marker, colour = marker_of(backend)
        axes.plot([x], [y], marker=marker, markersize=3.8, color=colour, linestyle="none", zorder=3)
        leader = Line2D([across, 1.0, 1.04], [up, inch / plot, inch / plot], transform=axes.transAxes, zorder=1)
        leader.set(color=colour, linewidth=0.4, alpha=0.6, clip_on=False)
        axes.add_line(leader)
        axes.text(1.05, inch / plot, backend.label, transform=axes.transAxes, va="center_baseline")
    axes.set_xlabel("Lines of code", labelpad=1)
    axes.set_ylabel(label)


# Places --------------------------------------------------------------------------------------------------------------


def _columns(cases: Sequence[CaseView]) -> list[list[CaseView]]:
    names = dict.fromkeys(view.case.workload for view in cases)
    return [[view for view in cases if view.case.workload == name] for name in names]


def _groups(cases: Sequence[CaseView]) -> list[tuple[str, list[str]]]:
    """Return the backends by division, sorted by the geometric mean of their ratios; those without a ratio last."""
    division = {backend.name: backend.division for view in cases for backend in view.backends}
    logs: dict[str, list[float]] = {name: [] for name in division}
    for backend in (backend for view in cases for backend in view.backends):
        ratio = relative(backend)
        if ratio:
            logs[backend.name].append(math.log(centre_of(ratio)))
    means = {name: fmean(values) if values else -math.inf for name, values in logs.items()}
    by_speed = sorted(sorted(division, key=lambda name: -means[name]), key=lambda name: division_place(division[name]))
    return [(own, list(some)) for own, some in groupby(by_speed, key=lambda name: division[name])]


def _places(groups: Sequence[tuple[str, Sequence[str]]]) -> dict[str, float]:
    """Return the y of each backend in lines, with a gap between divisions."""
    pairs = [(name, group) for group, (_, some) in enumerate(groups) for name in some]
    return {name: at + GAP * group for at, (name, group) in enumerate(pairs)}


def _bounds(cases: Iterable[CaseView]) -> list[float]:
    ratios = [ratio for view in cases for backend in view.backends if (ratio := relative(backend))]
    return [1.0, *(bound for ratio in ratios for bound in bounds_of(ratio))]


def _references(cases: Iterable[CaseView]) -> str:
    names = dict.fromkeys(view.case.reference for view in cases if view.case.reference)
    return " or ".join(names) or "no reference"


def _reference_note(cases: Sequence[CaseView]) -> str:
    names = {view.case.reference for view in cases}
    return "" if len(names) == 1 else "The cases have different references: see the tables."


def _missing_note(cases: Sequence[CaseView], dtypes: Sequence[str]) -> str:
    """Return which open marks are missing and why; a missing filled mark has its reason in its place."""
    missing = [
        f"{backend.name} on {view.case.workload} ({backend.status if backend.status != 'ok' else 'no ratio'})"
        for view in cases
        for backend in view.backends
        if view.case.dtype in dtypes and relative(backend) is None
    ]
    return f"No mark in {' and '.join(dtypes)}: {', '.join(missing)}." if missing else ""


def _dtypes_note(dtypes: Sequence[str]) -> str:
    """Return the meaning of the marks. The numbers are those of the first dtype."""
    if len(dtypes) == 1:
        return f"{dtypes[0]}."
    return f"Filled marks (above) and numbers: {dtypes[0]}; open marks (below): {' and '.join(dtypes[1:])}."
