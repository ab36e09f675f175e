"""The part of the engine that runs in a worker: computes a batch of cells, and keeps the reason of those that fail."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from threadpoolctl import threadpool_limits

from bench.experiments.engine.cell import Parameters, Values, canonical, finite
from bench.experiments.engine.origin import Compute, Origin, differences, load, origin_of
from pyfnn.errors import PyfnnError


class Skew(PyfnnError):
    """A worker whose code differs from that of the process which sends it cells."""


@dataclass(frozen=True)
class Task:
    """A cell as it is sent to a worker; `number` is its place in the experiment."""

    number: int
    parameters: Parameters


@dataclass(frozen=True)
class Outcome:
    """The end of a cell: its values, or the reason of its failure.

    Attributes
    ----------
    number : int
        As in `Task`.
    values : mapping or None
    reason : str or None
    seconds : float
        By the wall clock.
    host : str
    """

    number: int
    values: Values | None
    reason: str | None
    seconds: float = 0.0
    host: str = ""


def work(name: str, origin: Origin, batch: Sequence[Task]) -> list[Outcome]:
    """Compute cells in this process.

    Parameters
    ----------
    name : str
        Of the function, as `name_of` returns it.
    origin : mapping
        Of the function in the process that sends the cells.
    batch : sequence of Task

    Raises
    ------
    Skew
        The function is another one here.
    """
    check_origin(name, origin, f"worker on {platform.node()}")
    compute = _ready(name)
    return [_computed(compute, task) for task in batch]


def check_origin(name: str, origin: Origin, place: str) -> None:
    """Raise `Skew` where a function has another origin in this process."""
    differing = differences(origin, origin_of(name))
    if differing:
        raise Skew(f"{place}: {', '.join(differing)}")


@cache
def _ready(name: str) -> Compute:
    """Import a function, and give the libraries that came with it one thread each: a worker has one CPU."""
    compute = load(name)
    threadpool_limits(1)
    return compute


def _computed(compute: Compute, task: Task) -> Outcome:
    start = time.perf_counter()
    values, reason = None, None
    try:
        values = finite(compute(task.parameters))
        canonical(values)  # raises an error where JSON lacks a value
    except Exception as error:  # noqa: BLE001 (a cell that fails must not end the others)
        values, reason = None, f"{type(error).__name__}: {error}"
    return Outcome(task.number, values, reason, time.perf_counter() - start, platform.node())
