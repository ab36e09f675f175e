"""The tables of the experiment: errors, errors by step, times."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from bench.experiments.differentiation import figures
from bench.experiments.differentiation.cost import DERIVATION, Timing, growth
from bench.experiments.differentiation.methods import Method
from bench.experiments.differentiation.results import Result, results_of
from bench.experiments.engine.cell import Finished, Values
from bench.experiments.engine.figures import figure_style, save_figure
from bench.experiments.engine.tables import write_table
from pyfnn.network import DTYPES

NAME = "differentiation"


def write(finished: Sequence[Finished], timings: Sequence[Timing], methods: Mapping[str, Method], folder: Path) -> None:
    """Write every table and figure."""
    results = results_of(finished)
    labels = {name: method.label for name, method in methods.items()}
    labels[DERIVATION] = "symbolic (SymPy): deriving the expressions"
    _write_errors(finished, results, methods, folder)
    rows = [
        (labels[result.method], result.dtype, f"{h:.3e}", *(f"{of(errors):.3e}" for of in (median, min, max)))
        for result in results
        for h, errors in zip(result.steps, result.errors, strict=False)
    ]
    header = ("method", "dtype", "step h", "median error", "least", "largest")
    write_table(folder, f"{NAME}-steps", header, rows, title="Error of a difference against its step")
    _write_times(timings, labels, folder)
    with figure_style():
        save_figure(figures.errors(results, labels), folder, f"{NAME}-errors")
        save_figure(figures.costs(timings, labels), folder, f"{NAME}-costs")


def _write_errors(
    finished: Sequence[Finished], results: Iterable[Result], methods: Mapping[str, Method], folder: Path
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
    write_table(folder, NAME, header, rows, title="One gradient in several ways", notes=notes)


def _remark(values: Values) -> str:
    if "operations" in values:
        return "{} operations written out, {} with equal parts computed once".format(*values["operations"])
    return str(values.get("unavailable", ""))


def _write_times(timings: Sequence[Timing], labels: Mapping[str, str], folder: Path) -> None:
    rows = [(labels[t.method], t.parameters, 1e6 * t.least, 1e6 * t.median, t.repeats) for t in timings]
    notes = [
        "Illustrative: least and median over the repeats in one process, without intervals; compiling is left out."
    ]
    for name in dict.fromkeys(t.method for t in timings):
        exponent = growth([t for t in timings if t.method == name])
        if exponent is not None:
            notes.append(f"{labels[name]}: time grows as n^{exponent:.1f} over the three largest n.")
    header = ("method", "parameters n", "least, µs", "median, µs", "repeats")
    write_table(folder, f"{NAME}-costs", header, rows, title="Time of a gradient (one row, float64)", notes=notes)
