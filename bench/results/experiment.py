"""The results.json of an experiment that consists of cells: the same file whichever engine computed the cells.

Times and hosts are in timing.json beside it, which has no schema.
"""

from typing import Final, Literal

from pydantic import Field, JsonValue

from bench.terms import Value

EXPERIMENT_SCHEMA: Final = "pyfnn-experiment/1"


class CellResult(Value):
    """A cell: what it depends on, and what was computed in it or why nothing was.

    Attributes
    ----------
    key : str
        The sha256 of the experiment, the parameters, and the code (see `ExperimentResults.origin`).
    parameters : dict
    status : str
    values : dict or None
        None where the status is "error". A value that was NaN or infinite is null.
    reason : str or None
        The exception, where the status is "error".
    """

    key: str
    parameters: dict[str, JsonValue]
    status: Literal["ok", "error"]
    values: dict[str, JsonValue] | None = None
    reason: str | None = None


class ExperimentResults(Value):
    """The results of an experiment.

    Attributes
    ----------
    experiment : str
    version : int
        Version of the function that computes a cell.
    origin : dict
        Versions of packages and digests of sources that the values come from.
    settings : dict
        Settings that choose the cells.
    cells : list of CellResult
        Every cell once, in the experiment's order.
    """

    schema_: Literal["pyfnn-experiment/1"] = Field(EXPERIMENT_SCHEMA, alias="schema")
    experiment: str
    version: int
    origin: dict[str, str]
    settings: dict[str, JsonValue]
    cells: list[CellResult]
