"""Words that suites, results and reports share: operations, dtypes, divisions, statuses, sweep axes."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Status = Literal[
    "ok",
    "unavailable",
    "unsupported",
    "build_failed",
    "protocol_error",
    "parity_failed",
    "diverged",
    "threads_mismatch",
    "implausible",
    "crashed",
    "timed_out",
    "too_slow",
    "not_run",
]
STATUSES: tuple[str, ...] = get_args(Status)


class Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


When = Literal["before", "after"]


def case_title(workload: str, operation: str, dtype: str, threads: int, members: int = 1) -> str:
    """For instance ``wine-deep · train · float32 · 1 thread``."""
    many = f" · {members} networks" if members > 1 else ""
    return f"{workload} · {operation} · {dtype} · {threads} thread{'' if threads == 1 else 's'}{many}"


SweepAxis = Literal["batch", "width", "depth", "threads"]


class SweepPoint(Value):
    """What a case is a point of: `workload`, all else equal, at this value of what is varied."""

    along: SweepAxis
    value: int = Field(ge=1)
    workload: str


OPERATIONS = ("train", "forward", "gradient")

Operation = Literal["train", "forward", "gradient"]
Division = Literal["plain", "tuned", "framework"]
Dtype = Literal["float32", "float64"]
