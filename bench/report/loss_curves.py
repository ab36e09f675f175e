"""The figure of loss against training time: curves above, and below them the names, each at its curve's end."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.format import unit_of
from bench.report.drawing import (
    AXIS,
    EDGE,
    LINE,
    MUTED,
    SHADE,
    WIDTH,
    log_axis,
    put_footnotes,
    put_title,
    shortened,
    width_of,
    wrapped,
)
from bench.report.sentences import standing_out
from bench.report.style import BLACK, backend_style
from bench.report.views import BackendView, CaseView
from bench.results.schema import Curve

END = "end"  # id of the marks' groups in an SVG file
_PLOT, _LEFT = 1.8, 0.5  # inches: height of the curves; room for the y axis
_NAME = 0.05  # inches from a mark's line to its name

Drawn = Sequence[tuple[BackendView, Curve]]


def loss_curves(view: CaseView, footnotes: Sequence[str]) -> Figure:
    """Draw the loss against wall time, both on log axes where that helps: one line per backend.

    Below each curve's end hangs its name, that of the shortest curve lowest, so that no name lies on another or on a
    curve. Coloured by the verdicts on the step times: see `standing_out`. A curve is a single training without an
    interval, so that its end decides nothing. A log axis cannot show the start, at 0 seconds: the dotted line is the
    loss there.
    """
    drawn = sorted(
        ((backend, curve) for backend in view.backends if (curve := curve_of(backend))),
        key=lambda pair: pair[1].seconds[-1],
    )
    absent = [f"{backend.label} ({_without_curve(backend)})" for backend in view.backends if not curve_of(backend)]
    notes = [
        f"Names: where {_epochs(drawn[0][1].epochs[-1])}. One training each, no interval: the table of step times "
        f"decides which is faster. Coloured by its verdicts: {', '.join(_chosen(view, drawn))}.",
        "Dotted: the loss at the start.",
        *([f"No curve: {', '.join(absent)}."] if absent else []),
    ]
    foot = wrapped([*notes, *footnotes])
    names = LINE * (len(drawn) + 0.5)
    height = 1.8 * LINE + _PLOT + names + AXIS + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    put_title(figure, view.case.title)
    bottom = AXIS + LINE * len(foot) + EDGE
    axes = figure.add_axes((_LEFT / WIDTH, (bottom + names) / height, 0.5, _PLOT / height))
    ends = _curve_panel(axes, drawn, _chosen(view, drawn), names)
    room = WIDTH - _LEFT - 2 * EDGE
    wide = min(room, *((room - _NAME - width_of(shortened(label))) / x for label, x in ends.items()))
    axes.set_position((_LEFT / WIDTH, (bottom + names) / height, wide / WIDTH, _PLOT / height))
    put_footnotes(figure, foot)
    return figure


def _chosen(view: CaseView, drawn: Drawn) -> list[str]:
    """Return the names to colour, in the order of the table."""
    chosen, names = standing_out(view), {backend.name for backend, _ in drawn}
    return [backend.name for backend in view.backends if backend.name in chosen & names]


def _curve_panel(axes: Axes, drawn: Drawn, chosen: Sequence[str], names: float) -> dict[str, float]:
    """Draw the curves; return where each ends, in fractions of the width, by label."""
    unit = unit_of(curve.seconds[-1] for _, curve in drawn)
    losses = [loss for _, curve in drawn for loss in curve.losses]
    log_axis(axes, "x", [second / unit.seconds for _, curve in drawn for second in curve.seconds[1:]])
    if min(losses) > 0 and max(losses) / min(losses) > 3:
        log_axis(axes, "y", losses)
    else:
        margin = 0.05 * (max(losses) - min(losses) or 1.0)
        axes.set_ylim(min(losses) - margin, max(losses) + margin)
    axes.axhline(drawn[0][1].losses[0], color=MUTED, linewidth=0.7, linestyle=":", zorder=0)
    axes.spines["bottom"].set_visible(False)
    ends = {
        backend.label: _draw(axes, backend, curve, unit.seconds, at, coloured=backend.name in chosen)
        for at, (backend, curve) in enumerate(reversed(drawn))  # the longest has the uppermost name
    }
    axes.tick_params(axis="x", pad=72 * names, length=0)
    axes.grid(axis="x", color=SHADE, linewidth=0.3, zorder=0)
    axes.set_xlabel(f"Wall time ({unit.name}, log)", labelpad=1)
    axes.set_ylabel("Training loss (log)" if axes.get_yscale() == "log" else "Training loss")
    return ends


def _draw(axes: Axes, backend: BackendView, curve: Curve, unit: float, at: int, *, coloured: bool) -> float:
    """Draw a curve, a mark at its end, and below it the name, `at` lines below the panel; return the end's place."""
    style = backend_style(backend.name)
    colour = style.colour if coloured else SHADE
    seconds = [second / unit for second in curve.seconds[1:]]
    axes.plot(
        seconds, curve.losses[1:], color=colour, linewidth=1.3 if coloured else 0.7, zorder=3 if coloured else 2,
        label=backend.label,
    )  # fmt: skip
    axes.plot(
        seconds[-1:], curve.losses[-1:], marker=style.marker, markersize=3.4, color=style.colour, zorder=4, gid=END,
        linestyle="none",
    )  # fmt: skip
    to_fraction = axes.transData + axes.transAxes.inverted()
    x, y = to_fraction.transform((seconds[-1], curve.losses[-1]))
    low = -LINE * (at + 0.9) / _PLOT
    leader = axes.plot([x, x], [y, low], transform=axes.transAxes, color=colour, linewidth=0.5, zorder=1)
    leader[0].set_clip_on(False)
    axes.annotate(  # an offset in points, because the panel gets its width afterwards
        shortened(backend.label), (x, low), xycoords="axes fraction", xytext=(72 * _NAME, 0),
        textcoords="offset points", va="center_baseline", color=BLACK if coloured else MUTED, annotation_clip=False,
    )  # fmt: skip
    return float(x)


def curve_of(backend: BackendView) -> Curve | None:
    """Return the loss curve of a backend that is ok, if it goes beyond the start."""
    curve = backend.result.curve
    return curve if backend.status == "ok" and curve and len(curve.seconds) > 1 else None


def _without_curve(backend: BackendView) -> str:
    return "not recorded" if backend.status == "ok" else backend.status


def _epochs(number: float) -> str:
    return "1 epoch ends" if number == 1 else f"{number:g} epochs end"
