"""A 2-2-2 network by hand: every number of one training step beside the formula that gives it, each one checked.

`formulas` has the formulas and evaluates them, `figure` draws the network.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.experiments.engine.cell import Cell, Experiment, Finished, Parameters, Settings, Values
from bench.experiments.engine.figures import figure_style
from bench.experiments.worked_example.figure import draw
from bench.experiments.worked_example.formulas import (
    HEADS,
    NUMBERS,
    PARAMETERS,
    PARTS,
    UNITS,
    Formula,
    Head,
    as_printed,
    evaluate,
    forward_formulas,
    primed,
    with_numbers,
)
from bench.terminal import console
from pyfnn import oracle
from pyfnn.errors import PyfnnError
from pyfnn.network import Network

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

STEP = 1e-30  # of the complex step: its truncation error, about STEP², is far below the rounding error
LIMIT = 1e-14  # largest difference between a number and its check; the numbers are of the order of 1
COLUMNS = {  # of the table, by their names in the values of a cell
    "part": "part",
    "quantity": "quantity",
    "formula": "formula",
    "numbers": "with numbers",
    "value": "value",
    "check": "check",
    "by": "checked by",
}


def complex_step(head: Head, known: Mapping[str, float], of: str, by: str) -> float:
    """Return a derivative from the forward formulas alone: Im f(x + ih) / h (Squire and Trapp 1998, SIAM Review 40)."""
    values: dict[str, complex] = {**known, by: known[by] + STEP * 1j}
    for formula in forward_formulas(head):
        if formula.quantity != by:
            values[formula.quantity] = evaluate(formula.text, values)
    return float(values[of].imag / STEP)


def oracle_values(head: Head, known: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers of the forward pass by the oracle's functions, in matrices and in longdouble."""
    network = Network((2, 2, 2), "sigmoid", "half_squared_error", dtype="float64")
    theta = np.array([known[name] for name in PARAMETERS], np.longdouble)
    x, T = (np.array([[known[f"{name}[{j}]"] for j in UNITS]], np.longdouble) for name in "XT")
    run = oracle.forward(network, theta, x)
    last, R = head.outputs_and_loss(run.Z[1], T)
    layers = {"Z_1": run.Z[0], "A_1": run.A[1], "Z_2": run.Z[1], **last}
    return {"R": float(R), **{f"{name}[{j}]": float(row[0, j - 1]) for name, row in layers.items() for j in UNITS}}


def _check(head: Head, forward: Mapping[str, float], known: Mapping[str, float], formula: Formula) -> tuple[float, str]:
    """Return a number that a formula must give, and its source."""
    if formula.derivative:
        return complex_step(head, known, *formula.derivative), "complex step"
    if formula.quantity in forward:
        return forward[formula.quantity], "oracle"
    name = formula.quantity.replace("'", "")
    return known[name] - known["α"] * complex_step(head, known, "R", name), "complex step"


def compute(parameters: Parameters) -> Values:
    """Evaluate and check every line of one head; raise `PyfnnError` where a number differs from its check."""
    head = HEADS[parameters["head"]]
    known: dict[str, float] = dict(parameters["numbers"])
    forward = oracle_values(head, known)
    lines = []
    for part, formulas in PARTS.items():
        for formula in formulas(head):
            value = float(evaluate(formula.text, known))
            check, by = _check(head, forward, known, formula)
            if not abs(value - check) <= LIMIT:
                raise PyfnnError(f"{formula.quantity} = {value!r}: the {by} gives {check!r}")
            shown = {"formula": as_printed(formula.text), "numbers": with_numbers(formula.text, known)}
            lines.append({"part": part, "quantity": formula.defined, **shown, "value": value, "check": check, "by": by})
            known[formula.quantity] = value
    after = {**known, **{name: known[primed(name)] for name in PARAMETERS}}
    return {"lines": lines, "before": known["R"], "after": oracle_values(head, after)["R"], "known": known}


def cells(settings: Settings) -> list[Cell]:
    """Return a cell for each head; backend and seeds have no part in it."""
    del settings
    return [Cell(EXPERIMENT.name, {"head": name, "numbers": NUMBERS}) for name in HEADS]


def report(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    """Print a table for each head, and write it with a sentence and a figure of the network."""
    del settings
    for one in finished:
        name, values = one.cell.parameters["head"], one.values
        notes = (
            f"The step lowers R from {values['before']:.9f} to {values['after']:.9f}.",
            "W_l[i,j] leads from unit i to unit j. A prime marks a parameter after the step.",
            "Checks: the oracle computes in matrices and in longdouble; the complex step differentiates the forward "
            "formulas alone.",
        )
        rows = [[_shown(line[key]) for key in COLUMNS] for line in values["lines"]]
        stem, title = f"{EXPERIMENT.name}-{name}", f"A 2-2-2 network: {HEADS[name].title}"
        out.table(stem, list(COLUMNS.values()), rows, title=title, notes=notes)
        console().print("\n".join([title, "", *map(_printed, values["lines"]), "", notes[0], ""]), soft_wrap=True)
        with figure_style():
            alt = f"{title}: units and weights with their numbers, before and after the step. The table has them all."
            out.figure(draw(title, values["known"]), stem, alt)
        worst = max(abs(line["value"] - line["check"]) for line in values["lines"])
        out.say(
            f"{HEADS[name].title}: all {len(values['lines'])} numbers agree with their checks, to {worst:.1e}. "
            f"The step lowers the loss from {values['before']:.6f} to {values['after']:.6f}."
        )


def _printed(line: Mapping[str, Any]) -> str:
    """Return a quantity with its formula, and below it the numbers and the value."""
    quantity = line["quantity"].split(" ")[0]
    return f"{line['quantity']} = {line['formula']}\n{'':{len(quantity)}} = {line['numbers']} = {_shown(line['value'])}"


def _shown(value: Any) -> str:
    return f"{value:.12f}" if isinstance(value, float) else str(value)


EXPERIMENT = Experiment(
    name="worked-example",
    summary="one training step of a 2-2-2 network by hand, every number checked",
    version=1,
    cells=cells,
    compute=compute,
    report=report,
    seeds=1,
    question="What does one step of training compute, number by number?",
)
