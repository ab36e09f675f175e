"""Reads suites and workloads from the .toml files here or from a user's file, and combines them into cases."""

import sys
from functools import cache
from itertools import product
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.machine.cpus import all_threads, thread_counts
from bench.suites.suite import MOST_LAYERS, CaseKey, Suite, Sweep, Workload
from pyfnn.errors import InvalidInput, PyfnnError, UnknownName, shown
from pyfnn.network import DTYPES
from pyfnn.optimizers import DESCENT, parse
from pyfnn.regular import read_regular

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    suite: Suite | None = None
    workload: dict[str, Workload] = {}


def _read(path: Path) -> _File:
    try:
        tables = tomllib.loads(read_regular(path).decode())
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
        value = "" if isinstance(first["input"], dict) else f" = {shown(first['input'])}"
        raise InvalidInput(f"{path}: {place}{value}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: {error}") from None


@cache
def built_in_workloads() -> dict[str, Workload]:
    """Return the workloads of workloads.toml by name."""
    return _read(HERE / "workloads.toml").workload


def built_in_suites() -> list[str]:
    """Return the names of the suites that come with pyfnn."""
    return sorted(path.stem for path in HERE.glob("*.toml") if path.stem != "workloads")


def load_suite(name: str) -> tuple[Suite, dict[str, Workload]]:
    """Return a suite, given by name or by the path of a .toml file, and every workload that it can name.

    Raises
    ------
    UnknownName
        Neither a built-in suite nor a .toml file.
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
        return _expand_sweep(file.suite, file.suite.sweep, workloads)
    except PyfnnError as error:
        raise InvalidInput(f"{path}: suite.{error}") from None


def _expand_sweep(suite: Suite, sweep: Sweep, workloads: dict[str, Workload]) -> tuple[Suite, dict[str, Workload]]:
    """Return the suite with the workloads or thread counts of its sweep, and all workloads with those of the sweep."""
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
    """Return the workload at one value of a sweep."""
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
    if value > MOST_LAYERS:
        raise InvalidInput(f"sweep.values: {value}: a network has at most {MOST_LAYERS} hidden layers")
    if not isinstance(base.activation, str):
        raise InvalidInput(
            f"sweep.workload = {base.name!r}: must have one activation for all hidden layers, not a list"
        )
    return base.model_copy(update={"name": name, "sizes": (first, *[hidden[0]] * value, last)})


Named = TypeVar("Named")


def look_up(kind: str, name: str, table: dict[str, Named]) -> Named:
    """Return table[name].

    Raises
    ------
    UnknownName
        With the nearest match.
    """
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]


def cases_of(suite: Suite, workloads: dict[str, Workload]) -> list[CaseKey]:
    """Return the cases of a suite in its order; a combination that is named twice counts once.

    A combination of a workload with an operation that the workload does not have is left out. Passes have no optimizer;
    many networks at once train by gradient descent alone.

    Raises
    ------
    UnknownName
        A workload or an optimizer that does not exist.
    InvalidInput
        More threads than this process may use CPUs, or a workload without any of the operations or optimizers.
    """
    threads = [all_threads() if count == "all" else count for count in suite.threads]
    if max(threads) > all_threads():
        raise InvalidInput(f"threads = {max(threads)}: this process may use {all_threads()} CPUs")
    for name in suite.workloads:
        if not set(look_up("workload", name, workloads).operations) & set(suite.operations):
            given = ", ".join(suite.operations)
            raise InvalidInput(f"operations = {given}: many networks at once, as in workload {name}, can train alone")
    optimizers = [parse(text) for text in suite.optimizers]
    for name in suite.workloads:
        if workloads[name].members > 1 and DESCENT not in optimizers:
            given = ", ".join(suite.optimizers)
            raise InvalidInput(
                f"optimizers = {given}: many networks at once, as in workload {name}, train by sgd alone"
            )
    every = (
        (name, dtype, operation, count, optimizer if operation == "train" else DESCENT)
        for name, dtype, operation, count, optimizer in product(
            suite.workloads, suite.dtypes, suite.operations, threads, optimizers
        )
        if workloads[name].members == 1 or optimizer == DESCENT
    )
    return [
        CaseKey(
            workloads[name],
            operation,
            dtype,
            count,
            suite.sweep.place_of(name, count) if suite.sweep else None,
            optimizer,
        )
        for name, dtype, operation, count, optimizer in dict.fromkeys(every)
        if operation in workloads[name].operations
    ]
