"""The roofline figure: speed against arithmetic intensity."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.format import number
from bench.report.drawing import (
    AXIS,
    BLACK,
    EDGE,
    FAINT,
    LEGEND,
    LINE,
    LINE_COLOURS,
    LINE_STYLES,
    MUTED,
    ROOF,
    WIDTH,
    log_axis,
    ordered,
    put_footnotes,
    shortened,
    width_of,
    wrapped,
)
from bench.report.rows import CaseView, Roof

SHAPES: Mapping[str, tuple[str, ...]] = {"plain": ("o", "^", "v", "<"), "tuned": ("s", "P"), "framework": ("D", "X")}
OTHER_SHAPES = ("*", "p")


def roofline(panels: Sequence[CaseView], roofs: Sequence[Roof], footnotes: Sequence[str]) -> Figure:
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


def _looks(panels: Sequence[CaseView]) -> dict[tuple[str, str], tuple[str, str]]:
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


def _roofline_panel(
    axes: Axes, panels: Sequence[CaseView], roofs: Sequence[Roof], looks: Mapping[tuple[str, str], tuple[str, str]]
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


def _named(panels: Sequence[CaseView]) -> dict[float, list[str]]:
    """Workloads by their intensity: one line and one text each."""
    names: dict[float, list[str]] = {}
    for rows in panels:
        if rows.intensity:
            names.setdefault(rows.intensity, []).append(rows.case.workload)
    return names
