"""One gradient in seven ways and by a backend: their errors against longdouble, and their costs.

`methods` has the ways, `symbolic` and `automatic` those by SymPy and JAX; `cost` times them, `figures` draws.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.experiments.differentiation import packages, symbolic
from bench.experiments.differentiation.cost import WIDEST, measure
from bench.experiments.differentiation.methods import BACKEND, error, make_problem, methods
from bench.experiments.differentiation.report import write
from bench.experiments.engine.cell import Cell, Experiment, Finished, Parameters, Settings, Values, at_least
from pyfnn.network import DTYPES

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

SIZES, ROWS = (3, 4, 2), 2  # small enough for an expression of every derivative
EXPONENTS = [*range(0, 61, 2), 100]  # steps h = 2^-exponent; the last one shows that the complex step has no lower end


def cells(settings: Settings) -> list[Cell]:
    """Return a cell for each method, dtype and seed."""
    found = []
    for name, method in methods(settings.backend).items():
        own: dict[str, Any] = {"method": name, "sizes": SIZES, "rows": ROWS}
        if method.takes_steps:
            own["exponents"] = EXPONENTS
        if name == BACKEND:
            own["backend"] = settings.backend
        found += [own | {"dtype": dtype, "seed": seed} for dtype in DTYPES for seed in range(settings.seeds)]
    return [Cell(EXPERIMENT.name, parameters) for parameters in found]


def compute(parameters: Parameters) -> Values:
    """Compute the gradient by one method and its error; at every step, where the method takes steps."""
    name = parameters["method"]
    method = methods(parameters.get("backend", ""))[name]
    if not packages.can_run(method.package):
        return {"unavailable": packages.absent(str(method.package))}
    problem = make_problem(tuple(parameters["sizes"]), parameters["rows"], parameters["dtype"], parameters["seed"])
    steps = [2.0**-exponent for exponent in parameters.get("exponents", [0])]
    with method.prepare(problem) as gradient, np.errstate(all="ignore"):
        found: dict[str, Any] = {"errors": [error(problem, gradient(h)) for h in steps]}
    if method.takes_steps:
        found["steps"] = steps
    if name == "symbolic":
        found["operations"] = symbolic.Gradient(problem.network, len(problem.x)).operations()
    return found


def report(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    """Write the errors; take the times on this machine, one method after the other, and write them too."""
    ways = methods(settings.backend)
    runnable = {name: way for name, way in ways.items() if packages.can_run(way.package)}
    write(finished, measure(runnable, settings.widest), ways, out)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--widest",
        type=at_least(2),
        default=WIDEST,
        metavar="N",
        help=f"width of the largest network whose gradients are timed, at least 2 (default: {WIDEST})",
    )


EXPERIMENT = Experiment(
    name="differentiation",
    summary="one gradient by differences, symbolically, by automatic differentiation and by backpropagation",
    version=1,
    cells=cells,
    compute=compute,
    report=report,
    arguments=_arguments,
    seeds=5,
    question="How exact and how costly are the ways to a gradient?",
)
