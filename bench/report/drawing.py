"""What all figures share: sizes, type, colours and markers, log axes, labels that keep their distance. Draws no figure.

Every position is in inches, from the lines of text to be placed, so that type stays at 7 pt or more whatever there is
to show. Divisions differ in marker and colour (Okabe and Ito 2008, "Color universal design").
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

from bench.report.rows import BackendView

WIDTH = 3.5  # inches: one column of a journal
PAGE = 9.0  # inches: figures taller than this go on in a further file
DPI = 300
TYPE = 7.0  # points
ROW, LINE, GAP, AXIS, EDGE = 0.15, 0.125, 0.5, 0.38, 0.06  # inches; GAP, between divisions, in rows
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
DIVISION_STYLE = {"plain": ("o", BLUE), "tuned": ("s", VERMILION), "framework": ("D", GREEN)}
OTHER_STYLE = ("^", PURPLE)
LINE_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, BLACK)
LINE_STYLES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
FAINT, SHADE, MUTED = "#DDDDDD", "#BDBDBD", "#555555"
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
    """A log scale around `bounds`, at least a tenth wide, with ticks in plain numbers; blank where there are none."""
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
    """Four to seven round numbers within the limits, three where they are close; evenly spread on a log scale."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**decade for decade in decades for m in mantissas if low <= m * 10.0**decade <= high]
        if len(ticks) >= 4:
            return ticks[:: math.ceil(len(ticks) / 7)]
    return [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]


def spread(wanted: Sequence[float], distance: float, length: float) -> list[float]:
    """Places at least `distance` apart within [0, length], as near those wanted (ascending) as least squares has it."""
    blocks: list[tuple[float, int]] = []  # (mean of wanted place less the room taken by those before it, how many)
    for i, place in enumerate(wanted):
        mean, count = place - i * distance, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    last = max(0.0, length - (len(wanted) - 1) * distance)
    starts = [min(max(mean, 0.0), last) for mean, count in blocks for _ in range(count)]
    return [start + i * distance for i, start in enumerate(starts)]


def marker_of(row: BackendView) -> tuple[str, str]:
    """Its division's marker and colour."""
    return DIVISION_STYLE.get(row.backend.division, OTHER_STYLE)


def division_handle(division: str, colour: str | None = None) -> Line2D:
    """A division in a legend."""
    marker, own = DIVISION_STYLE.get(division, OTHER_STYLE)
    return Line2D([], [], color=colour or own, marker=marker, markersize=3.8, linestyle="none", label=division)


def ordered(divisions: Iterable[str]) -> list[str]:
    """Plain, tuned, framework, then others by name."""
    order = list(DIVISION_STYLE)
    return sorted(divisions, key=lambda name: (order.index(name) if name in order else len(order), name))


def width_of(text: str) -> float:
    """Width of a line of text at our type size."""
    if not text:
        return 0.0
    return float(TextPath((0, 0), text, prop=FontProperties(family="DejaVu Sans", size=TYPE)).get_extents().width) / 72


def shortened(name: str) -> str:
    """A name that leaves room for what it names; tables have it in full."""
    return name if len(name) <= 24 else f"{name[:23]}…"


def wrapped(footnotes: Iterable[str], width: float = WIDTH) -> list[str]:
    """The lines of footnotes under a figure of that many inches."""
    return [line for note in footnotes for line in textwrap.wrap(note, round(64 * width / WIDTH))]


def put_footnotes(figure: Figure, lines: Sequence[str]) -> None:
    """Lines of text at the lower left."""
    figure.text(EDGE / figure.get_figwidth(), EDGE / figure.get_figheight(), "\n".join(lines), color=MUTED, va="bottom")


FLOOR, ROOF = "noise floor", "roof"  # the groups they have in the SVG

WIDE = 7.2  # inches: both columns of a journal
