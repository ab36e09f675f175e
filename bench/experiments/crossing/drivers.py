"""The drivers that `crossing` compares: pybind11, cffi and a pipe, each at the binding and at pyfnn's public method.

Times single blocks, with and without arrays passed; __main__.py plans the blocks and evaluates them.
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
Transport = Literal["pybind11", "cffi", "pipe"]
HOSTED: dict[Transport, str] = {"pybind11": "cpp", "cffi": "c"}
ROUNDS = 9  # at most, in a launch
TRIAL = 30  # untimed calls before each block; also the number of calls from which the cost of one is estimated

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


class Route(NamedTuple):
    """A way to request a step: the transport, the level at which it is called, and the data passed with each call."""

    workload: str
    transport: Transport
    level: Level
    passing: Passing


@dataclass(frozen=True)
class CrossingPlan:
    """The work of one launch; can be sent to another process.

    Attributes
    ----------
    transports : mapping of str to str
        The backend or program behind each transport.
    steps : mapping of Route to int
        Steps in a block; empty before they are known.
    seconds : float
        Time limit; no further round begins if it would end later.
    """

    workloads: tuple[Workload, ...]
    transports: Mapping[Transport, str]
    seed: int = 0
    dtype: str = "float32"
    steps: Mapping[Route, int] = field(default_factory=dict)
    rounds: int = ROUNDS
    seconds: float = math.inf


class Driver(ABC):
    """A driver of one workload's steps at one level, with a new model for every block.

    Parameters
    ----------
    problem : Problem
    workload : Workload
    make : callable
        (network, theta) -> Model.
    """

    def __init__(self, problem: Problem, workload: Workload, make: Callable[[Network, Array], Model]) -> None:
        self.problem, self.batch, self.rate, self._make = problem, workload.batch, workload.learning_rate, make
        self.numbers = np.arange(self.batch, dtype=np.int64)  # order of a minibatch that is passed alone

    @abstractmethod
    def batched(self, model: Any, steps: int) -> None:
        """Run all steps in one call."""

    @abstractmethod
    def one_call_each(self, model: Any, steps: int) -> None:
        """Run the steps in one call each."""

    @abstractmethod
    def with_arrays(self, model: Any, rows: Sequence[tuple[Array, Array]]) -> Array | None:
        """Run the steps in one call each, and pass each its x: (batch, m_0) and y: (batch, m_L).

        Returns
        -------
        ndarray or None, shape (n_parameters,)
            The final θ, if the calls return θ.
        """

    def block(self, steps: int, passing: Passing | None) -> tuple[float, Array]:
        """Time steps from the workload's initial θ; `passing` None runs them in one call.

        Returns
        -------
        float
            Seconds.
        ndarray, shape (n_parameters,)
            The final θ.
        """
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
                self.batched(model, steps)
            elif passing == "nothing":
                self.one_call_each(model, steps)
            else:
                theta = self.with_arrays(model, rows)
            seconds = time.perf_counter() - start
            return seconds, model.theta() if theta is None else theta

    def _minibatches(self, steps: int) -> Iterator[tuple[Array, Array]]:
        """Gather the rows of each step, before the clock starts."""
        p, B = self.problem, self.batch
        rows = p.order[: steps * B]
        x, y = p.x[rows], p.y[rows]
        return ((x[i : i + B], y[i : i + B]) for i in range(0, len(rows), B))

    def turn(self, route: Route, steps: int, shuffle: random.Random) -> tuple[float, float]:
        """Time `steps` steps in one call and in one call each, in random order; return both times in seconds.

        Raises
        ------
        PyfnnError
            The two end at different θ, so they did different work.
        """
        kinds: list[Passing | None] = [None, route.passing]
        found = {kind: self.block(steps, kind) for kind in shuffle.sample(kinds, 2)}
        (batched, theta), (one_call_each, ended) = found[None], found[route.passing]
        if theta.tobytes() != ended.tobytes():
            where = f"{route.workload}, {route.transport}, {route.level}, {route.passing} passed"
            raise PyfnnError(f"{where}: {steps} steps in one call each end at another theta than in one call")
        return batched, one_call_each


class Public(Driver):
    """The driver of pyfnn's public methods."""

    def batched(self, model: Model, steps: int) -> None:
        """Call `Model.train` once."""
        model.train(0, steps * self.batch, self.batch, self.rate)

    def one_call_each(self, model: Model, steps: int) -> None:
        """Call `Model.train` for each minibatch."""
        train, B, rate = model.train, self.batch, self.rate
        for first in range(0, steps * B, B):
            train(first, B, B, rate)

    def with_arrays(self, model: Any, rows: Sequence[tuple[Array, Array]]) -> Array | None:
        """Call `Model.load` and `Model.train` for each minibatch."""
        load, train, B, rate, numbers = model.load, model.train, self.batch, self.rate, self.numbers
        for x, y in rows:
            load(x, y, numbers)
            train(0, B, B, rate)
        return None


