"""The vocabulary of experiments: cells, what is computed in them, and settings. Runs nothing, imports nothing heavy."""

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report  # draws, and so imports much

Parameters = Mapping[str, Any]  # values of JSON, without NaN and infinities
Values = Mapping[str, Any]  # likewise
SEEDS = 20  # for each setting, unless the experiment or the command line has another number


def canonical(value: Any) -> str:
    """Return the JSON of a value in one form for equal values: keys sorted, no spaces.

    Raises
    ------
    TypeError, ValueError
        The value holds what JSON lacks.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of a value, in hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def finite(value: Any) -> Any:
    """Return a value as JSON has it: NaN and infinities as None, arrays and NumPy's numbers as lists and numbers."""
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return None if isinstance(value, float) and not isfinite(value) else value


@dataclass(frozen=True)
class Cell:
    """A part of an experiment that is computed by itself.

    Parameters
    ----------
    experiment : str
        Name of the experiment.
    parameters : mapping
        Everything that the result depends on, except code: network, hash of the data, seed, backend. Values of JSON;
        kept as JSON gives them back, sorted by name, so that every engine computes from equal ones.
    """

    experiment: str
    parameters: Parameters

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", json.loads(canonical(dict(self.parameters))))

    @property
    def key(self) -> str:
        """Return the sha256 of the experiment's name and of the parameters. `Origin.key` adds the code to it."""
        return digest([self.experiment, self.parameters])


@dataclass(frozen=True)
class Finished:
    """A cell and what was computed in it; `seconds` by the wall clock."""

    cell: Cell
    values: Values
    seconds: float


@dataclass(frozen=True)
class Settings:
    """The settings of a run. An experiment's own options are attributes, too: `settings.rate` is `options["rate"]`."""

    backend: str
    seeds: int
    out: Path
    workers: int | None = None
    scheduler: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        options = self.__dict__.get("options", {})  # absent while a copy of this value is being made
        if name in options:
            return options[name]
        raise AttributeError(f"there is no setting {name!r}")


def at_least(least: int) -> Callable[[str], int]:
    """Return a type for argparse: a whole number from `least` on."""

    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least {least}")
        return int(text)

    return whole_number


def no_requirements(settings: Settings) -> None:
    """Require nothing of the machine."""


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no option: the `arguments` of an experiment that has none of its own."""


@dataclass(frozen=True)
class Experiment:
    """An experiment: its cells, the function that computes one of them, and its report.

    Parameters
    ----------
    name : str
        Its name on the command line.
    summary : str
        One line for readers.
    version : int
        Raised whenever `compute` returns other values; cells of another version are computed again.
    cells : callable
        Returns every cell for some settings, each once, in a fixed order.
    compute : callable
        Computes the values of a cell from its parameters. A function of a module, which every worker imports by name,
        with all that the module imports; pure and deterministic. NaN, infinities and NumPy's numbers in its values
        become what `finite` makes of them. An exception is recorded as the cell's failure.
    report : callable
        Adds sentences, tables and figures to a report, from the finished cells in their fixed order. Cells that failed
        are not among them.
    arguments : callable, optional
        Adds the experiment's own options to a parser.
    requires : callable, optional
        Raises a `PyfnnError` where this machine lacks what the cells need, such as data. It is called before the first
        cell, unless a scheduler is given: the hosts of its cluster have what they need, or fail.
    seeds : int, optional
        Default of --seeds.
    question : str, optional
        What the experiment asks, for its page; without one, the summary stands there.
    """

    name: str
    summary: str
    version: int
    cells: Callable[[Settings], Sequence[Cell]]
    compute: Callable[[Parameters], Values]
    report: Callable[[Sequence[Finished], "Report", Settings], None]
    arguments: Callable[[argparse.ArgumentParser], None] = no_arguments
    requires: Callable[[Settings], None] = no_requirements
    seeds: int = SEEDS
    question: str = ""
