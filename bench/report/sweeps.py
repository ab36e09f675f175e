"""Views of sweeps: the cases in order, the fastest backend at each value, and the crossings of two backends.

Pure functions of case views. Draws nothing and builds no table.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from bench.format import threads_text
from bench.report.views import BackendView, CaseView, ratios_of
from bench.results.schema import Estimate, Verdict
from bench.terms import SweepPoint

Ratios = Mapping[tuple[str, str], tuple[Estimate, Verdict]]


@dataclass(frozen=True)
class SweepCase:
    """One case of a sweep and its value on the axis of the sweep."""

    value: int
    view: CaseView


@dataclass(frozen=True)
class SweepView:
    """The cases of one workload that differ in one axis only, at two or more values, ascending."""

    along: str
    workload: str
    points: tuple[SweepCase, ...]

    @property
    def title(self) -> str:
        """Title, for example ``wine-deep along batch · train · float32 · 1 thread``."""
        case = self.points[0].view.case
        threads = f" · {threads_text(case.threads)}" if self.along != "threads" else ""
        many = f" · {case.members} networks" if case.members > 1 else ""
        return f"{self.workload} along {self.along} · {case.operation} · {case.dtype}{threads}{many}"

    @property
    def divisions(self) -> dict[str, list[str]]:
        """Names of the backends by division, in the order of the cases."""
        found: dict[str, dict[str, None]] = {}
        for point in self.points:
            for division, group in point.view.groups:
                found.setdefault(division, {}).update(dict.fromkeys(backend.name for backend in group))
        return {division: list(names) for division, names in found.items()}

    @property
    def labels(self) -> dict[str, str]:
        """Label of each backend by name."""
        return {backend.name: backend.label for point in self.points for backend in point.view.backends}


@dataclass(frozen=True)
class Lead:
    """The fastest backend of a division at one value.

    `level` holds the labels of the backends that are not significantly slower; None where the case has no ratio.
    """

    value: int
    division: str
    leader: BackendView
    level: tuple[str, ...] | None


@dataclass(frozen=True)
class Crossing:
    """Two backends of a division of which one is significantly slower at `before` and significantly faster at `after`.

    Attributes
    ----------
    division, overtaker, overtaken : str
    before, after : int
        Neighbours among the values at which the difference is significant.
    behind, ahead : Estimate
        How many times faster the overtaker is at `before` (below 1) and at `after` (above 1).
    """

    division: str
    overtaker: str
    overtaken: str
    before: int
    after: int
    behind: Estimate
    ahead: Estimate


def sweeps_of(cases: Iterable[CaseView]) -> tuple[tuple[SweepView, ...], tuple[CaseView, ...]]:
    """Return the sweeps of a run, and the cases of no sweep. A sweep with a single value is no sweep."""
    views = list(cases)
    groups: dict[tuple[object, ...], list[tuple[SweepPoint, CaseView]]] = {}
    for view in views:
        case = view.case
        if case.sweep:
            threads = None if case.sweep.along == "threads" else case.threads
            key = (case.sweep.along, case.sweep.workload, case.operation, case.dtype, threads, case.members)
            groups.setdefault(key, []).append((case.sweep, view))
    sweeps = []
    for group in groups.values():
        if len({place.value for place, _ in group}) > 1:
            points = sorted((SweepCase(place.value, view) for place, view in group), key=lambda point: point.value)
            sweeps.append(SweepView(group[0][0].along, group[0][0].workload, tuple(points)))
    in_a_sweep = {id(point.view) for sweep in sweeps for point in sweep.points}
    return tuple(sweeps), tuple(view for view in views if id(view) not in in_a_sweep)


def leads(sweep: SweepView) -> list[Lead]:
    """Return the fastest backend of each division at each value that has a timed backend of the division."""
    return [
        Lead(point.value, division, timed[0], _level(point.view, timed))
        for division in sweep.divisions
        for point in sweep.points
        if (timed := _timed(point.view, division))
    ]


def _timed(view: CaseView, division: str) -> list[BackendView]:
    """Return the timed backends of a division, fastest first."""
    return [backend for name, group in view.groups if name == division for backend in group if backend.step]


def _level(view: CaseView, timed: Sequence[BackendView]) -> tuple[str, ...] | None:
    ratios, leader = ratios_of(view.case), timed[0].name
    if not ratios:
        return None

    def slower(backend: BackendView) -> bool:
        _, verdict = ratios.get((leader, backend.name), (None, None))
        return verdict == "faster"

    return tuple(backend.label for backend in timed[1:] if not slower(backend))


def crossings(sweep: SweepView) -> list[Crossing]:
    """Return the crossings of every two backends of a division, sorted by division and then by value.

    Between the two values of a crossing there may be values at which the difference is not significant.
    """
    ratios = {point.value: ratios_of(point.view.case) for point in sweep.points}
    found: list[Crossing] = []
    for division, names in sweep.divisions.items():
        own = [
            crossing
            for one, other in combinations(names, 2)
            for crossing in _changes(division, one, other, _significant(ratios, one, other))
        ]
        found += sorted(own, key=lambda crossing: (crossing.after, crossing.before))
    return found


def _significant(ratios: Mapping[int, Ratios], one: str, other: str) -> list[tuple[int, Estimate, Verdict]]:
    """Return value, ratio and verdict wherever the difference between two backends is significant."""
    known = ((value, *pair) for value, pairs in ratios.items() if (pair := pairs.get((one, other))))
    return [(value, ratio, verdict) for value, ratio, verdict in known if verdict in ("faster", "slower")]


def _changes(
    division: str, one: str, other: str, significant: Sequence[tuple[int, Estimate, Verdict]]
) -> Iterator[Crossing]:
    """Yield each change of verdict between neighbouring values, with the ratios of the overtaker."""
    for (before, first, was), (after, then, is_now) in pairwise(significant):
        if (was, is_now) == ("slower", "faster"):
            yield Crossing(division, one, other, before, after, first, then)
        elif (was, is_now) == ("faster", "slower"):
            yield Crossing(division, other, one, before, after, first.inverse, then.inverse)


def pairs_examined(sweep: SweepView) -> int:
    """Return the number of pairs, at all points, whose verdicts `crossings` examines."""
    return sum(
        (one, other) in ratios
        for point in sweep.points
        for ratios in [ratios_of(point.view.case)]
        for names in sweep.divisions.values()
        for one, other in combinations(names, 2)
    )