class PublicPipe(Public):
    """The driver of pyfnn's public methods over a pipe, where loading new data resets θ: θ travels with the arrays."""

    def with_arrays(self, model: Any, rows: Sequence[tuple[Array, Array]]) -> Array:
        """Call `load`, `train` and `theta` of a new `ProcessModel` for each minibatch, in the same process."""
        theta, worker, network = self.problem.theta, model._worker, self.problem.network
        for x, y in rows:
            step = ProcessModel(worker, network, theta)
            step.load(x, y, self.numbers)
            step.train(0, self.batch, self.batch, self.rate)
            theta = step.theta()
        return theta


class Pybind11(Driver):
    """The driver of the extension class's own methods."""

    def batched(self, model: CppModel, steps: int) -> None:
        """Call its `train` once."""
        model._mlp.train(0, steps * self.batch, self.batch, self.rate)

    def one_call_each(self, model: CppModel, steps: int) -> None:
        """Call its `train` for each minibatch."""
        train, B, rate = model._mlp.train, self.batch, self.rate
        for first in range(0, steps * B, B):
            train(first, B, B, rate)

    def with_arrays(self, model: CppModel, rows: Sequence[tuple[Array, Array]]) -> Array | None:
        """Call its `load` and `train` for each minibatch."""
        mlp, B, rate, numbers = model._mlp, self.batch, self.rate, self.numbers
        load, train = mlp.load, mlp.train
        for x, y in rows:
            load(x, y, numbers)
            train(0, B, B, rate)
        return None


class Cffi(Driver):
    """The driver of the C library's functions; it checks their status after the last call."""

    def __init__(self, problem: Problem, workload: Workload, make: Callable[[Network, Array], Model]) -> None:
        super().__init__(problem, workload, make)
        self._ffi = cffi.FFI()
        self._seconds = self._ffi.new("double *")

    def batched(self, model: LibraryModel, steps: int) -> None:
        """Call `fnn_train` once."""
        train, B = model._lib.fnn_train, self.batch
        model._check(train(model._handle, 0, steps * B, B, self.rate, self._seconds))

    def one_call_each(self, model: LibraryModel, steps: int) -> None:
        """Call `fnn_train` for each minibatch."""
        train, handle, B, rate, seconds = model._lib.fnn_train, model._handle, self.batch, self.rate, self._seconds
        status = 0
        for first in range(0, steps * B, B):
            status |= train(handle, first, B, B, rate, seconds)
        model._check(status)

    def with_arrays(self, model: LibraryModel, rows: Sequence[tuple[Array, Array]]) -> Array | None:
        """Call `fnn_load` and `fnn_train` for each minibatch, with a new pointer to each array."""
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
    """The driver of a worker's commands and replies, one line each."""

    def batched(self, model: ProcessModel, steps: int) -> None:
        """Send the command `train` once."""
        model._worker.call("train", 0, steps * self.batch, self.batch, repr(self.rate))

    def one_call_each(self, model: ProcessModel, steps: int) -> None:
        """Send the command `train` for each minibatch."""
        call, B, rate = model._worker.call, self.batch, repr(self.rate)
        for first in range(0, steps * B, B):
            call("train", first, B, B, rate)

    def with_arrays(self, model: ProcessModel, rows: Sequence[tuple[Array, Array]]) -> Array:
        """Write the arrays and send `init`, `train` and `theta` for each minibatch.

        network.txt and order.bin stay the same; the file of the new θ replaces the one that `init` reads.
        """
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


DRIVERS: dict[Transport, dict[Level, type[Driver]]] = {
    "pybind11": {"binding": Pybind11, "public": Public},
    "cffi": {"binding": Cffi, "public": Public},
    "pipe": {"binding": Pipe, "public": PublicPipe},
}


@contextmanager
def drivers(plan: CrossingPlan) -> Iterator[dict[Route, Driver]]:
    """Provide the drivers of a plan's routes, after a parity check of each backend; the pipe's worker is a process."""
    with ExitStack() as stack:
        makers: dict[Transport, Callable[[Network, Array], Model]] = {}
        ours, theirs = cpus()
        if ours:
            os.sched_setaffinity(0, ours)
        for transport, name in plan.transports.items():
            if transport == "pipe":
                worker = stack.enter_context(Worker(command_of(registry.find(name)), cpus=theirs))
                makers[transport] = partial(ProcessModel, worker)
            else:
                makers[transport] = registry.load_backend(name).create
        found: dict[Route, Driver] = {}
        for w in plan.workloads:
            problem = make_problem(w, plan.dtype)
            trial = parity.small_variant(problem.network, np.random.default_rng(0))
            for transport, make in makers.items():
                _prove(plan.transports[transport], make, trial)
                for level, driver in DRIVERS[transport].items():
                    ready = driver(problem, w, make)
                    found |= {
                        Route(w.name, transport, level, "nothing"): ready,
                        Route(w.name, transport, level, "arrays"): ready,
                    }
        yield found


def cpus() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return Python's CPU and the worker's: the last two usable ones, or one for both; empty without affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return (), ()
    chosen = choose_cpus(min(2, all_threads()))
    return chosen[-1:], chosen[:1]


def _prove(name: str, make: Callable[[Network, Array], Model], trial: parity.Trial) -> None:
    evidence = parity.examine(make, [trial])
    if not evidence.passed:
        raise PyfnnError(f"{name}: {evidence.worst}")
