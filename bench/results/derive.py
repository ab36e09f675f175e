"""Derives every statistic of a case from its samples: step times, ratios, verdicts, shares, the noise floor, totals.

The only place that does: reports read the fields that these functions fill. Reads no file.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import Any, Final

from bench.results.schema import (
    BackendResult,
    Case,
    Ceilings,
    Estimate,
    Pair,
    Sample,
    TimingSummary,
    Verdict,
)
from bench.statistics import intervals
from bench.terms import Clock

IMPLAUSIBLE: Final = 1.05  # times the best multiply-add probe; no program multiplies faster than the machine
PROVISIONAL: Final = intervals.MIN_LAUNCHES  # launches; intervals over fewer are wide and provisional
COST_FIELDS: Final = ("startup_seconds", "first_step_seconds", "warmup_seconds")
STATISTIC_FIELDS: Final = ("step_seconds", "device_step_seconds", "ratio", "gflops", "ceiling_share")
LATER_FIELDS: Final = ("verdict", "gain_within_launches", "timing_summary")  # absent from the first files of schema 1
LATER_CASE_FIELDS: Final = ("pairs", "a_a_pairs")  # likewise, of a case
LATER_SUMMARY_FIELDS: Final = ("median_block_seconds",)  # likewise, of a timing summary


def best_ceilings(ceilings: list[Ceilings], case: Case) -> dict[str, Any]:
    """Return the fields of `Case` with the best probe of the CPU and of each device, over all levels and both times.

    Where nothing was probed, the fields keep the case's own values.
    """
    peaks = [peak for probed in ceilings for peak in probed.peaks if peak.dtype == case.dtype]
    cpu = (peak.gflops for peak in peaks if (peak.device, peak.threads) == ("cpu", case.threads))
    devices = dict.fromkeys(peak.device for peak in peaks if peak.device != "cpu")
    best = {device: max(peak.gflops for peak in peaks if peak.device == device) for device in devices}
    return {"ceiling_gflops": max(cpu, default=case.ceiling_gflops), "device_ceilings": best or case.device_ceilings}


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


def with_statistics(case: Case, requested: str) -> Case:
    """Return the case with all statistics of its samples. `requested` is the reference that the settings name."""
    case = case.model_copy(update={"backends": [_checked_against_ceiling(case, b) for b in case.backends]})
    reference = stand_in(case, requested)
    base = next((_timed(case, b) for b in case.backends if b.instance == reference), [])
    backends = [b.model_copy(update=_statistics(case, b, reference, base)) for b in case.backends]
    pairs, a_a_pairs = _pairs(case), _a_a_pairs(case)
    floor = max((intervals.noise_floor(pair.ratio) for pair in a_a_pairs), default=None)
    update = {"reference": reference, "noise_floor": floor, "pairs": pairs, "a_a_pairs": a_a_pairs}
    return with_verdicts(case.model_copy(update={**update, "backends": backends}))


def _statistics(case: Case, backend: BackendResult, reference: str | None, base: list[Sample]) -> dict[str, Any]:
    """Return the derived fields of one backend, without the verdict. `base` holds the samples of the reference."""
    labels = intervals.outliers(_timed(case, backend))
    samples = [s.model_copy(update={"outlier": label}) for s, label in zip(backend.samples, labels, strict=True)]
    update = {**dict.fromkeys((*STATISTIC_FIELDS, *LATER_FIELDS)), **_costs(backend), "samples": samples}
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
    update["ratio"] = _ratio(case, base, timed) if backend.instance != reference else None
    update["gain_within_launches"] = intervals.gain_within_launches(timed)
    update["timing_summary"] = timing_summary(samples, case.clock)
    return update


def with_verdicts(case: Case) -> Case:
    """Return the case with the verdict on each of its ratios; None where the case has no noise floor."""

    def verdict(ratio: Estimate | None) -> Verdict | None:
        return intervals.verdict(ratio, case.noise_floor) if ratio and case.noise_floor is not None else None

    backends = [b.model_copy(update={"verdict": verdict(b.ratio)}) for b in case.backends]
    pairs = [pair.model_copy(update={"verdict": verdict(pair.ratio)}) for pair in case.pairs or []]
    return case.model_copy(update={"backends": backends, "pairs": pairs})


def not_warm(case: Case, backend: BackendResult) -> bool:
    """Return True where the last round of a launch was significantly faster than its first round."""
    gain = backend.gain_within_launches
    return gain is not None and intervals.verdict(gain, case.noise_floor) == "faster"


def _ratio(case: Case, reference: list[Sample], other: list[Sample]) -> Estimate | None:
    return intervals.ratio(reference, other, chosen=case.launches_chosen)


def _pairs(case: Case) -> list[Pair]:
    """Return every two backends that are ok once, without second instances: these give the noise floor."""
    ok = [b for b in case.backends if b.status == "ok" and b.instance == b.name]
    ratios = ((b, than, _ratio(case, _timed(case, than), _timed(case, b))) for than, b in combinations(ok, 2))
    return [Pair(backend=b.name, than=than.name, ratio=ratio) for b, than, ratio in ratios if ratio]


def _a_a_pairs(case: Case) -> list[Pair]:
    """Return each second instance with the first instance of the same backend, where both are ok."""
    ok = {b.instance: b for b in case.backends if b.status == "ok"}
    both = ((ok[b.name], b) for b in ok.values() if b.instance != b.name and b.name in ok)
    ratios = ((first, second, _ratio(case, _timed(case, first), _timed(case, second))) for first, second in both)
    return [Pair(backend=two.instance, than=one.instance, ratio=ratio) for one, two, ratio in ratios if ratio]


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
    switches = [s.involuntary_switches for s in samples if s.involuntary_switches is not None]
    return TimingSummary(
        launches=len({s.launch for s in samples}),
        blocks=len(samples),
        median_step_seconds=median(s.seconds / s.steps for s in timed),
        median_block_seconds=median(s.seconds for s in timed),
        off_cpu_share=1 - sum(s.seconds for s in timed) / sum(s.seconds for s in samples) if clock == "cpu" else None,
        cpu_per_wall_second=sum(s.cpu_seconds for s in samples) / wall if wall else None,
        switches_per_second=sum(switches) / wall if switches and wall else None,
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
