"""What does it cost to cross a language border? python -m bench.experiments.crossing drives the same steps by one call
and by one call each, through pybind11, cffi and a pipe. Writes crossing.json and a figure: nanoseconds a crossing.

Which implementation computes faster is not asked here: `bench.run` tells that.
"""

import argparse
import json
import math
import os
import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import cffi
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from bench import intervals, machine, suites
from bench.experiments.command import perform
from bench.intervals import Estimate
from bench.report.drawing import BLUE, DPI, LEGEND, LINE, MUTED, ROW, STYLE, VERMILION, WIDTH, log_axis
from bench.report.rows import Quantity, number, with_interval
from bench.report.tables import Table, rich_table
from bench.suites import Problem, Workload
from bench.workers import choose_cpus
from pyfnn import parity, protocol, registry
from pyfnn.backend import Array, Model
from pyfnn.backends.c import LibraryModel
from pyfnn.backends.cpp import CppModel
from pyfnn.errors import BackendUnavailable, PyfnnError, WorkerDied
from pyfnn.network import Network
from pyfnn.process import ProcessModel, Worker, command_of

Level = Literal["binding", "public"]
Passing = Literal["nothing", "arrays"]
Route = Literal["pybind11", "cffi", "pipe"]
HOSTED: dict[Route, str] = {"pybind11": "cpp", "cffi": "c"}

STEPS, LAUNCHES, SECONDS, ROUNDS = 10_000, intervals.MIN_LAUNCHES, 180.0, 9
_LEAST = 100  # calls of a block, however dear
_TRIAL = 30  # calls, untimed, before each block; and what a call costs is reckoned from as many
_OVERHEAD = 1.6  # times the single calls: the one call, the burst, the models

TINY = Workload(
    name="tiny",
    sizes=(2, 3, 1),
    activation="tanh",
    loss="half_squared_error",
    rows=256,
    batch=1,
    learning_rate=0.01,
    seed=1,
    note="so small that a step costs less than most ways to ask for it",
)
NOTES = (
    "A crossing: (N steps by N calls - the same N by one call) / (N - 1). Every pair ended at the same bits of θ.",
    "Binding: the extension's own method; the library's own function; a line down a pipe and one back. Contract: what "
    "pyfnn's Model adds: checks of the arguments and of the whole θ after each call, and its own Python around the "
    "binding. Over a pipe θ is fetched for that, by another line and a file.",
    "x, y: each call is handed its minibatch first. Over a pipe it goes by files, and θ with it, there and back.",
    "Native step: the one call / N, its one crossing included.",
    "Intervals: 95 %, Student's t over launches, each launch the median of its rounds.",
)


class Way(NamedTuple):
    """One way to ask for a step."""

    workload: str
    route: Route
    level: Level
    passing: Passing


@dataclass(frozen=True)
class Sample:
    """One turn of a way: `steps` steps by one call, and by a call each, in seconds by Python's clock."""

    way: Way
    launch: int
    round: int
    steps: int
    whole: float
    single: float

    @property
    def crossing(self) -> float:
        """Seconds that each call added; the one call crosses once, too."""
        return (self.single - self.whole) / (self.steps - 1)


@dataclass(frozen=True)
class Line:
    """What was found of one route: seconds a crossing at the binding and at the public method, and their difference."""

    workload: str
    route: Route
    passing: Passing
    binding: Estimate
    contract: Estimate
    public: Estimate
    step: Estimate
    steps: tuple[int, int]  # in a block, at the binding and at the public method


@dataclass(frozen=True)
class Plan:
    """What one launch is to do; all of it can be sent to another process.

    Attributes
    ----------
    routes : mapping of str to str
        Which backend or program stands behind each.
    steps : mapping of Way to int
        In a block; empty while that is being found out.
    seconds : float
        After which no further round is begun.
    """

    workloads: tuple[Workload, ...]
    routes: Mapping[Route, str]
    seed: int = 0
    dtype: str = "float32"
    steps: Mapping[Way, int] = field(default_factory=dict)
    rounds: int = ROUNDS
    seconds: float = math.inf


