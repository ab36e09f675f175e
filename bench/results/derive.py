"""Derives every statistic of a case from its samples: step times, ratios, verdicts, shares, totals.

The only place that does: reports read the fields that these functions fill. Reads no file.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from bench.results.schema import STATISTICS, BackendResult, Case, Ceilings, Pair, Results, Sample, TimingSummary
from bench.statistics import intervals
from bench.statistics.verdicts import MARGIN, PairVerdict, Table, compare, fastest_set
from bench.terms import Clock

IMPLAUSIBLE: Final = 1.05  # times the best multiply-add probe; no program multiplies faster than the machine
PROVISIONAL: Final = intervals.MIN_LAUNCHES  # launches; intervals over fewer are wide and provisional
COST_FIELDS: Final = ("startup_seconds", "first_step_seconds", "warmup_seconds")
VERDICT_FIELDS: Final = ("ratio", "verdict", "more_launches", "fastest")
STATISTIC_FIELDS: Final = (
    "step_seconds",
    "device_step_seconds",
    "gflops",
    "ceiling_share",
    "gain_within_launches",
    "timing_summary",
    *VERDICT_FIELDS,
)


def with_all_statistics(results: Results) -> Results:
    """Return the results with all statistics of their samples, by the rules of this version."""
    reference = str(results.settings.get("reference", "numpy"))
    margin = float(results.settings.get("margin", MARGIN))
    cases = [
        case.model_copy(update={**best_ceilings(results.ceilings, case), **best_products(results.ceilings, case)})
        for case in results.cases
    ]
    cases = [with_statistics(case, reference, margin) for case in cases]
    return results.model_copy(update={"cases": cases, "statistics": STATISTICS})


def best_ceilings(ceilings: list[Ceilings], case: Case) -> dict[str, Any]:
    """Return the fields of `Case` with the best probe of the CPU and of each device, over all levels and both times.

    Where nothing was probed, the fields keep the case's own values.
    """
    peaks = [peak for probed in ceilings for peak in probed.peaks if peak.dtype == case.dtype]
    cpu = (peak.gflops for peak in peaks if (peak.device, peak.threads) == ("cpu", case.threads))
    devices = dict.fromkeys(peak.device for peak in peaks if peak.device != "cpu")
    best = {device: max(peak.gflops for peak in peaks if peak.device == device) for device in devices}
    return {"ceiling_gflops": max(cpu, default=case.ceiling_gflops), "device_ceilings": best or case.device_ceilings}


def best_products(ceilings: list[Ceilings], case: Case) -> dict[str, Any]:
    """Return the fields of `Case` with the best rate of its products alone; none where they were not timed.

    Layers whose units have several pieces have more products than follow from the sizes, and so more operations.
    """
    if case.definition is None or case.operation.split()[0] != "train":
        return {}
    own = (case.definition.sizes, case.batch, case.dtype, case.threads, case.flops_per_step)
    timed = [
        p for probed in ceilings for p in probed.products if (p.sizes, p.batch, p.dtype, p.threads, p.operations) == own
    ]
    best = max(timed, key=lambda p: p.gflops, default=None)
    return {"bare_gflops": best.gflops, "bare_library": best.library} if best else {}


def stand_in(case: Case, reference: str) -> str | None:
    """Return the backend that the ratios are to: `reference` if it was timed, else the first timed plain backend."""
    timed = (b for b in case.backends if b.status == "ok" and b.samples and b.instance == b.name)
    return reference_among({b.name: b.division for b in timed}, reference)


def reference_among(divisions: Mapping[str, str], requested: str) -> str | None:
    """Return `requested` if it is among these backends, else the first plain one; None where there is none.

    Parameters
    ----------
    divisions : mapping of str to str
        Division by name of a backend.
    requested : str
    """
    if requested in divisions:
        return requested
    return next((name for name, division in divisions.items() if division == "plain"), None)


def with_statistics(case: Case, requested: str, margin: float = MARGIN) -> Case:
    """Return the case with all statistics of its samples.

    Parameters
    ----------
    case : Case
    requested : str
        Reference that the settings name.
    margin : float
        See `Case`.
    """
    case = case.model_copy(update={"backends": [_checked_against_ceiling(case, b) for b in case.backends]})
    ok = {b.instance: b for b in case.backends if b.status == "ok"}
    firsts = {name: _timed(case, b) for name, b in ok.items() if b.name == name}
    table = compare(firsts, margin, chosen=case.launches_chosen)
    update = {
        "margin": margin,
        "reference": stand_in(case, requested),
        "pairs": [_pair(found) for found in table.pairs],
        "a_a_pairs": _a_a_pairs(case, ok, table),
        "sensitivity": _sensitivity(case, firsts, margin),
        "backends": [b.model_copy(update=_statistics(case, b)) for b in case.backends],
    }
    return with_verdicts(case.model_copy(update=update))


def _pair(p: PairVerdict) -> Pair:
    return Pair(backend=p.backend, than=p.than, ratio=p.ratio, verdict=p.verdict, more_launches=p.more_launches)


def _sensitivity(case: Case, firsts: Mapping[str, Sequence[Sample]], margin: float) -> Pair | None:
    """Return the slowed copy against its original, judged in a table of its own: the case's with the copy added."""
    copy = case.planted
    if copy is None or copy.status != "ok" or copy.copy_of not in firsts:
        return None
    table = compare({**firsts, copy.instance: _timed(case, copy)}, margin, chosen=case.launches_chosen)
    return next((_pair(p) for p in table.pairs if (p.than, p.backend) == (copy.copy_of, copy.instance)), None)


