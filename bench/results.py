"""What a run leaves behind: the journal it writes as it goes, and the results built from it. Measures nothing.

`journal.jsonl` is the truth: one event a line, flushed and synced. `results.json` is built from it, by `build`, and
can be built again at any time; a killed run loses at most the sample in flight.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench import intervals
from pyfnn.errors import PyfnnError

SCHEMA: Final = "pyfnn-results/1"
IMPLAUSIBLE: Final = 1.05  # times the best probe: nobody multiplies faster than the machine does
CUT_OFF: Final = "cut off: the journal does not tell of this case's end"

Status = Literal[
    "ok",
    "unavailable",
    "unsupported",
    "build_failed",
    "protocol_error",
    "parity_failed",
    "diverged",
    "threads_mismatch",
    "implausible",
    "crashed",
    "timed_out",
    "too_slow",
    "not_run",
]
STATUSES: tuple[str, ...] = get_args(Status)


class ResultsError(PyfnnError):
    """A results file or journal that cannot be used; the message says what is wrong and where."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Value):
    """A centre and its 95 % interval; see `bench.intervals.Estimate`."""

    median: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)


class Sample(_Value):
    """One timed block."""

    launch: int
    round: int
    seconds: float = Field(gt=0)  # on the worker's own clock
    steps: int = Field(gt=0)
    cpu_seconds: float  # of the worker process over the block
    wall_seconds: float  # the driver's view of the block
    involuntary_switches: int | None = None
    device_seconds: float | None = Field(default=None, gt=0)  # on the device's own clock, where it has one
    retries: int = 0  # turns refused before this one, for a clock or CPU time that did not fit
    outlier: bool = False  # beyond Tukey's fences among its backend's samples; kept and used like any other


class Launch(_Value):
    """What one fresh process cost before it could be timed."""

    launch: int
    startup_seconds: float = Field(ge=0)  # from its launch to its first reply
    first_step_seconds: float = Field(ge=0)  # from its launch to the end of its first step, loading the data included
    warmup_seconds: float = Field(ge=0)  # of untimed blocks, until they had stopped getting faster
    warmup_blocks: int = Field(ge=0)
    settled: bool  # whether they ever did


class Curve(_Value):
    """Loss against wall time at the ends of epochs; entry 0 is the starting θ, at 0 seconds."""

    epochs: list[int]
    seconds: list[float]
    losses: list[float]

    @model_validator(mode="after")
    def _one_entry_an_epoch(self) -> "Curve":
        if not len(self.epochs) == len(self.seconds) == len(self.losses):
            raise ValueError("epochs, seconds and losses must have one entry each")
        if any(seconds <= 0 for seconds in self.seconds[1:]):
            raise ValueError("seconds must be above 0 after the first entry")
        return self


class Pool(_Value):
    """A BLAS or a pool of threads in a process, as it says itself once it has the workload."""

    kind: str  # blas or openmp
    library: str  # its name and version
    kernels: str | None = None  # that a BLAS has chosen for this CPU
    threads: int
    file: str


class BackendResult(_Value):
    """One instance of a backend in one case. `instance` is the name, or name@2 for the second arm of an A/A pair.

    `threads_seen` is its own word; `cpus`, those its threads may run on, the system's; `pools` are known of what Python
    hosts alone. `build_seconds` is what building its program took, in this run or before it; the seconds of starting,
    of the first step and of warming up are medians over the launches.
    """

    name: str
    instance: str
    language: str
    division: str
    device: str = "cpu"
    arithmetic: str | None = None
    status: Status = "not_run"
    reason: str = ""
    remedy: str = ""
    parity: dict[str, Any] = {}
    build: dict[str, Any] = {}
    threads_seen: int | None = None
    cpus: list[int] | None = None
    pools: list[Pool] | None = None
    peak_rss_bytes: int | None = None
    build_seconds: float | None = None
    startup_seconds: float | None = None
    first_step_seconds: float | None = None
    warmup_seconds: float | None = None
    source_lines: int | None = None
    launches: list[Launch] = []
    samples: list[Sample] = []
    curve: Curve | None = None
    step_seconds: Estimate | None = None
    device_step_seconds: Estimate | None = None
    ratio: Estimate | None = None
    gflops: float | None = None
    ceiling_share: float | None = None


When = Literal["before", "after"]


class Peak(_Value):
    """Multiply-adds in registers, two operations each, on all threads together, or on the whole device."""

    device: str = "cpu"
    level: str
    dtype: str
    threads: int
    gflops: float = Field(gt=0)


