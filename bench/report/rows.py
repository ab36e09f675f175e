"""The row model: what may be said of each backend in a case, decided once for tables and figures. Draws nothing.

What is withheld is withheld here: a ratio without an interval or a noise floor, a time of a backend that is not ok.
"""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from bench.format import Quantity, Unit, number, rate_text, unit_of, with_interval, words
from bench.results.derive import pairs_of
from bench.results.schema import BackendResult, Case, Estimate, Results
from bench.statistics import intervals

DIVISIONS = ("plain", "tuned", "framework")
BUSY = 0.95  # of the wall time by the device's clock; where it is less, that is told


@dataclass(frozen=True)
class BackendView:
    """One backend in one case.

    Attributes
    ----------
    label : str
        Its name, marked where it does not compute in the case's dtype.
    status : str
        In words: ``ok``, ``parity failed``, ...
    step : Quantity or None
        Seconds a step. Without interval where there was a single launch.
    ratio : Quantity or None
        The reference's step time over this one's.
    verdict : str
        What may be said of the ratio.
    on_device : Quantity or None
        Seconds a step by its device's own clock, where that has one.
    rate : str
        Steps a second of all networks together, for instance ``1.10 M``; empty where there is a single one.
    """

    backend: BackendResult
    label: str
    status: str
    step: Quantity | None
    ratio: Quantity | None
    verdict: str
    on_device: Quantity | None = None
    rate: str = ""


@dataclass(frozen=True)
class CaseView:
    """One case as it is told.

    Attributes
    ----------
    groups : tuple of (str, tuple of Row)
        One a division; within it the fastest first, then those without a time.
    unit : Unit
        What its step times are given in.
    floor : float or None
        The noise floor, as a fraction.
    notes : tuple of str
        What a reader must know: who the reference is, the noise floor, the launches, the data, why it stopped.
    """

    case: Case
    groups: tuple[tuple[str, tuple[BackendView, ...]], ...]
    unit: "Unit"
    floor: float | None
    notes: tuple[str, ...]

    @property
    def rows(self) -> tuple[BackendView, ...]:
        """Every row, in order."""
        return tuple(row for _, rows in self.groups for row in rows)

    @property
    def intensity(self) -> float | None:
        """Operations of a step over the bytes that it cannot do without; None where those are not recorded."""
        case = self.case
        return case.flops_per_step / case.bytes_per_step if case.bytes_per_step and case.flops_per_step else None

    @property
    def by_device(self) -> bool:
        """Whether any backend has a time by its device's own clock."""
        return any(row.on_device for row in self.rows)


@dataclass(frozen=True)
class Matrix:
    """How many times faster any backend of a division is than any other of it.

    Attributes
    ----------
    division : str
    labels : tuple of str
        The fastest first.
    cells : tuple of tuple of (Quantity, str) or None
        A row a backend, a column one that it is compared with: the ratio and what may be said of it.
    """

    division: str
    labels: tuple[str, ...]
    cells: tuple[tuple[tuple[Quantity, str] | None, ...], ...]

    @property
    def pairs(self) -> int:
        """How many intervals there are; a cell and its mirror image share one."""
        return sum(cell is not None for line in self.cells for cell in line) // 2


@dataclass(frozen=True)
class Roof:
    """What a device could do: its multiply-adds, and its memory, by the best probes."""

    device: str
    gflops: float
    gigabytes_per_second: float

    @property
    def ridge(self) -> float:
        """Where the slope meets the flat roof, in FLOP a byte."""
        return self.gflops / self.gigabytes_per_second

    def at(self, intensity: float) -> float:
        """The roof over an arithmetic intensity, in GFLOP/s (Williams, Waterman and Patterson 2009, "Roofline")."""
        return min(self.gflops, intensity * self.gigabytes_per_second)


@dataclass(frozen=True)
class Absence:
    """Backends without a time for one and the same reason, and the cases in which."""

    instance: str
    status: str
    reason: str
    remedy: str
    cases: tuple[str, ...]


def case_views(results: Results) -> tuple[CaseView, ...]:
    """Every case of a run, as it is told."""
    wanted = str(results.settings.get("reference", "numpy"))
    return tuple(case_rows(case, wanted) for case in results.cases)


def case_rows(case: Case, wanted: str) -> CaseView:
    """One case, as it is told.

    Parameters
    ----------
    case : Case
    wanted : str
        The reference that the run asked for.
    """
    rows = sorted((_row(case, b) for b in case.backends if b.instance == b.name), key=_place)
    groups = tuple((name, tuple(group)) for name, group in groupby(rows, key=lambda row: row.backend.division))
    unit = unit_of(row.step.value for row in rows if row.step)
    return CaseView(case, groups, unit, case.noise_floor, tuple(_notes(case, rows, wanted)))