class Driver(ABC):
    """Drives one workload's steps at one level; a fresh model for every block.

    Parameters
    ----------
    problem : Problem
    workload : Workload
    make : callable
        (network, theta) -> Model.
    """

    def __init__(self, problem: Problem, workload: Workload, make: Callable[[Network, Array], Model]) -> None:
        self.problem, self.batch, self.rate, self._make = problem, workload.batch, workload.learning_rate, make
        self.numbers = np.arange(self.batch, dtype=np.int64)  # order of a minibatch that is handed over by itself

    @abstractmethod
    def whole(self, model: Any, steps: int) -> None:
        """All steps by one call."""

    @abstractmethod
    def single(self, model: Any, steps: int) -> None:
        """One call each."""

    @abstractmethod
    def handed(self, model: Any, rows: Sequence[tuple[Array, Array]]) -> Array | None:
        """One call each, which is handed its x: (batch, m_0) and y: (batch, m_L). θ, where that has come back, too."""

    def block(self, steps: int, passing: Passing | None) -> tuple[float, Array]:
        """Seconds for so many steps from the workload's θ, and the θ they end at. `passing` None: by one call."""
        self._run(min(steps, _TRIAL), passing)
        return self._run(steps, passing)

    def _run(self, steps: int, passing: Passing | None) -> tuple[float, Array]:
        p, n = self.problem, steps * self.batch
        if n > len(p.order):
            raise PyfnnError(f"steps = {steps}: the order holds {len(p.order) // self.batch}")
        rows = list(self._minibatches(steps)) if passing == "arrays" else []
        theta: Array | None = None
        with self._make(p.network, p.theta) as model:
            model.load(p.x, p.y, p.order[:n])
            start = time.perf_counter()
            if passing is None:
                self.whole(model, steps)
            elif passing == "nothing":
                self.single(model, steps)
            else:
                theta = self.handed(model, rows)
            seconds = time.perf_counter() - start
            return seconds, model.theta() if theta is None else theta

    def _minibatches(self, steps: int) -> Iterator[tuple[Array, Array]]:
        """The rows of each step, gathered before the clock starts."""
        p, B = self.problem, self.batch
        rows = p.order[: steps * B]
        x, y = p.x[rows], p.y[rows]
        return ((x[i : i + B], y[i : i + B]) for i in range(0, len(rows), B))

    def turn(self, way: Way, steps: int, shuffle: random.Random) -> tuple[float, float]:
        """Seconds by one call and by single ones, in random order.

        Raises
        ------
        PyfnnError
            They end at different θ: it is not the same work, and has no cost to be compared.
        """
        kinds: list[Passing | None] = [None, way.passing]
        found = {kind: self.block(steps, kind) for kind in shuffle.sample(kinds, 2)}
        (whole, theta), (single, ended) = found[None], found[way.passing]
        if theta.tobytes() != ended.tobytes():
            where = f"{way.workload}, {way.route}, {way.level}, {way.passing} passed"
            raise PyfnnError(f"{where}: {steps} steps by a call each end at another theta than by one call")
        return whole, single


class Public(Driver):
    """Through the methods that pyfnn promises."""

    def whole(self, model: Model, steps: int) -> None:
        """By `Model.train`."""
        model.train(0, steps * self.batch, self.batch, self.rate)

    def single(self, model: Model, steps: int) -> None:
        """By `Model.train`, minibatch by minibatch."""
        train, B, rate = model.train, self.batch, self.rate
        for first in range(0, steps * B, B):
            train(first, B, B, rate)

    def handed(self, model: Any, rows: Sequence[tuple[Array, Array]]) -> Array | None:
        """By `Model.load` and `Model.train`."""
        load, train, B, rate, numbers = model.load, model.train, self.batch, self.rate, self.numbers
        for x, y in rows:
            load(x, y, numbers)
            train(0, B, B, rate)
        return None


class PublicPipe(Public):
    """Likewise; but loading starts a worker over, so that θ has to go there and back with the arrays."""

    def handed(self, model: Any, rows: Sequence[tuple[Array, Array]]) -> Array:
        """By a new `ProcessModel` in the same process, `load`, `train` and `theta`."""
        theta, worker, network = self.problem.theta, model._worker, self.problem.network
        for x, y in rows:
            step = ProcessModel(worker, network, theta)
            step.load(x, y, self.numbers)
            step.train(0, self.batch, self.batch, self.rate)
            theta = step.theta()
        return theta


