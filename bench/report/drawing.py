"""Shared parts of all figures: sizes, type, colours, markers, log axes, spacing of labels. Draws no figure.

Positions are in inches and follow from the lines of text, so that type never gets smaller than 7 pt. Divisions differ
in marker and colour (Okabe and Ito 2008, "Color universal design").
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from bench.report.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION
from bench.report.views import BackendView

WIDTH, WIDE = 3.5, 7.2  # inches: one column and both columns of a journal
PAGE = 9.0  # inches: a taller figure continues in another file
DPI = 300
TYPE = 7.0  # points
ROW, LINE, GAP, AXIS, EDGE = 0.15, 0.125, 0.5, 0.38, 0.06  # inches; GAP, between divisions, in lines of a dot plot
DIVISION_STYLE = {"plain": ("o", BLUE), "tuned": ("s", VERMILION), "framework": ("D", GREEN)}
OTHER_STYLE = ("^", PURPLE)
LINE_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, BLACK)
LINE_STYLES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
FAINT, SHADE, MUTED = "#DDDDDD", "#BDBDBD", "#555555"
SAME, ROOF = "same", "roof"  # ids of their groups in an SVG file
SINGLE_LAUNCH = "Hollow: a single launch, no interval."
BARS = "Bars: 95\N{NO-BREAK SPACE}% intervals over launches, where wider than the mark."
STYLE = {
    "font.family": "DejaVu Sans",
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
    limits = 10 ** (low - margin), 10 ** (high + margin)
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


def marker_of(backend: BackendView) -> tuple[str, str]:
    """Return the marker and the colour of the backend's division."""
    return DIVISION_STYLE.get(backend.division, OTHER_STYLE)


def division_handle(division: str, colour: str | None = None) -> Line2D:
    """Return the legend entry of a division."""
    marker, own = DIVISION_STYLE.get(division, OTHER_STYLE)
    return Line2D([], [], color=colour or own, marker=marker, markersize=3.8, linestyle="none", label=division)


def width_of(text: str) -> float:
    """Return the width in inches of a line of text at the figures' type size."""
    if not text:
        return 0.0
    return float(TextPath((0, 0), text, prop=FontProperties(family="DejaVu Sans", size=TYPE)).get_extents().width) / 72


def shortened(name: str) -> str:
    """Return a name cut to 24 characters, to leave room for the plot; tables show it in full."""
    return name if len(name) <= 24 else f"{name[:23]}…"


def wrapped(footnotes: Iterable[str], width: float = WIDTH) -> list[str]:
    """Return the footnotes as lines that fit a figure of `width` inches."""
    return [line for note in footnotes for line in textwrap.wrap(note, round(64 * width / WIDTH))]


def put_head(figure: Figure, title: str, divisions: Sequence[Line2D]) -> None:
    """Write the title at the upper left of a figure, and below it the legend of the divisions."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    figure.text(EDGE / width, (height - 1.2 * LINE) / height, title, weight="bold", va="baseline")
    place = (0, 1 - 1.4 * LINE / height)
    figure.legend(handles=divisions, loc="upper left", bbox_to_anchor=place, ncols=5, **LEGEND)


def put_footnotes(figure: Figure, lines: Sequence[str]) -> None:
    """Write lines of text at the lower left of a figure."""
    figure.text(EDGE / figure.get_figwidth(), EDGE / figure.get_figheight(), "\n".join(lines), color=MUTED, va="bottom")
