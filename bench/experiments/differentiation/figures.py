"""The figures of the experiment: error against the step, and time against the number of parameters."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.experiments.differentiation.cost import DERIVATION, Timing
from bench.experiments.differentiation.results import Result
from bench.experiments.engine.figures import label_powers
from bench.report.drawing import FAINT, LEGEND, MUTED, WIDE, log_axis
from bench.report.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION
from pyfnn.network import DTYPES

COLOURS = {
    "forward difference": VERMILION,
    "central difference": ORANGE,
    "complex step": BLUE,
    "symbolic": PURPLE,
    DERIVATION: PURPLE,
    "forward mode": SKY,
    "reverse mode": GREEN,
    "backpropagation": BLACK,
    "backend": MUTED,
}
MARKERS = "osD^vP*X<"
SHOWN = 1e-19  # smallest step in the figure


def errors(results: Sequence[Result], labels: Mapping[str, str]) -> Figure:
    """Draw the error of each difference against its step, in a panel for each dtype, float64 first.

    A band spans seeds. A grey band spans the errors of the methods that take no step.
    """
    figure = Figure(figsize=(WIDE, 3.9), layout="constrained")
    figure.suptitle("Relative error of a gradient against the step h", weight="bold", fontsize=9)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, dtype in zip(panels, reversed(DTYPES), strict=True):
        here = [result for result in results if result.dtype == dtype]
        stepless = [error for result in here if not result.steps for errors in result.errors for error in errors]
        if stepless:
            span = max(min(stepless), 1e-18), max(stepless)
            axes.axhspan(*span, color=FAINT, label="symbolic, automatic, backpropagation")
        for result in here:
            if result.steps:
                _curve(axes, result, labels[result.method])
        _theory(axes, float(np.finfo(dtype).eps) / 2)
        axes.set_title(dtype, loc="left")
        axes.set_xlabel("step h")
        log_axis(axes, "x", (SHOWN, 1.0))
        log_axis(axes, "y", (1e-17, 1e3))
        for axis in (axes.xaxis, axes.yaxis):
            label_powers(axis)
    panels[0].set_ylabel("error relative to longdouble")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, **LEGEND)
    return figure


def _curve(axes: Axes, result: Result, label: str) -> None:
    shown = [at for at, h in enumerate(result.steps) if h >= SHOWN]
    steps = [result.steps[at] for at in shown]
    low, high = ([of(result.errors[at]) for at in shown] for of in (min, max))
    colour = COLOURS[result.method]
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, [result.medians[at] for at in shown], color=colour, linewidth=1.4, label=label)
    if result.best in shown:
        axes.plot(result.steps[result.best], result.medians[result.best], "o", color=colour, markersize=4)


def _theory(axes: Axes, u: float) -> None:
    """Mark the steps that balance truncation and rounding: √u for a difference, ∛u for a central one."""
    for power, name, colour in ((1 / 2, "√u", VERMILION), (1 / 3, "∛u", ORANGE)):
        axes.axvline(u**power, color=colour, linewidth=0.7, linestyle=":")
        axes.text(u**power, 1.5e2, f" {name} ", color=colour, va="bottom", ha="left" if power < 0.4 else "right")


def costs(timings: Sequence[Timing], labels: Mapping[str, str]) -> Figure:
    """Draw the time of a gradient against the number of parameters, both on log axes, with slopes to compare."""
    figure = Figure(figsize=(WIDE, 4.4), layout="constrained")
    figure.suptitle("Time of a gradient against the number of parameters", weight="bold", fontsize=9)
    axes = figure.subplots()
    for name, marker in zip(dict.fromkeys(timing.method for timing in timings), cycle(MARKERS)):
        own = [timing for timing in timings if timing.method == name]
        place = [timing.parameters for timing in own], [timing.least for timing in own]
        style: dict[str, Any] = {"marker": marker, "markersize": 4, "linewidth": 1.2, "color": COLOURS[name]}
        axes.plot(*place, label=labels[name], linestyle="--" if name == DERIVATION else "-", **style)
    _slopes(axes, timings)
    log_axis(axes, "x", [timing.parameters for timing in timings])
    log_axis(axes, "y", [timing.least for timing in timings])
    for axis in (axes.xaxis, axes.yaxis):
        label_powers(axis)
    axes.set(xlabel="parameters n", ylabel="seconds, least of the repeats (illustrative)")
    figure.legend(loc="outside lower center", ncols=2, **LEGEND)
    return figure


def _slopes(axes: Axes, timings: Sequence[Timing]) -> None:
    """Draw faint lines of slope 1 and 2 from the fastest gradient of the smallest network on."""
    first = min(timings, key=lambda timing: (timing.parameters, timing.least))
    top = max(timing.least for timing in timings)
    for power, name in ((1, "∝ n"), (2, "∝ n²")):
        longest = max(timing.parameters for timing in timings) / first.parameters
        end = min(longest, (top / first.least) ** (1 / power))
        x, y = (first.parameters, end * first.parameters), (first.least, first.least * end**power)
        axes.plot(x, y, color=MUTED, linewidth=0.7, linestyle=":")
        axes.text(x[1], y[1], f" {name}", color=MUTED, va="center")
