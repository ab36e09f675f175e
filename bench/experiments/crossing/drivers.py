"""The ways to ask for a step that `crossing` compares: through pybind11, cffi and a pipe, right at the binding and by
pyfnn's public method, with arrays handed over and without. Times single blocks; when, and what it comes to, is
crossing's.
"""

import math
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import cffi
import numpy as np

from bench.machine.cpus import all_threads, choose_cpus
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import Workload
from pyfnn import parity, registry
from pyfnn.backends.c import LibraryModel
from pyfnn.backends.cpp import CppModel
from pyfnn.errors import PyfnnError
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.process import protocol
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.validation import Array

Level = Literal["binding", "public"]
Passing = Literal["nothing", "arrays"]
Route = Literal["pybind11", "cffi", "pipe"]
HOSTED: dict[Route, str] = {"pybind11": "cpp", "cffi": "c"}
ROUNDS = 9  # at most, in a launch
TRIAL = 30  # calls, untimed, before each block; and what a call costs is reckoned from as many

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


class Way(NamedTuple):
    """One way to ask for a step."""

    workload: str
    route: Route
    level: Level
    passing: Passing


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
        self._run(min(steps, TRIAL), passing)
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


DRIVERS: dict[Route, dict[Level, type[Driver]]] = {
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
            problem = make_problem(w, plan.dtype)
            for route, make in makers.items():
                _prove(plan.routes[route], make, problem.network)
                for level, driver in DRIVERS[route].items():
                    ready = driver(problem, w, make)
                    found |= {Way(w.name, route, level, "nothing"): ready, Way(w.name, route, level, "arrays"): ready}
        yield found


def cpus() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Python's CPU and the worker's: the last two we may use, or one for both. None where CPUs cannot be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return (), ()
    chosen = choose_cpus(min(2, all_threads()))
    return chosen[-1:], chosen[:1]


def _prove(name: str, make: Callable[[Network, Array], Model], network: Network) -> None:
    evidence = parity.examine(make, [parity.small_variant(network, np.random.default_rng(0))])
    if not evidence.passed:
        raise PyfnnError(f"{name}: {evidence.worst}")
