"""Workloads, suites and sweeps as frozen values, and the key of a case. Reads no file."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.terms import CASE_OPERATIONS, CaseOperation, Count, Dtype, SweepAxis, SweepPoint, WorkloadFacts
from pyfnn.manifest import Division
from pyfnn.network import Network
from pyfnn.optimizers import DESCENT, SGD, Momentum, Named

ADAM_RATE = 0.001  # scikit-learn's default, on every workload
MOST_POINTS = 1000  # of a sweep
MOST_LAYERS = 1000  # hidden layers of a network


class Workload(WorkloadFacts):
    """A workload; fixed, so that results can be compared across runs."""

    @model_validator(mode="after")
    def _a_batch_is_drawn_from_the_rows(self) -> "Workload":
        if self.batch > self.rows:
            raise ValueError(f"batch = {self.batch}: must be at most rows = {self.rows}")
        return self

    @property
    def operations(self) -> tuple[CaseOperation, ...]:
        """Operations that can be measured: many networks at once train and do nothing else."""
        return CASE_OPERATIONS if self.members == 1 else ("train",)

    def network(self, dtype: str) -> Network:
        """Return the network, validated."""
        return Network(self.sizes, self.activation, self.loss, self.l2, self.output_activation, dtype)


class Sweep(BaseModel):
    """One workload varied along one axis, all else as the workload has it.

    Attributes
    ----------
    along : {"batch", "width", "depth", "threads"}
        Rows of a minibatch; width of every hidden layer; number of hidden layers, each as wide as the workload's first;
        or number of threads.
    workload : str
    values : tuple of int, optional
        May be left out along threads only: 1, 2, 4 and so on up to all CPUs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    along: SweepAxis
    workload: str
    values: Annotated[tuple[Count, ...], Field(min_length=2, max_length=MOST_POINTS)] | None = None

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
        """Return the name of the workload at a value; along threads it is the same at every value."""
        return self.workload if self.along == "threads" else f"{self.workload}@{self.along}={value}"

    def place_of(self, workload: str, threads: int) -> SweepPoint:
        """Return the place of a case in the sweep."""
        values = {self.name_of(value): value for value in self.values or ()}
        value = threads if self.along == "threads" else values[workload]
        return SweepPoint(along=self.along, value=value, workload=self.workload)


class Suite(BaseModel):
    """Workloads, operations, dtypes and thread counts, of which each combination is a case; and the default backends.

    Loading a suite with a `sweep` fills in the workloads of its points, and along threads the thread counts.

    Attributes
    ----------
    optimizers : tuple of str
        Optimizers of training, each a case of its own: see `pyfnn.optimizers.parse`.
    programs : bool
        True to include the divisions' backends that are programs or must be built first.
    backends : tuple of str
        Names of backends that replace those of the divisions.
    budget : float
        Seconds for the whole run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workloads: Annotated[tuple[str, ...], Field(min_length=1)] = ()
    sweep: Sweep | None = None
    operations: Annotated[tuple[CaseOperation, ...], Field(min_length=1)] = ("train",)
    optimizers: Annotated[tuple[str, ...], Field(min_length=1)] = ("sgd",)
    dtypes: Annotated[tuple[Dtype, ...], Field(min_length=1)] = ("float32",)
    threads: Annotated[tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...], Field(min_length=1)] = (1,)
    divisions: Annotated[tuple[Division, ...], Field(min_length=1)] = get_args(Division)
    programs: bool = True
    backends: tuple[str, ...] = ()
    budget: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0

    @model_validator(mode="after")
    def _there_is_something_to_measure(self) -> "Suite":
        if not self.workloads and self.sweep is None:
            raise ValueError("workloads: must be given, or a table [suite.sweep] in their place")
        return self

    @property
    def summary(self) -> str:
        """Workloads of the suite, or its sweep, for example ``digits along width, 16 to 512``."""
        if self.sweep is None:
            return ", ".join(self.workloads)
        values = self.sweep.values
        span = f"{values[0]} to {values[-1]}" if values else "1 to all"
        return f"{self.sweep.workload} along {self.sweep.along}, {span}"


@dataclass(frozen=True)
class CaseKey:
    """The key of a case: workload, operation, dtype, number of threads, its place in a sweep if it has one, optimizer.

    The optimizer is that of training; passes have `SGD()`.
    """

    workload: Workload
    operation: CaseOperation
    dtype: str
    threads: int
    sweep: SweepPoint | None = None
    optimizer: Named = DESCENT

    @property
    def work(self) -> str:
        """The operation, with the optimizer where it is not gradient descent: ``train with adam``."""
        plain = isinstance(self.optimizer, SGD)
        return self.operation if plain else f"{self.operation} with {self.optimizer.label}"

    @property
    def learning_rate(self) -> float:
        """The rate of the case: the workload's, which suits gradient descent, adapted to the optimizer.

        Momentum μ adds up 1/(1−μ) steps, and has that much less; Adam's steps are about as long as the rate itself.
        """
        if isinstance(self.optimizer, SGD):
            return self.workload.learning_rate
        if isinstance(self.optimizer, Momentum):
            return self.workload.learning_rate * (1 - self.optimizer.momentum)
        return ADAM_RATE
