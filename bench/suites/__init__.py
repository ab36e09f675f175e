"""Workloads and suites: what is to be measured, read from the .toml files here or from the user's own."""

import os
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench import machine
from bench.results import Along, Swept
from pyfnn import datasets
from pyfnn.errors import InvalidInput, PyfnnError, UnknownName
from pyfnn.network import DTYPES, Network, initialize

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
OPERATIONS = ("train", "forward", "gradient")
MIN_ORDER = 1 << 20  # entries of `order`: enough that no block of 50 ms runs out of them
_MANY_EPOCHS = 4  # of each member at least: thousands at once on a device are done with one in milliseconds
_MANY_ORDERS = 4  # times that, of all members' orders together: theirs may run on several threads
_RATES, _L2 = 2.0, 10.0  # by how much members' own differ from the workload's, up or down, at most

Operation = Literal["train", "forward", "gradient"]
Division = Literal["plain", "tuned", "framework"]
Dtype = Literal["float32", "float64"]


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

    along: Along
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

    def place_of(self, workload: str, threads: int) -> Swept:
        """Which point a case of the sweep is."""
        values = {self.name_of(value): value for value in self.values or ()}
        value = threads if self.along == "threads" else values[workload]
        return Swept(along=self.along, value=value, workload=self.workload)


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


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    suite: Suite | None = None
    workload: dict[str, Workload] = {}


@dataclass(frozen=True)
class CaseKey:
    """What makes a case: one workload, one operation, one dtype, so many threads; and what it is a point of, if any."""

    workload: Workload
    operation: Operation
    dtype: str
    threads: int
    sweep: Swept | None = None


@dataclass(frozen=True, eq=False)
class Members:
    """What each of many networks has of its own. thetas: (K, n_parameters); l2, rates: (K,); orders: (K, n)."""

    thetas: NDArray[Any]
    l2: NDArray[np.float64]
    rates: NDArray[np.float64]
    orders: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Problem:
    """A workload made concrete. theta: (n_parameters,); x: (rows, m_0); y: (rows, m_L); order: whole epochs.

    Where there are `members`, the first has this θ.
    """

    network: Network
    theta: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    order: NDArray[np.int64]
    members: Members | None = None

    @property
    def n_order(self) -> int:
        """Entries of the order, or of each member's."""
        return self.order.size if self.members is None else self.members.orders.shape[1]

    @property
    def nbytes(self) -> int:
        """Of all its arrays."""
        own = [] if self.members is None else vars(self.members).values()
        return sum(array.nbytes for array in (self.theta, self.x, self.y, self.order, *own))


def _read(path: Path) -> _File:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, table in tables.get("workload", {}).items():
            table.setdefault("name", name)
        return _File.model_validate(tables)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None
    except AttributeError:
        raise InvalidInput(f"{path}: workload: must be a table of tables") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
        raise InvalidInput(f"{path}: {place}{value}: {first['msg']}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path}: {error}") from None


@cache
def built_in_workloads() -> dict[str, Workload]:
    """The named workloads by name."""
    return _read(HERE / "workloads.toml").workload


def built_in_suites() -> list[str]:
    """Names of the suites that come with pyfnn."""
    return sorted(path.stem for path in HERE.glob("*.toml") if path.stem != "workloads")


def load(name: str) -> tuple[Suite, dict[str, Workload]]:
    """A suite by name or by the path of a .toml file, and every workload that it can name.

    Raises
    ------
    UnknownName
        Neither a suite of ours nor a file.
    InvalidInput
        Naming the file, the field, the value and the rule.
    """
    path = Path(name)
    if name in built_in_suites():
        path = HERE / f"{name}.toml"
    elif path.suffix != ".toml":
        raise UnknownName("suite", name, built_in_suites())
    file = _read(path)
    if file.suite is None:
        raise InvalidInput(f"{path}: no [suite] table")
    for name, workload in file.workload.items():
        place = f"{path}: workload.{name}"
        if name in built_in_workloads():
            raise InvalidInput(f"{place}: pyfnn has a workload of that name, and a name stands for one thing")
        try:
            workload.network(DTYPES[0])
        except PyfnnError as error:
            raise InvalidInput(f"{place}: {error}") from None
    workloads = {**built_in_workloads(), **file.workload}
    if file.suite.sweep is None:
        return file.suite, workloads
    try:
        return _spread_out(file.suite, file.suite.sweep, workloads)
    except PyfnnError as error:
        raise InvalidInput(f"{path}: suite.{error}") from None


def _spread_out(suite: Suite, sweep: Sweep, workloads: dict[str, Workload]) -> tuple[Suite, dict[str, Workload]]:
    """The suite with the workloads and thread counts of its sweep's points, and every workload with those."""
    if suite.workloads:
        raise InvalidInput(f"workloads = {list(suite.workloads)}: a sweep has its own, made from sweep.workload")
    if sweep.workload not in workloads:
        raise InvalidInput(f"sweep.workload: {UnknownName('workload', sweep.workload, workloads)}")
    base = workloads[sweep.workload]
    if sweep.along == "threads":
        if "threads" in suite.model_fields_set:
            raise InvalidInput(f"threads = {list(suite.threads)}: a sweep along threads has its own, sweep.values")
        counts = sweep.values or thread_counts(all_threads())
        return suite.model_copy(update={"workloads": (base.name,), "threads": counts}), workloads
    points = {sweep.name_of(value): _varied(base, sweep, value) for value in sweep.values or ()}
    taken = points.keys() & workloads.keys()
    if taken:
        raise InvalidInput(f"sweep: {min(taken)} is a point of it, and there is a workload of that name")
    return suite.model_copy(update={"workloads": tuple(points)}), {**workloads, **points}


