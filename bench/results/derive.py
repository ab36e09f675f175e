"""Derives statistics, ratios and shares from samples; the only place that does."""

from collections.abc import Mapping
from itertools import combinations
from statistics import median
from typing import Any, Final

from bench.results.schema import BackendResult, Case, Ceilings, Estimate, Pair, Sample
from bench.statistics import intervals

IMPLAUSIBLE: Final = 1.05  # times the best probe: nobody multiplies faster than the machine does


def best_ceilings(ceilings: list[Ceilings], case: Case) -> dict[str, Any]:
    """The best probes for a case, of any level, before or after; what the case itself says where nothing was probed."""
    peaks = [peak for probed in ceilings for peak in probed.peaks if peak.dtype == case.dtype]
    cpu = (peak.gflops for peak in peaks if (peak.device, peak.threads) == ("cpu", case.threads))
    devices = dict.fromkeys(peak.device for peak in peaks if peak.device != "cpu")
    best = {device: max(peak.gflops for peak in peaks if peak.device == device) for device in devices}
    return {"ceiling_gflops": max(cpu, default=case.ceiling_gflops), "device_ceilings": best or case.device_ceilings}


def stand_in(case: Case, reference: str) -> str | None:
    """Who the ratios are to: `reference` if it is ok, else the first ok plain backend, else nobody."""
    ok = (b for b in case.backends if b.status == "ok" and b.samples and b.instance == b.name)
    return reference_among({b.name: b.division for b in ok}, reference)


def reference_among(divisions: Mapping[str, str], wanted: str) -> str | None:
    """Who of those, by name, ratios are to: who is wanted, else the first plain one, else nobody."""
    if wanted in divisions:
        return wanted
    return next((name for name, division in divisions.items() if division == "plain"), None)


def with_statistics(case: Case, wanted: str) -> Case:
    case = case.model_copy(update={"backends": [_held_against_ceiling(case, b) for b in case.backends]})
    reference = stand_in(case, wanted)
    by_instance = {b.instance: b for b in case.backends}
    base = by_instance[reference].samples if reference else []
    backends = []
    for backend in case.backends:
        update: dict[str, Any] = {**dict.fromkeys(STATISTIC_FIELDS), **_costs(backend)}
        labels = intervals.outliers(backend.samples)
        update["samples"] = [
            sample.model_copy(update={"outlier": label}) for sample, label in zip(backend.samples, labels, strict=True)
        ]
        if backend.status == "ok":
            step = intervals.step_seconds(backend.samples)
            on_device = intervals.step_seconds(_by_device(backend.samples))
            ceiling = case.ceiling_of(backend.device)
            ratio = _ratio(case, base, backend.samples) if backend.instance != reference else None
            if step:
                update["step_seconds"] = step
                update["gflops"] = gflops = case.flops_per_step / step.median / 1e9
                update["ceiling_share"] = gflops / ceiling if ceiling else None
            update["device_step_seconds"] = on_device
            update["ratio"] = ratio
        backends.append(backend.model_copy(update=update))
    floor = _noise_floor(case, by_instance)
    return case.model_copy(
        update={"backends": backends, "reference": reference, "noise_floor": floor, "pairs": pairs_of(case)}
    )


def _ratio(case: Case, reference: list[Sample], other: list[Sample]) -> Estimate | None:
    return intervals.ratio(reference, other, chosen=case.launches_chosen)


def pairs_of(case: Case) -> list[Pair]:
    """Every two backends that are ok, once; none of a backend and its second instance, which are the noise floor's."""
    ok = [b for b in case.backends if b.status == "ok" and b.instance == b.name]
    ratios = ((b, than, _ratio(case, than.samples, b.samples)) for than, b in combinations(ok, 2))
    return [Pair(backend=b.name, than=than.name, ratio=ratio) for b, than, ratio in ratios if ratio]


def _costs(backend: BackendResult) -> dict[str, float | None]:
    """The medians over launches; of what has no launches (results of before they were kept), what it says itself."""
    if not backend.launches:
        return {name: getattr(backend, name) for name in COST_FIELDS}
    return {name: median(getattr(launch, name) for launch in backend.launches) for name in COST_FIELDS}


def _held_against_ceiling(case: Case, backend: BackendResult) -> BackendResult:
    """A backend as it is, or as `implausible` where it computes faster than the machine can."""
    ceiling = case.ceiling_of(backend.device)
    step = intervals.step_seconds(backend.samples) if backend.status == "ok" and ceiling else None
    share = case.flops_per_step / step.median / 1e9 / ceiling if step and ceiling else 0.0
    if share <= IMPLAUSIBLE:
        return backend
    where = "" if backend.device == "cpu" else f" of {backend.device}"
    reason = f"{share:.2f} of the best multiply-add probe{where}, {ceiling:.4g} GFLOP/s"
    return backend.model_copy(update={"status": "implausible", "reason": reason})


def _by_device(samples: list[Sample]) -> list[Sample]:
    """The samples by the device's clock; none where it did not keep the time of all."""
    timed = [s.model_copy(update={"seconds": s.device_seconds}) for s in samples if s.device_seconds]
    return timed if len(timed) == len(samples) else []


def _noise_floor(case: Case, by_instance: dict[str, BackendResult]) -> float | None:
    bounds = []
    for second in by_instance.values():
        first = by_instance.get(second.name)
        if second.instance == second.name or first is None or {first.status, second.status} != {"ok"}:
            continue
        a_a = intervals.ratio(first.samples, second.samples, chosen=case.launches_chosen)
        if a_a:
            bounds.append(intervals.noise_floor(a_a))
    return max(bounds, default=None)


COST_FIELDS = ("startup_seconds", "first_step_seconds", "warmup_seconds")
STATISTIC_FIELDS = ("step_seconds", "device_step_seconds", "ratio", "gflops", "ceiling_share")
