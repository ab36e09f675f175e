"""The figures of a run, for a journal's column: sweeps, step times, ratios, shares of the peak, rooflines, curves.

What they share is in `drawing`; what they may say is decided in `rows`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.report.drawing import (
    AXIS,
    BLACK,
    DPI,
    EDGE,
    FAINT,
    GAP,
    LEGEND,
    LINE,
    LINE_COLOURS,
    LINE_STYLES,
    MUTED,
    PAGE,
    ROW,
    SHADE,
    STYLE,
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
from bench.report.overview import PANELS, effort, overview, relative
from bench.report.rows import CaseRows, Quantity, Roof, Row, number, roofs_of, told, unit_of
from bench.report.scaling import scaling
from bench.report.sweeps import Sweep, sweeps_of
from bench.results import Curve, Results

Key = tuple[str, str, int]
FLOOR, ROOF = "noise floor", "roof"  # the groups they have in the SVG
SHAPES: Mapping[str, tuple[str, ...]] = {"plain": ("o", "^", "v", "<"), "tuned": ("s", "P"), "framework": ("D", "X")}
OTHER_SHAPES = ("*", "p")


@dataclass(frozen=True)
class Kind:
    """A kind of dot figure.

    Attributes
    ----------
    stem : str
        Begins the file's name.
    quantity : callable
        What of a row is drawn: seconds, a ratio, or percent of the peak; None where there is nothing to draw.
    unit : {"seconds", "ratio", "percent"}
    """

    stem: str
    quantity: Callable[[Row], Quantity | None]
    unit: Literal["seconds", "ratio", "percent"]

    @property
    def relative(self) -> bool:
        """To the reference, and so under a noise floor."""
        return self.unit == "ratio"


def _share(row: Row) -> Quantity | None:
    """As wide an interval as the step time's: the peak is taken for what the probes found."""
    share = row.backend.ceiling_share
    if share is None or row.step is None or row.step.interval is None:
        return None
    low, high = row.step.interval
    at_once = 100 * share * row.step.value
    return Quantity(100 * share, (at_once / high, at_once / low))


STEP_TIME = Kind("step_time", lambda row: row.step, "seconds")
RATIO = Kind("ratio", relative, "ratio")
SHARE = Kind("share", _share, "percent")
NEEDS: Mapping[str, Callable[[Row], object]] = {"ratio": lambda row: row.ratio, "share": _share}


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw and save every figure, as PNG and SVG; the files written.

    The files are ``sweep_<along>_<workload>_<operation>_<dtype>_<threads>t`` for each sweep (along threads without the
    last part), whose cases are in no other figure. Of the others they are ``overview_<operation>_<threads>t`` and
    ``effort_<operation>_<dtype>_<threads>t``, ``step_time_<operation>_<dtype>_<threads>t``, ``ratio_…`` and ``share_…``
    likewise (where there are any), each going on in ``…_2`` where it outgrows a page, ``roofline_…`` likewise where the
    machine was probed, and ``curve_<workload>_<dtype>_<threads>t`` for each training curve.
    """
    written = []
    with style.context(["default", STYLE]):
        for stem, figure in figures(results):
            for suffix in (".png", ".svg"):
                path = folder / (re.sub(r"[^\w+-]", "_", stem) + suffix)
                metadata = {"Date": None} if suffix == ".svg" else None
                figure.savefig(path, dpi=DPI, metadata=metadata)
                written.append(path)
    return written


def figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """Every figure of a run by the stem of its file's name."""
    sweeps, cases = sweeps_of(told(results))
    source = _source(results)
    yield from _swept(sweeps, source)
    yield from _at_a_glance(cases, source)
    for (operation, dtype, threads), group in groupby(sorted(cases, key=_key), key=_key):
        panels = list(group)
        name = f"{operation}_{dtype}_{threads}t"
        for kind in (STEP_TIME, RATIO, SHARE):
            needed = NEEDS.get(kind.stem)
            if needed and not any(needed(row) for rows in panels for row in rows.rows):
                continue
            for page, some in enumerate(_pages(panels), 1):
                stem = f"{kind.stem}_{name}" + (f"_{page}" if page > 1 else "")
                yield stem, dots(kind, some, [source, *_data_notes(some)])
        roofs = roofs_of(results, dtype, threads)
        if roofs and any(rows.intensity and row.backend.gflops for rows in panels for row in rows.rows):
            yield f"roofline_{name}", roofline(panels, roofs, [source])
    for rows in cases:
        if any(_curve(row) for row in rows.rows):
            case = rows.case
            yield f"curve_{case.workload}_{case.dtype}_{case.threads}t", curves(rows, [source, *_data_notes([rows])])


