"""Two half moons: python -m bench.experiments moons. Decision boundaries and loss curves of three optimizers.

The text that this follows trains 3 tanh units and a softmax on 200 points by 20 000 full-batch steps, with sums over
the points: rate 0.01, λ 0.01. Of means, as pyfnn has them, the same steps have rate 2.0 and λ 0.00005.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.experiments.engine.cell import Cell, Experiment, Finished, Parameters, Settings, Values, at_least, digest
from bench.experiments.engine.figures import figure_style
from bench.experiments.ranges import compared
from bench.report.drawing import LEGEND, WIDE, log_axis
from bench.report.style import BLUE, ORANGE, VERMILION
from pyfnn import oracle
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.registry import load_backend
from pyfnn.training import minimize
from pyfnn.validation import Array

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

NAME = "moons"
POINTS, NOISE, DATA_SEED = 200, 0.20, 0
TEST_POINTS, TEST_SEED = 2000, 1
RATE, L2 = 2.0, 5e-5
STEPS, ITERATIONS = 20_000, 1000
WIDTHS = (1, 2, 3, 4, 5, 20, 50)  # of the hidden layer; the source has 3
SOURCES_WIDTH = 3
METHODS = {"GD": "gradient descent", "CG": "conjugate gradient", "L-BFGS-B": "L-BFGS"}
_OPTIONS = {"CG": {"gtol": 0.0}, "L-BFGS-B": {"gtol": 0.0, "ftol": 0.0}}  # no end before a step lowers the loss no more


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's own options."""
    parser.add_argument(
        "--steps", type=at_least(1), default=STEPS, metavar="N", help=f"of gradient descent (default: {STEPS})"
    )
    parser.add_argument(
        "--iterations",
        type=at_least(1),
        default=ITERATIONS,
        metavar="N",
        help=f"of the other two (default: {ITERATIONS})",
    )


def network(width: int) -> Network:
    """Return the network with one hidden layer of this width."""
    return Network((2, width, 2), "tanh", "softmax_cross_entropy", L2, dtype="float64")


@lru_cache
def points(count: int, seed: int) -> tuple[Array, Array]:
    """Return x, (count, 2), and y, (count, 2), one-hot."""
    from sklearn.datasets import make_moons

    x, labels = make_moons(count, noise=NOISE, random_state=seed)
    return x, np.eye(2)[labels]


def cells(settings: Settings) -> list[Cell]:
    """Return a cell for each width, method and initial θ; the longest first."""
    data = digest([array.tolist() for array in (*points(POINTS, DATA_SEED), *points(TEST_POINTS, TEST_SEED))])
    return [
        Cell(
            NAME,
            {
                "width": width,
                "method": method,
                "most": settings.steps if method == "GD" else settings.iterations,
                "seed": seed,
                "backend": settings.backend,
                "data": data,
            },
        )
        for method in METHODS
        for width in reversed(WIDTHS)
        for seed in range(settings.seeds)
    ]


def compute(parameters: Parameters) -> Values:
    """Train a network; return its losses after so many evaluations of the gradient, its accuracies and its θ.

    Returns
    -------
    dict
        ``evaluations`` and ``losses``: lists, the first for θ before the first step, with 0 evaluations. ``accuracy``
        of the 200 points and ``test_accuracy`` of 2000 others; ``theta``.
    """
    p = dict(parameters)
    net = network(p["width"])
    train = descend if p["method"] == "GD" else search(p["method"])
    with load_backend(p["backend"]).create(net, initialize(net, p["seed"])) as model:
        evaluations, losses = train(model, *points(POINTS, DATA_SEED), p["most"])
        return {
            "evaluations": evaluations,
            "losses": losses,
            "accuracy": _accuracy(model, *points(POINTS, DATA_SEED)),
            "test_accuracy": _accuracy(model, *points(TEST_POINTS, TEST_SEED)),
            "theta": model.theta(),
        }


Curve = tuple[list[int], list[float]]


def descend(model: Model, x: Array, y: Array, steps: int) -> Curve:
    """Train by full-batch gradient descent; return the loss after 0 steps, 1, and some more, up to `steps`."""
    marks = np.unique([0, *np.geomspace(1, steps, 60).round().astype(int)]).tolist()
    model.load(x, y, np.tile(np.arange(len(x)), max(b - a for a, b in itertools.pairwise(marks))))
    losses = [model.loss(0, len(x))]
    for before, mark in itertools.pairwise(marks):
        model.train(0, (mark - before) * len(x), len(x), RATE)
        losses.append(model.loss(0, len(x)))
    return marks, losses


