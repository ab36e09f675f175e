"""Views of the cases and backends of a run: what a report shows of each. Draws and computes nothing.

Every number comes from the results. A view withholds the step time and the ratio of a backend that is not ok.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import MappingProxyType

from bench.format import Unit, centre_of, rate_text, unit_of, words
from bench.report.notes import case_caveats, case_notes, in_dtype, off_cpu_shares, parts_note
from bench.results.derive import inverse
from bench.results.schema import MOST_ASKED, BackendResult, Case, Estimate, Results, Verdict

DIVISIONS: Mapping[str, str] = MappingProxyType(
    {
        "plain": "as a competent user of the language writes it; compares languages",
        "tuned": "anything that passes the same proof; compares what a language can reach",
        "framework": "what users would choose instead",
        "textbook": "the triple loop exactly as a textbook has it; not optimised",
    }
)  # in the order of reports: what leads stands first
MEMORY = "memory"  # the level below all caches


@dataclass(frozen=True)
class BackendView:
    """One backend in one case.

    Attributes
    ----------
    result : BackendResult
    label : str
        Name, with the arithmetic in brackets where it differs from the case's dtype.
    status : str
        Status in words: ``ok``, ``parity failed``, ...
    step : Estimate or float or None
        Seconds a step takes; a plain number, the median over blocks, where there was a single launch.
    ratio : Estimate or None
        Step time of the reference over the step time of this backend.
    verdict : str
        Verdict on the ratio, ``reference``, or an empty text.
    on_device : Estimate or None
        Seconds a step takes by the device's own clock, where the device has one.
    rate : str
        Steps per second of all networks together, for example ``1.10 M``; empty for a single network.
    """

    result: BackendResult
    label: str
    status: str
    step: Estimate | float | None
    ratio: Estimate | None
    verdict: str
    on_device: Estimate | None = None
    rate: str = ""

    @property
    def name(self) -> str:
        """Name of the backend."""
        return self.result.name

    @property
    def division(self) -> str:
        """Division of the backend."""
        return self.result.division


@dataclass(frozen=True)
class CaseView:
    """One case as tables and figures show it.

    Attributes
    ----------
    case : Case
    groups : tuple of (str, tuple of BackendView)
        One group per division: the timed backends from fastest to slowest, then those without a step time.
    unit : Unit
        Unit of the step times.
    notes : tuple of str
        Notes under the table of the case.
    caveats : tuple of str
        Those of them that limit what the numbers show.
    off_cpu : mapping of str to float
        See `bench.report.notes.off_cpu_shares`.
    """

    case: Case
    groups: tuple[tuple[str, tuple[BackendView, ...]], ...]
    unit: Unit
    notes: tuple[str, ...]
    caveats: tuple[str, ...] = ()
    off_cpu: Mapping[str, float] = field(default_factory=dict)

    @property
    def backends(self) -> tuple[BackendView, ...]:
        """All backends, in the order of the groups."""
        return tuple(backend for _, group in self.groups for backend in group)

    @property
    def margin(self) -> float | None:
        """Ratios within 1 ± this share are the same; None where the case has no ratio to a reference."""
        return self.case.margin if any(backend.ratio for backend in self.backends) else None

    @property
    def intensity(self) -> float | None:
        """Arithmetic intensity in FLOP per byte of least memory traffic; None where that is not recorded."""
        case = self.case
        return case.flops_per_step / case.bytes_per_step if case.bytes_per_step and case.flops_per_step else None

    @property
    def by_device(self) -> bool:
        """True where a backend has a time by the clock of its device."""
        return any(backend.on_device for backend in self.backends)


@dataclass(frozen=True)
class PairMatrix:
    """The ratios of every two backends of a division.

    Attributes
    ----------
    division : str
    labels : tuple of str
        Labels of the backends, from fastest to slowest.
    cells : tuple of tuple of (Estimate, Verdict) or None
        How many times faster the backend of the row is than that of the column, and the verdict.
    """

    division: str
    labels: tuple[str, ...]
    cells: tuple[tuple[tuple[Estimate, Verdict] | None, ...], ...]

    @property
    def pairs(self) -> int:
        """Number of intervals; a cell and its mirror image share one."""
        return sum(cell is not None for line in self.cells for cell in line) // 2


@dataclass(frozen=True)
class Roof:
    """Peak rate of a device, its memory bandwidth and that of each cache by name, by its best probes."""

    device: str
    gflops: float
    gigabytes_per_second: float
    caches: Mapping[str, float] = field(default_factory=dict)

    @property
    def bandwidths(self) -> dict[str, float]:
        """Bandwidths of memory and caches in GB/s, by level."""
        return {MEMORY: self.gigabytes_per_second, **self.caches}

    @property
    def ridge(self) -> float:
        """Arithmetic intensity at which the line of memory meets the peak, in FLOP per byte."""
        return self.gflops / self.gigabytes_per_second

    def at(self, intensity: float, level: str = MEMORY) -> float:
        """Return the roof at an intensity, of data from this level, in GFLOP/s.

        Source: Williams, Waterman and Patterson 2009, "Roofline"; with caches, Ilic, Pratas and Sousa 2014,
        "Cache-aware roofline model".
        """
        return min(self.gflops, intensity * self.bandwidths[level])


@dataclass(frozen=True)
class NotTimed:
    """An instance of a backend that has no step time, its reason, and the titles of the cases in which."""

    instance: str
    status: str
    reason: str
    remedy: str
    cases: tuple[str, ...]


def case_views(results: Results) -> tuple[CaseView, ...]:
    """Return the view of every case of a run, in the order of the run."""
    requested = str(results.settings.get("reference", "numpy"))
    views = [case_view(case, requested) for case in results.cases]
    mark = parts_note(results)
    return tuple(replace(view, notes=(mark, *view.notes)) if mark else view for view in views)


def case_view(case: Case, requested: str) -> CaseView:
    """Return the view of one case.

    Parameters
    ----------
    case : Case
    requested : str
        Reference that the settings name.
    """
    first_instances = (b for b in case.backends if b.instance == b.name)
    backends = sorted((_backend_view(case, b) for b in first_instances), key=_place)
    groups = tuple((name, tuple(group)) for name, group in groupby(backends, key=lambda backend: backend.division))
    unit = unit_of(centre_of(backend.step) for backend in backends if backend.step)
    timed = [(backend.label, backend.result) for backend in backends if backend.step]
    notes, caveats = case_notes(case, timed, requested), case_caveats(case, timed, requested)
    return CaseView(case, groups, unit, notes, caveats, off_cpu_shares(timed))


def ratios_of(case: Case) -> dict[tuple[str, str], tuple[Estimate, Verdict]]:
    """Return how many times faster one backend is than another, and the verdict, by (one, other), both ways round."""
    ratios: dict[tuple[str, str], tuple[Estimate, Verdict]] = {}
    for pair in case.pairs or ():
        for way in (pair, inverse(pair)):
            if way.verdict is not None:
                ratios[way.backend, way.than] = way.ratio, way.verdict
    return ratios


def pair_matrices(view: CaseView) -> tuple[PairMatrix, ...]:
    """Return the matrix of each division that has two timed backends with a ratio."""
    ratios = ratios_of(view.case)
    matrices = []
    for division, group in view.groups:
        timed = [backend for backend in group if backend.step]
        cells = tuple(tuple(ratios.get((one.name, other.name)) for other in timed) for one in timed)
        matrices.append(PairMatrix(division, tuple(backend.label for backend in timed), cells))
    return tuple(matrix for matrix in matrices if matrix.pairs)


def roofs_of(results: Results, dtype: str, threads: int) -> tuple[Roof, ...]:
    """Return the roof of each device whose peak and bandwidth were both probed; the CPU's with `threads` threads."""
    peaks: dict[str, float] = {}
    speeds: dict[str, dict[str, float]] = {}  # by device and level
    for probed in results.ceilings:
        for p in probed.peaks:
            if p.dtype == dtype and (p.device != "cpu" or p.threads == threads):
                peaks[p.device] = max(p.gflops, peaks.get(p.device, 0.0))
        for b in probed.bandwidths:
            if b.device != "cpu" or b.threads == threads:
                levels = speeds.setdefault(b.device, {})
                level = b.cache or MEMORY
                levels[level] = max(b.gigabytes_per_second, levels.get(level, 0.0))
    return tuple(
        Roof(device, peak, speeds[device][MEMORY], {level: v for level, v in speeds[device].items() if level != MEMORY})
        for device, peak in peaks.items()
        if MEMORY in speeds.get(device, {})
    )


