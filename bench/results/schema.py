"""The results of a run: what results.json holds, as frozen models. Writes, reads and computes nothing.

The same models give the journal's events their fields (see `bench.results.events`).
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from bench.results.evidence import check_evidence
from bench.results.machine import Bandwidth as Bandwidth  # these five re-exported, for all that reads results
from bench.results.machine import BareProducts as BareProducts
from bench.results.machine import Ceilings as Ceilings
from bench.results.machine import DeviceState as DeviceState
from bench.results.machine import HostState as HostState
from bench.results.machine import Peak as Peak
from bench.results.resumption import Resumption
from bench.results.samples import Curve as Curve  # these three likewise
from bench.results.samples import Launch as Launch
from bench.results.samples import Sample as Sample
from bench.statistics.intervals import Estimate as Estimate  # re-exported: a field of the results like any other
from bench.statistics.verdicts import MARGIN
from bench.statistics.verdicts import MOST_ASKED as MOST_ASKED  # re-exported, for reports
from bench.statistics.verdicts import Verdict as Verdict  # likewise
from bench.terms import (
    Clock,
    Count,
    Index,
    Rate,
    Seconds,
    Status,
    SweepPoint,
    Value,
    When,
    Work,
    WorkloadFacts,
    case_title,
)
from pyfnn.errors import PyfnnError

SCHEMA: Final = "pyfnn-results/1"
STATISTICS: Final = 3
"""Version of the rules by which statistics follow from samples.