class Pybind11(Driver):
    """Through the methods of the extension's class."""

    def whole(self, model: CppModel, steps: int) -> None:
        """By its `train`."""
        model._mlp.train(0, steps * self.batch, self.batch, self.rate)

    def single(self, model: CppModel, steps: int) -> None:
        """By its `train`, minibatch by minibatch."""
        train, B, rate = model._mlp.train, self.batch, self.rate
        for first in range(0, steps * B, B):
            train(first, B, B, rate)

    def handed(self, model: CppModel, rows: Sequence[tuple[Array, Array]]) -> Array | None:
        """By its `load` and `train`."""
        mlp, B, rate, numbers = model._mlp, self.batch, self.rate, self.numbers
        load, train = mlp.load, mlp.train
        for x, y in rows:
            load(x, y, numbers)
            train(0, B, B, rate)
        return None


class Cffi(Driver):
    """Through the functions of the library, their status looked at when all are done."""

    def __init__(self, problem: Problem, workload: Workload, make: Callable[[Network, Array], Model]) -> None:
        super().__init__(problem, workload, make)
        self._ffi = cffi.FFI()
        self._seconds = self._ffi.new("double *")

    def whole(self, model: LibraryModel, steps: int) -> None:
        """By `fnn_train`."""
        train, B = model._lib.fnn_train, self.batch
        model._check(train(model._handle, 0, steps * B, B, self.rate, self._seconds))

    def single(self, model: LibraryModel, steps: int) -> None:
        """By `fnn_train`, minibatch by minibatch."""
        train, handle, B, rate, seconds = model._lib.fnn_train, model._handle, self.batch, self.rate, self._seconds
        status = 0
        for first in range(0, steps * B, B):
            status |= train(handle, first, B, B, rate, seconds)
        model._check(status)

    def handed(self, model: LibraryModel, rows: Sequence[tuple[Array, Array]]) -> Array | None:
        """By `fnn_load` and `fnn_train`; a pointer is made of each array."""
        load, train, handle = model._lib.fnn_load, model._lib.fnn_train, model._handle
        B, rate, seconds, pointer = self.batch, self.rate, self._seconds, self._ffi.from_buffer
        numbers = pointer("int64_t[]", self.numbers)
        status = 0
        for x, y in rows:
            status |= load(handle, pointer(x), pointer(y), B, numbers, B)
            status |= train(handle, 0, B, B, rate, seconds)
        model._check(status)
        return None


class Pipe(Driver):
    """Through the lines that go to a worker and come back."""

    def whole(self, model: ProcessModel, steps: int) -> None:
        """By the command `train`."""
        model._worker.call("train", 0, steps * self.batch, self.batch, repr(self.rate))

    def single(self, model: ProcessModel, steps: int) -> None:
        """By the command `train`, minibatch by minibatch."""
        call, B, rate = model._worker.call, self.batch, repr(self.rate)
        for first in range(0, steps * B, B):
            call("train", first, B, B, rate)

    def handed(self, model: ProcessModel, rows: Sequence[tuple[Array, Array]]) -> Array:
        """By files and `init`, `train`, `theta`. network.txt and order.bin stay; θ's file goes where `init` reads."""
        worker, B, rate, p = model._worker, self.batch, repr(self.rate), self.problem
        folder = worker.workdir
        (folder / protocol.NETWORK).write_text(
            protocol.format_setup(protocol.Setup(p.network, B, B, 1)), encoding="utf-8"
        )
        protocol.write_array(folder / protocol.ORDER, self.numbers)
        protocol.write_array(folder / protocol.THETA, p.theta)
        for x, y in rows:
            protocol.write_array(folder / protocol.X, x)
            protocol.write_array(folder / protocol.Y, y)
            worker.call("init")
            worker.call("train", 0, B, B, rate)
            worker.call("theta")
            (folder / protocol.THETA_OUT).replace(folder / protocol.THETA)
        return protocol.read_array(folder / protocol.THETA, p.theta.shape, p.network.dtype)


_DRIVERS: dict[Route, dict[Level, type[Driver]]] = {
    "pybind11": {"binding": Pybind11, "public": Public},
    "cffi": {"binding": Cffi, "public": Public},
    "pipe": {"binding": Pipe, "public": PublicPipe},
}


