"""Measurements of known ratios on this machine: numpy with itself, a copy of `c` with one slowed by 3 %, under load.

`bench.measure` measures the cases, parity gate included, and `bench.statistics` computes the intervals. __main__.py
counts and shows them.
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
from typing import Literal, NamedTuple, get_args

from scipy.stats import ttest_ind

from bench.experiments.proof.load import Load
from bench.format import with_interval
from bench.machine.cpus import choose_cpus
from bench.measure.arm import Arm
from bench.measure.case import CaseRun
from bench.measure.settings import Settings
from bench.results.events import RunEvent
from bench.results.journal import Journal, now
from bench.results.schema import SCHEMA, BackendResult, Case, Sample, Verdict
from bench.results.store import load_results
from bench.statistics import intervals
from bench.statistics.intervals import Estimate
from bench.suites.load import built_in_workloads
from bench.suites.problem import make_problem
from bench.suites.suite import CaseKey
from bench.terms import CaseOperation, Status
from pyfnn import registry
from pyfnn.manifest import Row, read_manifest
from pyfnn.network import DTYPES
from pyfnn.scratch import Scratch

Experiment = Literal["equal", "slowed", "loaded"]
Method = Literal["interleaved", "fresh processes", "one process"]
EXPERIMENTS: tuple[Experiment, ...] = ("equal", "slowed", "loaded")
METHODS: tuple[Method, ...] = ("interleaved", "fresh processes", "one process")

SLOWDOWN = 0.03
SLOWED_TRUTH = 1 / (1 + SLOWDOWN)  # ratio of a slowed copy: how many times faster it is
AGAIN = "numpy-again"
PLAIN, SAME, SLOWER = "c-spun-0", "c-same-0", "c-spun-3"  # names of equal length: see `bench.measure.slowed`
_SPUN = "bench.measure.slowed:Slowed"
PLANTED = {AGAIN: ("numpy", None), PLAIN: ("c", _SPUN), SAME: ("c", _SPUN), SLOWER: ("c", _SPUN)}
"""The planted rows: the backend of which each is a copy, and its host if that differs."""

NO_PRECISION = 1e3  # reached at once, so that a case has the least number of launches
_AFFORDABLE = 60.0  # seconds, the budget of a case; more than it needs


class CaseKind(NamedTuple):
    """The workload, operation and dtype of a case, on one thread."""

    workload: str
    operation: CaseOperation
    dtype: str


KINDS = tuple(
    CaseKind(workload, operation, dtype)
    for workload in ("wine-shallow", "wine-deep", "wine-batch", "digits")
    for operation in get_args(CaseOperation)
    for dtype in DTYPES
)
"""All operations and dtypes on the cheap workloads."""


@dataclass(frozen=True)
class ProofPlan:
    """The plan of a proof.

    Attributes
    ----------
    counts : mapping of Experiment to int
        Number of cases of each experiment; for `loaded`, of repetitions with every method.
    seconds : float
        Total time. No case begins that would not fit, except for the first of each experiment.
    settings : Settings
        Settings of all cases, except for the reference and the precision.
    precision : float
        Precision of the slowed cases, fine enough to find the slowdown.
    dwell : float
        Mean of the load's busy and idle times, in seconds.
    kinds : tuple of CaseKind
    """

    counts: Mapping[Experiment, int]
    seconds: float
    settings: Settings
    precision: float
    dwell: float
    kinds: tuple[CaseKind, ...] = KINDS

    @property
    def order(self) -> list[CaseKind]:
        """The kinds in a random order, the same for the same seed."""
        return random.Random(f"{self.settings.seed} kinds").sample(self.kinds, len(self.kinds))


SHARES: dict[Experiment, float] = {"equal": 0.45, "slowed": 0.25, "loaded": 0.3}
"""Shares of the total time; later experiments also get the time that an earlier one leaves."""


@dataclass(frozen=True)
class Comparison:
    """A measured ratio with a known `truth`: how many times faster `other` is than `reference`.

    `cases` has one case of both backends, or one case of each.
    """

    experiment: Experiment
    method: Method
    reference: str
    other: str
    truth: float
    cases: tuple[Case, ...]

    @property
    def title(self) -> str:
        """The workload, operation and dtype."""
        case = self.cases[0]
        return f"{case.workload} {case.operation} {case.dtype}"

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on `other`, over all pairs of the case; None for sequential methods."""
        return self._of(self.other).verdict if self.method == "interleaved" else None

    @property
    def launches(self) -> int:
        """The number of launches of each backend."""
        return len({sample.launch for sample in self._of(self.other).samples})

    @property
    def lost(self) -> str:
        """The reason for a missing ratio: the backends whose status is not ok; "" if there are none."""
        every = (b for case in self.cases for b in case.backends)
        return "; ".join(f"{b.instance}: {b.status}: {b.reason}" for b in every if b.status != "ok")

    def estimate(self, of: str | None = None) -> Estimate | None:
        """Return the ratio of `other`, or of the instance `of`, by the method; None if a backend was lost."""
        if self.lost:
            return None
        if self.method == "interleaved":
            second = (pair.ratio for case in self.cases for pair in case.a_a_pairs or () if pair.backend == of)
            found = next(second, None) or self._of(of or self.other).ratio
            return Estimate(found.median, found.low, found.high) if found else None
        by_process = self.method == "fresh processes"
        return welch(*(logs(self._of(name).samples, by_process) for name in (self.reference, of or self.other)))

    def holds(self, of: str | None = None, truth: float | None = None) -> bool:
        """Return True if the interval contains the truth."""
        found, expected = self.estimate(of), self.truth if truth is None else truth
        return found is not None and found.low <= expected <= found.high

    def _of(self, instance: str) -> BackendResult:
        return next(b for case in self.cases for b in case.backends if b.instance == instance)


