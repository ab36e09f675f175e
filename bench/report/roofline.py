"""The roofline figure: speed against arithmetic intensity."""

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from bench.format import number, threads_text
from bench.report.drawing import (
    AXIS,
    EDGE,
    FAINT,
    LEGEND,
    LINE,
    MUTED,
    ROOF,
    WIDTH,
    divisions_note,
    dodged,
    log_axis,
    put_footnotes,
    put_title,
    shortened,
    width_of,
    wrapped,
)
from bench.report.style import BLACK, backend_style
from bench.report.views import MEMORY, BackendView, CaseView, Roof

_APART = 0.07  # inches between marks: their width
# Line styles of memory and caches; another cache has that of L1.
LINES: Mapping[str, Literal["-", "--", "-.", ":"]] = {MEMORY: "-", "L3": "--", "L2": "-.", "L1": ":"}


def roofline(panels: Sequence[CaseView], roofs: Sequence[Roof], footnotes: Sequence[str]) -> Figure:
    """Draw speed against arithmetic intensity, under the bandwidth of each cache and of memory, and under the peak.

    There is one point per backend and workload. Its x position gives the workload, whose name stands at the foot. Data
    that stays in a cache or in registers from step to step does not come from memory, so a point may lie above memory's
    line: then that data came from a level whose line lies above it or, above all lines, from registers.
    """
    drawn = [view for view in panels if view.intensity and any(backend.result.gflops for backend in view.backends)]
    backends = {backend.name: backend for view in drawn for backend in view.backends if backend.result.gflops}
    peaks = "; ".join(f"{roof.device}: {number(roof.gflops)} GFLOP/s" for roof in roofs)
    foot = wrapped(
        [
            f"Horizontal: the peak ({peaks}). Hollow marks: not on the CPU.",
            "Bytes: the least a step can move (θ read and written, its rows read). A point above the line of memory: "
            "its data stays in a cache or in registers from step to step.",
            "Marks that would overlap stand side by side: their intensity is that of the vertical line.",
            divisions_note(backends.values()),
            *footnotes,
        ]
    )
    handles = _legend(list(backends.values()), roofs)
    widest = max(width_of(shortened(str(handle.get_label()))) for handle in handles)
    columns = max(1, min(len(handles), int(WIDTH / (widest + 0.35))))
    legend = LINE * 1.25 * -(-len(handles) // columns)
    plot, left, right = 3.2, 0.68, 0.12
    height = 2.2 * LINE + legend + plot + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    case = panels[0].case
    title = f"Roofline · {case.operation} · {case.dtype} · {threads_text(case.threads)}"
    put_title(figure, title)
    place = (0, 1 - 1.4 * LINE / height)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=columns, labelspacing=0.25, **LEGEND)
    bottom = AXIS + LINE * len(foot) + EDGE
    axes = figure.add_axes((left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, plot / height))
    _roofline_panel(axes, drawn, roofs)
    put_footnotes(figure, foot)
    return figure


def _legend(backends: Sequence[BackendView], roofs: Sequence[Roof]) -> list[Line2D]:
    handles = [
        Line2D(
            [], [], color=style.colour, marker=style.marker, markersize=3.8, linestyle="none", label=shortened(label)
        )
        for label, style in ((backend.label, backend_style(backend.name)) for backend in backends)
    ]
    return handles + [
        Line2D(
            [],
            [],
            color=_colour(roof),
            linestyle=LINES.get(level, ":"),
            linewidth=0.9,
            label=_line_name(roof, level, speed),
        )
        for roof in roofs
        for level, speed in roof.bandwidths.items()
    ]


def _line_name(roof: Roof, level: str, speed: float) -> str:
    device = "" if roof.device == "cpu" else f"{roof.device} "
    return f"{device}{level} {number(speed)} GB/s"


def _colour(roof: Roof) -> str:
    return BLACK if roof.device == "cpu" else MUTED


def _roofline_panel(axes: Axes, panels: Sequence[CaseView], roofs: Sequence[Roof]) -> None:
    points = [
        (view.intensity, backend.result.gflops, backend)
        for view in panels
        for backend in view.backends
        if view.intensity and backend.result.gflops
    ]
    ridges = [roof.gflops / bandwidth for roof in roofs for bandwidth in roof.bandwidths.values()]
    across = [*(intensity for intensity, _, _ in points), *ridges]
    low, high = min(across) / 2, max(across) * 2
    for roof in roofs:
        for level, speed in roof.bandwidths.items():
            corners = [low, roof.gflops / speed, high]
            heights = [roof.at(intensity, level) for intensity in corners]
            axes.plot(
                corners, heights, color=_colour(roof), linestyle=LINES.get(level, ":"), linewidth=0.9, zorder=1,
                label=_line_name(roof, level, speed), gid=ROOF,
            )  # fmt: skip
    log_axis(axes, "x", [low, high])
    speeds = [speed for _, speed, _ in points]
    log_axis(axes, "y", [*speeds, *(roof.at(low) for roof in roofs), *(2 * roof.gflops for roof in roofs)])
    per_inch = axes.figure.dpi
    places = axes.transData.transform([(intensity, speed) for intensity, speed, _ in points]) / per_inch
    shifts = dodged([(x, y) for x, y in places.tolist()], _APART)
    for (intensity, speed, backend), shift in zip(points, shifts, strict=True):
        style = backend_style(backend.name)
        face = style.colour if backend.result.device == "cpu" else "white"
        axes.plot(
            [intensity], [speed], marker=style.marker, markersize=3.8, markerfacecolor=face,
            markeredgecolor=style.colour, linestyle="none", zorder=3, label=backend.label,
            transform=axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans),
        )  # fmt: skip
    at_foot = axes.get_xaxis_transform()  # x in data units, y in fractions of the axes
    for intensity, names in _workloads_by_intensity(panels).items():
        axes.axvline(intensity, color=FAINT, linewidth=0.5, zorder=0.5)
        axes.annotate(
            ", ".join(names), (intensity, 0.01), xycoords=at_foot, xytext=(-3, 0), textcoords="offset points",
            rotation=90, ha="right", color=MUTED,
        )  # fmt: skip
    axes.set_xlabel("Arithmetic intensity (FLOP/byte, log)", labelpad=1)
    axes.set_ylabel("Attained (GFLOP/s, log)")


def _workloads_by_intensity(panels: Sequence[CaseView]) -> dict[float, list[str]]:
    """Return the workloads by intensity."""
    names: dict[float, list[str]] = {}
    for view in panels:
        if view.intensity:
            names.setdefault(view.intensity, []).append(view.case.workload)
    return names