@contextmanager
def drivers(plan: Plan) -> Iterator[dict[Way, Driver]]:
    """Every way of a plan, proven to compute what it should: in this process and, for the pipe, one below it."""
    with ExitStack() as stack:
        makers: dict[Route, Callable[[Network, Array], Model]] = {}
        ours, theirs = cpus()
        if ours:
            os.sched_setaffinity(0, ours)
        for route, name in plan.routes.items():
            if route == "pipe":
                worker = stack.enter_context(Worker(command_of(registry.find(name)), cpus=theirs))
                makers[route] = partial(ProcessModel, worker)
            else:
                makers[route] = registry.load_backend(name).create
        found: dict[Way, Driver] = {}
        for w in plan.workloads:
            problem = suites.problem(w, plan.dtype)
            for route, make in makers.items():
                _prove(plan.routes[route], make, problem.network)
                for level, driver in _DRIVERS[route].items():
                    ready = driver(problem, w, make)
                    found |= {Way(w.name, route, level, "nothing"): ready, Way(w.name, route, level, "arrays"): ready}
        yield found


def cpus() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Python's CPU and the worker's: the last two we may use, or one for both. None where CPUs cannot be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return (), ()
    chosen = choose_cpus(min(2, suites.all_threads()))
    return chosen[-1:], chosen[:1]


def _prove(name: str, make: Callable[[Network, Array], Model], network: Network) -> None:
    evidence = parity.examine(make, [parity.sibling(network, np.random.default_rng(0))])
    if not evidence.passed:
        raise PyfnnError(f"{name}: {evidence.worst}")


def costs(plan: Plan) -> dict[Way, float]:
    """About how many seconds a call takes, for each way."""
    with drivers(plan) as ways:
        return {way: driver.block(_TRIAL, way.passing)[0] / _TRIAL for way, driver in ways.items()}


def launch(plan: Plan, number: int) -> list[Sample]:
    """Rounds, each way once in each, in a fresh shuffle; at least one round, however short the time."""
    shuffle, start, samples = random.Random(f"{plan.seed} {number}"), time.perf_counter(), []
    with drivers(plan) as ways:
        for turn in range(plan.rounds):
            for way in shuffle.sample(list(ways), len(ways)):
                steps = plan.steps[way]
                samples.append(Sample(way, number, turn, steps, *ways[way].turn(way, steps, shuffle)))
            if (time.perf_counter() - start) * (turn + 2) / (turn + 1) > plan.seconds:
                break
    return samples


def blocks(seconds_a_call: Mapping[Way, float], seconds: float, most: int) -> dict[Way, int]:
    """Calls in a block of each way: `most`, but where those do not fit into `seconds` for all, the dearest are cut."""
    found: dict[Way, int] = {}
    for way, cost in sorted(seconds_a_call.items(), key=lambda item: item[1]):
        fair = seconds / (len(seconds_a_call) - len(found))
        found[way] = min(most, max(_LEAST, int(fair / (cost * _OVERHEAD))))
        seconds = max(0.0, seconds - found[way] * cost * _OVERHEAD)
    return found


def measure(plan: Plan, launches: int, seconds: float, most: int) -> Iterator[Sample]:
    """Every launch in a process of its own, the first of them to find out what fits into `seconds`."""
    end = time.perf_counter() + seconds
    fitting = blocks(_afresh(costs, plan), max(0.0, end - time.perf_counter()) / launches / plan.rounds, most)
    for i in range(launches):
        share = max(0.0, end - time.perf_counter()) / (launches - i)
        yield from _afresh(launch, replace(plan, steps=fitting, seconds=share), i)


def _afresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a new Python, started from nothing."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise WorkerDied(f"the process that measured ended: {error}") from None


def interval(values: Sequence[float]) -> Estimate:
    """Student's t interval of the mean of differences, which may be negative: `bench.intervals`', but for logs that
    are none, scaled so that no exponential of them is too large.
    """
    scale = max(map(abs, values)) or 1.0
    found = intervals.t_interval([value / scale for value in values])
    if found is None:
        raise PyfnnError("an interval needs two launches")
    return Estimate(*(scale * math.log(bound) for bound in found))


def _over_launches(values: Iterable[tuple[int, float]]) -> Estimate:
    """The median of each launch's rounds, since a slice of time lost to another process is no crossing; then over
    launches.
    """
    by_launch: dict[int, list[float]] = {}
    for number_of_launch, value in values:
        by_launch.setdefault(number_of_launch, []).append(value)
    return interval([median(found) for found in by_launch.values()])


