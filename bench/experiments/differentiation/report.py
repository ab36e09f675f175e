"""The sentences and tables of the experiment: errors, errors by step, times."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from bench.experiments.differentiation import figures
from bench.experiments.differentiation.cost import DERIVATION, Timing, growth
from bench.experiments.differentiation.methods import BACKEND, Method
from bench.experiments.differentiation.results import Result, results_of
from bench.experiments.engine.cell import Finished, Values
from bench.experiments.engine.figures import figure_style
from bench.format import number
from pyfnn.network import DTYPES

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

NAME = "differentiation"
ROUNDING = 100  # units of roundoff that a sum of some dozen products may lose


def write(
    finished: Sequence[Finished], timings: Sequence[Timing], methods: Mapping[str, Method], out: "Report"
) -> None:
    """Write every sentence, table and figure."""
    results = results_of(finished)
    labels = {name: method.label for name, method in methods.items()}
    labels[DERIVATION] = "symbolic (SymPy): deriving the expressions"
    _say_errors(results, labels, out)
    _say_times(timings, labels, out)
    _write_errors(finished, results, methods, out)
    rows = [
        (labels[result.method], result.dtype, f"{h:.3e}", *(f"{of(errors):.3e}" for of in (median, min, max)))
        for result in results
        for h, errors in zip(result.steps, result.errors, strict=False)
    ]
    header = ("method", "dtype", "step h", "median error", "least", "largest")
    out.table(f"{NAME}-steps", header, rows, title="Error of a difference against its step")
    _write_times(timings, labels, out)
    with figure_style():
        out.figure(
            figures.errors(results, labels),
            f"{NAME}-errors",
            "Relative error of the gradient against the step h, on log axes: forward and central differences have a "
            "lowest point between truncation and rounding; the complex step falls to rounding and stays there; methods "
            "without a step are level lines.",
        )
        out.figure(
            figures.costs(timings, labels),
            f"{NAME}-costs",
            "Time of a gradient against the number of parameters, on log axes, a line for each method.",
        )


def _say_errors(results: Sequence[Result], labels: Mapping[str, str], out: "Report") -> None:
    """Compare the best error of each method with the unit roundoff of its dtype."""
    for dtype in reversed(DTYPES):
        own = [result for result in results if result.dtype == dtype]
        unit = float(np.finfo(dtype).eps) / 2
        exact = [labels[one.method] for one in own if one.medians[one.best] <= ROUNDING * unit]
        if exact:
            out.say(f"{dtype}: within {ROUNDING} units of roundoff ({unit:.1e}) of the gradient: {', '.join(exact)}.")
        for one in own:
            least = one.medians[one.best]
            if least > ROUNDING * unit:
                at = f" at h = {one.steps[one.best]:.1e}" if one.steps else ""
                out.say(
                    f"{dtype}: {labels[one.method]} loses {np.log10(least / unit):.0f} of "
                    f"{-np.log10(unit):.0f} digits, even at its best: error {least:.1e}{at}."
                )


def _say_times(timings: Sequence[Timing], labels: Mapping[str, str], out: "Report") -> None:
    """Compare the times of the largest network that each method was timed on with backpropagation's."""
    ours = {t.parameters: t.least for t in timings if t.method == BACKEND}
    for name in dict.fromkeys(t.method for t in timings if t.method not in (BACKEND, DERIVATION)):
        last = max((t for t in timings if t.method == name), key=lambda t: t.parameters)
        if last.parameters in ours:
            ratio = last.least / ours[last.parameters]
            out.say(
                f"A gradient by {last.parameters} parameters: {labels[name]} takes {number(ratio)} times as long as "
                f"{labels[BACKEND]} (least times of one process, no interval).",
                "note",
            )


def _write_errors(
    finished: Sequence[Finished], results: Iterable[Result], methods: Mapping[str, Method], out: "Report"
) -> None:
    by_key = {(result.method, result.dtype): result for result in results}
    remarks = {one.cell.parameters["method"]: _remark(one.values) for one in finished}
    rows = []
    for name, method in methods.items():
        row: list[str | None] = [method.label, method.work]
        for dtype in reversed(DTYPES):
            result = by_key.get((name, dtype))
            row.append(f"{result.medians[result.best]:.1e}" if result else None)
            row.append(f"{result.steps[result.best]:.1e}" if result and result.steps else None)
        rows.append((*row, remarks.get(name, "")))
    columns = (word for dtype in reversed(DTYPES) for word in (f"error, {dtype}", f"at h, {dtype}"))
    notes = (
        "Error: ‖g − ĝ‖ / ‖ĝ‖, median over seeds, at the step that is best for it. ĝ: backpropagation in longdouble, "
        f"whose unit roundoff here is {np.finfo(np.longdouble).eps / 2:.1e}.",
        "Work: passes over the network for a gradient by n parameters.",
    )
    header = ("method", "work", *columns, "remark")
    out.table(NAME, header, rows, title="One gradient in several ways", notes=notes)


def _remark(values: Values) -> str:
    if "operations" in values:
        return "{} operations written out, {} with equal parts computed once".format(*values["operations"])
    return str(values.get("unavailable", ""))


def _write_times(timings: Sequence[Timing], labels: Mapping[str, str], out: "Report") -> None:
    rows = [(labels[t.method], t.parameters, 1e6 * t.least, 1e6 * t.median, t.repeats) for t in timings]
    notes = [
        "Illustrative: least and median over the repeats in one process, without intervals; compiling is left out."
    ]
    for name in dict.fromkeys(t.method for t in timings):
        exponent = growth([t for t in timings if t.method == name])
        if exponent is not None:
            notes.append(f"{labels[name]}: time grows as n^{exponent:.1f} over the three largest n.")
    header = ("method", "parameters n", "least, µs", "median, µs", "repeats")
    out.table(f"{NAME}-costs", header, rows, title="Time of a gradient (one row, float64)", notes=notes)
