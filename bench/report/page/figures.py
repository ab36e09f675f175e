"""The page's figures as values: which marks, lines and labels stand where. Writes no markup; the template draws them.

All of them are charts of two log axes, but the plot of step times, which is a table with a dot in each row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.format import Unit, centre_of, interval_of, number, threads_text, unit_of, with_interval
from bench.report.drawing import dodged
from bench.report.page.geometry import LINE, LogAxis, lanes, log_axis, polyline, side_width, spread_labels
from bench.report.render import ReportTable
from bench.report.sentences import leading, listed, named, standing_out
from bench.report.style import BackendStyle, backend_style
from bench.report.sweeps import SweepView
from bench.report.views import BackendView, CaseView, Roof, frontier
from bench.results.schema import Curve

HEIGHT, ROOF_HEIGHT = 280.0, 340.0  # pixels of a chart's plot
NARROW = 226.0  # pixels: the width of a plot on a phone; marks that do not overlap there overlap nowhere
MARK = 12.0  # pixels: width of a mark


class Looks:
    """The looks of a page's backends, numbered in the order in which they first appear."""

    def __init__(self) -> None:
        self.styles: list[BackendStyle] = []
        self._numbers: dict[BackendStyle, int] = {}

    def of(self, name: str) -> int:
        """Return the number of a backend's look."""
        style = backend_style(name)
        if style not in self._numbers:
            self._numbers[style] = len(self.styles)
            self.styles.append(style)
        return self._numbers[style]


# Step times ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dot:
    """A row of the plot of step times. Places are in percent; None where the backend has no step time."""

    backend: BackendView
    look: int
    at: float | None = None
    ends: tuple[float, float] | None = None
    time: str = ""
    ratio: str = ""


@dataclass(frozen=True)
class StepPlot:
    """The step times of a case by division, on one log axis."""

    axis: LogAxis
    unit: Unit
    groups: tuple[tuple[str, tuple[Dot, ...]], ...]


def step_plot(view: CaseView, looks: Looks) -> StepPlot:
    """Return the plot of the step times of a case."""
    scale = view.unit.seconds
    steps = [backend.step for backend in view.backends if backend.step]
    axis = log_axis([value / scale for step in steps for value in (centre_of(step), *(interval_of(step) or ()))])

    def dot(backend: BackendView) -> Dot:
        look, step = looks.of(backend.name), backend.step
        if step is None:
            return Dot(backend, look)
        bounds = interval_of(step)
        ends = (axis.at(bounds[0] / scale), axis.at(bounds[1] / scale)) if bounds else None
        ratio = with_interval(backend.ratio) if backend.ratio else ""
        return Dot(backend, look, axis.at(centre_of(step) / scale), ends, with_interval(step, scale), ratio)

    groups = tuple((division, tuple(dot(backend) for backend in group)) for division, group in view.groups)
    return StepPlot(axis, view.unit, groups)


