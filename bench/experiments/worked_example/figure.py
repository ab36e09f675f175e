"""The figure of the worked example: the network with its numbers on the way forward, and on the way back."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.experiments.worked_example.formulas import UNITS
from bench.report.drawing import MUTED, WIDE
from bench.report.style import BLUE, VERMILION

HEIGHT = 5.0  # inches, of both panels
COLUMNS, ROWS = (0.4, 2.95, 5.5), {1: 1.75, 2: 0.55}  # places of the layers and of the units, in inches
BELOW, BESIDE = 0.5, 0.6  # inches from the middle of a unit to its bias, and from an output to what follows
ALONG = 0.34  # place of an edge's label, as a share of the edge: there the labels of crossing edges are apart


def draw(title: str, known: Mapping[str, float]) -> Figure:
    """Draw the network twice. known: every number of the example by its name."""
    figure = Figure(figsize=(WIDE, HEIGHT), layout="constrained")
    figure.suptitle(title, weight="bold", fontsize=9)
    forward, backward = figure.subplots(2, 1)
    _panel(forward, f"Forward: R = {known['R']:.6f}", BLUE)
    _panel(backward, "Backward: δ = ∂R/∂Z, and the derivatives by the parameters", VERMILION)
    _edges(forward, known, "", 2, BLUE)
    _edges(backward, known, "d", 6, VERMILION)
    last = "S" if "S[1]" in known else "Y"
    for j in UNITS:
        for axes in (forward, backward):
            _unit(axes, 0, j, [f"X[{j}]", f"{known[f'X[{j}]']:g}"])
        _unit(forward, 1, j, [f"{name[0]} {known[f'{name}[{j}]']:.4f}" for name in ("Z_1", "A_1")])
        _unit(forward, 2, j, [f"{name[0]} {known[f'{name}[{j}]']:.4f}" for name in ("Z_2", last)])
        of_softmax = [f"Y[{j}] = {known[f'Y[{j}]']:.4f}"] if last == "S" else []
        _beside(forward, j, [*of_softmax, f"T[{j}] = {known[f'T[{j}]']:g}"])
        for layer in (1, 2):
            _unit(backward, layer, j, [_printed(f"δ_{layer}[{j}]"), _signed(known[f"δ_{layer}[{j}]"], 5)])
        _beside(backward, j, [f"∂R/∂Y[{j}] =", _signed(known[f"dY[{j}]"], 5)])
    return figure


def _panel(axes: Axes, title: str, colour: str) -> None:
    axes.set(xlim=(0, WIDE), ylim=(-0.1, 2.1), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=8, color=colour)


def _edges(axes: Axes, known: Mapping[str, float], prefix: str, digits: int, colour: str) -> None:
    """Draw the edges with their weights, or with the derivatives by them, and the biases below the units."""
    for layer in (1, 2):
        left, right = COLUMNS[layer - 1], COLUMNS[layer]
        for i in UNITS:
            for j in UNITS:
                axes.plot([left, right], [ROWS[i], ROWS[j]], color=MUTED, linewidth=0.8, zorder=1)
                place = left + ALONG * (right - left), ROWS[i] + ALONG * (ROWS[j] - ROWS[i])
                weight = f"{prefix}W_{layer}[{i},{j}]"
                _label(axes, place, f"{_printed(weight)} {_signed(known[weight], digits)}", colour)
        for j in UNITS:
            bias = f"{prefix}b_{layer}[{j}]"
            _label(axes, (right, ROWS[j] - BELOW), f"{_printed(bias)}\n{_signed(known[bias], digits)}", colour)


def _printed(name: str) -> str:
    """Return a name of the example with its layer as a subscript."""
    return name.replace("_1", "₁").replace("_2", "₂")


def _signed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _label(axes: Axes, place: tuple[float, float], text: str, colour: str) -> None:
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    axes.text(*place, text, ha="center", va="center", color=colour, zorder=2, bbox=background)


def _unit(axes: Axes, layer: int, j: int, lines: Sequence[str]) -> None:
    """Draw a unit as a circle, an input as a square, with its numbers inside."""
    style = "circle,pad=0.38" if layer else "square,pad=0.5"
    shape = {"boxstyle": style, "facecolor": "white", "edgecolor": "k"}
    axes.text(COLUMNS[layer], ROWS[j], "\n".join(lines), ha="center", va="center", zorder=3, bbox=shape)


def _beside(axes: Axes, j: int, lines: Sequence[str]) -> None:
    axes.text(COLUMNS[2] + BESIDE, ROWS[j], "\n".join(lines), ha="left", va="center")
