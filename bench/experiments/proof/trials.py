"""Trials of which the truth is known, measured on this machine: numpy against itself, a copy of `c` against one that is
slowed by 3 %, and these beside a load that comes and goes.

Cases are measured by `bench.schedule`, gate included, and judged by `bench.intervals`; what is here plans them. What is
told of them: proof.py.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple, get_args

from scipy.stats import ttest_ind

from bench.experiments.proof.load import Load
from bench.format import with_interval
from bench.machine.cpus import choose_cpus
from bench.measure.arm import Arm, Settings
from bench.measure.case import CaseRun
from bench.results.events import RunEvent
from bench.results.journal import Journal, now
from bench.results.schema import SCHEMA, BackendResult, Case, Sample
from bench.results.store import load_results
from bench.statistics import intervals
from bench.statistics.intervals import Estimate
from bench.suites.load import built_in_workloads
from bench.suites.problem import make_problem
from bench.suites.suite import CaseKey
from bench.terms import Operation, Status
from pyfnn import registry
from pyfnn.manifest import Row, read_manifest
from pyfnn.network import DTYPES

Experiment = Literal["equal", "slowed", "loaded"]
Method = Literal["interleaved", "fresh processes", "one process"]
EXPERIMENTS: tuple[Experiment, ...] = ("equal", "slowed", "loaded")
METHODS: tuple[Method, ...] = ("interleaved", "fresh processes", "one process")

SLOWDOWN = 0.03
SLOWED_TRUTH = 1 / (1 + SLOWDOWN)  # how many times faster a slowed copy is
AGAIN = "numpy-again"
PLAIN, SAME, SLOWER = "c-spun-0", "c-same-0", "c-spun-3"  # as long as each other: see slowed.py
_SPUN = "bench.experiments.slowed:Slowed"
PLANTED = {AGAIN: ("numpy", None), PLAIN: ("c", _SPUN), SAME: ("c", _SPUN), SLOWER: ("c", _SPUN)}
"""Rows of our own: of which backend each is a copy, and by which host, if not by the same."""

NO_PRECISION = 1e3  # reached at once, so that the least launches are made and no more
_AFFORDABLE = 60.0  # seconds that any case may take; it ends for other reasons


class Kind(NamedTuple):
    """What is computed in a case, on one thread."""

    workload: str
    operation: Operation
    dtype: str


KINDS = tuple(
    Kind(workload, operation, dtype)
    for workload in ("wine-shallow", "wine-deep", "wine-batch", "digits")
    for operation in get_args(Operation)
    for dtype in DTYPES
)
"""The cheap ones of all there are."""


@dataclass(frozen=True)
class Plan:
    """How much of what.

    Attributes
    ----------
    counts : mapping of Experiment to int
        Cases of each; of `loaded` repetitions, each of them measured by every method.
    seconds : float
        For everything; no further case is begun that will not fit, but one of each is always made.
    settings : Settings
        Of all cases but for the reference and, where `slowed` is to be found, the precision.
    precision : float
        To which slowdowns are measured, so that the floor has a chance to be low.
    dwell : float
        Mean seconds of the load's busy and idle times.
    kinds : tuple of Kind
    """

    counts: Mapping[Experiment, int]
    seconds: float
    settings: Settings
    precision: float
    dwell: float
    kinds: tuple[Kind, ...] = KINDS

    @property
    def order(self) -> list[Kind]:
        """The kinds in a random order, the same for the same seed."""
        return random.Random(f"{self.settings.seed} kinds").sample(self.kinds, len(self.kinds))


SHARES: dict[Experiment, float] = {"equal": 0.45, "slowed": 0.25, "loaded": 0.3}
"""Of the seconds; what one leaves is left to those after it."""


@dataclass(frozen=True)
class Trial:
    """One ratio whose `truth` is known, and what it was found from: a case of both, or one of each.

    `other` is so many times faster than `reference`.
    """

    experiment: Experiment
    method: Method
    reference: str
    other: str
    truth: float
    cases: tuple[Case, ...]

    @property
    def title(self) -> str:
        """What was computed."""
        case = self.cases[0]
        return f"{case.workload} {case.operation} {case.dtype}"

    @property
    def floor(self) -> float | None:
        """The noise floor; sequential timing has none."""
        return self.cases[0].noise_floor if self.method == "interleaved" else None

    @property
    def launches(self) -> int:
        """Processes of each backend."""
        return len({sample.launch for sample in self._of(self.other).samples})

    @property
    def lost(self) -> str:
        """Why there is no ratio: who is not ok; "" where all are."""
        every = (b for case in self.cases for b in case.backends)
        return "; ".join(f"{b.instance}: {b.status}: {b.reason}" for b in every if b.status != "ok")

    def estimate(self, of: str | None = None) -> Estimate | None:
        """The ratio of `other`, or of another instance beside it, as its method has it; None where one was lost."""
        if self.lost:
            return None
        if self.method == "interleaved":
            found = self._of(of or self.other).ratio
            return Estimate(found.median, found.low, found.high) if found else None
        by_process = self.method == "fresh processes"
        return welch(*(logs(self._of(name).samples, by_process) for name in (self.reference, of or self.other)))

    def holds(self, of: str | None = None, truth: float | None = None) -> bool:
        """Whether the interval holds the truth."""
        found, wanted = self.estimate(of), self.truth if truth is None else truth
        return found is not None and found.low <= wanted <= found.high

    def _of(self, instance: str) -> BackendResult:
        return next(b for case in self.cases for b in case.backends if b.instance == instance)


def logs(samples: Iterable[Sample], by_process: bool) -> list[float]:
    """Log step times: of each process the mean, or of each block."""
    found: dict[int, list[float]] = {}
    for s in samples:
        found.setdefault(s.launch, []).append(math.log(s.seconds / s.steps))
    return [fmean(own) for own in found.values()] if by_process else [log for own in found.values() for log in own]


def welch(reference: Sequence[float], other: Sequence[float]) -> Estimate:
    """How many times faster `other` is, from logs that have nothing to do with each other: Welch's t interval."""
    found = ttest_ind(reference, other, equal_var=False).confidence_interval(intervals.CONFIDENCE)
    return Estimate(*map(math.exp, (fmean(reference) - fmean(other), found.low, found.high)))