def _swept(sweeps: Sequence[Sweep], source: str) -> Iterator[tuple[str, Figure]]:
    for sweep in sweeps:
        case = sweep.points[0].rows.case
        data = [f"Data: {case.data.rstrip('.')}."] if case.data else []
        figure = scaling(sweep, [source, *data])
        threads = "" if sweep.along == "threads" else f"_{case.threads}t"
        if figure:
            yield f"sweep_{sweep.along}_{sweep.workload}_{case.operation}_{case.dtype}{threads}", figure


def _at_a_glance(cases: Sequence[CaseRows], source: str) -> Iterator[tuple[str, Figure]]:
    """All workloads together, of those that have ratios."""
    compared = [rows for rows in cases if any(row.ratio for row in rows.rows)]
    for (operation, threads), group in groupby(sorted(compared, key=_together), key=_together):
        some = list(group)
        names = list(dict.fromkeys(rows.case.workload for rows in some))
        for page, first in enumerate(range(0, len(names), PANELS), 1):
            shown = [rows for rows in some if rows.case.workload in names[first : first + PANELS]]
            stem = f"overview_{operation}_{threads}t" + (f"_{page}" if page > 1 else "")
            yield stem, overview(shown, [source, *_data_notes(shown)])
        for dtype in dict.fromkeys(rows.case.dtype for rows in some):
            figure = effort([rows for rows in some if rows.case.dtype == dtype], [source])
            if figure:
                yield f"effort_{operation}_{dtype}_{threads}t", figure


def dots(kind: Kind, panels: Sequence[CaseRows], footnotes: Sequence[str]) -> Figure:
    """Dots with interval whiskers on a log axis, a panel a case, a row a backend, grouped by division.

    A backend without a value has, in place of its dot, its status.
    """
    rows = [row for panel in panels for row in panel.rows]
    left = max((width_of(shortened(row.label)) for row in rows), default=0.0) + 2 * EDGE
    values = [_value_text(kind, row, panel) for panel in panels for row in panel.rows]
    right = max(map(width_of, values), default=0.0) + 2 * EDGE
    foot = wrapped([_bars_note(kind, rows), *footnotes])
    height = 1.5 * LINE + sum(map(_height, panels)) + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    figure.legend(handles=_legend(kind, panels), loc="upper left", ncols=5, **LEGEND)
    top = height - 1.5 * LINE
    for panel in panels:
        spanned = ROW * _span(panel)
        figure.text(EDGE / WIDTH, (top - 1.4 * LINE) / height, panel.case.title, weight="bold", va="baseline")
        bottom = top - 1.8 * LINE - spanned
        box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, spanned / height)
        _dot_panel(figure.add_axes(box), kind, panel)
        top -= _height(panel)
    put_footnotes(figure, foot)
    return figure