def device_warnings(results: Results) -> tuple[str, ...]:
    """Return warnings about the clocks of a device: causes that limited them, or that they were not read."""
    timed = any(b.status == "ok" and b.device != "cpu" for case in results.cases for b in case.backends)
    states = results.device_states
    if not states:
        device = results.host.get("cuda")
        why = device.get("absent") if isinstance(device, dict) else None
        reason = why or "no reading"
        return (f"the clocks, power and temperature of the device were not recorded: {reason}",) if timed else ()
    counts = Counter(reason for state in states for reason in state.held_down)
    return tuple(
        f"the clocks of the device were limited ({reason}) in {count} of {len(states)} readings"
        for reason, count in counts.items()
    )


def not_timed(results: Results) -> tuple[NotTimed, ...]:
    """Return the backends without a step time, grouped by reason. A second instance counts only if the first is ok."""
    cases_by_reason: dict[tuple[str, str, str, str], list[str]] = {}
    for case in results.cases:
        ok = {b.name for b in case.backends if b.instance == b.name and b.status == "ok"}
        for b in case.backends:
            if b.status != "ok" and (b.instance == b.name or b.name in ok):
                cases_by_reason.setdefault((b.instance, words(b.status), b.reason, b.remedy), []).append(case.title)
    return tuple(NotTimed(*key, tuple(cases)) for key, cases in cases_by_reason.items())