def logs(samples: Iterable[Sample], by_process: bool) -> list[float]:
    """Return log step times: the mean of each process, or one of each block."""
    found: dict[int, list[float]] = {}
    for s in samples:
        found.setdefault(s.launch, []).append(math.log(s.seconds / s.steps))
    return [fmean(own) for own in found.values()] if by_process else [log for own in found.values() for log in own]


def welch(reference: Sequence[float], other: Sequence[float]) -> Estimate:
    """Return how many times faster `other` is, from independent logs, with Welch's t interval."""
    found = ttest_ind(reference, other, equal_var=False).confidence_interval(intervals.CONFIDENCE)
    return Estimate(*map(math.exp, (fmean(reference) - fmean(other), found.low, found.high)))


# Measuring -----------------------------------------------------------------------------------------------------------


class SoloCaseRun(CaseRun):
    """A case of one backend without a second instance, as in sequential timing."""

    def _second_arms(self) -> list[Arm]:
        return []


class SilentListener:
    """A listener that shows no progress: the finished case has all verdicts."""

    def progress(self, text: str, share: float, left: float | None = None) -> None:
        """Ignore the progress."""

    def failed(self, instance: str, status: Status, reason: str) -> None:
        """Ignore the verdict."""


def planted(folder: Path) -> dict[str, Row]:
    """Write the manifest of the rows of `PLANTED`; return these rows, `numpy` and `c`, by name."""
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


def measure(
    kind: CaseKind, rows: Sequence[Row], settings: Settings, budget: float, how: type[CaseRun] = CaseRun
) -> Case:
    """Measure one case as `bench.run` does; ratios are to the first row."""
    key = CaseKey(built_in_workloads()[kind.workload], kind.operation, kind.dtype, threads=1)
    problem, settings = make_problem(key.workload, key.dtype), replace(settings, reference=rows[0].name)
    with Scratch() as scratch:
        with Journal(scratch.path) as journal:
            journal.write(RunEvent(schema=SCHEMA, created=now(), settings=vars(settings)))
            how(0, key, problem, rows, settings, budget, journal, SilentListener()).run()
        return load_results(scratch.path).cases[0]


