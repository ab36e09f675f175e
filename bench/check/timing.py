"""Claims about the clock, CPU time and memory: what makes a sample honest."""

import math
import signal
import threading
import time
from functools import lru_cache

import numpy as np
import psutil

from bench.check.kit import Candidate, Failed, Skipped, Topic, close_to, exercise, same_bits
from bench.measure.calibration import SIGN_OF_LINEARITY
from bench.measure.session import Session
from bench.suites.problem import Problem
from bench.suites.suite import Workload
from bench.terms import Operation
from pyfnn.network import Network

TIMING = Topic("timing and memory", "A program")

_ROWS, _BATCH, _RATE = 256, 4, 1e-3
_ENTRIES = 1 << 18
_BLOCK = 0.06  # seconds of a block, at least: the harness holds those above 0.05 s to more
_LONG = 10  # blocks by the driver's clock: enough, whatever the subject says
_TRIES = 3  # noise gets as many
_RESOLUTION = 1e-3  # seconds: a clock that knows nothing finer is of no use for microseconds
_MIB = 1 << 20
_PREPARED = 0.25  # of what prepared minibatches would take: more memory than that, and they were prepared
_LEAK_CALLS, _LEAK_SECONDS = 100, 0.4  # of each stretch, whichever is over first
_STRETCHES, _GROWTH = 40, _MIB  # grows by so much in each of so many stretches: no collector ever came, and it leaks
_LEAST_STRETCHES = 3
_STOPPED = 0.15  # seconds


def _seat(subject: Candidate, operation: Operation) -> tuple[Session, int]:
    """A process with a middling network loaded, as the harness has it; and how many steps of this make a block."""
    network = subject.network((48, 96, 48), l2=1e-4)
    workload = Workload(
        name="check", sizes=network.sizes, activation=network.activation, loss=network.loss, rows=_ROWS, batch=_BATCH,
        l2=network.l2, learning_rate=_RATE, output_activation=network.output_activation,
    )  # fmt: skip
    task = _data(network)
    seat = subject.seat(operation, workload, task)
    most = _ENTRIES // _BATCH if operation == "train" else 1 << 30
    steps, seconds, wall = 1, 0.0, 0.0
    while seconds < _BLOCK and wall < _LONG * _BLOCK and steps < most:
        steps = min(most, 2 * steps if seconds > _BLOCK / 4 else 4 * steps)
        seconds = min(_seconds(seat, steps) for _ in range(_TRIES))  # the first ones may compile
        wall = seat.model.call_wall_seconds
    return seat, steps


def _seconds(seat: Session, steps: int) -> float:
    seat.reset()
    return seat.run(steps).seconds


@lru_cache(maxsize=2)
def _data(network: Network) -> Problem:
    task = exercise(network, _ROWS, _ENTRIES)
    return Problem(network, task.theta, task.x, task.y, task.order)


