"""Places of marks in the page's figures: log axes, ticks, lines, labels. Writes no markup.

Horizontal places are in percent of the plot's width and vertical ones in pixels or percent, so that a figure takes the
width of the screen and its text keeps its size. Every axis of the page is logarithmic, and says so.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report.drawing import round_ticks, spread

GRID = 1000  # units of the inner view box of lines; the browser stretches it to the plot
LINE = 17.0  # pixels between lines of labels
_SEEN = 6.0  # units: about 4 pixels of a plot on a laptop


@dataclass(frozen=True)
class Tick:
    """A tick: its place in percent and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class LogAxis:
    """A log axis. Places are in percent from its low end.

    Attributes
    ----------
    low, high : float
        Decimal logarithms of its ends.
    ticks : tuple of Tick
    """

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def at(self, value: float) -> float:
        """Return the place of a value above 0, in percent."""
        return round(100 * (math.log10(value) - self.low) / (self.high - self.low), 2)


def log_axis(values: Iterable[float], margin: float = 0.06) -> LogAxis:
    """Return an axis around values above 0, with a margin on both sides, at least 10 % wide."""
    logs = [math.log10(value) for value in values] or [0.0]
    low, high = min(logs), max(logs)
    room = max(margin * (high - low), (0.04 - (high - low)) / 2, 0.01)
    low, high = low - room, high + room
    found = [tick for tick in round_ticks(10**low, 10**high) if low <= math.log10(tick) <= high]
    ticks = [Tick(round(100 * (math.log10(tick) - low) / (high - low), 2), f"{tick:.10g}") for tick in found]
    return LogAxis(low, high, tuple(ticks))


def lanes(places: Sequence[float]) -> list[int]:
    """Return the line of the label that hangs below each place: the further right, the higher.

    A label is written to the right of the thin line from its place, and every line to its right ends above it. So no
    label lies on another or on a line, however wide it is.
    """
    order = sorted(range(len(places)), key=lambda i: (-places[i], i))
    return [order.index(i) for i in range(len(places))]


def beside(places: Sequence[float], height: float) -> list[float]:
    """Return the heights of labels beside a plot, in pixels, for points at these heights: apart, and near their points.

    Parameters
    ----------
    places : sequence of float
        In pixels, in any order.
    height : float
        Of the plot in pixels.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    spreaded = spread([places[i] for i in order], LINE, height)
    found = [0.0] * len(places)
    for i, place in zip(order, spreaded, strict=True):
        found[i] = round(place, 1)
    return found


def polyline(points: Iterable[tuple[float, float]], x: LogAxis, y: LogAxis) -> str:
    """Return the points of an SVG polyline in the inner view box, which is `GRID` units wide and high.

    Points nearer than `_SEEN` units to the one before are left out, except the last.
    """
    places = [(x.at(a) * GRID / 100, GRID - y.at(b) * GRID / 100) for a, b in points]
    kept = places[:1]
    for place in places[1:-1]:
        if max(abs(place[0] - kept[-1][0]), abs(place[1] - kept[-1][1])) >= _SEEN:
            kept.append(place)
    return " ".join(f"{across:.0f},{down:.0f}" for across, down in [*kept, *places[1:][-1:]])
