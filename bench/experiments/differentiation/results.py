"""The errors of the experiment, gathered from its cells."""

from collections.abc import Sequence
from math import inf
from statistics import median
from typing import NamedTuple

from bench.experiments.engine.cell import Finished, Values


class Result(NamedTuple):
    """The errors of a method in one dtype, by step and seed; a method that takes no steps has one list of errors."""

    method: str
    dtype: str
    steps: list[float]
    errors: list[list[float]]

    @property
    def medians(self) -> list[float]:
        """The median over seeds, for each step."""
        return [median(errors) for errors in self.errors]

    @property
    def best(self) -> int:
        """Place of the step with the smallest median."""
        return self.medians.index(min(self.medians))


def results_of(finished: Sequence[Finished]) -> list[Result]:
    """Return the errors of every method that could run, in the order of the cells."""
    groups: dict[tuple[str, str], list[Values]] = {}
    for one in finished:
        if "errors" in one.values:
            groups.setdefault((one.cell.parameters["method"], one.cell.parameters["dtype"]), []).append(one.values)
    found = []
    for (method, dtype), seeds in groups.items():
        by_step = zip(*([_number(error) for error in values["errors"]] for values in seeds), strict=True)
        found.append(Result(method, dtype, list(seeds[0].get("steps", [])), [list(errors) for errors in by_step]))
    return found


def _number(error: float | None) -> float:
    """Return an error; infinity for NaN and infinity, which JSON lacks."""
    return inf if error is None else error