def search(method: str) -> Callable[[Model, Array, Array, int], Curve]:
    """Return the training by a method of SciPy, which ends at the lowest loss."""

    def train(model: Model, x: Array, y: Array, iterations: int) -> Curve:
        evaluations = Evaluations(model)
        history = minimize(
            model, x, y, iterations=iterations, method=method, callbacks=[evaluations.mark], options=_OPTIONS[method]
        )
        return [0, *evaluations.marks], history.table["loss"].tolist()

    return train


class Evaluations:
    """A count of a model's evaluations of the gradient, marked at the end of each iteration."""

    def __init__(self, model: Model) -> None:
        self.count = 0
        self.marks: list[int] = []
        evaluate = model.loss_and_gradient

        def counted(first: int, count: int) -> tuple[float, Array]:
            self.count += 1
            return evaluate(first, count)

        model.loss_and_gradient = counted  # type: ignore[method-assign]

    def mark(self, _: Any) -> None:
        """Note the count: a callback of `minimize`."""
        self.marks.append(self.count)


def _accuracy(model: Model, x: Array, y: Array) -> float:
    return float((model.predict(x).argmax(axis=1) == y.argmax(axis=1)).mean())


def report(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    """Write sentences, the table and the figures."""
    by_run: dict[tuple[str, int], list[Values]] = {}
    for each in finished:
        p = each.cell.parameters
        by_run.setdefault((p["method"], p["width"]), []).append(each.values)
    _sentences(by_run, out)
    _table(by_run, out, settings)
    with figure_style():
        out.figure(
            boundaries(by_run),
            "moons_boundaries",
            "Decision boundaries over the points of two half moons. A row for each method, a column for each number of "
            "hidden units; in each panel the share of 2000 other points that it classifies rightly.",
        )
        out.figure(
            curves(by_run),
            "moons_losses",
            "Training loss against evaluations of the gradient, on log axes: a line for each method and initial θ.",
        )


def _sentences(by_run: dict[tuple[str, int], list[Values]], out: "Report") -> None:
    """Compare the last losses of the methods, and the accuracies of the widths."""
    for width in (SOURCES_WIDTH, max(WIDTHS)):
        descent, search_ = (by_run.get((method, width), []) for method in ("GD", "L-BFGS-B"))
        if descent and search_:
            found, reference = ([values["losses"][-1] for values in runs] for runs in (search_, descent))
            gradients = [np.median([values["evaluations"][-1] for values in runs]) for runs in (search_, descent)]
            with_units = f"with {width} unit{'s' * (width > 1)}"
            after = f"(after {gradients[0]:.0f} evaluations of the gradient, and {gradients[1]:.0f})"
            ours = f"the loss of L-BFGS {with_units}"
            out.say(*compared(ours, "that of gradient descent", found, reference, f" {after}"))
    tests = {
        width: [100 * values["test_accuracy"] for values in by_run["L-BFGS-B", width]]
        for width in WIDTHS
        if ("L-BFGS-B", width) in by_run
    }
    if len(tests) > 1:
        best = max(tests, key=lambda width: float(np.mean(tests[width])))
        widest = max(tests)
        if widest != best:
            ours = f"the accuracy on other points, in %, with {widest} units"
            out.say(*compared(ours, f"that with {best}, the best", tests[widest], tests[best]))


def _table(by_run: dict[tuple[str, int], list[Values]], out: "Report", settings: Settings) -> None:
    rows = []
    for (method, width), runs in sorted(by_run.items(), key=lambda item: (item[0][1], list(METHODS).index(item[0][0]))):
        losses = np.array([values["losses"][-1] for values in runs])
        evaluations = np.median([values["evaluations"][-1] for values in runs])
        accuracy, test = (100 * np.array([values[key] for values in runs]) for key in ("accuracy", "test_accuracy"))
        shares = (f"{each.mean():.1f} ({each.min():.1f} to {each.max():.1f})" for each in (accuracy, test))
        own = (float(np.median(losses)), float(losses.min()), float(losses.max()))
        rows.append([width, METHODS[method], f"{evaluations:.0f}", *own, *shares])
    header = ["hidden units", "method", "gradients", "loss", "lowest", "highest", "accuracy, %", "on 2000 others, %"]
    notes = [
        f"{settings.seeds} initial θ each. gradients: evaluations on all {POINTS} points; they and loss: medians.",
        f"Gradient descent: rate {RATE}, λ {L2}, {settings.steps} steps. The other two end after {settings.iterations} "
        "iterations, or where a line search finds no lower loss.",
        "Accuracies: mean, and from the lowest to the highest.",
    ]
    out.table("moons", header, rows, title=f"Moons: {POINTS} points, noise {NOISE}", notes=notes)


def boundaries(by_run: dict[tuple[str, int], list[Values]]) -> Figure:
    """Draw the decision boundaries of each method, a row, and each width, a column, from the first initial θ."""
    figure = Figure(figsize=(WIDE, 3.75))
    figure.text(0.01, 0.955, f"Moons: decision boundaries, 1 to {max(WIDTHS)} tanh units", weight="bold")
    figure.text(0.995, 0.955, f"In each: accuracy on {TEST_POINTS} other points", ha="right")
    places = {"left": 0.04, "right": 0.995, "bottom": 0.02, "top": 0.86, "wspace": 0.06, "hspace": 0.06}
    grid = figure.subplots(len(METHODS), len(WIDTHS), gridspec_kw=places, squeeze=False)
    for axes, width in zip(grid[0], WIDTHS, strict=True):
        axes.set_title(f"{width} unit{'s' * (width > 1)}", fontsize=7)
    for row, method in zip(grid, METHODS, strict=True):
        row[0].set_ylabel(METHODS[method])
        for axes, width in zip(row, WIDTHS, strict=True):
            axes.set(xticks=[], yticks=[])
            if (method, width) in by_run:
                _boundary(axes, width, by_run[method, width][0])
    return figure


def _boundary(axes: Axes, width: int, values: Values) -> None:
    x, y = points(POINTS, DATA_SEED)
    low, high = x.min(axis=0) - 0.4, x.max(axis=0) + 0.4
    across, up = np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200))
    probabilities = oracle.forward(
        network(width), np.array(values["theta"]), np.column_stack([across.ravel(), up.ravel()])
    ).A[-1]
    share = probabilities[:, 1].reshape(across.shape)
    axes.contourf(across, up, share, levels=np.linspace(0, 1, 11), cmap="RdBu", alpha=0.55)
    axes.contour(across, up, share, levels=[0.5], colors="black", linewidths=0.8)
    for label, colour in ((0, VERMILION), (1, BLUE)):
        those = y[:, label] == 1
        axes.plot(*x[those].T, ".", color=colour, markersize=2)
    axes.text(0.97, 0.03, f"{100 * values['test_accuracy']:.1f} %", transform=axes.transAxes, ha="right", va="bottom")