# Measuring -----------------------------------------------------------------------------------------------------------


class Alone(CaseRun):
    """One backend with nobody beside it, not even its second instance: how everybody else times."""

    def _add_second_arms(self) -> list[Arm]:
        return []


class Silent:
    """Nobody is told how it goes; the case is told when it is over."""

    def progress(self, text: str, share: float) -> None:
        """Nothing."""

    def verdict(self, instance: str, status: Status, reason: str) -> None:
        """Nothing: it is in the case."""


def planted(folder: Path) -> dict[str, Row]:
    """The rows that are compared, by name: `numpy`, `c`, and those of `PLANTED`, whose manifest is written."""
    names = dict.fromkeys(of for of, _ in PLANTED.values())
    known = {name: registry.find(name) for name in names}
    tables = []
    for name, (of, host) in PLANTED.items():
        row = known[of]
        fields = {"name": name, "language": row.language, "division": row.division, "host": host or row.host}
        tables.append("\n".join(["[[backend]]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]))
    manifest = folder / "backend.toml"
    manifest.write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    return known | {row.name: row for row in read_manifest(manifest)}


def measure(kind: Kind, rows: Sequence[Row], settings: Settings, budget: float, how: type[CaseRun] = CaseRun) -> Case:
    """A case as `bench.run` measures it, by itself; ratios are to the first row."""
    key = CaseKey(built_in_workloads()[kind.workload], kind.operation, kind.dtype, threads=1)
    problem, settings = make_problem(key.workload, key.dtype), replace(settings, reference=rows[0].name)
    with TemporaryDirectory(prefix="pyfnn-proof-") as folder:
        with Journal(Path(folder)) as journal:
            journal.write(RunEvent(schema=SCHEMA, created=now(), settings=vars(settings)))
            how(0, key, problem, rows, settings, budget, journal, Silent()).run()
        return load_results(Path(folder)).cases[0]


def fitting(count: int, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Iterator[int]:
    """Numbers below `count`, as long as another turn like those before will end within `seconds`; at least one."""
    start = clock()
    for number in range(count):
        if number and (clock() - start) * (number + 1) / number > seconds:
            return
        yield number


class Prover:
    """Makes the trials of a plan, one after the other, and tells each when it is over.

    Parameters
    ----------
    plan : Plan
    rows : mapping of str to Row
        See `planted`.
    tell : callable
        Told a line a case.
    """

    def __init__(self, plan: Plan, rows: Mapping[str, Row], tell: Callable[[str], None]) -> None:
        self._plan, self._rows, self._tell = plan, rows, tell

    def equal(self, seconds: float) -> Iterator[Trial]:
        """`numpy`, its second instance, and `numpy` under another name."""
        settings = replace(self._plan.settings, precision=NO_PRECISION)
        for number, kind in self._kinds("equal", seconds):
            yield self._told(number, self._interleaved("equal", kind, "numpy", AGAIN, settings, _AFFORDABLE))

    def slowed(self, seconds: float) -> Iterator[Trial]:
        """A copy of `c` and a slowed one, to a precision or as far as time allows."""
        settings = replace(self._plan.settings, precision=self._plan.precision)
        budget = max(seconds / max(1, self._plan.counts["slowed"]), _AFFORDABLE / 4)
        for number, kind in self._kinds("slowed", seconds):
            yield self._told(number, self._interleaved("slowed", kind, PLAIN, SLOWER, settings, budget))

    def loaded(self, seconds: float) -> Iterator[Trial]:
        """A copy of `c` and, by turns, the same or a slowed one, by every method, in random order."""
        shuffle = random.Random(f"{self._plan.settings.seed} methods")
        for number, kind in self._kinds("loaded", seconds):
            other = (SAME, SLOWER)[number % 2]
            for method in shuffle.sample(METHODS, len(METHODS)):
                yield self._told(number, self._beside_load(kind, other, method))

    def _kinds(self, experiment: Experiment, seconds: float) -> Iterator[tuple[int, Kind]]:
        order = self._plan.order
        for number in fitting(self._plan.counts[experiment], seconds):
            yield number, order[number % len(order)]

    def _interleaved(
        self, experiment: Experiment, kind: Kind, reference: str, other: str, settings: Settings, budget: float
    ) -> Trial:
        case = measure(kind, [self._rows[reference], self._rows[other]], settings, budget)
        return Trial(experiment, "interleaved", reference, other, _truth(other), (case,))

    def _beside_load(self, kind: Kind, other: str, method: Method) -> Trial:
        """So many processes and blocks of each whatever the method, or all blocks in one process."""
        settings = replace(self._plan.settings, precision=NO_PRECISION)
        if method == "interleaved":
            return self._interleaved("loaded", kind, PLAIN, other, settings, _AFFORDABLE)
        if method == "one process":
            settings = replace(settings, rounds=settings.rounds * settings.min_launches, min_launches=1)
        cases = tuple(measure(kind, [self._rows[name]], settings, _AFFORDABLE, Alone) for name in (PLAIN, other))
        return Trial("loaded", method, PLAIN, other, _truth(other), cases)

    def _told(self, number: int, trial: Trial) -> Trial:
        found = trial.estimate()
        said = with_interval(found) if found else trial.lost or "no interval"
        where = f"{trial.experiment} {number + 1} of {self._plan.counts[trial.experiment]}, {trial.title}"
        self._tell(f"{where}, {trial.method}: {trial.other} against {trial.reference}: {said}")
        return trial


def _truth(other: str) -> float:
    return SLOWED_TRUTH if other == SLOWER else 1.0


@dataclass(frozen=True)
class Proof:
    """All trials, what the load took of its CPUs (None where there was none), and whether Ctrl-C cut it short."""

    trials: tuple[Trial, ...]
    load: float | None = None
    cut_short: bool = False

    def of(self, experiment: Experiment, method: Method | None = None) -> list[Trial]:
        """Those of an experiment that have an estimate."""
        kept = (trial for trial in self.trials if trial.experiment == experiment and method in (None, trial.method))
        return [trial for trial in kept if trial.estimate()]


def prove(plan: Plan, tell: Callable[[str], None]) -> Proof:
    """Every experiment, in turn; after Ctrl-C what was finished."""
    end, trials, taken, cut_short = time.perf_counter() + plan.seconds, list[Trial](), None, False
    with TemporaryDirectory(prefix="pyfnn-proof-") as folder, suppress(KeyboardInterrupt):
        cut_short = True
        prover = Prover(plan, planted(Path(folder)), tell)
        wanted = [experiment for experiment in EXPERIMENTS if plan.counts[experiment]]
        for i, experiment in enumerate(wanted):
            share = SHARES[experiment] / sum(SHARES[later] for later in wanted[i:])
            seconds = share * max(0.0, end - time.perf_counter())
            if experiment == "loaded":
                with Load(choose_cpus(1), plan.settings.seed, plan.dwell) as load:
                    try:
                        trials += prover.loaded(seconds)
                    finally:
                        taken = load.taken()
            else:
                trials += getattr(prover, experiment)(seconds)
        cut_short = False
    return Proof(tuple(trials), taken, cut_short)