def division_place(division: str) -> tuple[int, str]:
    """Return the sort key of a division: plain, tuned, framework, others by name, and textbook, which never leads."""
    *leading, last = DIVISIONS
    places = {name: place for place, name in enumerate([*leading, "", last])}  # "": those that are not known
    return places.get(division, places[""]), division


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names of the points of which no other is as low in both numbers, by the first number."""
    found: list[str] = []
    for name in sorted(points, key=lambda name: points[name]):
        if not found or points[name][1] < points[found[-1]][1]:
            found.append(name)
    return found


def in_division_order(divisions: Sequence[str] | set[str]) -> list[str]:
    """Return the divisions in the order of reports."""
    return sorted(divisions, key=division_place)


def _place(backend: BackendView) -> tuple[tuple[int, str], float]:
    return division_place(backend.division), centre_of(backend.step) if backend.step else math.inf


def _backend_view(case: Case, result: BackendResult) -> BackendView:
    ok = result.status == "ok"
    step = _step(result) if ok else None
    ratio = result.ratio if ok and case.reference else None
    return BackendView(
        result=result,
        label=_label(case, result),
        status=words(result.status) if step or not ok else "no sample",
        step=step,
        ratio=ratio,
        verdict=_verdict(case, result) if ratio else "reference" if result.name == case.reference else "",
        on_device=result.device_step_seconds if ok else None,
        rate=rate_text(1 / centre_of(step)) if step and case.members > 1 else "",
    )


def _verdict(case: Case, result: BackendResult) -> str:
    if result.verdict == "same":
        return f"same within ±{100 * case.margin:.3g} %"
    if result.verdict == "undecided":
        return f"undecided: {about_launches(result.more_launches)}"
    return result.verdict or ""


def about_launches(more: int | None) -> str:
    """Return how many more launches a verdict takes, in words."""
    if more is None:
        return f"more than {MOST_ASKED} more launches"
    return f"about {more} more launch{'es' * (more != 1)}"


def _label(case: Case, result: BackendResult) -> str:
    return result.name if in_dtype(case, result) else f"{result.name} ({result.arithmetic})"


def _step(result: BackendResult) -> Estimate | float | None:
    if result.step_seconds is None and result.timing_summary:
        return result.timing_summary.median_step_seconds
    return result.step_seconds