class Bandwidth(_Value):
    """Memory traffic of all threads together, over arrays of `bytes` in all; counted as STREAM does."""

    device: str = "cpu"
    traffic: str
    threads: int
    bytes: int
    gigabytes_per_second: float = Field(gt=0)


class Ceilings(_Value):
    """What this machine could do, probed before or after all measurement; or why that is not known."""

    when: When
    peaks: list[Peak] = []
    bandwidths: list[Bandwidth] = []
    absent: str = ""


class DeviceState(_Value):
    """What a device's sensors said between two timed blocks, or before or after all of them (`case` is None then).

    `held_down` names what held its clocks down at that moment or, as far as the driver counts it, since the one before.
    """

    device: str = "cuda"
    case: int | None = None
    launch: int | None = None
    round: int | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    watts: float | None = None
    celsius: float | None = None
    held_down: list[str] = []


class HostState(_Value):
    """What the machine was doing: at the moment before measuring; over all of the run, ourselves included, after it."""

    when: When
    busy_cpus: float | None = None  # CPUs' worth of work, on the CPUs that may be used
    steal: float | None = None  # the share of the time that a hypervisor gave to others
    load_1min: float | None = None
    celsius: float | None = None
    memory_available_bytes: int | None = None


class Warned(_Value):
    """What stood in the way of good measurements, and what to do about it: see bench/advice.py."""

    when: When
    name: str
    message: str
    remedy: str = ""


def case_title(workload: str, operation: str, dtype: str, threads: int, members: int = 1) -> str:
    """For instance ``wine-deep · train · float32 · 1 thread``."""
    many = f" · {members} networks" if members > 1 else ""
    return f"{workload} · {operation} · {dtype} · {threads} thread{'' if threads == 1 else 's'}{many}"


class Pair(_Value):
    """How many times faster `backend` is than `than`, over the launches and rounds that both took part in."""

    backend: str
    than: str
    ratio: Estimate


Along = Literal["batch", "width", "depth", "threads"]


class Swept(_Value):
    """What a case is a point of: `workload`, all else equal, at this value of what is varied."""

    along: Along
    value: int = Field(ge=1)
    workload: str


class Case(_Value):
    """One (workload, operation, dtype, threads) and everyone in it.

    `reference` is who the ratios are to: the run's setting, or its stand-in where that one failed. With `members` above
    1, so many networks were trained at once, and a step is a step of one of them. `ceiling_gflops` is
    the best multiply-add probe of its dtype and thread count; `device_ceilings` has that of each other device.
    `bytes_per_step` is the least a step would move if nothing were kept near: θ, and the rows. `launches_chosen`: see
    `bench.intervals.Stop`. `pairs` has the ratio of any two backends once, whatever their divisions. A
    case of a sweep has in `sweep` which point of it.
    """

    workload: str
    operation: str
    dtype: str
    threads: int
    batch: int
    learning_rate: float
    flops_per_step: float
    bytes_per_step: float | None = Field(default=None, gt=0)
    members: int = Field(default=1, ge=1)
    sweep: Swept | None = None
    data: str = ""
    ceiling_gflops: float | None = None
    device_ceilings: dict[str, float] = {}
    noise_floor: float | None = Field(default=None, ge=0)
    reference: str | None = None
    stopped: str = ""
    launches_chosen: bool = False
    pairs: list[Pair] | None = None
    backends: list[BackendResult] = []

    @property
    def title(self) -> str:
        """See `case_title`."""
        return case_title(self.workload, self.operation, self.dtype, self.threads, self.members)

    def ceiling_of(self, device: str) -> float | None:
        """What a backend on this device is held against, in GFLOP/s; None where that was not probed."""
        return self.ceiling_gflops if device == "cpu" else self.device_ceilings.get(device)


class Results(_Value):
    """A whole run."""

    schema_: Literal["pyfnn-results/1"] = Field(SCHEMA, alias="schema")
    created: str
    finished: str | None = None
    host: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    ceilings: list[Ceilings] = []
    host_states: list[HostState] = []
    device_states: list[DeviceState] = []
    warnings: list[Warned] = []
    cases: list[Case] = []


