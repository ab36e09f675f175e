"""The figures of a whole run: speed of each backend on each workload, and speed against lines of code.

Both draw ratios to the reference only. Where there is no ratio, words say why.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.format import bounds_of, centre_of, centre_text, interval_of, threads_text
from bench.report.drawing import (
    AXIS,
    EDGE,
    LINE,
    ROW,
    SHADE,
    WIDE,
    WIDTH,
    WORD,
    divisions_note,
    inches_wide,
    log_axis,
    put_footnotes,
    put_title,
    rule_rows,
    spread,
    uncrossed,
    width_of,
    wrapped,
)
from bench.report.row_labels import Rows, label_rows, left_of, rows_of
from bench.report.sentences import standing_out
from bench.report.style import BLACK, backend_style
from bench.report.views import BackendView, CaseView, division_place, frontier
from bench.results.schema import Estimate

PANELS = 4  # workloads side by side
FRONTIER = "frontier"  # id of its line in an SVG file
_APART = 0.2  # lines between the dtypes of a backend

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
    columns, rows = _columns(cases), rows_of(_groups(cases))
    dtypes = list(dict.fromkeys(view.case.dtype for view in cases))
    width = WIDE if len(columns) > 1 else WIDTH
    notes = [_dtypes_note(dtypes), _missing_note(cases, dtypes[1:]), _reference_note(cases), *footnotes]
    foot = wrapped(filter(None, notes), width)
    spanned = ROW * rows.span
    height = 3.2 * LINE + spanned + AXIS + LINE * len(foot) + EDGE
    left = left_of([rows])
    values = [max(map(width_of, _values(column, dtypes[0]).values()), default=0.0) + 3 * EDGE for column in columns]
    panel = (width - left - sum(values)) / len(columns)
    figure = Figure(figsize=(width, height))
    case = cases[0].case
    put_title(figure, f"{case.operation} · {threads_text(case.threads)}")
    bottom = AXIS + LINE * len(foot) + EDGE
    bounds = _bounds(cases)
    for at, column in enumerate(columns):
        x = left + at * panel + sum(values[:at])
        axes = figure.add_axes((x / width, bottom / height, panel / width, spanned / height))
        _overview_panel(axes, column, rows, dtypes, bounds)
        label_rows(axes, rows, None if at else left)
        axes.set_title(column[0].case.workload, fontsize="medium", weight="bold", pad=3)
    put_footnotes(figure, foot)
    return figure


def effort(cases: Sequence[CaseView], footnotes: Sequence[str]) -> Figure | None:
    """Draw speed against lines of code, one point per backend; None where fewer than two backends have both.

    Few have a name and a colour: those than which no other is as short and as fast, and those that stand out.

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
    best = frontier({backend.name: (x, 1 / y) for backend, x, y in drawn})
    named = {*best, *(name for view in cases for name in standing_out(view))}
    notes = [
        f"Speed: {mean} {workloads}.",
        "Line: the backends than which no other is as short and as fast. Also named: the fastest of each division, the "
        "reference and the slowest of a case. Grey: the others; tables have their numbers.",
        "Lines of code: of the network only, without blank lines, comments, protocol and bindings. The code inside a "
        "framework does not count.",
        divisions_note(backend for backend, _, _ in drawn if backend.name in named),
        *([f"No ratio in some case: {', '.join(without)}."] if without else []),
        _reference_note(cases),
    ]
    foot = wrapped([note for note in [*notes, *footnotes] if note])
    plot, left, right = (
        max(2.4, LINE * (len(named) + 1)),
        0.5,
        max(width_of(backend.label) for backend, _, _ in drawn if backend.name in named) + 0.3,
    )
    height = 2 * LINE + plot + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    title = f"Speed against effort · {case.operation} · {case.dtype} · {threads_text(case.threads)}"
    put_title(figure, title)
    box = (left / WIDTH, (AXIS + LINE * len(foot) + EDGE) / height, (WIDTH - left - right) / WIDTH, plot / height)
    axes = figure.add_axes(box)
    _effort_panel(axes, drawn, best, named, plot)
    axes.set_ylabel(f"Speed relative to {_references(cases)} (×, log)")
    put_footnotes(figure, foot)
    return figure


# Panels --------------------------------------------------------------------------------------------------------------


