"""The figure of a pathology: a column for each arm; norms and shares of every layer, and the loss, over the steps."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap
from matplotlib.figure import Figure

from bench.experiments.engine.cell import Values
from bench.experiments.engine.figures import label_powers
from bench.experiments.pathologies.arms import Pathology
from bench.report.drawing import MUTED, TYPE, WIDE, log_axis
from bench.report.style import BLACK, VERMILION

ROW = 1.55  # inches
BEFORE = 0.5  # place of step 0 on the log axis
HIGHEST = 1e15  # a curve that rises above leaves its panel, so that the others can be seen
LABELS = {
    "gradient_norm": "gradient norm",
    "activation_rms": "activations, r.m.s.",
    "saturated": "share of saturated outputs\n(of relu: inactive)",
    "dead": "share of dead units",
    "loss": "loss, training rows",
}
SHARES = ("saturated", "dead")


def draw(pathology: Pathology, arms: Mapping[str, Sequence[Values]]) -> Figure:
    """Draw the medians over seeds. arms: of each arm by its name, the values of every seed."""
    quantities = ("gradient_norm", pathology.share, "loss")
    layers = len(pathology.hidden) + 1
    colours = colormaps["viridis"].resampled(layers + 1)  # the last one, a pale yellow, is not used
    figure = Figure(figsize=(WIDE, 1.0 + ROW * len(quantities)), layout="constrained")
    figure.suptitle(pathology.title, weight="bold", fontsize=9)
    figure.supxlabel("\n".join(textwrap.wrap(pathology.lesson, 125)), fontsize=TYPE, color=MUTED)
    panels = figure.subplots(len(quantities), len(arms), sharex=True, sharey="row", squeeze=False)
    for row, quantity in zip(panels, quantities, strict=True):
        _row(row, list(arms.values()), quantity, colours)
    for top, bottom, (arm, seeds) in zip(panels[0], panels[-1], arms.items(), strict=True):
        top.set_title(arm, loc="left", fontsize=8, weight="bold")
        _overflow(top, seeds)
        _steps(bottom, pathology.steps)
    norm = BoundaryNorm(np.arange(0.5, layers + 1), layers)
    shown = ScalarMappable(norm, colours.resampled(layers + 1))
    bar = figure.colorbar(shown, ax=panels, ticks=range(1, layers + 1), aspect=40, pad=0.01)
    bar.set_label("layer")
    return figure


def _row(row: Sequence[Axes], arms: Sequence[Sequence[Values]], quantity: str, colours: Colormap) -> None:
    """Draw one quantity, in a panel for each arm, on one scale."""
    seen: list[float] = []
    for axes, seeds in zip(row, arms, strict=True):
        places = [float(step) or BEFORE for step in max((values["steps"] for values in seeds), key=len)]
        for layer, curve in enumerate(curves(seeds, quantity)):
            colour = BLACK if quantity == "loss" else colours(layer)
            axes.plot(places, curve, color=colour, linewidth=1.1, marker=".", markersize=2.5)
            seen += [value for value in curve if 0 < value < HIGHEST]
    for axes in row:
        if quantity in SHARES:
            axes.set_ylim(-0.03, 1.03)
        else:
            log_axis(axes, "y", seen)
            label_powers(axes.yaxis)
    row[0].set_ylabel(LABELS[quantity])


def curves(seeds: Sequence[Values], quantity: str) -> list[list[float]]:
    """Return a curve for each layer, one for the loss: at each checkpoint the median over the seeds that reached it.

    None, JSON's word for a number that is not finite, is NaN. A layer without any number has no curve.
    """
    medians = []
    for at in range(max(len(values["steps"]) for values in seeds)):
        there = [np.atleast_1d(np.array(v[quantity][at], float)) for v in seeds if len(v["steps"]) > at]
        medians.append(np.median(there, axis=0))
    return [curve.tolist() for curve in np.transpose(medians) if not np.isnan(curve).all()]


def _steps(axes: Axes, last: int) -> None:
    """Label the log axis of the steps, which has step 0 at its left end."""
    log_axis(axes, "x", (BEFORE, last))
    powers = [10.0**power for power in range(6) if 10**power <= last]
    axes.set_xticks([BEFORE, *powers], ["0", *(f"{power:g}" for power in powers)])
    axes.set_xlabel("step")


def _overflow(axes: Axes, seeds: Sequence[Values]) -> None:
    """Write into a panel after how many steps θ was no longer finite, if ever."""
    found = [values["overflow"] for values in seeds if values["overflow"] is not None]
    if found:
        text = f"θ overflows\nby step {max(found)}\n({len(found)} of {len(seeds)} seeds)"
        axes.text(0.97, 0.5, text, transform=axes.transAxes, ha="right", va="center", color=VERMILION)
