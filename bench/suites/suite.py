"""Workloads and suites: what is to be measured, read from the .toml files here or from the user's own."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.terms import Division, Dtype, Operation, SweepAxis, SweepPoint
from pyfnn.network import Network


class Workload(BaseModel):
    """A network, its data and how it is trained; fixed, so that its results can be compared across runs.

    With `members` above 1, so many networks at once, each with its own seed, order, rate and λ around those given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sizes: tuple[int, ...]
    activation: str | tuple[str, ...]
    loss: str
    l2: float = 0.0
    output_activation: str | None = None
    rows: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    seed: Annotated[int, Field(ge=0)] = 0
    members: Annotated[int, Field(ge=1)] = 1
    data: str = "teacher"
    note: str = ""

    @model_validator(mode="after")
    def _a_batch_is_drawn_from_the_rows(self) -> "Workload":
        if self.batch > self.rows:
            raise ValueError(f"batch = {self.batch}: must be at most rows = {self.rows}")
        return self

    def network(self, dtype: str) -> Network:
        """The network, validated."""
        return Network(self.sizes, self.activation, self.loss, self.l2, self.output_activation, dtype)


class Sweep(BaseModel):
    """One workload at several values of one thing, all else as the workload has it.

    `batch`: the rows of a minibatch; `width`: of every hidden layer; `depth`: so many hidden layers, each as wide as
    the workload's first; `threads`: 1, 2, 4 and so on up to all CPUs, where `values` are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    along: SweepAxis
    workload: str
    values: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2)] | None = None

    @field_validator("values")
    @classmethod
    def _each_is_more_than_the_one_before(cls, values: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if values and any(one >= other for one, other in pairwise(values)):
            raise ValueError("each must be more than the one before")
        return values

    @model_validator(mode="after")
    def _only_threads_have_values_of_their_own(self) -> "Sweep":
        if self.values is None and self.along != "threads":
            raise ValueError(f"values: must be given along {self.along}; along threads they may be left out")
        return self

    def name_of(self, value: int) -> str:
        """Of the workload at a value; along threads that is the same one everywhere."""
        return self.workload if self.along == "threads" else f"{self.workload}@{self.along}={value}"

    def place_of(self, workload: str, threads: int) -> SweepPoint:
        """Which point a case of the sweep is."""
        values = {self.name_of(value): value for value in self.values or ()}
        value = threads if self.along == "threads" else values[workload]
        return SweepPoint(along=self.along, value=value, workload=self.workload)


class Suite(BaseModel):
    """Which workloads, operations, dtypes and thread counts, each combination a case; and whose backends by default.

    A suite with a `sweep` has, once loaded, the workloads of its points, and along threads their counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workloads: Annotated[tuple[str, ...], Field(min_length=1)] = ()
    sweep: Sweep | None = None
    operations: Annotated[tuple[Operation, ...], Field(min_length=1)] = ("train",)
    dtypes: Annotated[tuple[Dtype, ...], Field(min_length=1)] = ("float32",)
    threads: Annotated[tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...], Field(min_length=1)] = (1,)
    divisions: Annotated[tuple[Division, ...], Field(min_length=1)] = get_args(Division)
    programs: bool = True  # whether those of the divisions take part that are programs, and have to be built first
    backends: tuple[str, ...] = ()  # by name, in place of all of the divisions
    budget: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0  # seconds, for the whole run

    @model_validator(mode="after")
    def _there_is_something_to_measure(self) -> "Suite":
        if not self.workloads and self.sweep is None:
            raise ValueError("workloads: must be given, or a table [suite.sweep] in their place")
        return self

    @property
    def told(self) -> str:
        """What it measures, in a few words: the workloads, or ``digits along width, 16 to 512``."""
        if self.sweep is None:
            return ", ".join(self.workloads)
        values = self.sweep.values
        span = f"{values[0]} to {values[-1]}" if values else "1 to all"
        return f"{self.sweep.workload} along {self.sweep.along}, {span}"


@dataclass(frozen=True)
class CaseKey:
    """What makes a case: one workload, one operation, one dtype, so many threads; and what it is a point of, if any."""

    workload: Workload
    operation: Operation
    dtype: str
    threads: int
    sweep: SweepPoint | None = None