def _statistics(case: Case, backend: BackendResult) -> dict[str, Any]:
    """Return the derived fields of one backend that no other backend has a part in."""
    labels = intervals.outliers(_timed(case, backend))
    samples = [s.model_copy(update={"outlier": label}) for s, label in zip(backend.samples, labels, strict=True)]
    update = {**dict.fromkeys(STATISTIC_FIELDS), **_costs(backend), "samples": samples}
    if backend.status != "ok":
        return update
    timed = on_clock(samples, case.clock)
    step = intervals.step_seconds(timed)
    if step:
        ceiling = case.ceiling_of(backend.device)
        update["step_seconds"] = step
        update["gflops"] = gflops = case.flops_per_step / step.median / 1e9
        update["ceiling_share"] = gflops / ceiling if ceiling else None
    update["device_step_seconds"] = intervals.step_seconds(_on_device_clock(samples))
    update["gain_within_launches"] = intervals.gain_within_launches(timed)
    update["timing_summary"] = timing_summary(samples, case.clock)
    return update


def with_verdicts(case: Case) -> Case:
    """Return the case with each backend's ratio to the reference, its verdict and its place in the fastest set."""
    pairs = case.pairs or []
    compared = {name for pair in pairs for name in (pair.than, pair.backend)}
    to_reference = {p.backend: p for p in pairs if p.than == case.reference}
    to_reference |= {p.than: inverse(p) for p in pairs if p.backend == case.reference}
    divisions: dict[str, list[str]] = {}
    for b in case.backends:
        if b.instance in compared:
            divisions.setdefault(b.division, []).append(b.instance)
    fastest = {name for names in divisions.values() for name in fastest_set(names, pairs)}

    def update(b: BackendResult) -> dict[str, Any]:
        found: dict[str, Any] = dict.fromkeys(VERDICT_FIELDS)
        if b.instance in to_reference:
            found |= {name: getattr(to_reference[b.instance], name) for name in ("ratio", "verdict", "more_launches")}
        return found | ({"fastest": b.instance in fastest} if b.instance in compared else {})

    return case.model_copy(update={"backends": [b.model_copy(update=update(b)) for b in case.backends]})


def inverse(pair: Pair) -> Pair:
    """Return the pair the other way round."""
    verdict = {"faster": "slower", "slower": "faster"}.get(pair.verdict or "", pair.verdict)
    update = {"backend": pair.than, "than": pair.backend, "ratio": pair.ratio.inverse, "verdict": verdict}
    return pair.model_copy(update=update)


