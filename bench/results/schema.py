"""What a run leaves behind: the journal it writes as it goes, and the results built from it. Measures nothing.

`journal.jsonl` is the truth: one event a line, flushed and synced. `results.json` is built from it, by `build`, and
can be built again at any time; a killed run loses at most the sample in flight.
"""

from typing import Any, Final, Literal

from pydantic import Field, ValidationError, model_validator

from bench.terms import Status, SweepPoint, Value, When, case_title
from pyfnn.errors import PyfnnError

SCHEMA: Final = "pyfnn-results/1"


class ResultsError(PyfnnError):
    """A results file or journal that cannot be used; the message says what is wrong and where."""


class Estimate(Value):
    """A centre and its 95 % interval; see `bench.intervals.Estimate`."""

    median: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)


class Sample(Value):
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


class Launch(Value):
    """What one fresh process cost before it could be timed."""

    launch: int
    startup_seconds: float = Field(ge=0)  # from its launch to its first reply
    first_step_seconds: float = Field(ge=0)  # from its launch to the end of its first step, loading the data included
    warmup_seconds: float = Field(ge=0)  # of untimed blocks, until they had stopped getting faster
    warmup_blocks: int = Field(ge=0)
    settled: bool  # whether they ever did


class Curve(Value):
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


class Pool(Value):
    """A BLAS or a pool of threads in a process, as it says itself once it has the workload."""

    kind: str  # blas or openmp
    library: str  # its name and version
    kernels: str | None = None  # that a BLAS has chosen for this CPU
    threads: int
    file: str


class BackendResult(Value):
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


class Peak(Value):
    """Multiply-adds in registers, two operations each, on all threads together, or on the whole device."""

    device: str = "cpu"
    level: str
    dtype: str
    threads: int
    gflops: float = Field(gt=0)


class Bandwidth(Value):
    """Memory traffic of all threads together, over arrays of `bytes` in all; counted as STREAM does."""

    device: str = "cpu"
    traffic: str
    threads: int
    bytes: int
    gigabytes_per_second: float = Field(gt=0)


class Ceilings(Value):
    """What this machine could do, probed before or after all measurement; or why that is not known."""

    when: When
    peaks: list[Peak] = []
    bandwidths: list[Bandwidth] = []
    absent: str = ""


class DeviceState(Value):
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


class HostState(Value):
    """What the machine was doing: at the moment before measuring; over all of the run, ourselves included, after it."""

    when: When
    busy_cpus: float | None = None  # CPUs' worth of work, on the CPUs that may be used
    steal: float | None = None  # the share of the time that a hypervisor gave to others
    load_1min: float | None = None
    celsius: float | None = None
    memory_available_bytes: int | None = None


class Warned(Value):
    """What stood in the way of good measurements, and what to do about it: see bench/advice.py."""

    when: When
    name: str
    message: str
    remedy: str = ""


class Pair(Value):
    """How many times faster `backend` is than `than`, over the launches and rounds that both took part in."""

    backend: str
    than: str
    ratio: Estimate


class Case(Value):
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
    sweep: SweepPoint | None = None
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


class Results(Value):
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


def first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