def curves(rows: CaseRows, footnotes: Sequence[str]) -> Figure:
    """Loss at the ends of epochs against wall time, a line a backend, each named above its first epoch.

    The start, at 0 seconds, has no place on a log axis: it is the dotted line.
    """
    drawn = sorted(((row, curve) for row in rows.rows if (curve := _curve(row))), key=lambda pair: pair[1].seconds[1])
    absent = [f"{row.label} ({_without_curve(row)})" for row in rows.rows if not _curve(row)]
    foot = wrapped([*([f"No curve: {', '.join(absent)}."] if absent else []), *footnotes])
    names = max(width_of(shortened(row.label)) for row, _ in drawn) + EDGE
    plot, left, right = 2.0, 0.55, 0.12
    height = 3.2 * LINE + names + 0.1 + plot + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    figure.text(EDGE / WIDTH, (height - 1.2 * LINE) / height, rows.case.title, weight="bold", va="baseline")
    divisions = {row.backend.division for row, _ in drawn}
    handles = [division_handle(division, MUTED) for division in ordered(divisions)]
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 1 - 1.4 * LINE / height), ncols=5, **LEGEND)
    bottom = AXIS + LINE * len(foot) + EDGE
    axes = figure.add_axes((left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, plot / height))
    _curve_panel(axes, drawn, WIDTH - left - right)
    put_footnotes(figure, foot)
    return figure


def roofline(panels: Sequence[CaseRows], roofs: Sequence[Roof], footnotes: Sequence[str]) -> Figure:
    """Speed against arithmetic intensity under each device's roof: the slope of its best bandwidth, then its peak.

    A point a backend and workload: the shape is its division's, shape and colour together the backend's, and where it
    stands the workload's, which is named at the foot.

    A point may lie above the slope: what stays in a cache or on the chip from step to step does not come from memory.
    """
    drawn = [rows for rows in panels if rows.intensity and any(row.backend.gflops for row in rows.rows)]
    lines = (
        f"{roof.device}: {number(roof.gflops)} GFLOP/s, {number(roof.gigabytes_per_second)} GB/s" for roof in roofs
    )
    foot = wrapped(
        [
            f"Roofs: {'; '.join(lines)}. Hollow: not on the CPU.",
            "Bytes: those a step cannot do without (θ read and written, its rows read). Above a slope: what stays near "
            "from step to step does not come from memory.",
            *footnotes,
        ]
    )
    looks = _looks(drawn)
    handles = _roofline_legend(looks, roofs)
    widest = max(width_of(shortened(str(handle.get_label()))) for handle in handles)
    columns = max(1, min(len(handles), int(WIDTH / (widest + 0.35))))
    legend = LINE * 1.25 * -(-len(handles) // columns)
    plot, left, right = 3.2, 0.68, 0.12
    height = 2.2 * LINE + legend + plot + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    case = panels[0].case
    title = f"Roofline · {case.operation} · {case.dtype} · {case.threads} thread{'s' * (case.threads != 1)}"
    figure.text(EDGE / WIDTH, (height - 1.2 * LINE) / height, title, weight="bold", va="baseline")
    place = (0, 1 - 1.4 * LINE / height)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=columns, labelspacing=0.25, **LEGEND)
    bottom = AXIS + LINE * len(foot) + EDGE
    axes = figure.add_axes((left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, plot / height))
    _roofline_panel(axes, drawn, roofs, looks)
    put_footnotes(figure, foot)
    return figure


def _looks(panels: Sequence[CaseRows]) -> dict[tuple[str, str], tuple[str, str]]:
    """Marker and colour of each backend with a point, by its division and label: no two alike, up to 28 a division."""
    present = dict.fromkeys(
        (row.backend.division, row.label) for rows in panels for row in rows.rows if row.backend.gflops
    )
    looks: dict[tuple[str, str], tuple[str, str]] = {}
    for division in ordered({division for division, _ in present}):
        labels = [label for of, label in present if of == division]
        shapes = SHAPES.get(division, OTHER_SHAPES)
        for i, label in enumerate(labels):
            shape = shapes[i // len(LINE_COLOURS) % len(shapes)]
            looks[division, label] = shape, LINE_COLOURS[len(looks) % len(LINE_COLOURS)]
    return looks


def _roofline_legend(looks: Mapping[tuple[str, str], tuple[str, str]], roofs: Sequence[Roof]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=3.8, linestyle="none", label=shortened(label))
        for (_, label), (marker, colour) in looks.items()
    ]
    lines = zip(roofs, LINE_STYLES, strict=False)
    return handles + [
        Line2D([], [], color=BLACK, linestyle=line, linewidth=0.9, label=f"roof: {roof.device}") for roof, line in lines
    ]