def _varied(base: Workload, sweep: Sweep, value: int) -> Workload:
    """The base at one value of a sweep."""
    name = sweep.name_of(value)
    if sweep.along == "batch":
        if value > base.rows:
            raise InvalidInput(f"sweep.values: {value} is more than the {base.rows} rows of {base.name}")
        return base.model_copy(update={"name": name, "batch": value})
    first, *hidden, last = base.sizes
    if not hidden:
        raise InvalidInput(f"sweep.workload = {base.name!r}: must have a hidden layer to vary in {sweep.along}")
    if sweep.along == "width":
        return base.model_copy(update={"name": name, "sizes": (first, *[value] * len(hidden), last)})
    if not isinstance(base.activation, str):
        raise InvalidInput(
            f"sweep.workload = {base.name!r}: must have one activation for all hidden layers, not a list"
        )
    return base.model_copy(update={"name": name, "sizes": (first, *[hidden[0]] * value, last)})


def thread_counts(most: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and `most`."""
    return (*(2**k for k in range(most.bit_length()) if 2**k < most), most)


def all_threads() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Named = TypeVar("Named")


def look_up(kind: str, name: str, table: dict[str, Named]) -> Named:
    """table[name], or an error with the nearest match."""
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]


def cases(suite: Suite, workloads: dict[str, Workload]) -> list[CaseKey]:
    """Every combination a suite asks for, in its order; what is named twice counts once.

    Many networks at once are trained and nothing else: other operations have no case of theirs.

    Raises
    ------
    UnknownName
        A workload that there is not.
    InvalidInput
        More threads than this process has CPUs, or no training of many networks at once.
    """
    threads = [all_threads() if count == "all" else count for count in suite.threads]
    if max(threads) > all_threads():
        raise InvalidInput(f"threads = {max(threads)}: this process may use {all_threads()} CPUs")
    for name in suite.workloads:
        if look_up("workload", name, workloads).members > 1 and "train" not in suite.operations:
            given = ", ".join(suite.operations)
            raise InvalidInput(f"operations = {given}: many networks at once, as in workload {name}, can train alone")
    every = product(suite.workloads, suite.dtypes, suite.operations, threads)
    return [
        CaseKey(workloads[name], operation, dtype, count, suite.sweep.place_of(name, count) if suite.sweep else None)
        for name, dtype, operation, count in dict.fromkeys(every)
        if operation == "train" or workloads[name].members == 1
    ]


@lru_cache(maxsize=4)
def problem(workload: Workload, dtype: str) -> Problem:
    """The workload's network, starting θ, data and order, the same on every machine.

    Raises
    ------
    InvalidInput
        The named dataset has other shapes than the workload says, or there is no memory for it.
    """
    network = workload.network(dtype)
    numbers = workload.members * network.n_parameters + workload.rows * (network.sizes[0] + network.sizes[-1])
    needed = np.dtype(dtype).itemsize * numbers
    free = machine.available_memory()
    if needed > free:
        raise InvalidInput(
            f"workload {workload.name}: θ and data take {needed / 1e9:.3g} GB: {free / 1e9:.3g} are free"
        )
    if workload.data == "teacher":
        drawn = datasets.teacher(network, workload.rows, workload.seed)
        x, y = drawn.x, drawn.y
    else:
        real = datasets.load(workload.data, workload.seed, dtype).standardized()
        rows = real.train[: workload.rows]
        x, y = real.x[rows], real.y[rows]
    wanted = ((workload.rows, network.sizes[0]), (workload.rows, network.sizes[-1]))
    if (x.shape, y.shape) != wanted:
        raise InvalidInput(f"workload {workload.name}: {workload.data} has shapes {x.shape}, {y.shape}, not {wanted}")
    rng = np.random.Generator(np.random.PCG64(workload.seed))
    order = _whole_epochs(workload.rows, MIN_ORDER, rng)
    members = _members(workload, network, rng) if workload.members > 1 else None
    return Problem(network, initialize(network, workload.seed), x, y, order, members)


def _whole_epochs(rows: int, least: int, rng: np.random.Generator) -> NDArray[np.int64]:
    epochs = -(-least // rows)
    return np.concatenate([rng.permutation(rows) for _ in range(epochs)]).astype(np.int64)


def _members(workload: Workload, network: Network, rng: np.random.Generator) -> Members:
    """What each has of its own: the next seed, a rate up to twice or half the workload's, a λ up to ten times or a
    tenth.
    """
    K = workload.members
    least = max(workload.batch, _MANY_EPOCHS * workload.rows, -(-_MANY_ORDERS * MIN_ORDER // K))
    return Members(
        thetas=np.stack([initialize(network, workload.seed + k) for k in range(K)]),
        l2=workload.l2 * _L2 ** rng.uniform(-1, 1, K),
        rates=workload.learning_rate * _RATES ** rng.uniform(-1, 1, K),
        orders=np.stack([_whole_epochs(workload.rows, least, rng) for _ in range(K)]),
    )
