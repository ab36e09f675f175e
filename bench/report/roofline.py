"""The roofline figure: speed against arithmetic intensity."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.format import number, threads_text
from bench.report.drawing import (
    AXIS,
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
    put_footnotes,
    shortened,
    width_of,
    wrapped,
)
from bench.report.style import BLACK
from bench.report.views import CaseView, Roof, in_division_order

SHAPES: Mapping[str, tuple[str, ...]] = {"plain": ("o", "^", "v", "<"), "tuned": ("s", "P"), "framework": ("D", "X")}
OTHER_SHAPES = ("*", "p")


def roofline(panels: Sequence[CaseView], roofs: Sequence[Roof], footnotes: Sequence[str]) -> Figure:
    """Draw speed against arithmetic intensity under the roof of each device: its bandwidth line, then its peak.

    There is one point per backend and workload. The shape gives the division, shape and colour together the backend,
    and the x position the workload, whose name stands at the foot. A point may lie above the bandwidth line, because
    data that stays in a cache from step to step does not come from memory.
    """
    drawn = [view for view in panels if view.intensity and any(backend.result.gflops for backend in view.backends)]
    lines = (
        f"{roof.device}: {number(roof.gflops)} GFLOP/s, {number(roof.gigabytes_per_second)} GB/s" for roof in roofs
    )
    foot = wrapped(
        [
            f"Roof of {'; '.join(lines)}. Hollow marks: not on the CPU.",
            "Bytes: the least a step can move (θ read and written, its rows read). Points above a bandwidth line: data "
            "stays in a cache from step to step.",
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
    title = f"Roofline · {case.operation} · {case.dtype} · {threads_text(case.threads)}"
    figure.text(EDGE / WIDTH, (height - 1.2 * LINE) / height, title, weight="bold", va="baseline")
    place = (0, 1 - 1.4 * LINE / height)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=columns, labelspacing=0.25, **LEGEND)
    bottom = AXIS + LINE * len(foot) + EDGE
    axes = figure.add_axes((left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, plot / height))
    _roofline_panel(axes, drawn, roofs, looks)
    put_footnotes(figure, foot)
    return figure


def _looks(panels: Sequence[CaseView]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return marker and colour of each backend with a point, by division and label; unique up to 28 per division."""
    present = dict.fromkeys(
        (backend.division, backend.label) for view in panels for backend in view.backends if backend.result.gflops
    )
    looks: dict[tuple[str, str], tuple[str, str]] = {}
    for division in in_division_order({division for division, _ in present}):
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
        (view.intensity, backend.result.gflops, backend)
        for view in panels
        for backend in view.backends
        if view.intensity and backend.result.gflops
    ]
    across = [intensity for intensity, _, _ in points]
    low, high = min([*across, *(roof.ridge for roof in roofs)]) / 2, max([*across, *(roof.ridge for roof in roofs)]) * 2
    for roof, line in zip(roofs, LINE_STYLES, strict=False):
        corners = [low, roof.ridge, high]
        height = [roof.at(intensity) for intensity in corners]
        axes.plot(corners, height, color=BLACK, linestyle=line, linewidth=0.9, zorder=1, label=roof.device, gid=ROOF)
    for intensity, speed, backend in points:
        marker, colour = looks[backend.division, backend.label]
        face = colour if backend.result.device == "cpu" else "white"
        axes.plot(
            [intensity], [speed], marker=marker, markersize=3.8, markerfacecolor=face,
            markeredgecolor=colour, linestyle="none", zorder=3, label=backend.label,
        )  # fmt: skip
    heights = [speed for _, speed, _ in points]
    log_axis(axes, "x", [low, high])
    log_axis(axes, "y", [*heights, *(roof.at(low) for roof in roofs), *(2 * roof.gflops for roof in roofs)])
    at_foot = axes.get_xaxis_transform()  # x in data units, y in fractions of the axes
    for intensity, names in _workloads_by_intensity(panels).items():
        axes.axvline(intensity, color=FAINT, linewidth=0.5, zorder=0.5)
        axes.annotate(
            ", ".join(names), (intensity, 0.01), xycoords=at_foot, xytext=(-3, 0), textcoords="offset points",
            rotation=90, ha="right", color=MUTED,
        )  # fmt: skip
    axes.set_xlabel("Arithmetic intensity (FLOP/byte)", labelpad=1)
    axes.set_ylabel("Attained (GFLOP/s)")


def _workloads_by_intensity(panels: Sequence[CaseView]) -> dict[float, list[str]]:
    """Return the workloads by intensity."""
    names: dict[float, list[str]] = {}
    for view in panels:
        if view.intensity:
            names.setdefault(view.intensity, []).append(view.case.workload)
    return names
