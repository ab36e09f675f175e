"""Figures of experiments: drawn in the style of the reports, saved as PNG and SVG. Draws none itself."""

from contextlib import AbstractContextManager
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from bench.report.drawing import STYLE
from bench.report.figures import save


def figure_style() -> AbstractContextManager[None]:
    """Return the context in which a figure is drawn, with the fonts, sizes and lines of the reports."""
    context: AbstractContextManager[None] = style.context(["default", STYLE])
    return context


def save_figure(fig: Figure, folder: Path, name: str) -> list[Path]:
    """Save a figure as NAME.png and NAME.svg, and return the files. Equal figures give equal files."""
    return save([(name, fig)], folder)