# Charts --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of a chart; `look` is None for a roof, and a line that is not `strong` is grey.

    The last point of a strong one, at `end` percent from the lower left corner, has the mark of its backend: several
    share a colour, and mark and colour together identify one.
    """

    look: int | None
    name: str
    points: str
    strong: bool = True
    end: tuple[float, float] | None = None


@dataclass(frozen=True)
class Mark:
    """A mark of a chart, at `x` and `y` percent from its lower left corner and `shift` pixels to the right.

    One that is `weak` is grey.
    """

    look: int
    name: str
    x: float
    y: float
    hollow: bool = False
    weak: bool = False
    shift: float = 0.0


@dataclass(frozen=True)
class Under:
    """A label under the plot, `line` lines down, to the right of a thin line from a place at `x` and `y` percent."""

    text: str
    x: float
    y: float
    line: int
    look: int | None = None


@dataclass(frozen=True)
class Beside:
    """A label beside the plot, `place` pixels from its top, for a mark at `x` and `y` percent."""

    text: str
    x: float
    y: float
    place: float
    look: int


@dataclass(frozen=True)
class Chart:
    """A chart of two log axes.

    Attributes
    ----------
    name : str
        Its anchor on the page.
    title, about : str
        A heading, and what the chart shows, in words, for all readers.
    rule : float or None
        Height of a dotted horizontal line, in percent.
    table : ReportTable or None
        The numbers of marks that have no label.
    """

    name: str
    title: str
    about: str
    x: LogAxis
    y: LogAxis
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    under: tuple[Under, ...] = ()
    beside: tuple[Beside, ...] = ()
    rule: float | None = None
    notes: tuple[str, ...] = ()
    legend: tuple[tuple[str, int], ...] = ()
    height: float = HEIGHT
    table: ReportTable | None = None

    @property
    def side(self) -> str:
        """Width that the labels need to the right of the plot, as a CSS length."""
        return side_width([(label.x, label.text) for label in self.under], [label.text for label in self.beside])

    @property
    def lanes(self) -> int:
        """Number of lines of labels under the plot."""
        return max((label.line + 1 for label in self.under), default=0)


def curve_of(backend: BackendView) -> Curve | None:
    """Return the loss curve of a backend that is ok, if it has losses above 0 after the start."""
    curve = backend.result.curve
    return curve if backend.status == "ok" and curve and _points(curve) else None


def _points(curve: Curve) -> list[tuple[float, float]]:
    """Return seconds and loss, both above 0: a log axis cannot show the start, at 0 seconds."""
    return [(s, loss) for s, loss in zip(curve.seconds, curve.losses, strict=True) if s > 0 and loss > 0]


def curves(name: str, view: CaseView, looks: Looks) -> Chart | None:
    """Return the chart of loss against training time; None where no backend has a curve."""
    drawn = [(backend, curve) for backend in view.backends if (curve := curve_of(backend))]
    if not drawn:
        return None
    unit = unit_of(_points(curve)[-1][0] for _, curve in drawn)
    lines = [[(s / unit.seconds, loss) for s, loss in _points(curve)] for _, curve in drawn]
    start = drawn[0][1].losses[0]
    x = log_axis(s for line in lines for s, _ in line)
    y = log_axis([*(loss for line in lines for _, loss in line), *([start] if start > 0 else [])])
    strong = standing_out(view)
    ends = [(b, line[-1]) for (b, _), line in zip(drawn, lines, strict=True) if b.name in strong or len(drawn) <= 5]
    under = lanes([x.at(end[0]) for _, end in ends])
    epochs = drawn[0][1].epochs[-1]
    absent = [named(backend) for backend in view.backends if backend.step and not curve_of(backend)]
    return Chart(
        name,
        "Training: loss against time",
        f"Every backend trains the same {epochs:g} epoch{'s' * (epochs != 1)} and reaches the same losses. One "
        "training each, no interval: the table of step times decides which backend is faster, and its verdicts choose "
        "the colours. Both axes are "
        "logarithmic; dotted: loss at the start.",
        *(x, y, f"training time, {unit.name} (log scale)", "training loss (log scale)"),
        lines=tuple(
            Line(
                looks.of(b.name),
                named(b),
                polyline(line, x, y),
                b.name in strong or len(drawn) <= 5,
                (x.at(line[-1][0]), y.at(line[-1][1])),
            )
            for (b, _), line in zip(drawn, lines, strict=True)
        ),
        under=tuple(
            Under(backend.label, x.at(end[0]), y.at(end[1]), line, looks.of(backend.name))
            for line, (backend, end) in zip(under, ends, strict=True)
        ),
        rule=y.at(start) if start > 0 else None,
        notes=(f"No curve: {', '.join(absent)}.",) if absent else (),
    )


def roofline(name: str, panels: Sequence[CaseView], roofs: Sequence[Roof], looks: Looks) -> Chart | None:
    """Return the chart of speed against arithmetic intensity and the machine's roofs; None where either is unknown."""
    points = [
        (view, view.intensity, backend, backend.result.gflops)
        for view in panels
        for backend in view.backends
        if view.intensity and backend.result.gflops
    ]
    if not points or not roofs:
        return None
    across = [intensity for _, intensity, _, _ in points if intensity]
    x = log_axis([min([*across, *(roof.ridge for roof in roofs)]) / 2, max([*across, *(r.ridge for r in roofs)]) * 2])
    low, high = 10**x.low, 10**x.high
    y = log_axis([*(speed for *_, speed in points if speed), *(1.3 * roof.gflops for roof in roofs)])
    floor = 10**y.low
    case = panels[0].case
    height = ROOF_HEIGHT
    shifts = dodged(
        [(NARROW * x.at(at) / 100, height * y.at(speed) / 100) for _, at, _, speed in points if at and speed], MARK
    )
    workloads: dict[float, dict[str, None]] = {}
    for view in panels:
        if view.intensity:
            workloads.setdefault(view.intensity, {})[view.case.workload] = None
    ordered = sorted(workloads)
    under = lanes([x.at(intensity) for intensity in ordered])
    return Chart(
        name,
        f"Roofline: {case.operation}, {case.dtype}, {threads_text(case.threads)}",
        "How much of the machine each backend uses. The lines are the machine's limits: multiply-adds on the "
        "level part, and on the slopes the bandwidths of memory and of each probed cache. Data that stays in a cache "
        "from step to step does not come from memory, so a mark may stand above the lowest slope. Marks that would "
        "overlap stand side by side: their intensity is that of the vertical line. Both axes are logarithmic; hollow "
        "marks are not on the CPU.",
        *(x, y, "arithmetic intensity, FLOP/byte (log scale)", "speed, GFLOP/s (log scale)"),
        lines=tuple(
            Line(None, _roof_text(roof, level), _roof_points(roof, level, (low, high, floor), x, y))
            for roof in roofs for level in roof.bandwidths
        ),
        marks=tuple(
            Mark(
                looks.of(backend.name), f"{named(backend)}, {view.case.workload}: {number(speed)} GFLOP/s",
                x.at(intensity), y.at(speed), backend.result.device != "cpu", shift=round(shift, 1),
            )
            for (view, intensity, backend, speed), shift in zip(points, shifts, strict=True) if intensity and speed
        ),
        under=tuple(
            Under(listed(list(workloads[intensity]), 3), x.at(intensity), 100.0, line)
            for line, intensity in zip(under, ordered, strict=True)
        ),
        notes=tuple(f"{_roof_text(roof, level)}." for roof in roofs for level in roof.bandwidths),
        legend=tuple(dict.fromkeys((named(backend), looks.of(backend.name)) for _, _, backend, _ in points)),
        height=height,
    )  # fmt: skip