def ratios_of(case: Case) -> dict[tuple[str, str], intervals.Estimate]:
    """How many times faster the first of two backends is than the second, both ways round."""
    ratios: dict[tuple[str, str], intervals.Estimate] = {}
    for pair in pairs_of(case):
        found = intervals.Estimate(pair.ratio.median, pair.ratio.low, pair.ratio.high)
        ratios[pair.backend, pair.than] = found
        ratios[pair.than, pair.backend] = intervals.Estimate(1 / found.median, 1 / found.high, 1 / found.low)
    return ratios


def matrices(rows: CaseView) -> tuple[Matrix, ...]:
    """Every two backends of a division, for each that has two; none where the noise floor is not known."""
    if rows.floor is None:
        return ()
    ratios = ratios_of(rows.case)

    def cell(one: BackendView, other: BackendView) -> tuple[Quantity, str] | None:
        ratio = ratios.get((one.backend.name, other.backend.name))
        return (
            (Quantity(ratio.median, (ratio.low, ratio.high)), intervals.verdict(ratio, rows.floor)) if ratio else None
        )

    every = []
    for division, group in rows.groups:
        timed = [row for row in group if row.step]
        cells = tuple(tuple(cell(one, other) for other in timed) for one in timed)
        every.append(Matrix(division, tuple(row.label for row in timed), cells))
    return tuple(matrix for matrix in every if matrix.pairs)


def roofs_of(results: Results, dtype: str, threads: int) -> tuple[Roof, ...]:
    """The roof of each device that was probed for both, the CPU's with so many threads."""
    peaks: dict[str, float] = {}
    speeds: dict[str, float] = {}
    for probed in results.ceilings:
        for p in probed.peaks:
            if p.dtype == dtype and (p.device != "cpu" or p.threads == threads):
                peaks[p.device] = max(p.gflops, peaks.get(p.device, 0.0))
        for b in probed.bandwidths:
            if b.device != "cpu" or b.threads == threads:
                speeds[b.device] = max(b.gigabytes_per_second, speeds.get(b.device, 0.0))
    return tuple(Roof(device, peak, speeds[device]) for device, peak in peaks.items() if device in speeds)


def device_warnings(results: Results) -> tuple[str, ...]:
    """What a reader of a device's times must know of its clocks: what held them down, or that nobody looked."""
    timed = any(b.status == "ok" and b.device != "cpu" for case in results.cases for b in case.backends)
    states = results.device_states
    if not states:
        device = results.host.get("cuda")
        why = device.get("absent") if isinstance(device, dict) else None
        return (f"the device's clocks, power and temperature were not noted: {why or 'no reading'}",) if timed else ()
    counts = Counter(reason for state in states for reason in state.held_down)
    return tuple(
        f"the device's clocks were held down ({reason}) in {count} of {len(states)} readings"
        for reason, count in counts.items()
    )