def not_warm(case: Case, backend: BackendResult) -> bool:
    """Return True where the last round of a launch was shown to be faster than its first, by more than the margin."""
    gain = backend.gain_within_launches
    return gain is not None and gain.low > 1 + case.margin


def a_a_missed(case: Case) -> tuple[int, int]:
    """Return how many A/A intervals miss 1, and how many there are. About one in twenty should."""
    ratios = [pair.ratio for pair in case.a_a_pairs or ()]
    return sum(not ratio.low <= 1 <= ratio.high for ratio in ratios), len(ratios)


def _a_a_pairs(case: Case, ok: Mapping[str, BackendResult], table: Table) -> list[Pair]:
    """Return each second instance with the first instance of the same backend, where both are ok."""
    both = ((ok[b.name], b) for b in ok.values() if b.instance != b.name and b.name in ok)
    ratios = ((a, b, table.ratio(_timed(case, a), _timed(case, b), chosen=case.launches_chosen)) for a, b in both)
    return [Pair(backend=b.instance, than=a.instance, ratio=ratio) for a, b, ratio in ratios if ratio]


def _costs(backend: BackendResult) -> dict[str, float | None]:
    """Return the medians over launches; a backend without recorded launches keeps the values that it has."""
    if not backend.launches:
        return {name: getattr(backend, name) for name in COST_FIELDS}
    return {name: median(getattr(launch, name) for launch in backend.launches) for name in COST_FIELDS}


def timing_summary(samples: list[Sample], clock: Clock = "wall") -> TimingSummary | None:
    """Return the totals and rates over the samples of one backend; None where there is no sample."""
    if not samples:
        return None
    wall = sum(s.wall_seconds for s in samples)
    timed = on_clock(samples, clock)
    counted = [s for s in samples if s.involuntary_switches is not None]
    counted_wall = sum(s.wall_seconds for s in counted)
    return TimingSummary(
        launches=len({s.launch for s in samples}),
        blocks=len(samples),
        median_step_seconds=median(s.seconds / s.steps for s in timed),
        median_block_seconds=median(s.seconds for s in timed),
        off_cpu_share=1 - sum(s.seconds for s in timed) / sum(s.seconds for s in samples) if clock == "cpu" else None,
        cpu_per_wall_second=sum(s.cpu_seconds for s in samples) / wall if wall else None,
        switches_per_second=sum(s.involuntary_switches or 0 for s in counted) / counted_wall if counted_wall else None,
        outliers=sum(s.outlier for s in samples),
        retries=sum(s.retries for s in samples),
    )


def _checked_against_ceiling(case: Case, backend: BackendResult) -> BackendResult:
    """Return the backend, marked `implausible` where it computes faster than the machine can."""
    ceiling = case.ceiling_of(backend.device)
    step = intervals.step_seconds(_timed(case, backend)) if backend.status == "ok" and ceiling else None
    share = case.flops_per_step / step.median / 1e9 / ceiling if step and ceiling else 0.0
    if share <= IMPLAUSIBLE:
        return backend
    where = "" if backend.device == "cpu" else f" of {backend.device}"
    reason = f"{share:.2f} of the best multiply-add probe{where}, {ceiling:.4g} GFLOP/s"
    return backend.model_copy(update={"status": "implausible", "reason": reason})


def on_clock(samples: Sequence[Sample], clock: Clock) -> list[Sample]:
    """Return the samples with the seconds of a clock in `seconds`; without those that lack them."""
    if clock == "wall":
        return list(samples)
    return [s.model_copy(update={"seconds": s.work_cpu_seconds}) for s in samples if s.work_cpu_seconds]


def _timed(case: Case, backend: BackendResult) -> list[Sample]:
    return on_clock(backend.samples, case.clock)


def _on_device_clock(samples: list[Sample]) -> list[Sample]:
    """Return the samples with the device's seconds; none where one lacks them."""
    timed = [s.model_copy(update={"seconds": s.device_seconds}) for s in samples if s.device_seconds]
    return timed if len(timed) == len(samples) else []