def lines(samples: Iterable[Sample]) -> list[Line]:
    """One a workload, route and passing, in the order of the table; the contract's share is paired within rounds."""
    by_way: dict[Way, dict[tuple[int, int], Sample]] = {}
    for s in samples:
        by_way.setdefault(s.way, {})[s.launch, s.round] = s
    found = []
    for way, below in by_way.items():
        if way.level == "public":
            continue
        above = by_way[way._replace(level="public")]
        found.append(
            Line(
                *(way.workload, way.route, way.passing),
                binding=_over_launches((at[0], s.crossing) for at, s in below.items()),
                contract=_over_launches((at[0], above[at].crossing - s.crossing) for at, s in below.items()),
                public=_over_launches((at[0], s.crossing) for at, s in above.items()),
                step=_over_launches((at[0], s.whole / s.steps) for at, s in below.items()),
                steps=(next(iter(below.values())).steps, next(iter(above.values())).steps),
            )
        )
    workloads = list(dict.fromkeys(line.workload for line in sorted(found, key=lambda line: line.step.median)))
    return sorted(found, key=lambda n: (workloads.index(n.workload), n.passing == "arrays", [*_DRIVERS].index(n.route)))


def table(found: Sequence[Line], routes: Mapping[Route, str]) -> Table:
    """Nanoseconds a crossing, a section a workload."""
    columns = ("through", "handed", "binding, ns [95 %]", "contract, ns", "Model, ns", "native step, ns", "N")
    sections: dict[str, list[tuple[str, ...]]] = {}
    for line in found:
        estimates = map(_told, (line.binding, line.contract, line.public, line.step))
        counts = " / ".join(map(str, dict.fromkeys(line.steps)))
        handed = "x, y" if line.passing == "arrays" else "-"
        sections.setdefault(line.workload, []).append((_name(line.route, routes), handed, *estimates, counts))
    parts = tuple((workload, tuple(rows)) for workload, rows in sections.items())
    return Table("Nanoseconds a crossing", columns, parts, NOTES)


def _name(route: Route, routes: Mapping[Route, str]) -> str:
    return f"{route} ({routes[route]})"


def _told(estimate: Estimate) -> str:
    """In nanoseconds; only a bound of what cannot be told from nothing."""
    if estimate.low > 0:
        return with_interval(Quantity(estimate.median, (estimate.low, estimate.high)), 1e-9)
    return f"below {number(estimate.high / 1e-9, 2)}" if estimate.high > 0 else "none shown"


def draw(found: Sequence[Line], routes: Mapping[Route, str], footnote: str) -> Figure:
    """Dots with intervals on a log axis, a panel a workload: the binding alone, and the public method above it."""
    workloads = list(dict.fromkeys(line.workload for line in found))
    most = max(sum(line.workload == name for line in found) for name in workloads)
    panel = (most + 1) * 1.6 * ROW + 0.3
    figure = Figure(figsize=(WIDTH, len(workloads) * panel + 0.5 + 3 * LINE), layout="constrained")
    marks = (("binding", "o", BLUE), ("public", "s", VERMILION))
    bounds = [
        bound / 1e-6 for line in found for e in (line.binding, line.public) for bound in (e.low, e.high) if bound > 0
    ]
    panels = figure.subplots(len(workloads), 1, sharex=True, squeeze=False)[:, 0]
    for axes, workload in zip(panels, workloads, strict=True):
        own = [line for line in found if line.workload == workload]
        for level, marker, colour in marks:
            shown = [(at, getattr(line, level)) for at, line in enumerate(own) if getattr(line, level).low > 0]
            for at, line in enumerate(own):
                if getattr(line, level).low <= 0:
                    _say_instead(axes, at, level, getattr(line, level), colour)
            for at, e in shown:
                axes.plot([e.low / 1e-6, e.high / 1e-6], [at, at], color=colour, linewidth=1.0)
            label = "binding" if level == "binding" else "with the contract (pyfnn's Model)"
            middles = [e.median / 1e-6 for _, e in shown]
            axes.plot(middles, [at for at, _ in shown], marker, color=colour, markersize=3.8, ls="none", label=label)
        step = own[0].step.median / 1e-9
        names = [f"{_name(line.route, routes)}{', x y' * (line.passing == 'arrays')}" for line in own]
        axes.set_yticks(range(len(own)), names)
        axes.set_ylim(len(own) - 0.4, -0.6)
        axes.set_title(f"{workload}: a step takes {number(step, 2)} ns ({routes[own[0].route]})", fontsize=7)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.4)
        log_axis(axes, "x", bounds)
    panels[-1].set_xlabel("µs a crossing, 95 % intervals over launches")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, **LEGEND)
    figure.supxlabel(footnote, fontsize=6, color=MUTED, x=0.02, ha="left")
    return figure


