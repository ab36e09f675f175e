"""Shared parts of all figures: sizes, type, log axes, spacing of labels. Draws no figure.

Positions are in inches and follow from the lines of text, so that type never gets smaller than 7 pt. The looks of
backends are those of `bench.report.style`.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from bench.report.views import BackendView, in_division_order

WIDTH, WIDE = 3.5, 7.2  # inches: one column and both columns of a journal
PAGE = 9.0  # inches: a taller figure continues in another file
DPI = 300
TYPE = 7.0  # points
ROW, LINE, AXIS, EDGE = 0.15, 0.125, 0.38, 0.06  # inches
LARGEST_LOG = 307.0  # decimal logarithm of the ends of an axis: beyond it a power of ten is no float
FAINT, SHADE, MUTED = "#DDDDDD", "#BDBDBD", "#555555"
SAME, ROOF = "same", "roof"  # ids of their groups in an SVG file
SINGLE_LAUNCH = "Hollow: a single launch, no interval."
BARS = "Bars: 95\N{NO-BREAK SPACE}% intervals over launches, where wider than the mark."
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # Matplotlib has the first; the second is for readers of an SVG file
    "font.size": TYPE,
    "axes.labelsize": TYPE,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": TYPE,
    "ytick.labelsize": TYPE,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.width": 0.6,
    "ytick.major.size": 2.5,
    "text.parse_math": False,
    "svg.fonttype": "none",  # text, which can be searched and copied, in fewer bytes than outlines
    "svg.hashsalt": "pyfnn",
}
WORD: dict[str, Any] = {
    "va": "center_baseline",
    "color": MUTED,
    "style": "italic",
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.3},
}
LEGEND: dict[str, Any] = {
    "frameon": False,
    "fontsize": TYPE,
    "borderpad": 0.3,
    "handletextpad": 0.3,
    "columnspacing": 1.0,
    "handlelength": 1.2,
}


def log_axis(axes: Axes, which: Literal["x", "y"], bounds: Sequence[float]) -> None:
    """Give an axis a log scale around `bounds`, at least 10 % wide, with ticks in plain numbers, if any bounds."""
    low, high = (math.log10(bound) for bound in (min(bounds, default=1.0), max(bounds, default=1.0)))
    margin = max(0.06 * (high - low), (0.04 - (high - low)) / 2, 0.01)
    limits = 10 ** max(low - margin, -LARGEST_LOG), 10 ** min(high + margin, LARGEST_LOG)
    axes.set(**{f"{which}scale": "log", f"{which}lim": limits})
    axis = axes.xaxis if which == "x" else axes.yaxis
    ticks = round_ticks(*limits) if bounds else []
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:.10g}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def round_ticks(low: float, high: float) -> list[float]:
    """Return four to seven round numbers within the limits, evenly spread on a log scale; fewer in a narrow range."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**decade for decade in decades for m in mantissas if low <= m * 10.0**decade <= high]
        if len(ticks) >= 4:
            return ticks[:: math.ceil(len(ticks) / 7)]
    return [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]


def spread(ideal: Sequence[float], distance: float, length: float) -> list[float]:
    """Return places in [0, length] that are at least `distance` apart and closest to `ideal` by least squares.

    `ideal` is ascending. The method is isotonic regression by pooling adjacent violators.
    """
    blocks: list[tuple[float, int]] = []  # (mean of ideal place minus the distances before it, number of places)
    for i, place in enumerate(ideal):
        mean, count = place - i * distance, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    last = max(0.0, length - (len(ideal) - 1) * distance)
    starts = [min(max(mean, 0.0), last) for mean, count in blocks for _ in range(count)]
    return [start + i * distance for i, start in enumerate(starts)]