def _honest(operation: Operation) -> None:
    @TIMING.claim(
        f"seconds of {operation}: at most what passed, at least 0.8 of it; no more CPU time than one thread has",
        "start a monotonic clock before the first step, stop it when all work is done; seconds, not milliseconds",
        "A program",
    )
    def attempt(subject: Candidate) -> str:
        seat, steps = _seat(subject, operation)
        block = seat.turn(min(steps, 10), steps)
        if not block.seconds > 0:
            raise Failed(f"{block.seconds} s for {steps} steps")
        return f"{block.seconds / block.wall_seconds:.1%} of {block.wall_seconds * 1e3:.0f} ms, {steps} steps"

    @TIMING.claim(
        f"twice the work of {operation} takes about twice the time",
        "let REPEATS (or COUNT) be what the loop does, each repeat on rows of its own; hoist nothing out of it",
        "A program",
    )
    def linear(subject: Candidate) -> str:
        seat, steps = _seat(subject, operation)
        if operation == "train":
            steps = min(steps, _ENTRIES // _BATCH // 2)
        low, high = SIGN_OF_LINEARITY
        seen, once, twice = [], math.inf, math.inf
        for _ in range(_TRIES):
            spans = _seconds(seat, steps), _seconds(seat, 2 * steps)
            if min(spans) <= 0:
                raise Failed(f"{min(spans)} s for {steps} steps")
            once, twice = min(once, spans[0]), min(twice, spans[1])
            seen += [spans[1] / spans[0], twice / once]  # the shortest of each are least disturbed
            if any(low <= ratio <= high for ratio in seen):
                return f"{seen[-1]:.2f} times"
        tries = ", ".join(f"{ratio:.2f}" for ratio in seen[::2])
        raise Failed(f"{tries} times as long", f"between {low} and {high} times")

    del attempt, linear


_honest("train")
_honest("forward")
_honest("gradient")


@TIMING.claim(
    "the clock knows times below a millisecond",
    "take a finer clock: CLOCK_MONOTONIC, perf_counter, nanoTime; print seconds with 9 digits",
)
def _resolution(subject: Candidate) -> str:
    model, repeats = subject.load(subject.exercise()), 1
    while model.time("gradient", 0, 7, repeats) < 3 * _RESOLUTION and model.call_wall_seconds < 0.1:
        repeats *= 2
    spans = [model.time("gradient", 0, 7, repeats + more) for more in range(20)]
    if all(abs(span / _RESOLUTION - round(span / _RESOLUTION)) < 1e-6 for span in spans):
        raise Failed(f"whole milliseconds, twenty times: {', '.join(f'{span:g}' for span in spans[:5])}, …")
    return f"{spans[0] * 1e3:.6g} ms, for instance"


@TIMING.claim(
    "minibatches are not prepared in init",
    "copy order; gather the rows that it names in each step, inside the clock",
)
def _not_prepared(subject: Candidate) -> str:
    network, rows, entries = subject.network((1024, 2)), 64, 100_000
    short, long = exercise(network, rows, rows), exercise(network, rows, entries)
    subject.drop()
    subject.load(short)
    before = _resident(subject)
    subject.load(long)
    grown = _resident(subject) - before
    prepared = entries * (sum(network.sizes)) * np.dtype(network.dtype).itemsize
    if grown > _PREPARED * prepared:
        raise Failed(
            f"init of {rows} rows with {entries} entries of order takes {grown / _MIB:.0f} MiB more than with {rows}; "
            f"the minibatches are {prepared / _MIB:.0f} MiB"
        )
    return f"{max(0, grown) / _MIB:.0f} MiB for {entries} entries; prepared they were {prepared / _MIB:.0f}"


@TIMING.claim(
    "memory does not grow from call to call",
    "free what a call allocates, and what the earlier init did; better, allocate in init",
)
def _no_leak(subject: Candidate) -> str:
    task = exercise(subject.network((64, 64, 10)), rows=64, entries=640)
    model = subject.load(task)
    sizes = [_resident(subject)]
    for _ in range(_STRETCHES + 1):
        until = time.perf_counter() + _LEAK_SECONDS
        for _ in range(_LEAK_CALLS):
            model.train(0, 64, 8, _RATE)
            model.loss_and_gradient(0, 64)
            model.forward(0, 64)
            if time.perf_counter() > until:
                break
        model.reset()
        model.load(task.x, task.y, task.order)
        sizes.append(_resident(subject))
        if len(sizes) > _LEAST_STRETCHES and sizes[-1] - sizes[-2] <= _GROWTH:
            return f"{sizes[-1] / _MIB:.0f} MiB resident"
    steps = ", ".join(f"{size / _MIB:.0f}" for size in sizes[1:])  # the first may compile and fill pools
    raise Failed(f"resident MiB, stretch by stretch: {steps}")


def _resident(subject: Candidate) -> int:
    """Bytes of the process and its children."""
    process = psutil.Process(subject.worker.pid)
    return sum(int(each.memory_info().rss) for each in (process, *process.children(recursive=True)))


@TIMING.claim(
    "stopped in the middle of a step, and continued, it goes on",
    "start interrupted calls again (EINTR); a helper process must not take silence for death",
)
def _stopped(subject: Candidate) -> str:
    task = subject.exercise((24, 48, 24))
    model = subject.load(task)
    repeats = 1
    while model.time("gradient", 0, 20, repeats) < 2 * _STOPPED and model.call_wall_seconds < 1:
        repeats *= 2
    worker, wanted = subject.worker, model.checksum
    timers = [
        threading.Timer(_STOPPED / 3, worker.signal_group, (signal.SIGSTOP,)),
        threading.Timer(_STOPPED * 4 / 3, worker.signal_group, (signal.SIGCONT,)),
    ]
    for timer in timers:
        timer.start()
    try:
        model.time("gradient", 0, 20, repeats)
    finally:
        for timer in timers:
            timer.join()
    if model.call_wall_seconds < _STOPPED:
        raise Skipped("its passes were over before it could be stopped")
    same = np.asarray([model.checksum]), np.asarray([wanted])
    if not (same_bits(*same) if subject.said.deterministic else close_to(*same)):
        raise Failed("it went on, and came to another checksum")
    return f"for {_STOPPED} s"
