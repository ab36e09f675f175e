"""Sweeps as they are told: their cases in order, who leads at each value, where two backends change places.

Pure functions on what `rows` says of cases. Draws nothing, and makes no table.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from bench.format import Quantity
from bench.report.rows import BackendView, CaseView, ratios_of
from bench.statistics import intervals
from bench.terms import SweepPoint


@dataclass(frozen=True)
class SweepCase:
    """One case of a sweep, and the value at which it is."""

    value: int
    rows: CaseView


@dataclass(frozen=True)
class SweepView:
    """The cases of one workload that differ in one thing alone, at two values or more, ascending."""

    along: str
    workload: str
    points: tuple[SweepCase, ...]

    @property
    def title(self) -> str:
        """For instance ``wine-deep along batch · train · float32 · 1 thread``."""
        case = self.points[0].rows.case
        threads = f" · {case.threads} thread{'s' * (case.threads != 1)}" if self.along != "threads" else ""
        many = f" · {case.members} networks" if case.members > 1 else ""
        return f"{self.workload} along {self.along} · {case.operation} · {case.dtype}{threads}{many}"

    @property
    def divisions(self) -> dict[str, list[str]]:
        """Names of its backends by division, as the cases have them."""
        found: dict[str, dict[str, None]] = {}
        for point in self.points:
            for division, rows in point.rows.groups:
                found.setdefault(division, {}).update(dict.fromkeys(row.backend.name for row in rows))
        return {division: list(names) for division, names in found.items()}

    @property
    def labels(self) -> dict[str, str]:
        """How each backend, by name, is labelled."""
        return {row.backend.name: row.label for point in self.points for row in point.rows.rows}


@dataclass(frozen=True)
class Lead:
    """The fastest of a division at one value.

    `level` are those of whom it is not shown that they are slower; None where no noise floor lets anything be shown.
    """

    value: int
    division: str
    leader: BackendView
    point: SweepCase
    level: tuple[str, ...] | None


@dataclass(frozen=True)
class Crossing:
    """Two backends of a division that change places: slower at `before` is who is faster at `after`.

    Attributes
    ----------
    division, overtaker, overtaken : str
    before, after : int
        Neighbours among the values at which a difference is shown.
    behind, ahead : Quantity
        How many times faster the overtaker is at each: below 1, then above.
    """

    division: str
    overtaker: str
    overtaken: str
    before: int
    after: int
    behind: Quantity
    ahead: Quantity


def sweeps_of(cases: Iterable[CaseView]) -> tuple[tuple[SweepView, ...], tuple[CaseView, ...]]:
    """The sweeps of a run; and the cases that are of none, a single point among them."""
    every = list(cases)
    groups: dict[tuple[object, ...], list[tuple[SweepPoint, CaseView]]] = {}
    for rows in every:
        case = rows.case
        if case.sweep:
            threads = None if case.sweep.along == "threads" else case.threads
            key = (case.sweep.along, case.sweep.workload, case.operation, case.dtype, threads, case.members)
            groups.setdefault(key, []).append((case.sweep, rows))
    found = []
    for group in groups.values():
        if len({swept.value for swept, _ in group}) > 1:
            points = sorted((SweepCase(swept.value, rows) for swept, rows in group), key=lambda point: point.value)
            found.append(SweepView(group[0][0].along, group[0][0].workload, tuple(points)))
    swept_cases = {id(point.rows) for sweep in found for point in sweep.points}
    return tuple(found), tuple(rows for rows in every if id(rows) not in swept_cases)


def leads(sweep: SweepView) -> list[Lead]:
    """Who is fastest in each division, value by value; none where nobody has a time."""
    return [
        Lead(point.value, division, timed[0], point, _level(point.rows, timed))
        for division in sweep.divisions
        for point in sweep.points
        if (timed := _timed(point.rows, division))
    ]


def _timed(rows: CaseView, division: str) -> list[BackendView]:
    """The division's backends with a time, the fastest first."""
    return [row for name, group in rows.groups if name == division for row in group if row.step]


def _level(rows: CaseView, timed: Sequence[BackendView]) -> tuple[str, ...] | None:
    if rows.floor is None:
        return None
    ratios = ratios_of(rows.case)
    leader = timed[0].backend.name

    def slower(row: BackendView) -> bool:
        ratio = ratios.get((leader, row.backend.name))
        return ratio is not None and intervals.verdict(ratio, rows.floor) == "faster"

    return tuple(row.label for row in timed[1:] if not slower(row))


def crossings(sweep: SweepView) -> list[Crossing]:
    """Where one backend overtakes another of its division, each side clear of 1 and of the noise floor there.

    Sorted by division, then by where; at values between the two no difference need be shown.
    """
    ratios = {point.value: ratios_of(point.rows.case) for point in sweep.points if point.rows.floor is not None}
    floors = {point.value: point.rows.floor for point in sweep.points}
    found: list[Crossing] = []
    for division, names in sweep.divisions.items():
        own: list[Crossing] = []
        for one, other in combinations(names, 2):
            shown = [
                (value, ratio, verdict)
                for value, known in ratios.items()
                if (ratio := known.get((one, other)))
                and (verdict := intervals.verdict(ratio, floors[value])) != "no difference shown"
            ]
            own += _changes(division, one, other, shown)
        found += sorted(own, key=lambda crossing: (crossing.after, crossing.before))
    return found


def _changes(
    division: str, one: str, other: str, shown: Sequence[tuple[int, intervals.Estimate, str]]
) -> Iterator[Crossing]:
    """Each change of verdict between neighbours, told from the overtaker's side."""
    for (before, first, was), (after, then, is_now) in pairwise(shown):
        if (was, is_now) == ("slower", "faster"):
            yield Crossing(division, one, other, before, after, _quantity(first), _quantity(then))
        elif (was, is_now) == ("faster", "slower"):
            yield Crossing(division, other, one, before, after, _inverse(first), _inverse(then))


def intervals_seen(sweep: SweepView) -> int:
    """How many ratios `crossings` looks at."""
    return sum(
        (one, other) in ratios
        for point in sweep.points
        if point.rows.floor is not None
        for ratios in [ratios_of(point.rows.case)]
        for names in sweep.divisions.values()
        for one, other in combinations(names, 2)
    )


def _quantity(ratio: intervals.Estimate) -> Quantity:
    return Quantity(ratio.median, (ratio.low, ratio.high))


def _inverse(ratio: intervals.Estimate) -> Quantity:
    return Quantity(1 / ratio.median, (1 / ratio.high, 1 / ratio.low))
