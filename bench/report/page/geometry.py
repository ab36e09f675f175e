"""Places of marks in the page's figures: log axes, ticks, lines, labels. Writes no markup.

Horizontal places are in percent of the plot's width and vertical ones in pixels or percent, so that a figure takes the
width of the screen and its text keeps its size. Every axis of the page is logarithmic, and says so.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report.drawing import LARGEST_LOG, round_ticks, spread, uncrossed

GRID = 1000  # units of the inner view box of lines; the browser stretches it to the plot
LINE = 17.0  # pixels between lines of labels
LONGEST_UNDER, LONGEST_BESIDE = 24, 18  # letters of a label
_LETTER = 8.2  # pixels, of a wide typeface at 13
_SEEN = 1.0  # unit: less than a pixel of a plot on a laptop


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
    low, high = max(low - room, -LARGEST_LOG), min(high + room, LARGEST_LOG)
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


def spread_labels(points: Sequence[tuple[float, float]], height: float) -> list[float]:
    """Return the heights of labels beside a plot, in pixels: apart, near their points, and no leaders cross.

    Parameters
    ----------
    points : sequence of (float, float)
        Where the leaders begin: in percent of the plot's width, and in pixels from its top.
    height : float
        Of the plot in pixels.
    """
    order = sorted(range(len(points)), key=lambda i: points[i][1])
    spreaded = spread([points[i][1] for i in order], LINE, height)
    spreaded = uncrossed([points[i] for i in order], spreaded, 100.0)
    found = [0.0] * len(points)
    for i, place in zip(order, spreaded, strict=True):
        found[i] = round(place, 1)
    return found


def side_width(under: Iterable[tuple[float, str]], beside: Iterable[str]) -> str:
    """Return the width that labels need to the right of a plot, as a CSS length.

    Parameters
    ----------
    under : iterable of (float, str)
        Place of each label under the plot in percent of its width, and its text, which begins there.
    beside : iterable of str
        Texts to the right of the plot.

    Notes
    -----
    A label of width t at the share x of a plot of width p needs t - (1 - x) p. The page only knows the width w of plot
    and labels together, of which p is what the labels leave: so they need (t - (1 - x) w) / x.
    """
    needs = ["0px", *(f"{4 + _LETTER * min(len(text), LONGEST_BESIDE):.0f}px" for text in beside)]
    for place, text in under:
        x, width = max(place, 1.0) / 100, 8 + _LETTER * min(len(text), LONGEST_UNDER)
        needs.append(f"({width:.0f}px - {1 - x:.4f}*(100% - var(--y)))/{x:.4f}")
    return f"max({','.join(dict.fromkeys(needs))})"


def polyline(points: Iterable[tuple[float, float]], x: LogAxis, y: LogAxis) -> str:
    """Return the points of an SVG polyline in the inner view box, which is `GRID` units wide and high.

    Points that lie on the line without them, to `_SEEN` units, are left out (Ramer 1972, Douglas and Peucker 1973).
    """
    places = [(x.at(a) * GRID / 100, GRID - y.at(b) * GRID / 100) for a, b in points]
    return " ".join(f"{across:.0f},{down:.0f}" for across, down in _bends(places))


def _bends(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the places where the line through all of them visibly bends, its ends included."""
    kept, left = {0, len(places) - 1}, [(0, len(places) - 1)]
    while left:
        first, last = left.pop()
        offsets = [_offset(places[at], places[first], places[last]) for at in range(first + 1, last)]
        if offsets and max(offsets) > _SEEN:
            middle = first + 1 + offsets.index(max(offsets))
            kept.add(middle)
            left += [(first, middle), (middle, last)]
    return [places[at] for at in sorted(kept)] if places else []


def _offset(place: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """Return the distance of a place from the segment between two others."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = across * across + down * down
    share = ((place[0] - start[0]) * across + (place[1] - start[1]) * down) / length if length else 0.0
    share = min(max(share, 0.0), 1.0)
    return math.hypot(place[0] - start[0] - share * across, place[1] - start[1] - share * down)