def curves(by_run: dict[tuple[str, int], list[Values]]) -> Figure:
    """Draw the losses against evaluations of the gradient: every initial θ, for the source's width and the largest."""
    figure = Figure(figsize=(WIDE, 3.0))
    figure.text(0.01, 0.945, "Moons: loss against evaluations of the gradient on all points", weight="bold")
    places = {"left": 0.08, "right": 0.99, "bottom": 0.25, "top": 0.82, "wspace": 0.18}
    panels = figure.subplots(1, 2, gridspec_kw=places)
    handles: list[Any] = []
    for axes, width in zip(panels, (SOURCES_WIDTH, max(WIDTHS)), strict=True):
        handles = []
        for (method, label), colour in zip(METHODS.items(), (BLUE, ORANGE, VERMILION), strict=True):
            for at, values in enumerate(by_run.get((method, width), ())):
                (line,) = axes.plot(
                    values["evaluations"][1:], values["losses"][1:], color=colour, linewidth=0.9, alpha=0.8
                )
                handles += [line] if at == 0 else []
                line.set_label(label)
        drawn = [values for method in METHODS for values in by_run.get((method, width), ())]
        log_axis(axes, "x", [evaluations for values in drawn for evaluations in values["evaluations"][1:]])
        log_axis(axes, "y", [loss for values in drawn for loss in values["losses"][1:]])
        axes.set(title=f"{width} tanh units", xlabel="evaluations of the gradient")
    panels[0].set_ylabel("loss, λ term included")
    figure.legend(handles=handles, loc="lower center", ncols=3, **LEGEND)
    return figure


EXPERIMENT = Experiment(
    name=NAME,
    summary="decision boundaries of 1 to 50 tanh units on half moons: gradient descent, conjugate gradient, L-BFGS",
    version=1,
    cells=cells,
    compute=compute,
    report=report,
    arguments=arguments,
    seeds=5,
    question="How do the units of a hidden layer and the optimizer shape a decision boundary?",
)