def _say_instead(axes: Axes, at: int, level: str, estimate: Estimate, colour: str) -> None:
    """What a logarithmic axis has no place for, in words at its left end."""
    words = f"{level}: {_told(estimate)}{' ns' * (estimate.high > 0)}"
    above = "bottom" if level == "binding" else "top"
    axes.text(0.01, at, words, transform=axes.get_yaxis_transform(), va=above, fontsize=6, color=colour)


def write(
    folder: Path,
    samples: Sequence[Sample],
    found: Sequence[Line],
    routes: Mapping[Route, str],
    facts: Mapping[str, Any],
) -> Iterator[Path]:
    """Save samples, estimates and facts, and the figure; their paths."""
    host = machine.describe()
    told = {
        **facts,
        "routes": dict(routes),
        "host": host,
        "lines": [{**asdict(n), **{k: getattr(n, k)._asdict() for k in _ESTIMATES}} for n in found],
        "samples": [{**asdict(s), "way": s.way._asdict()} for s in samples],
    }
    path = folder / "crossing.json"
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    yield path
    launches = len({s.launch for s in samples})
    with style.context(["default", STYLE]):
        path = folder / "crossing.png"
        draw(found, routes, f"{host['cpu_model']}; Python {host['python']}; {launches} launches").savefig(path, dpi=DPI)
    yield path


_ESTIMATES = ("binding", "contract", "public", "step")


def programs_of_their_own() -> list[str]:
    """Those in the plain division, by name; last the library that cffi reaches, which Python hosts."""
    return [r.name for r in registry.rows().values() if r.host is None and r.division == "plain"] + [HOSTED["cffi"]]


def routes_here(program: str | None) -> tuple[dict[Route, str], dict[str, str]]:
    """What stands behind each route, and why others do not."""
    routes: dict[Route, str] = {}
    absent: dict[str, str] = {}
    for route, name in HOSTED.items():
        try:
            registry.load_backend(name)
            routes[route] = name
        except BackendUnavailable as error:
            absent[name] = str(error)
    for name in programs_of_their_own() if program is None else (program,):
        try:
            command_of(registry.find(name))
        except BackendUnavailable as error:
            absent[name] = str(error)
            continue
        if name not in absent:
            routes["pipe"] = name
            break
    return routes, absent


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.experiments.crossing", description="What a call from Python costs, in nanoseconds."
    )
    p.add_argument("--program", metavar="NAME", help="behind the pipe (the first program that is here)")
    p.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"in a block, where time allows ({STEPS})")
    p.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help=f"fresh processes ({LAUNCHES})")
    p.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        metavar="SECONDS",
        help=f"for all of it; one round of each launch is always made ({SECONDS:g})",
    )
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the shuffles (0)")
    p.add_argument("--out", type=Path, metavar="DIR", help="results/crossing-<timestamp> if not given")
    return p


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure, print the table, write."""
    for name, least, most in (("steps", _LEAST, 1_000_000), ("launches", 2, 100), ("seconds", 1, 86400)):
        if not least <= getattr(arguments, name) <= most:
            raise PyfnnError(f"--{name} {getattr(arguments, name):g}: must be from {least} to {most}")
    routes, absent = routes_here(arguments.program)
    for name, why in absent.items():
        console.print(f"{name}: {why}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if not routes:
        raise PyfnnError("nothing to cross to: neither a compiled backend nor a program is here")
    plan = Plan((TINY, suites.built_in_workloads()["wine-deep"]), routes, arguments.seed)
    folder = arguments.out or Path("results") / datetime.now().strftime("crossing-%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)  # or the run would be for nothing
    samples, cut_short = list[Sample](), True
    with suppress(KeyboardInterrupt):
        samples.extend(measure(plan, arguments.launches, arguments.seconds, arguments.steps))
        cut_short = False
    if not samples:
        raise KeyboardInterrupt
    found = lines(samples)
    console.print(rich_table(table(found, routes)))
    ours, theirs = cpus()
    settings = {k: v for k, v in vars(arguments).items() if k != "out"}
    facts = {
        "settings": {**settings, "dtype": plan.dtype},
        "absent": absent,
        "cpus": {"python": ours, "worker": theirs},
    }
    for path in write(folder, samples, found, routes, facts):
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if cut_short:
        raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status 0, or another and the reason: see `perform`."""
    return perform("crossing", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
