"""Words that suites, results and reports share: operations, dtypes, statuses, sweep axes."""

from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from pyfnn.model import Operation

CaseOperation = Literal["train", Operation]  # training, and the single passes that `pyfnn.model.Model.time` repeats
CASE_OPERATIONS: tuple[CaseOperation, ...] = get_args(CaseOperation)
Dtype = Literal["float32", "float64"]
When = Literal["before", "after"]  # before or after all measurement
Clock = Literal["cpu", "wall"]  # the clock that gives the step times of a case
SweepAxis = Literal["batch", "width", "depth", "threads"]

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
    "disturbed",
    "crashed",
    "timed_out",
    "too_slow",
    "not_run",
]
STATUSES: tuple[str, ...] = get_args(Status)


# Numbers of files, bounded so that sums, products and quotients of several are finite numbers.
MOST: Final = 2**53  # a float64 holds it
LARGEST: Final = 1e300  # of a loss or of an error; an axis around it must still be finite
SHORTEST: Final = 1e-15  # seconds of timed work
MOST_SIZES: Final = 10_000  # of a network
Index = Annotated[int, Field(ge=0, le=MOST)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Seconds = Annotated[float, Field(ge=-1e9, le=1e9)]
Cost = Annotated[float, Field(ge=0, le=1e9)]  # seconds
Block = Annotated[float, Field(ge=SHORTEST, le=1e9)]  # seconds of timed work
Loss = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Rate = Annotated[float, Field(ge=1e-15, le=1e15)]  # in billions a second
Work = Annotated[float, Field(ge=0, le=1e30)]  # operations or bytes


class Value(BaseModel):
    """An immutable value that a file can hold: unknown fields, NaN and infinities are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WorkloadFacts(Value):
    """A network, its data and its training, as a suite defines them and as results keep them.

    Attributes
    ----------
    sizes : tuple of int
        m_0 to m_L.
    activation : str or tuple of str
        Of all hidden layers, or one for each.
    seed : int
        Of the parameters, the order and made-up data.
    members : int
        Networks trained at once. Above 1, each has its own seed, order, rate and λ, around those given.
    data : str
        Name of a dataset, or ``teacher`` for data drawn by a seeded network.
    """

    name: str
    sizes: Annotated[tuple[int, ...], Field(max_length=MOST_SIZES)]
    activation: str | tuple[str, ...]
    loss: str
    l2: float = 0.0
    output_activation: str | None = None
    rows: Count
    batch: Count
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    seed: Annotated[int, Field(ge=0)] = 0
    members: Count = 1
    data: str = "teacher"
    note: str = ""


class SweepPoint(Value):
    """The place of a case in a sweep: `workload`, varied along one axis to `value`."""

    along: SweepAxis
    value: Count
    workload: str


def case_title(workload: str, operation: str, dtype: str, threads: int, members: int = 1) -> str:
    """Return the title of a case, for example ``wine-deep · train · float32 · 1 thread``."""
    many = f" · {members} networks" if members > 1 else ""
    return f"{workload} · {operation} · {dtype} · {threads} thread{'' if threads == 1 else 's'}{many}"
