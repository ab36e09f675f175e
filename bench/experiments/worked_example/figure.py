"""The figure of the worked example: the network with its numbers on the way forward, and on the way back."""

from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.experiments.worked_example.formulas import UNITS
from bench.report.drawing import BLUE, MUTED, VERMILION, WIDE

HEIGHT = 6.0  # inches, of both panels
RADIUS = 0.30  # inches, of a unit
COLUMNS, ROWS = (0.75, 3.0, 5.5), {1: 1.75, 2: 0.55}  # places of the layers and of the units, in inches
ALONG = 0.28  # place of an edge's label, as a share of the edge: there the labels of crossing edges are apart


def draw(title: str, known: Mapping[str, float]) -> Figure:
    """Draw the network twice. known: every number of the example by its name."""
    figure = Figure(figsize=(WIDE, HEIGHT), layout="constrained")
    figure.suptitle(title, weight="bold", fontsize=9)
    forward, backward = figure.subplots(2, 1)
    for axes in (forward, backward):
        axes.set(xlim=(0, WIDE), ylim=(0, 2.4), aspect="equal")
        axes.set_axis_off()
    forward.set_title(f"Forward: R = {known['R']:.6f}", loc="left", color=BLUE)
    backward.set_title("Backward: δ_l = ∂R/∂Z_l, and the derivatives by the parameters", loc="left", color=VERMILION)
    _network(forward, known, "", BLUE)
    _network(backward, known, "d", VERMILION)
    last = "S" if "S[1]" in known else "Y"
    for j in UNITS:
        _unit(forward, 0, j, "x", [f"X[{j}]", f"{known[f'X[{j}]']:g}"])
        _unit(forward, 1, j, "", [f"Z {known[f'Z_1[{j}]']:.4f}", f"A {known[f'A_1[{j}]']:.4f}"])
        _unit(forward, 2, j, "", [f"Z {known[f'Z_2[{j}]']:.4f}", f"{last} {known[f'{last}[{j}]']:.4f}"])
        _beside(forward, j, [*_softmax(known, last, j), f"T[{j}] = {known[f'T[{j}]']:g}"])
        _unit(backward, 0, j, "x", [f"X[{j}]", f"{known[f'X[{j}]']:g}"])
        _unit(backward, 1, j, "", ["δ_1", f"{known[f'δ_1[{j}]']:.5f}"])
        _unit(backward, 2, j, "", ["δ_2", f"{known[f'δ_2[{j}]']:.5f}"])
        _beside(backward, j, [f"∂R/∂Y[{j}] =", f"{known[f'dY[{j}]']:.5f}"])
    return figure


def _softmax(known: Mapping[str, float], last: str, j: int) -> Iterator[str]:
    if last == "S":
        yield f"Y[{j}] = {known[f'Y[{j}]']:.4f}"


def _network(axes: Axes, known: Mapping[str, float], prefix: str, colour: str) -> None:
    """Draw the edges with their weights, or with the derivatives by them, and the biases below the units."""
    digits = ".2f" if prefix == "" else ".5f"
    for layer in (1, 2):
        left, right = COLUMNS[layer - 1], COLUMNS[layer]
        for i in UNITS:
            for j in UNITS:
                axes.plot([left, right], [ROWS[i], ROWS[j]], color=MUTED, linewidth=0.8, zorder=1)
                place = left + ALONG * (right - left), ROWS[i] + ALONG * (ROWS[j] - ROWS[i])
                _text(axes, place, f"{prefix}W_{layer}[{i},{j}] {known[f'{prefix}W_{layer}[{i},{j}]']:{digits}}", colour)
        for j in UNITS:
            bias = f"{prefix}b_{layer}[{j}] {known[f'{prefix}b_{layer}[{j}]']:{digits}}"
            _text(axes, (right, ROWS[j] - RADIUS - 0.13), bias, colour)


def _text(axes: Axes, place: tuple[float, float], text: str, colour: str) -> None:
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    axes.text(*place, text, ha="center", va="center", color=colour, zorder=2, bbox=background)


def _unit(axes: Axes, layer: int, j: int, kind: str, lines: list[str]) -> None:
    """Draw a unit as a circle, an input as a square, with its numbers inside."""
    shape = {"boxstyle": "square,pad=0.5" if kind == "x" else "circle,pad=0.35", "facecolor": "white", "edgecolor": "k"}
    axes.text(COLUMNS[layer], ROWS[j], "\n".join(lines), ha="center", va="center", zorder=3, bbox=shape)


def _beside(axes: Axes, j: int, lines: list[str]) -> None:
    axes.text(COLUMNS[2] + RADIUS + 0.35, ROWS[j], "\n".join(lines), ha="left", va="center")