class Journal:
    """Appends events to journal.jsonl, each on disk before the call returns. A context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "journal.jsonl").open("a", encoding="utf-8")

    def write(self, event: str, **fields: Any) -> None:
        """Append one event. Raises OSError where the disk will not take it."""
        self._file.write(json.dumps({"event": event, **fields}, allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The events of a journal. A last line cut short is the sample that was in flight: it is left out."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    events = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            event = _parse(line)
        except _NOT_JSON as error:
            if number == len(lines):
                break
            raise ResultsError(f"{path}, line {number}: {error}") from None
        if not isinstance(event, dict) or "event" not in event:
            raise ResultsError(f"{path}, line {number}: not an event of a pyfnn journal")
        events.append(event)
    return events


_LISTS_OF_ARM = {"launch": "launches", "sample": "samples"}
_NOT_JSON = (ValueError, RecursionError)


def _parse(text: str) -> Any:
    """JSON, which has no NaN and no infinities, whatever Python's own reader says."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def build(events: Iterable[dict[str, Any]]) -> Results:
    """The results that a journal tells.

    Events: ``run`` (created, host, settings), ``ceilings`` (when, peaks, bandwidths, absent), ``host_state`` (when,
    what the machine was doing), ``device_state`` (case, launch, round, what its sensors said), ``warning`` (when, name,
    message, remedy), ``case`` (its number and fields), ``backend`` (case, instance and any fields: later ones win),
    ``launch`` and ``sample`` (case, instance, fields), ``case_end`` (case, stopped, launches_chosen), ``finish``.

    Raises
    ------
    ResultsError
        Naming the place that does not fit.
    """
    run: dict[str, Any] = {}
    lists: dict[str, list[dict[str, Any]]] = {"ceilings": [], "host_state": [], "device_state": [], "warning": []}
    cases: dict[int, dict[str, Any]] = {}
    arms: dict[int, dict[str, dict[str, Any]]] = {}
    try:
        for event in events:
            kind = event["event"]
            fields = {key: value for key, value in event.items() if key != "event"}
            if kind in ("run", "finish"):
                run.update(fields)
                continue
            if kind in lists:
                lists[kind].append(fields)
                continue
            number = fields.pop("case")
            if kind in ("case", "case_end"):
                cases.setdefault(number, {"stopped": CUT_OFF}).update(fields)
                arms.setdefault(number, {})
                continue
            arm = arms[number].setdefault(fields.pop("instance"), {"launches": [], "samples": []})
            if kind in _LISTS_OF_ARM:
                arm[_LISTS_OF_ARM[kind]].append(fields)
            else:
                arm.update(fields)
        if not run:
            raise ResultsError("the journal holds no run")
        run["ceilings"], run["warnings"] = lists["ceilings"], lists["warning"]
        run["host_states"], run["device_states"] = lists["host_state"], lists["device_state"]
        run["cases"] = [
            {**fields, "backends": [{**arm, "instance": name} for name, arm in arms[number].items()]}
            for number, fields in cases.items()
        ]
        bare = Results.model_validate(run)
    except ValidationError as error:
        raise ResultsError(f"does not fit {SCHEMA}: {_first(error)}") from None
    except (KeyError, TypeError) as error:  # TypeError: a list or an object where a number or a name belongs
        raise ResultsError(f"does not fit {SCHEMA}: an event that lacks or misplaces {error}") from None
    reference = str(bare.settings.get("reference", "numpy"))
    under = [case.model_copy(update=_ceilings(bare.ceilings, case)) for case in bare.cases]
    return bare.model_copy(update={"cases": [_with_statistics(case, reference) for case in under]})


def _ceilings(ceilings: list[Ceilings], case: Case) -> dict[str, Any]:
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


def _with_statistics(case: Case, wanted: str) -> Case:
    case = case.model_copy(update={"backends": [_held_against_ceiling(case, b) for b in case.backends]})
    reference = stand_in(case, wanted)
    by_instance = {b.instance: b for b in case.backends}
    base = by_instance[reference].samples if reference else []
    backends = []
    for backend in case.backends:
        update: dict[str, Any] = {**dict.fromkeys(_STATISTICS), **_costs(backend)}
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
                update["step_seconds"] = Estimate(**step._asdict())
                update["gflops"] = gflops = case.flops_per_step / step.median / 1e9
                update["ceiling_share"] = gflops / ceiling if ceiling else None
            if on_device:
                update["device_step_seconds"] = Estimate(**on_device._asdict())
            update["ratio"] = ratio
        backends.append(backend.model_copy(update=update))
    floor = _noise_floor(case, by_instance)
    return case.model_copy(
        update={"backends": backends, "reference": reference, "noise_floor": floor, "pairs": pairs_of(case)}
    )


def _ratio(case: Case, reference: list[Sample], other: list[Sample]) -> Estimate | None:
    found = intervals.ratio(reference, other, chosen=case.launches_chosen)
    return Estimate(**found._asdict()) if found else None