def fitting(count: int, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Iterator[int]:
    """Yield 0, 1, … below `count` as long as a turn of average length will end within `seconds`; at least 0."""
    start = clock()
    for number in range(count):
        if number and (clock() - start) * (number + 1) / number > seconds:
            return
        yield number


class Prover:
    """The measurement of a plan's comparisons, one after the other.

    Parameters
    ----------
    plan : ProofPlan
    rows : mapping of str to Row
        See `planted`.
    report : callable
        Called with a line of text after each comparison.
    """

    def __init__(self, plan: ProofPlan, rows: Mapping[str, Row], report: Callable[[str], None]) -> None:
        self._plan, self._rows, self._report = plan, rows, report

    def equal(self, seconds: float) -> Iterator[Comparison]:
        """Compare `numpy` with its second instance and with `numpy` under another name."""
        settings = replace(self._plan.settings, precision=NO_PRECISION)
        for number, kind in self._kinds("equal", seconds):
            yield self._reported(number, self._interleaved("equal", kind, "numpy", AGAIN, settings, _AFFORDABLE))

    def slowed(self, seconds: float) -> Iterator[Comparison]:
        """Compare a copy of `c` with a slowed one, to the plan's precision or as far as time allows."""
        settings = replace(self._plan.settings, precision=self._plan.precision)
        budget = max(seconds / max(1, self._plan.counts["slowed"]), _AFFORDABLE / 4)
        for number, kind in self._kinds("slowed", seconds):
            yield self._reported(number, self._interleaved("slowed", kind, PLAIN, SLOWER, settings, budget))

    def loaded(self, seconds: float) -> Iterator[Comparison]:
        """Compare a copy of `c` with an equal and a slowed one in turn, by every method in random order."""
        shuffle = random.Random(f"{self._plan.settings.seed} methods")
        for number, kind in self._kinds("loaded", seconds):
            other = (SAME, SLOWER)[number % 2]
            for method in shuffle.sample(METHODS, len(METHODS)):
                yield self._reported(number, self._beside_load(kind, other, method))

    def _kinds(self, experiment: Experiment, seconds: float) -> Iterator[tuple[int, CaseKind]]:
        order = self._plan.order
        for number in fitting(self._plan.counts[experiment], seconds):
            yield number, order[number % len(order)]

    def _interleaved(
        self, experiment: Experiment, kind: CaseKind, reference: str, other: str, settings: Settings, budget: float
    ) -> Comparison:
        case = measure(kind, [self._rows[reference], self._rows[other]], settings, budget)
        return Comparison(experiment, "interleaved", reference, other, _truth(other), (case,))

    def _beside_load(self, kind: CaseKind, other: str, method: Method) -> Comparison:
        """Compare by one method; all methods have the same number of blocks."""
        settings = replace(self._plan.settings, precision=NO_PRECISION)
        if method == "interleaved":
            return self._interleaved("loaded", kind, PLAIN, other, settings, _AFFORDABLE)
        if method == "one process":
            settings = replace(settings, rounds=settings.rounds * settings.min_launches, min_launches=1, launches=1)
        cases = tuple(measure(kind, [self._rows[name]], settings, _AFFORDABLE, SoloCaseRun) for name in (PLAIN, other))
        return Comparison("loaded", method, PLAIN, other, _truth(other), cases)

    def _reported(self, number: int, comparison: Comparison) -> Comparison:
        found = comparison.estimate()
        ratio = with_interval(found) if found else comparison.lost or "no interval"
        where = (
            f"{comparison.experiment} {number + 1} of {self._plan.counts[comparison.experiment]}, {comparison.title}"
        )
        self._report(f"{where}, {comparison.method}: {comparison.other} against {comparison.reference}: {ratio}")
        return comparison


def _truth(other: str) -> float:
    return SLOWED_TRUTH if other == SLOWER else 1.0


@dataclass(frozen=True)
class Proof:
    """All comparisons, the load's share of its CPUs (None without a load), and True if Ctrl-C ended the proof early."""

    comparisons: tuple[Comparison, ...]
    load: float | None = None
    cut_short: bool = False

    def of(self, experiment: Experiment, method: Method | None = None) -> list[Comparison]:
        """Return the comparisons of an experiment that have an estimate."""
        kept = (
            comparison
            for comparison in self.comparisons
            if comparison.experiment == experiment and method in (None, comparison.method)
        )
        return [comparison for comparison in kept if comparison.estimate()]


def prove(plan: ProofPlan, report: Callable[[str], None]) -> Proof:
    """Run every experiment in turn; after Ctrl-C return the finished comparisons."""
    end, comparisons, taken, cut_short = time.perf_counter() + plan.seconds, list[Comparison](), None, False
    with Scratch() as scratch, suppress(KeyboardInterrupt):
        cut_short = True
        prover = Prover(plan, planted(scratch.path), report)
        experiments = [experiment for experiment in EXPERIMENTS if plan.counts[experiment]]
        for i, experiment in enumerate(experiments):
            share = SHARES[experiment] / sum(SHARES[later] for later in experiments[i:])
            seconds = share * max(0.0, end - time.perf_counter())
            if experiment == "loaded":
                with Load(choose_cpus(1), plan.settings.seed, plan.dwell) as load:
                    try:
                        comparisons += prover.loaded(seconds)
                    finally:
                        taken = load.taken()
            else:
                comparisons += getattr(prover, experiment)(seconds)
        cut_short = False
    return Proof(tuple(comparisons), taken, cut_short)