def _dot_panel(axes: Axes, kind: Kind, panel: CaseRows) -> None:
    scale = panel.unit.seconds if kind.unit == "seconds" else 1.0
    at = _places(panel)
    across = axes.get_yaxis_transform()  # x in fractions of the axes, y in rows
    drawn = [quantity for row in panel.rows if (quantity := kind.quantity(row))]
    bounds = [b / scale for q in drawn for b in (q.interval or (q.value, q.value))]
    if kind.relative and panel.floor is not None:
        floor = 1 + panel.floor
        bounds += [1 / floor, floor]
        axes.axvspan(1 / floor, floor, color=SHADE, linewidth=0, zorder=0, gid=FLOOR)
        axes.axvline(1, color=BLACK, linewidth=0.4, zorder=1)
    if kind.unit == "percent":
        bounds.append(100)
        axes.axvline(100, color=BLACK, linewidth=0.4, zorder=1)
    log_axis(axes, "x", bounds)
    for row, y in zip(panel.rows, at, strict=True):
        quantity = kind.quantity(row)
        if quantity:
            _dot(axes, row, quantity, y, scale)
        else:
            word = f"no {kind.stem}" if row.step else row.status
            axes.text(0.5, y, word, transform=across, ha="center", **WORD)
        text = _value_text(kind, row, panel)
        axes.text(1 + EDGE / 2, y, text, transform=across, va="center_baseline")
    axes.set_ylim(_span(panel) - 0.5, -0.5)
    axes.set_yticks(at, [shortened(row.label) for row in panel.rows])
    axes.tick_params(axis="y", length=0)
    for label, row in zip(axes.get_yticklabels(), panel.rows, strict=True):
        label.set_color(BLACK if row.step else MUTED)
    axes.set_xlabel(_axis_label(kind, panel) if drawn else "No backend was timed", labelpad=1)


def _dot(axes: Axes, row: Row, quantity: Quantity, y: float, scale: float) -> None:
    marker, colour = marker_of(row)
    axes.axhline(y, color=FAINT, linewidth=0.5, zorder=0.5)
    value = quantity.value / scale
    if quantity.interval:
        low, high = (bound / scale for bound in quantity.interval)
        axes.plot([low, high], [y, y], color=colour, linewidth=1.1, marker="|", markersize=4, zorder=2)
    face = colour if quantity.interval else "white"
    axes.plot([value], [y], marker=marker, markersize=3.8, markerfacecolor=face, markeredgecolor=colour, zorder=3)


def _value_text(kind: Kind, row: Row, panel: CaseRows) -> str:
    quantity = kind.quantity(row)
    if quantity is None:
        return ""
    if kind.relative:
        return f"{number(quantity.value)}×" if row.ratio else row.verdict
    if kind.unit == "percent":
        return f"{number(quantity.value, 2)} %"
    rate = f", {row.rate}/s" if row.rate else ""
    return f"{number(quantity.value / panel.unit.seconds)} {panel.unit.name}{rate}"


def _axis_label(kind: Kind, panel: CaseRows) -> str:
    if kind.unit == "percent":
        return (
            f"Share of the peak (%); line: {peaks}" if (peaks := _peaks(panel)) else "No share: the peak is not known"
        )
    if not kind.relative:
        return f"{'Network-step' if panel.case.members > 1 else 'Step'} time ({panel.unit.name})"
    if panel.floor is None:
        return "No ratio: no noise floor" if panel.case.reference else "No ratio: no reference"
    return f"Speed relative to {panel.case.reference} (×); noise floor {number(100 * panel.floor, 2)} %"


