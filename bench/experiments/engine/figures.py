"""Figures of experiments: drawn in the style of the reports, saved as PNG and SVG. Draws none itself."""

from contextlib import AbstractContextManager
from pathlib import Path

from matplotlib import style
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

from bench.report.drawing import STYLE
from bench.report.figures import save

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PLAIN = 1e-4, 1e4  # between these, powers of ten are written out


def figure_style() -> AbstractContextManager[None]:
    """Return the context in which a figure is drawn, with the fonts, sizes and lines of the reports."""
    context: AbstractContextManager[None] = style.context(["default", STYLE])
    return context


def save_figure(fig: Figure, folder: Path, name: str) -> list[Path]:
    """Save a figure as NAME.png and NAME.svg, whose text is text, and return the files.

    Equal figures give equal files.
    """
    return save([(name, fig)], folder)


def label_powers(axis: Axis) -> None:
    """Label a log axis 10⁻¹² in place of 1e-12, if its ticks are powers of ten and one is long in plain digits."""
    ticks = [float(tick) for tick in axis.get_majorticklocs()]
    labels = [f"{tick:.0e}" for tick in ticks]
    if any(not PLAIN[0] <= tick <= PLAIN[1] for tick in ticks) and all(label[0] == "1" for label in labels):
        exponents = [str(int(label[2:])).translate(SUPERSCRIPTS) for label in labels]
        axis.set_major_formatter(FixedFormatter([f"10{exponent}" for exponent in exponents]))
