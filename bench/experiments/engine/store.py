"""The files of an experiment: cells.jsonl, a line for each cell as it ends; results.json and timing.json at the end.

cells.jsonl keeps the finished cells of a run that was ended, and of earlier code and settings: the key says which.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from bench.experiments.engine.cell import Cell, Experiment, Settings, finite
from bench.experiments.engine.origin import Origin
from bench.experiments.engine.work import Outcome
from bench.results.experiment import EXPERIMENT_SCHEMA, CellResult, ExperimentResults
from bench.results.files import FolderTaken, Lines, replace
from bench.results.journal import JOURNAL, NOT_JSON, RESULTS, now, parse_json
from bench.results.schema import ResultsError, first_error
from bench.terms import Value

CELLS, TIMING = "cells.jsonl", "timing.json"
M = TypeVar("M", bound=Value)
_RESULT = set(CellResult.model_fields)


class CellLine(CellResult):
    """A line of cells.jsonl: a cell, and when, where and how long it was computed."""

    experiment: str
    seconds: float = Field(ge=0)
    host: str
    finished: str


@dataclass(frozen=True)
class Keyed:
    """A cell with the key of its values."""

    cell: Cell
    key: str

    def line(self, outcome: Outcome) -> CellLine:
        """Return the line for the end of the cell."""
        return CellLine(
            key=self.key,
            parameters=dict(self.cell.parameters),
            status="error" if outcome.values is None else "ok",
            values=None if outcome.values is None else dict(outcome.values),
            reason=outcome.reason,
            experiment=self.cell.experiment,
            seconds=outcome.seconds,
            host=outcome.host,
            finished=now(),
        )


class Store(Lines):
    """The cells of an experiment on disk, by their keys. A context manager; it claims the folder.

    Parameters
    ----------
    folder : Path
        It may hold cells already: they are there again.
    experiment : str

    Raises
    ------
    FolderTaken
        Another process is writing to the folder, or it holds a run or another experiment.
    ResultsError
        A line of cells.jsonl is altered, or a finished cell is there twice.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        self._experiment = experiment
        self._lines: dict[str, CellLine] = {}
        super().__init__(folder / CELLS, again=True)

    def check(self, again: bool, begun: bool) -> None:
        """Read the lines that are there; raise an error where they are not of this experiment."""
        del again
        if not begun and any((self.folder / name).exists() for name in (JOURNAL, RESULTS)):
            raise FolderTaken(f"--out {self.folder}: holds the results of a run; name another folder")
        for number, line in enumerate((self.folder / CELLS).read_bytes().split(b"\n")[:-1], 1):
            self._note(_parsed(CellLine, line, f"{self.folder / CELLS}, line {number}"))

    def _note(self, line: CellLine) -> None:
        if line.experiment != self._experiment:
            raise FolderTaken(f"--out {self.folder}: holds the experiment {line.experiment}; name another folder")
        if self.has(line.key):
            raise ResultsError(f"{self.folder / CELLS}: cell {line.key} is there twice")
        self._lines[line.key] = line

    def has(self, key: str) -> bool:
        """Return True for a finished cell; one that failed is to be tried again."""
        return key in self._lines and self._lines[key].status == "ok"

    def add(self, lines: Sequence[CellLine]) -> None:
        """Append cells that have ended, and sync them to the disk.

        Raises
        ------
        CannotWrite
        ResultsError
            A cell is there already.
        """
        for line in lines:
            self._note(line)
        if lines:
            self.append(line.model_dump() for line in lines)

    def line(self, key: str) -> CellLine:
        """Return the end of a cell."""
        return self._lines[key]

    def __enter__(self) -> "Store":
        return self


def chosen(settings: Settings) -> dict[str, Any]:
    """Return the settings that choose the cells, as JSON has them."""
    own = {"backend": settings.backend, "seeds": settings.seeds, **settings.options}
    found: dict[str, Any] = json.loads(json.dumps(finite(own), default=str))  # a path as its text
    return found


def save(store: Store, experiment: Experiment, settings: Settings, origin: Origin, cells: Iterable[Keyed]) -> Path:
    """Write results.json, which no engine, date or time changes, and return its path."""
    results = ExperimentResults(
        schema=EXPERIMENT_SCHEMA,
        experiment=experiment.name,
        version=experiment.version,
        origin=dict(origin),
        settings=chosen(settings),
        cells=[CellResult(**store.line(each.key).model_dump(include=_RESULT)) for each in cells],
    )
    path = store.folder / RESULTS
    replace(path, results.model_dump_json(by_alias=True, indent=1) + "\n")
    return path


def save_timing(store: Store, about: Mapping[str, Any], cells: Iterable[Keyed]) -> None:
    """Write timing.json: facts about the latest run, and when, where and how long each cell was computed."""
    timed = {each.key: store.line(each.key).model_dump(include={"seconds", "host", "finished"}) for each in cells}
    replace(store.folder / TIMING, json.dumps({**about, "cells": timed}, indent=1) + "\n")


def load(folder: Path) -> ExperimentResults:
    """Return the results of an experiment.

    Raises
    ------
    ResultsError
        The file is absent, altered or of another schema.
    """
    path = folder / RESULTS
    try:
        return _parsed(ExperimentResults, path.read_bytes(), str(path))
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None


def _parsed(model: type[M], text: bytes, place: str) -> M:
    try:
        return model.model_validate(parse_json(text.decode()))
    except ValidationError as error:
        raise ResultsError(f"{place}: {first_error(error)}") from None
    except NOT_JSON as error:
        raise ResultsError(f"{place}: {error}") from None
