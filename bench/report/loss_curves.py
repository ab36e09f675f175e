"""The figure of loss against training time."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.format import unit_of
from bench.report.drawing import (
    AXIS,
    EDGE,
    LINE,
    LINE_COLOURS,
    LINE_STYLES,
    MUTED,
    WIDTH,
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
from bench.report.views import BackendView, CaseView, in_division_order
from bench.results.schema import Curve


def loss_curves(view: CaseView, footnotes: Sequence[str]) -> Figure:
    """Draw the loss at the ends of epochs against wall time: one line per backend, named above its first epoch.

    A log axis cannot show the start, at 0 seconds: the dotted line is the loss there.
    """
    drawn = sorted(
        ((backend, curve) for backend in view.backends if (curve := curve_of(backend))),
        key=lambda pair: pair[1].seconds[1],
    )
    absent = [f"{backend.label} ({_without_curve(backend)})" for backend in view.backends if not curve_of(backend)]
    foot = wrapped([*([f"No curve: {', '.join(absent)}."] if absent else []), *footnotes])
    names = max(width_of(shortened(backend.label)) for backend, _ in drawn) + EDGE
    plot, left, right = 2.0, 0.55, 0.12
    height = 3.2 * LINE + names + 0.1 + plot + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    divisions = {backend.division for backend, _ in drawn}
    put_head(figure, view.case.title, [division_handle(division, MUTED) for division in in_division_order(divisions)])
    bottom = AXIS + LINE * len(foot) + EDGE
    axes = figure.add_axes((left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, plot / height))
    _curve_panel(axes, drawn, WIDTH - left - right)
    put_footnotes(figure, foot)
    return figure


def _curve_panel(axes: Axes, drawn: Sequence[tuple[BackendView, Curve]], inches: float) -> None:
    unit = unit_of(second for _, curve in drawn for second in curve.seconds[1:])
    lines = [([second / unit.seconds for second in curve.seconds[1:]], curve.losses[1:]) for _, curve in drawn]
    losses = [loss for _, curve in drawn for loss in curve.losses]
    log_axis(axes, "x", [x for xs, _ in lines for x in xs])
    if min(losses) > 0 and max(losses) / min(losses) > 5:
        log_axis(axes, "y", losses)
    else:
        margin = 0.05 * (max(losses) - min(losses) or 1.0)
        axes.set_ylim(min(losses) - margin, max(losses) + margin)
    for i, ((backend, _), (x, y)) in enumerate(zip(drawn, lines, strict=True)):
        axes.plot(
            x,
            y,
            color=LINE_COLOURS[i % len(LINE_COLOURS)],
            linestyle=LINE_STYLES[i // len(LINE_COLOURS) % len(LINE_STYLES)],
            linewidth=1.0,
            marker=marker_of(backend)[0],
            markersize=2.8,
            markevery=max(1, len(x) // 5),
            label=backend.label,
        )
    axes.axhline(drawn[0][1].losses[0], color=MUTED, linewidth=0.7, linestyle=":", zorder=0)
    axes.set_xlabel(f"Wall time ({unit.name})", labelpad=1)
    axes.set_ylabel("Training loss (dotted: at the start)")
    _names_above(axes, [shortened(backend.label) for backend, _ in drawn], [(x[0], y[0]) for x, y in lines], inches)


def _names_above(axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], inches: float) -> None:
    """Write a name above the axes for each point and join them by a thin line; names do not overlap."""
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = [to_fraction.transform(point) for point in points]
    distance = min(LINE, inches / len(points))
    places = spread([inches * x for x, _ in ends], distance, inches)
    for i, (name, (x, y), inch) in enumerate(zip(names, ends, places, strict=True)):
        place = inch / inches
        leader = axes.plot([x, place, place], [y, 1.0, 1.03], transform=axes.transAxes, clip_on=False, zorder=1)
        leader[0].set(color=LINE_COLOURS[i % len(LINE_COLOURS)], linewidth=0.5)
        axes.text(place, 1.04, name, transform=axes.transAxes, rotation=90, ha="center", va="bottom")


def curve_of(backend: BackendView) -> Curve | None:
    """Return the loss curve of a backend that is ok, if it has an epoch."""
    curve = backend.result.curve
    return curve if backend.status == "ok" and curve and len(curve.seconds) > 1 else None


def _without_curve(backend: BackendView) -> str:
    return "not recorded" if backend.status == "ok" else backend.status