def _roof_text(roof: Roof, level: str) -> str:
    return f"Roof of {roof.device}, {level}: {number(roof.gflops)} GFLOP/s, {number(roof.bandwidths[level])} GB/s"


def _roof_points(roof: Roof, level: str, ends: tuple[float, float, float], x: LogAxis, y: LogAxis) -> str:
    """Return a level's roof; `ends` are the least and the greatest intensity and the least speed of the plot."""
    low, high, floor = ends
    start = max(low, floor / roof.bandwidths[level])
    corners = [at for at in (start, roof.gflops / roof.bandwidths[level], high) if at >= start]
    return polyline([(at, roof.at(at, level)) for at in corners], x, y)


def effort(name: str, view: CaseView, looks: Looks) -> Chart | None:
    """Return the chart of step time against lines of code; None where fewer than two backends have both."""
    found = [(b, b.result.source_lines, centre_of(b.step)) for b in view.backends if b.step and b.result.source_lines]
    if len(found) < 2:
        return None
    scale = view.unit.seconds
    x = log_axis(lines for _, lines, _ in found if lines)
    y = log_axis(step / scale for *_, step in found)
    best = frontier({b.name: (lines or 1, step) for b, lines, step in found})
    shown = {*best, *standing_out(view)}
    division, _ = leading(view)
    marks = [
        Mark(
            looks.of(b.name), f"{named(b)}: {lines} lines, {number(step / scale)} {view.unit.name}",
            x.at(lines or 1), y.at(step / scale), weak=b.name not in shown,
        )
        for b, lines, step in found
    ]  # fmt: skip
    labelled = [(b.label, mark) for (b, *_), mark in zip(found, marks, strict=True) if not mark.weak]
    height = max(HEIGHT, LINE * (len(labelled) + 1))
    corners = [(float(lines or 1), step / scale) for name in best for b, lines, step in found if b.name == name]
    stairs = [corners[0], *(place for (_, y1), (x2, y2) in pairwise(corners) for place in ((x2, y1), (x2, y2)))]
    return Chart(
        name,
        f"Step time against lines of code: {view.case.title}",
        "What the speed costs to write. Lines are those of the network alone, without blank lines, comments, protocol "
        "and bindings; the code inside a framework or a library does not count. Lower is faster, further left is "
        "shorter. The line joins those than which no other is as short and as fast. They, the fastest of each "
        f"division, the reference and the slowest of {division} are named; the others are grey. Both axes are "
        "logarithmic.",
        *(x, y, "lines of code (log scale)", f"step time, {view.unit.name} (log scale)"),
        lines=(Line(None, "no other is as short and as fast", polyline(stairs, x, y)),),
        marks=tuple(sorted(marks, key=lambda mark: not mark.weak)),  # so that no grey one lies on a coloured one
        beside=_beside([label for label, _ in labelled], [mark for _, mark in labelled], height),
        height=height,
        table=_effort_table(view, best),
    )


