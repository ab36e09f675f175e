"""Dot plots: step time, ratio and share of the peak, one line per backend, with intervals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.format import bounds_of, centre_of, centre_text, interval_of, number
from bench.report.drawing import (
    AXIS,
    BARS,
    EDGE,
    LINE,
    PAGE,
    ROW,
    SAME,
    SHADE,
    SINGLE_LAUNCH,
    WIDTH,
    WORD,
    log_axis,
    put_footnotes,
    rule_rows,
    width_of,
    wrapped,
)
from bench.report.overview import relative
from bench.report.row_labels import Rows, label_rows, left_of, rows_of
from bench.report.style import BLACK, backend_style
from bench.report.views import BackendView, CaseView
from bench.results.schema import Estimate

_MARK = 3.8  # points: the size of the mark of an estimate


@dataclass(frozen=True)
class DotPlot:
    """A kind of dot plot.

    Attributes
    ----------
    stem : str
        First part of the file's name.
    quantity : callable
        Function that returns the value to draw: seconds, a ratio, or percent of the peak; None where there is none.
    unit : {"seconds", "ratio", "percent"}
    """

    stem: str
    quantity: Callable[[BackendView], Estimate | float | None]
    unit: Literal["seconds", "ratio", "percent"]

    @property
    def relative(self) -> bool:
        """True where the values are ratios to the reference; the plot then shades the margin."""
        return self.unit == "ratio"


def _share(backend: BackendView) -> Estimate | None:
    """Return the share of the peak in percent. Its interval is that of the step time: the peak counts as exact."""
    share, step = backend.result.ceiling_share, backend.step
    if share is None or not isinstance(step, Estimate):
        return None
    product = 100 * share * step.median
    return Estimate(100 * share, product / step.high, product / step.low)


STEP_TIME = DotPlot("step_time", lambda backend: backend.step, "seconds")
RATIO = DotPlot("ratio", relative, "ratio")
SHARE = DotPlot("share", _share, "percent")
NEEDS: Mapping[str, Callable[[BackendView], object]] = {"ratio": lambda backend: backend.ratio, "share": _share}


def dots(kind: DotPlot, panels: Sequence[CaseView], footnotes: Sequence[str]) -> Figure:
    """Draw values with intervals on a log axis: one panel per case, one line per backend, grouped by division.

    A backend without a value has its status in place of the dot.
    """
    backends = [backend for panel in panels for backend in panel.backends]
    rows = [rows_of(panel.groups) for panel in panels]
    left = left_of(rows)
    values = [_value_text(kind, backend, panel) for panel in panels for backend in panel.backends]
    right = max(map(width_of, values), default=0.0) + 2 * EDGE
    foot = wrapped([_bars_note(kind, backends), *footnotes])
    height = sum(map(_height, panels)) + LINE * len(foot) + EDGE
    figure = Figure(figsize=(WIDTH, height))
    top = height
    for panel, own in zip(panels, rows, strict=True):
        spanned = ROW * own.span
        figure.text(EDGE / WIDTH, (top - 1.4 * LINE) / height, panel.case.title, weight="bold", va="baseline")
        bottom = top - 1.8 * LINE - spanned
        box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, spanned / height)
        axes = figure.add_axes(box)
        _dot_panel(axes, kind, panel, own)
        label_rows(axes, own, left)
        top -= _height(panel)
    put_footnotes(figure, foot)
    return figure


def _dot_panel(axes: Axes, kind: DotPlot, panel: CaseView, rows: Rows) -> None:
    scale = panel.unit.seconds if kind.unit == "seconds" else 1.0
    across = axes.get_yaxis_transform()  # x in fractions of the axes, y in lines
    drawn = [quantity for backend in panel.backends if (quantity := kind.quantity(backend))]
    bounds = [b / scale for q in drawn for b in bounds_of(q)]
    if kind.relative and panel.margin is not None:
        same = 1 + panel.margin
        bounds += [1 / same, same]
        axes.axvspan(1 / same, same, color=SHADE, linewidth=0, zorder=0, gid=SAME)
        axes.axvline(1, color=BLACK, linewidth=0.4, zorder=1)
    if kind.unit == "percent":
        bounds.append(100)
        axes.axvline(100, color=BLACK, linewidth=0.4, zorder=1)
    log_axis(axes, "x", bounds)
    rule_rows(axes, [rows.places[backend.name] for backend in panel.backends if kind.quantity(backend)])
    for backend in panel.backends:
        y = rows.places[backend.name]
        quantity = kind.quantity(backend)
        if quantity:
            _dot(axes, backend, quantity, y, scale)
        else:
            word = f"no {kind.stem}" if backend.step else backend.status
            axes.text(0.5, y, word, transform=across, ha="center", **WORD)
        text = _value_text(kind, backend, panel)
        axes.text(1 + EDGE / 2, y, text, transform=across, va="center_baseline")
    axes.set_xlabel(_axis_label(kind, panel) if drawn else "No backend was timed", labelpad=1)


def _dot(axes: Axes, backend: BackendView, quantity: Estimate | float, y: float, scale: float) -> None:
    style = backend_style(backend.name)
    value = centre_of(quantity) / scale
    interval = interval_of(quantity)
    if interval:
        low, high = (bound / scale for bound in interval)
        ends = axes.transData.transform([(low, y), (high, y)])[:, 0]  # pixels
        wider = ends[1] - ends[0] > _MARK * axes.figure.dpi / 72
        cap = "|" if wider else "none"  # which would stand out beside a narrow part of the mark
        axes.plot([low, high], [y, y], color=style.colour, linewidth=1.1, marker=cap, markersize=4, zorder=2)
    face = style.colour if interval or backend.verdict == "reference" else "white"
    axes.plot(
        [value],
        [y],
        marker=style.marker,
        markersize=_MARK,
        markerfacecolor=face,
        markeredgecolor=style.colour,
        zorder=3,
    )


def _value_text(kind: DotPlot, backend: BackendView, panel: CaseView) -> str:
    quantity = kind.quantity(backend)
    if quantity is None:
        return ""
    if kind.relative:
        return f"{centre_text(quantity)}×" if backend.ratio else backend.verdict
    if kind.unit == "percent":
        return f"{number(centre_of(quantity), 2)} %"
    rate = f", {backend.rate}/s" if backend.rate else ""
    return f"{centre_text(quantity, panel.unit.seconds)} {panel.unit.name}{rate}"


def _axis_label(kind: DotPlot, panel: CaseView) -> str:
    if kind.unit == "percent":
        return (
            f"Share of the peak (%, log); line: {peaks}"
            if (peaks := _peaks(panel))
            else "No share: the peak is not known"
        )
    if not kind.relative:
        return f"{'Network-step' if panel.case.members > 1 else 'Step'} time ({panel.unit.name}, log)"
    if panel.margin is None:
        return "No ratio: no interval" if panel.case.reference else "No ratio: no reference"
    return f"Speed relative to {panel.case.reference} (×, log); shaded: ±{100 * panel.margin:.3g} %"


def _peaks(panel: CaseView) -> str:
    """Return the peak rate of each device in a panel."""
    devices = dict.fromkeys(backend.result.device for backend in panel.backends if _share(backend)) or {"cpu": None}
    peaks = ((device, panel.case.ceiling_of(device)) for device in devices)
    return ", ".join(f"{number(peak)} GFLOP/s{_on(device)}" for device, peak in peaks if peak)


def _on(device: str) -> str:
    return "" if device == "cpu" else f" ({device})"


def paginate(panels: Sequence[CaseView]) -> Iterator[list[CaseView]]:
    """Yield the panels in groups that fit on a page."""
    page: list[CaseView] = []
    for panel in panels:
        if page and sum(map(_height, [*page, panel])) > PAGE:
            yield page
            page = []
        page.append(panel)
    yield page


def _height(panel: CaseView) -> float:
    return ROW * rows_of(panel.groups).span + 1.8 * LINE + AXIS


def _bars_note(kind: DotPlot, backends: Sequence[BackendView]) -> str:
    values = [backend.ratio if kind.relative else backend.step for backend in backends]
    intervals = [interval_of(value) for value in values if value]
    return " ".join([*([BARS] if any(intervals) else []), *([] if all(intervals) else [SINGLE_LAUNCH])])