def uncrossed(points: Sequence[tuple[float, float]], places: Sequence[float], edge: float) -> list[float]:
    """Return the places of labels beside a plot, exchanged until no two straight leaders to them cross.

    Each exchange makes the leaders shorter in all, so it ends.

    Parameters
    ----------
    points : sequence of (float, float)
        Where each leader begins, left of `edge`.
    places : sequence of float
        Height of each label, in the unit of the points; all differ.
    edge : float
        Where the leaders end.
    """
    found = list(places)
    pairs = list(combinations(range(len(found)), 2))
    for _ in found:  # a bound against rounding; fewer rounds do
        crossing = False
        for i, j in pairs:
            if _cross(points[i], (edge, found[i]), points[j], (edge, found[j])):
                found[i], found[j] = found[j], found[i]
                crossing = True
        if not crossing:
            break
    return found


Point = tuple[float, float]


def dodged(points: Sequence[Point], apart: float) -> list[float]:
    """Return how far to shift each point to the left or to the right, so that all are at least `apart`.

    Each takes the least multiple of `apart` at which it is free, from the lowest point up: a beeswarm.
    """
    enough = apart * (1 - 1e-9)  # a sum of shifts may round down
    shifts = [0.0] * len(points)
    placed: list[Point] = []
    for i in sorted(range(len(points)), key=lambda i: points[i][::-1]):
        x, y = points[i]
        near = [(across, up) for across, up in placed if abs(up - y) < apart]
        steps = (side * step * apart for step in range(len(near) + 1) for side in ((1, -1) if step else (1,)))
        shifts[i] = next(s for s in steps if all(math.hypot(x + s - across, y - up) >= enough for across, up in near))
        placed.append((x + shifts[i], y))
    return shifts


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Return True where the segments ab and cd cross, each within the other."""

    def side(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


@cache
def width_of(text: str) -> float:
    """Return the width in inches of a line of text at the figures' type size.

    From the font's own widths: those of the letters' outlines take a quarter of the time of all figures.
    """
    font = FontProperties(family="DejaVu Sans", size=TYPE)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72 if text else 0.0


def shortened(name: str) -> str:
    """Return a name cut to 24 characters, to leave room for the plot; tables show it in full."""
    return name if len(name) <= 24 else f"{name[:23]}…"


def wrapped(footnotes: Iterable[str], width: float = WIDTH) -> list[str]:
    """Return the footnotes as lines that fit a figure of `width` inches."""
    return [line for note in footnotes for line in textwrap.wrap(note, round(64 * width / WIDTH))]


def divisions_note(backends: Iterable[BackendView]) -> str:
    """Return which backends are of each division but the plain one, for figures without an order of divisions."""
    labels: dict[str, dict[str, None]] = {}
    for backend in backends:
        labels.setdefault(backend.division, {})[backend.label] = None
    named = [f"{division}: {', '.join(labels[division])}" for division in in_division_order(set(labels) - {"plain"})]
    return f"{'; '.join(named)}{'; all others: plain' if 'plain' in labels else ''}." if named else "All are plain."


def rule_rows(axes: Axes, places: Iterable[float]) -> None:
    """Draw a faint line across a panel at the height of each row, as one artist: many of them take long to draw."""
    ends = [[(0, y), (1, y)] for y in places]
    rules = LineCollection(ends, transform=axes.get_yaxis_transform(), colors=FAINT, linewidths=0.5, zorder=0.5)
    axes.add_collection(rules, autolim=False)


def inches_wide(axes: Axes) -> float:
    """Return the width of a panel in inches."""
    return float(axes.bbox.width / axes.figure.dpi)


def put_title(figure: Figure, title: str) -> None:
    """Write the title at the upper left of a figure."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    figure.text(EDGE / width, (height - 1.2 * LINE) / height, title, weight="bold", va="baseline")


def put_footnotes(figure: Figure, lines: Sequence[str]) -> None:
    """Write lines of text at the lower left of a figure."""
    figure.text(EDGE / figure.get_figwidth(), EDGE / figure.get_figheight(), "\n".join(lines), color=MUTED, va="bottom")