1: mean logs within a launch, Student's t for each ratio by itself, verdicts beyond a noise floor. 2: arithmetic means
within a launch, moderated variances, verdicts that hold over the whole table. 3: switches a second over those blocks
alone in which they were counted. Files of earlier versions load: all statistics are computed again from their samples,
by this version's rules.
"""

_VERDICTS_OF_VERSION_1: Final = {"no difference shown": "undecided"}
_StoredVerdict = Annotated[
    Verdict | None, BeforeValidator(lambda v: _VERDICTS_OF_VERSION_1.get(v, v) if isinstance(v, str) else v)
]


class ResultsError(PyfnnError):
    """A results file or journal that cannot be used; the message names the place and what is wrong there."""


class Pool(Value):
    """A BLAS or a thread pool in a worker process, as the process reports it once the workload is loaded."""

    kind: str  # blas or openmp
    library: str  # name and version
    kernels: str | None = None  # those that a BLAS selected for this CPU
    threads: int
    file: str


class TimingSummary(Value):
    """Totals and rates over all timed blocks of one backend.

    Attributes
    ----------
    launches, blocks : int
        Number of launches with a timed block, and of timed blocks.
    median_step_seconds : float
        Median over the blocks, without regard to launches: the only step time of a run with one launch.
    median_block_seconds : float or None
        Median duration of the blocks; None in files written before this field existed, until they are loaded.
    cpu_per_wall_second : float or None
        CPU seconds of all threads per second of the driver's clock.
    off_cpu_share : float or None
        Share of the worker's wall time in which it did not run: it waited for a CPU, slept, or its machine was not run.
        None where wall time gives the step times.
    switches_per_second : float or None
        Involuntary context switches; None where the system does not count them.
    outliers, retries : int
        Sums over the blocks of what `Sample` has of each.
    """

    launches: int = Field(ge=1)
    blocks: int = Field(ge=1)
    median_step_seconds: float = Field(gt=0)
    median_block_seconds: float | None = Field(default=None, gt=0)
    cpu_per_wall_second: float | None = None
    off_cpu_share: float | None = None
    switches_per_second: float | None = None
    outliers: int = Field(ge=0)
    retries: int = Field(ge=0)


class BackendIdentity(Value):
    """The names of a backend. `instance` is the name, or name@2 for the second instance of an A/A pair."""

    name: str
    instance: str
    language: str
    division: str


class BackendReport(Value):
    """Facts about a backend that become known while a case runs.

    Attributes
    ----------
    threads_seen : int or None
        As the worker reports it.
    cpus : list of int or None
        CPUs that the worker's threads may run on, as the system reports them.
    pools : list of Pool or None
        Known for backends that Python hosts only.
    build_seconds : float or None
        Time to build the program, in this run or an earlier one.
    startup_seconds, first_step_seconds, warmup_seconds : float or None
        Medians over the launches.
    sources : dict of str to str
        Sha256 of each source of the network, by its path below the manifest's folder.
    copy_of : str or None
        Of a slowed copy, the name of its original.
    slowdown : float or None
        Share by which the copy is slower.
    """

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
    peak_rss_bytes: Index | None = None
    build_seconds: Seconds | None = None
    startup_seconds: Seconds | None = None
    first_step_seconds: Seconds | None = None
    warmup_seconds: Seconds | None = None
    source_lines: Index | None = None
    sources: dict[str, str] = {}
    copy_of: str | None = None
    slowdown: float | None = None

    @field_validator("parity")
    @classmethod
    def _readable(cls, parity: dict[str, Any]) -> dict[str, Any]:
        check_evidence(parity)
        return parity


class BackendResult(BackendReport, BackendIdentity):
    """One instance of a backend in one case: its facts, its samples and the statistics of the samples.

    Statistics are None where the status is not ok.

    Attributes
    ----------
    verdict : Verdict or None
        Verdict on `ratio`, which holds over the whole table; None where there is no ratio, and of second instances.
    more_launches : int or None
        About how many more launches decide an undecided ratio; None where the answer is above 1000.
    fastest : bool or None
        True where no backend of the division is shown to be faster; None where the backend has no ratio to another.
    gain_within_launches : Estimate or None
        How many times faster the last round of a launch is than its first.
    """

    launches: list[Launch] = []
    samples: list[Sample] = []
    curve: Curve | None = None
    step_seconds: Estimate | None = None
    device_step_seconds: Estimate | None = None
    ratio: Estimate | None = None
    verdict: _StoredVerdict = None
    more_launches: int | None = None
    fastest: bool | None = None
    gflops: float | None = None
    ceiling_share: float | None = None
    gain_within_launches: Estimate | None = None
    timing_summary: TimingSummary | None = None


class Warned(Value):
    """A warning about the conditions of the run, with its remedy: see `bench.advice`."""

    when: When
    name: str
    message: str
    remedy: str = ""


class Pair(Value):
    """The ratio of two backends, above 1 where `backend` is faster than `than`; from rounds with a sample of both.

    `more_launches` is about how many more launches decide an undecided pair. The two instances of an A/A pair have no
    verdict.
    """

    backend: str
    than: str
    ratio: Estimate
    verdict: _StoredVerdict = None
    more_launches: int | None = None


class CaseHead(Value):
    """The work of one case: workload, operation, dtype and threads.

    Attributes
    ----------
    operation : str
        ``train``, ``forward`` or ``gradient``; with an optimizer other than gradient descent, for example ``train with
        adam``.
    bytes_per_step : float or None
        Least memory traffic of a step with nothing cached: θ and the rows of the batch.
    members : int
        Networks trained at once. A step is a step of one of them.
    sweep : SweepPoint or None
        Place of the case in a sweep.
    definition : WorkloadFacts or None
        The whole workload; None in files from before it was kept.
    optimizer : str
        Of training, with its settings: see `pyfnn.optimizers.parse`.
    clock : {"cpu", "wall"}
        The clock that gives the step times: CPU time for one thread on CPUs, wall time otherwise and in files from
        before CPU time counted.
    """

    workload: str
    operation: str
    dtype: str
    threads: Count
    batch: Count
    learning_rate: float
    flops_per_step: Work
    bytes_per_step: Work | None = Field(default=None, gt=0)
    members: Count = 1
    sweep: SweepPoint | None = None
    data: str = ""
    definition: WorkloadFacts | None = None
    optimizer: str = "sgd"
    clock: Clock = "wall"


class RoundsChoice(Value):
    """The number of rounds in the launches after the first ones, and what it was chosen from.

    Attributes
    ----------
    within, between : float
        Standard deviations of the log ratios: of rounds within a launch; of launches, beyond what their rounds explain.
    launch_seconds, round_seconds : float
        Cost of a launch without its rounds, and of a round, for all backends together.
    """

    rounds: int = Field(ge=1)
    within: float = Field(ge=0)
    between: float = Field(ge=0)
    launch_seconds: float
    round_seconds: float


class Case(CaseHead):
    """One case with all its backends.

    Attributes
    ----------
    ceiling_gflops : float or None
        Best multiply-add probe of the case's dtype and thread count on the CPU.
    bare_gflops, bare_library : float or None, str
        Rate of the step's matrix products alone through the fastest BLAS library, and that library. None for operations
        other than training, which have other products, and where there was no library.
    device_ceilings : dict of str to float
        Best multiply-add probe of the case's dtype by device other than the CPU.
    reference : str or None
        Backend that the ratios are to: the one in the settings, or its replacement where that one failed.
    rounds_choice : RoundsChoice or None
        None where no launch came after the first ones, or there was no ratio.
    launches_chosen : bool
        See `bench.statistics.stopping.Stop`.
    measured_seconds : float or None
        Time from the start of the case to its end; None in files from before it was recorded.
    pairs : list of Pair or None
        The ratio of every two backends, of any divisions, once.
    a_a_pairs : list of Pair or None
        The ratio of each second instance to the first instance of the same backend: a check of the intervals.
    margin : float
        Backends whose ratio is shown to be within 1 ± this share are the same.
    planted : BackendResult or None
        A slowed copy of a backend, with its samples. It is in no table, and no statistic of the backends has a part of
        it.
    sensitivity : Pair or None
        The copy against its original, judged as if it were one more backend of the case. The slowdown is found where
        the verdict is `slower`.
    """

    ceiling_gflops: Rate | None = None
    bare_gflops: Rate | None = None
    bare_library: str = ""
    device_ceilings: dict[str, Rate] = {}
    margin: float = Field(default=MARGIN, gt=0)
    reference: str | None = None
    stopped: str = ""
    launches_chosen: bool = False
    measured_seconds: float | None = Field(default=None, ge=0)
    rounds_choice: RoundsChoice | None = None
    pairs: list[Pair] | None = None
    a_a_pairs: list[Pair] | None = None
    planted: BackendResult | None = None
    sensitivity: Pair | None = None
    backends: list[BackendResult] = []

    @model_validator(mode="before")
    @classmethod
    def _without_noise_floor(cls, fields: Any) -> Any:
        """Drop the noise floor of files of statistics 1, which no rule uses any more."""
        return {name: v for name, v in fields.items() if name != "noise_floor"} if isinstance(fields, dict) else fields

    @property
    def title(self) -> str:
        """Title of the case: see `case_title`."""
        return case_title(self.workload, self.operation, self.dtype, self.threads, self.members)

    def ceiling_of(self, device: str) -> float | None:
        """Return the peak rate of a device in GFLOP/s; None where it was not probed."""
        return self.ceiling_gflops if device == "cpu" else self.device_ceilings.get(device)


class RunHead(Value):
    """The start of a run: when, where and how.

    Attributes
    ----------
    command : list of str
        The words of the command line; empty where the run was started in another way.
    suite : dict
        The suite, after the options have changed it.
    packages : dict of str to str
        Version of every Python distribution installed, by its name. Toolchains are in each backend's `build`.
    workloads : dict of str to WorkloadFacts
        The suite's workloads by name; empty, as `origins`, in files from before a run could be continued.
    origins : dict of str to str
        Digests of the code of pyfnn, and of each backend (row in the manifest, sources, compiler), by name.
    """

    schema_: Literal["pyfnn-results/1"] = Field(SCHEMA, alias="schema")
    created: str
    host: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    command: list[str] = []
    suite: dict[str, Any] = {}
    packages: dict[str, str] = {}
    workloads: dict[str, WorkloadFacts] = {}
    origins: dict[str, str] = {}

    @field_validator("created")
    @classmethod
    def _is_time(cls, created: str) -> str:
        datetime.fromisoformat(created)
        return created

    @field_validator("settings")
    @classmethod
    def _margin_above_0(cls, settings: dict[str, Any]) -> dict[str, Any]:
        margin = settings.get("margin", MARGIN)
        if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 1e-9 <= margin <= 1e3:
            raise ValueError("margin must be a number above 0")
        return settings


class Results(RunHead):
    """A whole run."""

    resumptions: list[Resumption] = []
    statistics: int = Field(default=1, ge=1, le=STATISTICS)
    finished: str | None = None
    ceilings: list[Ceilings] = []
    host_states: list[HostState] = []
    device_states: list[DeviceState] = []
    warnings: list[Warned] = []
    cases: list[Case] = []

    @field_validator("cases")
    @classmethod
    def _once(cls, cases: list[Case]) -> list[Case]:
        """Refuse two cases of one title, two instances of one name, two blocks of one launch and round."""
        _require_once("case", (case.title for case in cases))
        for case in cases:
            _require_once(f"{case.title}: instance", (backend.instance for backend in case.backends))
            for backend in case.backends:
                blocks = (f"{sample.launch}, round {sample.round}" for sample in backend.samples)
                _require_once(f"{case.title}: {backend.instance}: launch", blocks)
        return cases

    @property
    def differences(self) -> list[str]:
        """Changes between the parts of the run; empty where all were measured under the same conditions."""
        return list(dict.fromkeys(one for resumption in self.resumptions for one in resumption.differences))


def _require_once(what: str, names: Iterable[str]) -> None:
    name, times = max(Counter(names).items(), key=lambda item: item[1], default=("", 1))
    if times > 1:
        raise ValueError(f"{what} {name} is there {times} times")


def first_error(error: ValidationError) -> str:
    """Return the place and the message of the first validation error."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]
