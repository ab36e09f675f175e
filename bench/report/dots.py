"""Dot plots: step time, ratio and share of the peak, one row a backend, with intervals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.format import Quantity, number
from bench.report.drawing import (
    AXIS,
    BLACK,
    EDGE,
    FAINT,
    FLOOR,
    GAP,
    LEGEND,
    LINE,
    MUTED,
    PAGE,
    ROW,
    SHADE,
    WIDTH,
    WORD,
    division_handle,
    log_axis,
    marker_of,
    ordered,
    put_footnotes,
    shortened,
    width_of,
    wrapped,
)
from bench.report.overview import relative
from bench.report.rows import BackendView, CaseView


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
    quantity: Callable[[BackendView], Quantity | None]
    unit: Literal["seconds", "ratio", "percent"]

    @property
    def relative(self) -> bool:
        """To the reference, and so under a noise floor."""
        return self.unit == "ratio"


def _share(row: BackendView) -> Quantity | None:
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
NEEDS: Mapping[str, Callable[[BackendView], object]] = {"ratio": lambda row: row.ratio, "share": _share}


def dots(kind: Kind, panels: Sequence[CaseView], footnotes: Sequence[str]) -> Figure:
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


def _dot_panel(axes: Axes, kind: Kind, panel: CaseView) -> None:
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


def _dot(axes: Axes, row: BackendView, quantity: Quantity, y: float, scale: float) -> None:
    marker, colour = marker_of(row)
    axes.axhline(y, color=FAINT, linewidth=0.5, zorder=0.5)
    value = quantity.value / scale
    if quantity.interval:
        low, high = (bound / scale for bound in quantity.interval)
        axes.plot([low, high], [y, y], color=colour, linewidth=1.1, marker="|", markersize=4, zorder=2)
    face = colour if quantity.interval else "white"
    axes.plot([value], [y], marker=marker, markersize=3.8, markerfacecolor=face, markeredgecolor=colour, zorder=3)


def _value_text(kind: Kind, row: BackendView, panel: CaseView) -> str:
    quantity = kind.quantity(row)
    if quantity is None:
        return ""
    if kind.relative:
        return f"{number(quantity.value)}×" if row.ratio else row.verdict
    if kind.unit == "percent":
        return f"{number(quantity.value, 2)} %"
    rate = f", {row.rate}/s" if row.rate else ""
    return f"{number(quantity.value / panel.unit.seconds)} {panel.unit.name}{rate}"


def _axis_label(kind: Kind, panel: CaseView) -> str:
    if kind.unit == "percent":
        return (
            f"Share of the peak (%); line: {peaks}" if (peaks := _peaks(panel)) else "No share: the peak is not known"
        )
    if not kind.relative:
        return f"{'Network-step' if panel.case.members > 1 else 'Step'} time ({panel.unit.name})"
    if panel.floor is None:
        return "No ratio: no noise floor" if panel.case.reference else "No ratio: no reference"
    return f"Speed relative to {panel.case.reference} (×); noise floor {number(100 * panel.floor, 2)} %"


def _peaks(panel: CaseView) -> str:
    """What 100 % is, of each device in a panel."""
    devices = dict.fromkeys(row.backend.device for row in panel.rows if _share(row)) or {"cpu": None}
    peaks = ((device, panel.case.ceiling_of(device)) for device in devices)
    return ", ".join(f"{number(peak)} GFLOP/s{_on(device)}" for device, peak in peaks if peak)


def _on(device: str) -> str:
    return "" if device == "cpu" else f" ({device})"


def _legend(kind: Kind, panels: Sequence[CaseView]) -> list[Line2D | Patch]:
    divisions = {division for panel in panels for division, _ in panel.groups}
    handles: list[Line2D | Patch] = [division_handle(division) for division in ordered(divisions)]
    if kind.relative:
        handles.append(Patch(facecolor=SHADE, label="noise floor"))
    return handles


def paginate(panels: Sequence[CaseView]) -> Iterator[list[CaseView]]:
    page: list[CaseView] = []
    for panel in panels:
        if page and sum(map(_height, [*page, panel])) > PAGE:
            yield page
            page = []
        page.append(panel)
    yield page


def _places(panel: CaseView) -> list[float]:
    """The y of each row, in rows, a gap between divisions."""
    return [i + GAP * g for i, g in enumerate(g for g, (_, rows) in enumerate(panel.groups) for _ in rows)]


def _span(panel: CaseView) -> float:
    return max(1.0, len(panel.rows) + GAP * (len(panel.groups) - 1))


def _height(panel: CaseView) -> float:
    return ROW * _span(panel) + 1.8 * LINE + AXIS


def _bars_note(kind: Kind, rows: Sequence[BackendView]) -> str:
    drawn = [quantity for row in rows if (quantity := row.ratio if kind.relative else row.step)]
    notes = (
        ["Bars: 95\N{NO-BREAK SPACE}% intervals over launches, where wider than the mark."]
        if any(q.interval for q in drawn)
        else []
    )
    if not all(q.interval for q in drawn):
        notes.append("Hollow: a single launch, no interval.")
    return " ".join(notes)