def _peaks(panel: CaseRows) -> str:
    """What 100 % is, of each device in a panel."""
    devices = dict.fromkeys(row.backend.device for row in panel.rows if _share(row)) or {"cpu": None}
    peaks = ((device, panel.case.ceiling_of(device)) for device in devices)
    return ", ".join(f"{number(peak)} GFLOP/s{_on(device)}" for device, peak in peaks if peak)


def _on(device: str) -> str:
    return "" if device == "cpu" else f" ({device})"


def _roofline_panel(
    axes: Axes, panels: Sequence[CaseRows], roofs: Sequence[Roof], looks: Mapping[tuple[str, str], tuple[str, str]]
) -> None:
    points = [
        (rows.intensity, row.backend.gflops, row)
        for rows in panels
        for row in rows.rows
        if rows.intensity and row.backend.gflops
    ]
    across = [intensity for intensity, _, _ in points]
    low, high = min([*across, *(roof.ridge for roof in roofs)]) / 2, max([*across, *(roof.ridge for roof in roofs)]) * 2
    for roof, line in zip(roofs, LINE_STYLES, strict=False):
        corners = [low, roof.ridge, high]
        height = [roof.at(intensity) for intensity in corners]
        axes.plot(corners, height, color=BLACK, linestyle=line, linewidth=0.9, zorder=1, label=roof.device, gid=ROOF)
    for intensity, speed, row in points:
        marker, colour = looks[row.backend.division, row.label]
        face = colour if row.backend.device == "cpu" else "white"
        axes.plot(
            [intensity], [speed], marker=marker, markersize=3.8, markerfacecolor=face,
            markeredgecolor=colour, linestyle="none", zorder=3, label=row.label,
        )  # fmt: skip
    heights = [speed for _, speed, _ in points]
    log_axis(axes, "x", [low, high])
    log_axis(axes, "y", [*heights, *(roof.at(low) for roof in roofs), *(2 * roof.gflops for roof in roofs)])
    at_foot = axes.get_xaxis_transform()  # x in the data's units, y in fractions of the axes
    for intensity, names in _named(panels).items():
        axes.axvline(intensity, color=FAINT, linewidth=0.5, zorder=0.5)
        axes.annotate(
            ", ".join(names), (intensity, 0.01), xycoords=at_foot, xytext=(-3, 0), textcoords="offset points",
            rotation=90, ha="right", color=MUTED,
        )  # fmt: skip
    axes.set_xlabel("Arithmetic intensity (FLOP/byte)", labelpad=1)
    axes.set_ylabel("Attained (GFLOP/s)")


def _named(panels: Sequence[CaseRows]) -> dict[float, list[str]]:
    """Workloads by their intensity: one line and one text each."""
    names: dict[float, list[str]] = {}
    for rows in panels:
        if rows.intensity:
            names.setdefault(rows.intensity, []).append(rows.case.workload)
    return names