def not_timed(results: Results) -> tuple[Absence, ...]:
    """Who has no time, and why. A second instance is told of only where the first one ran."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for case in results.cases:
        ok = {b.name for b in case.backends if b.instance == b.name and b.status == "ok"}
        for b in case.backends:
            if b.status != "ok" and (b.instance == b.name or b.name in ok):
                found.setdefault((b.instance, words(b.status), b.reason, b.remedy), []).append(case.title)
    return tuple(Absence(*key, tuple(cases)) for key, cases in found.items())


def _place(row: BackendView) -> tuple[int, str, float]:
    division = row.backend.division
    known = DIVISIONS.index(division) if division in DIVISIONS else len(DIVISIONS)
    return known, division, row.step.value if row.step else math.inf


def _row(case: Case, backend: BackendResult) -> BackendView:
    ok = backend.status == "ok"
    step = _step(backend) if ok else None
    ratio = _quantity(backend.ratio) if ok and case.reference and case.noise_floor is not None else None
    status = words(backend.status) if step or not ok else "no sample"
    rate = rate_text(1 / step.value) if step and case.members > 1 else ""
    on_device = _quantity(backend.device_step_seconds) if ok else None
    return BackendView(
        backend, _label(case, backend), status, step, ratio, _verdict(case, backend, ratio), on_device, rate
    )


def _label(case: Case, backend: BackendResult) -> str:
    native = backend.arithmetic in (None, "native", case.dtype)
    return backend.name if native else f"{backend.name} ({backend.arithmetic})"


def _step(backend: BackendResult) -> Quantity | None:
    if backend.step_seconds is None and backend.samples:
        return Quantity(median(s.seconds / s.steps for s in backend.samples))
    return _quantity(backend.step_seconds)


def _quantity(estimate: Estimate | None) -> Quantity | None:
    return Quantity(estimate.median, (estimate.low, estimate.high)) if estimate else None


def _verdict(case: Case, backend: BackendResult, ratio: Quantity | None) -> str:
    if ratio and ratio.interval:
        return intervals.verdict(intervals.Estimate(ratio.value, *ratio.interval), case.noise_floor)
    return "reference" if backend.name == case.reference else ""


def _notes(case: Case, rows: list[BackendView], wanted: str) -> list[str]:
    notes = (
        _reference_note(case, wanted),
        _floor_note(case),
        _peak_note(case),
        _device_peak_note(case, rows),
        _idle_note(rows),
        _warmth_note(case, rows),
        _launches_note(rows),
        _members_note(case),
        f"Data: {case.data.rstrip('.')}." if case.data else "",
        f"Stopped: {case.stopped.rstrip('.')}." if case.stopped else "",
    )
    return [note for note in notes if note]


def _members_note(case: Case) -> str:
    if case.members == 1:
        return ""
    return f"{case.members} networks at once, each with its own θ, order, rate and λ; a step is a step of one network."


def _reference_note(case: Case, wanted: str) -> str:
    if case.reference == wanted:
        return ""
    why = next((words(b.status) for b in case.backends if b.instance == wanted), "not in this case")
    if case.reference is None:
        return f"No ratios: the reference, {wanted}, has no time ({why}), and no plain backend can stand in for it."
    return f"{case.reference} stands in for the reference, {wanted} ({why}): the ratios are to {case.reference}."


def _floor_note(case: Case) -> str:
    """The noise floor and the A/A ratios behind it."""
    if case.reference is None:
        return ""
    if case.noise_floor is None:
        return "No noise floor was measured (no second instance has an interval), and so no ratio is shown."
    by_instance = {b.instance: b for b in case.backends if b.status == "ok"}
    pairs = []
    for second in by_instance.values():
        first = by_instance.get(second.name)
        if first is None or first is second:
            continue
        a_a = intervals.ratio(first.samples, second.samples, chosen=case.launches_chosen)
        if a_a:
            pairs.append(f"{second.name} against itself {with_interval(Quantity(a_a.median, (a_a.low, a_a.high)))}")
    evidence = f" ({'; '.join(pairs)})" if pairs else ""
    return f"Noise floor {number(100 * case.noise_floor, 2)} %{evidence}: nothing within it is called faster or slower."


def _peak_note(case: Case) -> str:
    if case.ceiling_gflops is None:
        return ""
    threads = f"{case.threads} thread{'s' * (case.threads != 1)}"
    return f"Peak: {number(case.ceiling_gflops)} GFLOP/s, the best multiply-add probe of {case.dtype} on {threads}."


def _device_peak_note(case: Case, rows: list[BackendView]) -> str:
    devices = dict.fromkeys(row.backend.device for row in rows if row.step and row.backend.device != "cpu")
    peaks = [(device, case.ceiling_of(device)) for device in devices]
    known = [f"{device}: {number(peak)} GFLOP/s, its best probe of {case.dtype}" for device, peak in peaks if peak]
    unknown = [
        f"{device} was not probed, so its backends have no share of a peak" for device, peak in peaks if not peak
    ]
    return f"Peak of {'; '.join(known + unknown)}." if known else f"{'; '.join(unknown)}." if unknown else ""


def _idle_note(rows: list[BackendView]) -> str:
    """Whose wall time has more in it than its device's clock saw."""
    shares = [(row, row.on_device.value / row.step.value) for row in rows if row.step and row.on_device]
    told = [f"{row.label} ({number(100 * share, 2)} %)" for row, share in shares if share < BUSY]
    if not told:
        return ""
    return f"By its device's clock less passed than {100 * BUSY:.0f} % of the step time of {', '.join(told)}."


def _warmth_note(case: Case, rows: list[BackendView]) -> str:
    """Who was not, or perhaps not, warm when it was timed: by its untimed blocks, or by its rounds."""
    timed = [row for row in rows if row.step]
    restless = [row.label for row in timed if any(not launch.settled for launch in row.backend.launches)]
    gains = [(row.label, intervals.gain_within_launches(row.backend.samples)) for row in timed]
    floor = 1 + (case.noise_floor or 0.0)
    warming = [
        f"{label} ({with_interval(Quantity(g.median, (g.low, g.high)))}×)" for label, g in gains if g and g.low > floor
    ]
    notes = (
        f"Had not settled when its warm-up was given up: {', '.join(restless)}." if restless else "",
        f"Faster in a launch's last round than in its first, so not warm throughout: {', '.join(warming)}."
        if warming
        else "",
    )
    return " ".join(note for note in notes if note)


def _launches_note(rows: list[BackendView]) -> str:
    launches = {len({s.launch for s in row.backend.samples}) for row in rows if row.step}
    if not launches:
        return "No backend was timed."
    fewest, most = min(launches), max(launches)
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    if most == 1:
        return "One launch: no interval, and so no ratio."
    few = fewest < intervals.MIN_LAUNCHES
    warning = f"; fewer than {intervals.MIN_LAUNCHES} make them wide and provisional" if few else ""
    return f"Intervals: 95 %, over {count} launches{warning}."
