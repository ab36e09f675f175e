"""report.json of an experiment: the question, what the data say, tables, figures. The page is made of it and its SVGs.

The cells are in results.json of the same folder, if the experiment has any.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, ValidationError

from bench.results.journal import NOT_JSON, RESULTS, parse_json
from bench.results.schema import ResultsError, first_error
from bench.terms import Value
from pyfnn.regular import read_regular

EXPERIMENT_REPORT: Final = "pyfnn-experiment-report/1"
REPORT: Final = "report.json"
Kind = Literal["shown", "undecided", "attention", "note"]
Stem = Annotated[str, Field(pattern=r"^[\w+-]+$", max_length=200)]  # of a file in the folder: no way out of it
Entry = str | int | float | bool | None  # of a table: a float with all of its digits
_OF_CELLS: Final = b'"pyfnn-experiment/'  # begins the schema of results.json
_PEEKED: Final = 200  # bytes


class Finding(Value):
    """A sentence on what the data say, and its kind: shown by them, undecided, a failure, or a remark."""

    text: str
    kind: Kind


class Table(Value):
    """A table; NAME.csv in the folder has the same entries, NAME.md the entries as they are shown."""

    name: Stem
    title: str
    header: list[str]
    rows: list[list[Entry]]
    notes: list[str]


class Figure(Value):
    """A figure: NAME.svg and NAME.png in the folder. `alt` says what it shows to those who do not see it."""

    name: Stem
    alt: str


class ExperimentReport(Value):
    """The report of an experiment.

    Attributes
    ----------
    experiment : str
    question : str
    findings : list of Finding
        The answer first.
    tables, figures
    settings : dict
        Settings that choose what is computed.
    facts : dict
        Versions, numbers of cells and the like.
    host : dict
        The machine that wrote the report; times in it are of this machine.
    """

    schema_: Literal["pyfnn-experiment-report/1"] = Field(EXPERIMENT_REPORT, alias="schema")
    experiment: str
    question: str
    findings: list[Finding]
    tables: list[Table]
    figures: list[Figure]
    settings: dict[str, JsonValue]
    facts: dict[str, JsonValue]
    host: dict[str, JsonValue]


def holds_experiment(folder: Path) -> bool:
    """Return True for the folder of an experiment, also one that has not ended."""
    if (folder / REPORT).exists():
        return True
    path = folder / RESULTS
    return path.is_file() and _OF_CELLS in read_regular(path)[:_PEEKED]


def load_experiment_report(folder: Path) -> ExperimentReport:
    """Return the report of an experiment.

    Raises
    ------
    ResultsError
        The file is absent, altered or of another schema.
    """
    path = folder / REPORT
    try:
        return ExperimentReport.model_validate(parse_json(read_regular(path).decode()))
    except FileNotFoundError:
        raise ResultsError(
            f"{path}: is not there, because the experiment has not ended, or an earlier version wrote the folder; "
            f"run it again with --out {folder}: finished cells are kept"
        ) from None
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    except ValidationError as error:
        raise ResultsError(f"{path}: {first_error(error)}") from None
    except NOT_JSON as error:
        raise ResultsError(f"{path}: {error}") from None


def load_svg(folder: Path, figure: Figure) -> str:
    """Return the SVG of a figure.

    Raises
    ------
    ResultsError
        It cannot be read.
    """
    path = folder / f"{figure.name}.svg"
    try:
        return read_regular(path).decode()
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: {error}") from None