def _overview_panel(
    axes: Axes,
    column: Column,
    rows: Rows,
    dtypes: Sequence[str],
    bounds: Sequence[float],
) -> None:
    values, across = _values(column, dtypes[0]), axes.get_yaxis_transform()  # x in fractions of the axes, y in lines
    log_axis(axes, "x", bounds)
    margins = [view.margin for view in column if view.margin is not None]
    if margins:
        axes.axvspan(1 / (1 + max(margins)), 1 + max(margins), color=SHADE, linewidth=0, zorder=0)
    axes.axvline(1, color=BLACK, linewidth=0.4, zorder=1)
    rule_rows(axes, rows.places.values())
    beside = 1 + EDGE / inches_wide(axes)
    for name, y in rows.places.items():
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
        if name in values:
            axes.text(beside, y, values[name], transform=across, va="center_baseline")
        else:  # the mark of the first dtype is missing; marks of other dtypes may stand beside the word
            word = first.status if first else "not in this case"
            axes.text(0.02, y, "no ratio" if word == "ok" else word, transform=across, ha="left", **WORD)
    axes.set_xlabel(f"Speed relative to {_references(column)} (log)", labelpad=1)


def _mark(axes: Axes, backend: BackendView, ratio: Estimate | float, y: float, *, filled: bool) -> None:
    style = backend_style(backend.name)
    interval = interval_of(ratio)
    if interval:
        axes.plot(interval, [y, y], color=style.colour, linewidth=0.9, zorder=2)
    face = style.colour if filled else "white"
    axes.plot(
        [centre_of(ratio)], [y], marker=style.marker, markersize=3.2, markerfacecolor=face,
        markeredgecolor=style.colour, zorder=3,
    )  # fmt: skip


def _effort_panel(
    axes: Axes,
    drawn: Sequence[tuple[BackendView, float, float]],
    best: Sequence[str],
    named: Collection[str],
    plot: float,
) -> None:
    log_axis(axes, "x", [x for _, x, _ in drawn])
    log_axis(axes, "y", [y for _, _, y in drawn])
    corners = sorted((x, y) for backend, x, y in drawn if backend.name in best)
    axes.step(*zip(*corners, strict=True), where="post", color=BLACK, linewidth=0.7, zorder=1, gid=FRONTIER)
    for backend, x, y in drawn:
        style, strong = backend_style(backend.name), backend.name in named
        colour = style.colour if strong else SHADE
        axes.plot(
            [x], [y], marker=style.marker, markersize=3.8, color=colour, linestyle="none", zorder=3 if strong else 2
        )
    labelled = [point for point in drawn if point[0].name in named]
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = [to_fraction.transform((x, y)) for _, x, y in labelled]
    places = spread([plot * y for _, y in ends], LINE, plot)
    places = uncrossed([(x, plot * y) for x, y in ends], places, 1.0)
    for (backend, _, _), (across, up), inch in zip(labelled, ends, places, strict=True):
        style = backend_style(backend.name)
        leader = Line2D([across, 1.0, 1.04], [up, inch / plot, inch / plot], transform=axes.transAxes, zorder=1)
        leader.set(color=style.colour, linewidth=0.4, alpha=0.6, clip_on=False)
        axes.add_line(leader)
        axes.text(1.05, inch / plot, backend.label, transform=axes.transAxes, va="center_baseline")
    axes.set_xlabel("Lines of code (log)", labelpad=1)


# Places --------------------------------------------------------------------------------------------------------------


def _columns(cases: Sequence[CaseView]) -> list[list[CaseView]]:
    names = dict.fromkeys(view.case.workload for view in cases)
    return [[view for view in cases if view.case.workload == name] for name in names]


def _groups(cases: Sequence[CaseView]) -> list[tuple[str, list[BackendView]]]:
    """Return the backends by division, sorted by the geometric mean of their ratios; those without a ratio last."""
    found: dict[str, BackendView] = {}
    for backend in (backend for view in cases for backend in view.backends):
        found.setdefault(backend.name, backend)
    logs: dict[str, list[float]] = {name: [] for name in found}
    for backend in (backend for view in cases for backend in view.backends):
        ratio = relative(backend)
        if ratio:
            logs[backend.name].append(math.log(centre_of(ratio)))
    means = {name: fmean(values) if values else -math.inf for name, values in logs.items()}
    by_speed = sorted(found.values(), key=lambda backend: (division_place(backend.division), -means[backend.name]))
    return [(division, list(some)) for division, some in groupby(by_speed, key=lambda backend: backend.division)]


def _values(column: Column, dtype: str) -> dict[str, str]:
    """Return the ratios of a column's cases of this dtype as text, by backend."""
    ratios = {
        backend.name: relative(backend) for view in column if view.case.dtype == dtype for backend in view.backends
    }
    return {name: f"{centre_text(ratio)}×" for name, ratio in ratios.items() if ratio}


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