def _curve_panel(axes: Axes, drawn: Sequence[tuple[Row, Curve]], inches: float) -> None:
    unit = unit_of(second for _, curve in drawn for second in curve.seconds[1:])
    lines = [([second / unit.seconds for second in curve.seconds[1:]], curve.losses[1:]) for _, curve in drawn]
    losses = [loss for _, curve in drawn for loss in curve.losses]
    log_axis(axes, "x", [x for xs, _ in lines for x in xs])
    if min(losses) > 0 and max(losses) / min(losses) > 5:
        log_axis(axes, "y", losses)
    else:
        margin = 0.05 * (max(losses) - min(losses) or 1.0)
        axes.set_ylim(min(losses) - margin, max(losses) + margin)
    for i, ((row, _), (x, y)) in enumerate(zip(drawn, lines, strict=True)):
        axes.plot(
            x,
            y,
            color=LINE_COLOURS[i % len(LINE_COLOURS)],
            linestyle=LINE_STYLES[i // len(LINE_COLOURS) % len(LINE_STYLES)],
            linewidth=1.0,
            marker=marker_of(row)[0],
            markersize=2.8,
            markevery=max(1, len(x) // 5),
            label=row.label,
        )
    axes.axhline(drawn[0][1].losses[0], color=MUTED, linewidth=0.7, linestyle=":", zorder=0)
    axes.set_xlabel(f"Wall time ({unit.name})", labelpad=1)
    axes.set_ylabel("Training loss (dotted: at the start)")
    _names_above(axes, [shortened(row.label) for row, _ in drawn], [(x[0], y[0]) for x, y in lines], inches)


def _names_above(axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], inches: float) -> None:
    """A name above the axes for each point, joined to it by a thin line; names keep a line's distance."""
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = [to_fraction.transform(point) for point in points]
    distance = min(LINE, inches / len(points))
    places = spread([inches * x for x, _ in ends], distance, inches)
    for i, (name, (x, y), inch) in enumerate(zip(names, ends, places, strict=True)):
        place = inch / inches
        leader = axes.plot([x, place, place], [y, 1.0, 1.03], transform=axes.transAxes, clip_on=False, zorder=1)
        leader[0].set(color=LINE_COLOURS[i % len(LINE_COLOURS)], linewidth=0.5)
        axes.text(place, 1.04, name, transform=axes.transAxes, rotation=90, ha="center", va="bottom")


def _legend(kind: Kind, panels: Sequence[CaseRows]) -> list[Line2D | Patch]:
    divisions = {division for panel in panels for division, _ in panel.groups}
    handles: list[Line2D | Patch] = [division_handle(division) for division in ordered(divisions)]
    if kind.relative:
        handles.append(Patch(facecolor=SHADE, label="noise floor"))
    return handles


def _pages(panels: Sequence[CaseRows]) -> Iterator[list[CaseRows]]:
    page: list[CaseRows] = []
    for panel in panels:
        if page and sum(map(_height, [*page, panel])) > PAGE:
            yield page
            page = []
        page.append(panel)
    yield page


def _places(panel: CaseRows) -> list[float]:
    """The y of each row, in rows, a gap between divisions."""
    return [i + GAP * g for i, g in enumerate(g for g, (_, rows) in enumerate(panel.groups) for _ in rows)]


def _span(panel: CaseRows) -> float:
    return max(1.0, len(panel.rows) + GAP * (len(panel.groups) - 1))


def _height(panel: CaseRows) -> float:
    return ROW * _span(panel) + 1.8 * LINE + AXIS


def _key(rows: CaseRows) -> Key:
    return rows.case.operation, rows.case.dtype, rows.case.threads


def _together(rows: CaseRows) -> tuple[str, int]:
    return rows.case.operation, rows.case.threads


def _curve(row: Row) -> Curve | None:
    curve = row.backend.curve
    return curve if row.status == "ok" and curve and len(curve.seconds) > 1 else None


def _without_curve(row: Row) -> str:
    return "not recorded" if row.status == "ok" else row.status


def _source(results: Results) -> str:
    """Machine and version in a line; says so where either is not recorded."""
    cpu = results.host.get("cpu_model") or "CPU not recorded"
    version = results.host.get("pyfnn")
    return f"{cpu}; pyfnn {version or '(version not recorded)'}."


def _bars_note(kind: Kind, rows: Sequence[Row]) -> str:
    drawn = [quantity for row in rows if (quantity := row.ratio if kind.relative else row.step)]
    notes = (
        ["Bars: 95\N{NO-BREAK SPACE}% intervals over launches, where wider than the mark."]
        if any(q.interval for q in drawn)
        else []
    )
    if not all(q.interval for q in drawn):
        notes.append("Hollow: a single launch, no interval.")
    return " ".join(notes)


def _data_notes(panels: Sequence[CaseRows]) -> list[str]:
    told: dict[str, dict[str, None]] = {}
    for panel in panels:
        if panel.case.data:
            told.setdefault(panel.case.data.rstrip("."), {})[panel.case.workload] = None
    return [f"Data of {', '.join(workloads)}: {sentence}." for sentence, workloads in told.items()]