def _effort_table(view: CaseView, best: Sequence[str]) -> ReportTable:
    """Return lines of code and step time of each backend, the shortest first."""
    timed = [backend for backend in view.backends if backend.step and backend.result.source_lines]
    ordered = sorted(timed, key=lambda backend: (backend.result.source_lines or 0, centre_of(backend.step or 0.0)))
    lines = tuple(
        (
            named(b), f"{b.result.source_lines}", with_interval(b.step, view.unit.seconds) if b.step else "",
            b.division, "yes" if b.name in best else "",
        )
        for b in ordered
    )  # fmt: skip
    columns = (
        "backend", "lines of code", f"step time, {view.unit.name} [95 %]", "division", "none is shorter and faster",
    )  # fmt: skip
    return ReportTable("Lines of code and step time of each backend", columns, (("", lines),))


def _beside(labels: Iterable[str], marks: Sequence[Mark], height: float) -> tuple[Beside, ...]:
    places = spread_labels([(mark.x, height * (1 - mark.y / 100)) for mark in marks], height)
    return tuple(
        Beside(label, mark.x, mark.y, place, mark.look)
        for label, mark, place in zip(labels, marks, places, strict=True)
    )


def sweep_chart(name: str, sweep: SweepView, looks: Looks) -> Chart | None:
    """Return the chart of step time against the swept value; None where nothing was timed."""
    series: dict[str, list[tuple[float, float]]] = {}
    for point in sweep.points:
        for backend in point.view.backends:
            if backend.step:
                series.setdefault(backend.name, []).append((float(point.value), centre_of(backend.step)))
    if not series:
        return None
    unit = unit_of(step for points in series.values() for _, step in points)
    scaled = {key: [(value, step / unit.seconds) for value, step in points] for key, points in series.items()}
    x = log_axis(value for points in scaled.values() for value, _ in points)
    y = log_axis(step for points in scaled.values() for _, step in points)
    labels: Mapping[str, str] = sweep.labels
    height = max(HEIGHT, LINE * (len(scaled) + 1))
    ends = [
        Mark(looks.of(key), labels.get(key, key), x.at(points[-1][0]), y.at(points[-1][1]))
        for key, points in scaled.items()
    ]
    return Chart(
        name,
        f"Step time along {sweep.along}: {sweep.title}",
        f"One line for each backend, by {sweep.along}. Lower is faster; lines that cross change places. Both axes are "
        "logarithmic.",
        *(x, y, f"{sweep.along} (log scale)", f"step time, {unit.name} (log scale)"),
        lines=tuple(
            Line(looks.of(key), labels.get(key, key), polyline(points, x, y)) for key, points in scaled.items()
        ),
        marks=tuple(
            Mark(
                looks.of(key), f"{labels.get(key, key)}, {value:g}: {number(step)} {unit.name}", x.at(value), y.at(step)
            )
            for key, points in scaled.items()
            for value, step in points
        ),
        beside=_beside([mark.name for mark in ends], ends, height),
        height=height,
    )
