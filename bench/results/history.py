"""Backends over many runs: their ratios to the reference in order of time, with change points. Writes no file.

Runs of one machine and method make a history. Runs of other machines or methods make histories of their own, because
a ratio across machines says nothing about a build.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any, Final, Literal

from bench.results.changes import MACHINE, METHOD, EntryKey, forced, launch_log_ratios, require_alike
from bench.results.schema import Estimate, Results
from bench.statistics.change_points import ChangePoint, change_points, runs_needed
from bench.terms import Value
from pyfnn.errors import PyfnnError

HISTORY: Final = "pyfnn-history/1"


class Point(Value):
    """One backend in one run: the run's place in the history, and how many times faster than the reference it is."""

    run: int
    ratio: float


class Change(Value):
    """A change of level of one backend.

    Attributes
    ----------
    run : int
        Place in the history of the first run after it.
    p : float
        Over the whole history: see `bench.statistics.change_points`.
    change : Estimate
        The ratio after the change over that before it.
    """

    run: int
    p: float
    change: Estimate


class Level(Value):
    """The runs of one backend between two changes.

    Attributes
    ----------
    first, last : int
        Places in the history.
    ratio : float
        Median of the runs' ratios.
    least, greatest : float
        Of the runs' ratios.
    """

    first: int
    last: int
    ratio: float
    least: float
    greatest: float


class Series(Value):
    """One backend in one case, in the runs that have it; a level before, between and after its changes."""

    case: str
    backend: str
    reference: str
    points: list[Point]
    levels: list[Level]
    changes: list[Change] = []


class Run(Value):
    """A run of a history: its name for readers, and its start in UTC."""

    name: str
    created: str


class History(Value):
    """The runs of one machine and method, and the backends in them.

    Attributes
    ----------
    machine : str
        The CPU, for readers.
    runs_needed : int
        Least number of runs in which a change can be found among so many backends.
    differences : list of str
        In what the runs are unlike, where they were taken together nevertheless.
    forced : list of str
        What changed between the parts of a run that was continued nevertheless.
    """

    schema_: Literal["pyfnn-history/1"] = HISTORY
    machine: str
    runs: list[Run]
    series: list[Series]
    runs_needed: int
    differences: list[str] = []
    forced: list[str] = []


def histories(named: Mapping[str, Results], *, force: bool = False) -> list[History]:
    """Return the histories of runs, one for each machine and method, those with the most runs first.

    Parameters
    ----------
    named : mapping of str to Results
        Runs by a name for messages, in any order.
    force : bool
        Take runs of unlike machines, methods and work together, and note their differences.

    Raises
    ------
    UnlikeRuns
        Runs of one machine and method differ in a case's work or reference.
    PyfnnError
        There is no backend with a ratio.
    """
    groups: dict[str, dict[str, Results]] = {}
    for name, results in sorted(named.items(), key=lambda item: (item[1].created, item[0])):
        groups.setdefault("" if force else _conditions(results), {})[name] = results
    found = [_history(runs, require_alike(runs, force=force)) for runs in groups.values()]
    if not any(history.series for history in found):
        raise PyfnnError("these runs have no backend with a ratio to a reference")
    return sorted(found, key=lambda history: -len(history.runs))


def _conditions(results: Results) -> str:
    """Return text that is the same for runs of one machine and method."""
    fields: list[Any] = [results.host.get(field) for field in MACHINE]
    return repr([*fields, *(results.settings.get(field) for field in METHOD)])


def _history(runs: Mapping[str, Results], differences: list[str]) -> History:
    series: dict[EntryKey, list[Point]] = {}
    for number, results in enumerate(runs.values()):
        for key, logs in launch_log_ratios(results):
            series.setdefault(key, []).append(Point(run=number, ratio=math.exp(fmean(logs))))
    found = change_points([[math.log(point.ratio) for point in points] for points in series.values()])
    first = next(iter(runs.values()))
    return History(
        machine=str(first.host.get("cpu_model", "an unknown CPU")),
        runs=[Run(name=name, created=results.created) for name, results in runs.items()],
        series=[_series(key, points, cuts) for (key, points), cuts in zip(series.items(), found, strict=True)],
        runs_needed=runs_needed(len(series)),
        differences=differences,
        forced=forced(runs),
    )


def _series(key: EntryKey, points: list[Point], cuts: Sequence[ChangePoint]) -> Series:
    ends = [0, *(cut.at for cut in cuts), len(points)]
    levels = [_level(points[start:end]) for start, end in pairwise(ends)]
    changes = [Change(run=points[cut.at].run, p=cut.p, change=cut.change) for cut in cuts]
    return Series(**key._asdict(), points=points, levels=levels, changes=changes)


def _level(points: Sequence[Point]) -> Level:
    ratios = [point.ratio for point in points]
    first, last = points[0].run, points[-1].run
    return Level(first=first, last=last, ratio=median(ratios), least=min(ratios), greatest=max(ratios))
