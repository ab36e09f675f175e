"""Reads crossing.json, the costs of a call from Python that `bench.experiments.crossing` writes. Computes nothing."""

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.results.schema import ResultsError, first_error
from bench.terms import Value

CROSSING: Final = "crossing.json"


class SignedEstimate(Value):
    """A centre and its 95 % interval in seconds; a difference, which noise can make negative."""

    median: float
    low: float
    high: float


class CrossingLine(Value):
    """The cost of a call of one route: at the binding, of pyfnn's checks (contract), of both; and a native step."""

    workload: str
    route: str
    passing: str
    binding: SignedEstimate
    contract: SignedEstimate
    public: SignedEstimate
    step: SignedEstimate
    steps: tuple[int, int]


class CrossingCosts(BaseModel):
    """The part of crossing.json that a report shows. `routes` has the backend behind each route."""

    model_config = ConfigDict(frozen=True)

    lines: tuple[CrossingLine, ...]
    routes: dict[str, str] = {}
    host: dict[str, Any] = {}


def load_crossing(folder: Path) -> CrossingCosts | None:
    """Return the costs in a folder; None where it has no crossing.json.

    Raises
    ------
    ResultsError
        Naming the file and what is wrong.
    """
    path = folder / CROSSING
    if not path.exists():
        return None
    try:
        return CrossingCosts.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    except ValidationError as error:
        raise ResultsError(f"{path}: {first_error(error)}") from None