def pairs_of(case: Case) -> list[Pair]:
    """Every two backends that are ok, once; none of a backend and its second instance, which are the noise floor's."""
    ok = [b for b in case.backends if b.status == "ok" and b.instance == b.name]
    ratios = ((b, than, _ratio(case, than.samples, b.samples)) for than, b in combinations(ok, 2))
    return [Pair(backend=b.name, than=than.name, ratio=ratio) for b, than, ratio in ratios if ratio]


def _costs(backend: BackendResult) -> dict[str, float | None]:
    """The medians over launches; of what has no launches (results of before they were kept), what it says itself."""
    if not backend.launches:
        return {name: getattr(backend, name) for name in _COSTS}
    return {name: median(getattr(launch, name) for launch in backend.launches) for name in _COSTS}


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
            bounds.append(intervals.farther_bound(a_a))
    return max(bounds, default=None)


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def save(results: Results, folder: Path) -> Path:
    """Write results.json, whole or not at all. Raises OSError where the disk will not take it."""
    path = folder / "results.json"
    partial = path.with_suffix(".json.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(results.model_dump_json(by_alias=True, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load(folder: Path) -> Results:
    """The results in a folder, from results.json or, where a run was killed before writing it, from its journal.

    Raises
    ------
    ResultsError
        What is wrong and where: no such file, cut short, edited, of another schema.
    """
    path, journal = folder / "results.json", folder / "journal.jsonl"
    if not path.exists() and journal.exists():
        return _from_journal(journal)
    try:
        data = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    except _NOT_JSON as error:  # UnicodeDecodeError is a ValueError
        way_out = f"; {journal.name} beside it may be whole: without {path.name} it is read" if journal.exists() else ""
        raise ResultsError(f"{path} is cut short or altered: {error}{way_out}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ResultsError(f"{path}: schema is {schema!r}; this version reads {SCHEMA!r}")
    try:
        results = Results.model_validate(data)
    except ValidationError as error:
        raise ResultsError(f"{path}: {_first(error)}") from None
    edited = _edited(results)
    if edited:
        raise ResultsError(f"{path}: {edited} does not follow from the samples: was it edited?")
    return results


def _from_journal(path: Path) -> Results:
    try:
        events = read_journal(path)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    try:
        return build(events)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None


def _edited(results: Results) -> str | None:
    """The first statistic that is not what the samples give; None where all are."""
    wanted = str(results.settings.get("reference", "numpy"))
    for at, case in enumerate(results.cases):
        found_ceilings = _ceilings(results.ceilings, case)
        if not _agree(case.ceiling_gflops, found_ceilings["ceiling_gflops"]):
            return f"cases.{at}.ceiling_gflops"
        if not _agree_by_name(case.device_ceilings, found_ceilings["device_ceilings"]):
            return f"cases.{at}.device_ceilings"
        again = _with_statistics(case, wanted)
        if case.reference != again.reference:
            return f"cases.{at}.reference"
        if not _agree(case.noise_floor, again.noise_floor):
            return f"cases.{at}.noise_floor"
        for number, (said, found) in enumerate(zip(case.backends, again.backends, strict=True)):
            for name in (*_STATISTICS, *_COSTS):
                if not _agree(getattr(said, name), getattr(found, name)):
                    return f"cases.{at}.backends.{number}.{name}"
        if case.pairs is not None and not _agree_by_name(_ratios_of(case), _ratios_of(again)):
            return f"cases.{at}.pairs"
    return None


_COSTS = ("startup_seconds", "first_step_seconds", "warmup_seconds")
_STATISTICS = ("step_seconds", "device_step_seconds", "ratio", "gflops", "ceiling_share")


def _agree(said: Estimate | float | None, found: Estimate | float | None) -> bool:
    """Equal but for rounding: another machine's logarithm may differ in its last bits."""
    ours, theirs = _numbers(said), _numbers(found)
    close = (math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(ours, theirs, strict=False))
    return len(ours) == len(theirs) and all(close)


def _ratios_of(case: Case) -> dict[tuple[str, str], Estimate]:
    return {(pair.backend, pair.than): pair.ratio for pair in case.pairs or []}


def _agree_by_name(said: Mapping[Any, Estimate | float], found: Mapping[Any, Estimate | float]) -> bool:
    return said.keys() == found.keys() and all(_agree(said[name], found[name]) for name in said)


def _numbers(value: Estimate | float | None) -> tuple[float, ...]:
    if isinstance(value, Estimate):
        return value.median, value.low, value.high
    return () if value is None else (value,)
