"""Claims about the clock, CPU time and memory, on which the validity of a sample depends."""

import math
import signal
import threading
import time
from contextlib import suppress
from functools import lru_cache

import numpy as np
import psutil

from bench.check.kit import Candidate, Failed, Skipped, Topic, close_to, exercise, same_bits
from bench.check.memory import own_memory
from bench.measure.block import Block
from bench.measure.calibration import LINEAR_RATIOS, doubling
from bench.measure.errors import Implausible
from bench.measure.session import Session
from bench.suites.problem import Problem
from bench.suites.suite import Workload
from bench.terms import CaseOperation
from pyfnn.model import Operation
from pyfnn.network import Network
from pyfnn.process.model import ProcessModel

TIMING = Topic("timing and memory", "A program")

ROWS, BATCH, _RATE = 256, 4, 1e-3  # of the network of medium size
_ENTRIES = 1 << 18
_BLOCK = 0.06  # seconds, at least: several times the block of a run, against noise
_LONGER = 4  # factor on the length of a block that is judged again
_LONG = 4  # the search for a block's length ends after this many _BLOCKs by the driver's clock
_TRIES = 3  # repetitions, against noise
_RESOLUTION = 1e-3  # seconds: a clock this coarse cannot time microseconds
_MIB = 1 << 20
_PREPARED = 0.25  # share of the minibatches' size; init prepared them if it takes more memory than that
_LEAK_CALLS, _LEAK_SECONDS = 100, 0.4  # length of a stretch: the shorter of the two
_LEAST_LEAK_CALLS = 10  # of a stretch on a slow machine: a leak grows with the calls
_STRETCHES, _GROWTH = 40, _MIB  # a leak: more than _GROWTH bytes in each of _STRETCHES; a collector acts in between
_LEAST_STRETCHES = 3
_STOPPED = 0.15  # seconds
_CHECKSUM = 1e-5  # relative tolerance of a checksum; the battery has the strict bound


def medium_session(candidate: Candidate, operation: CaseOperation) -> Session:
    """Load a network of medium size as the harness does; return the session, the same one for the same operation."""
    network = candidate.network((48, 96, 48), l2=1e-4)
    workload = Workload(
        name="check", sizes=network.sizes, activation=network.activation, loss=network.loss, rows=ROWS, batch=BATCH,
        l2=network.l2, learning_rate=_RATE, output_activation=network.output_activation,
    )  # fmt: skip
    return candidate.session(operation, workload, _data(network))


def _loaded_session(candidate: Candidate, operation: CaseOperation) -> tuple[Session, int]:
    """Return the session with the medium network, and the number of steps in a block."""
    session = medium_session(candidate, operation)
    most = _ENTRIES // BATCH if operation == "train" else 1 << 30
    steps, seconds, wall = 1, 0.0, 0.0
    while seconds < _BLOCK and wall < _LONG * _BLOCK and steps < most:
        steps = min(most, 2 * steps if max(seconds, wall) > _BLOCK / 4 else 4 * steps)
        blocks = [_block(session, steps) for _ in range(_TRIES)]  # the first ones may compile
        seconds, wall = min(block.seconds for block in blocks), min(block.wall_seconds for block in blocks)
    return session, steps


def _judged_block(session: Session, operation: CaseOperation, steps: int) -> Block:
    """Take a turn; where its clocks contradict each other, a longer one counts.

    `session.disturbed` is then set if that one could not be judged either.

    Work outside the clock grows with the block. What a busy machine adds around a call does not.

    Raises
    ------
    Implausible, ThreadsMismatch
    """
    longer = _LONGER * steps
    most = _ENTRIES // BATCH if operation == "train" else longer
    with suppress(Implausible):
        block = _turn(session, steps)
        if not session.disturbed:
            return block
    return _turn(session, min(longer, most))


def _turn(session: Session, steps: int) -> Block:
    session.disturbed = None
    return session.turn(min(steps, 10), steps)


def _block(session: Session, steps: int) -> Block:
    session.reset()
    return session.run(steps)


@lru_cache(maxsize=2)
def _data(network: Network) -> Problem:
    task = exercise(network, ROWS, _ENTRIES)
    return Problem(network, task.theta, task.x, task.y, task.order)


def _claims_about_clock(operation: CaseOperation) -> None:
    @TIMING.claim(
        f"seconds of {operation} cover all work by the driver's clock; no more CPU time than one thread has, children "
        "included",
        "start a monotonic clock before the first step and stop it when the last one is done; answer seconds, not "
        "milliseconds; leave all threads and child processes on the CPUs that the process was given",
        "A program",
    )
    def attempt(candidate: Candidate) -> str:
        session, steps = _loaded_session(candidate, operation)
        block = _judged_block(session, operation, steps)
        if session.disturbed:
            raise Skipped(f"the machine is busy: {session.disturbed}")
        if not block.seconds > 0:
            raise Failed(f"{block.seconds} s for {block.steps} steps")
        return f"{block.seconds / block.wall_seconds:.1%} of {block.wall_seconds * 1e3:.0f} ms, {block.steps} steps"

    @TIMING.claim(
        f"twice the work of {operation} takes about twice the time",
        "run the loop REPEATS (or COUNT) times, each repeat on its own rows; hoist no computation out of it",
        "A program",
    )
    def linear(candidate: Candidate) -> str:
        session, steps = _loaded_session(candidate, operation)
        if operation == "train":
            steps = min(steps, _ENTRIES // BATCH // 2)

        def seconds_of(repeats: int) -> float:
            seconds = _block(session, repeats).seconds
            if seconds <= 0:
                raise Failed(f"{seconds} s for {repeats} steps")
            return seconds

        ratio = doubling(seconds_of, steps)
        low, high = LINEAR_RATIOS
        if not low <= ratio <= high:
            raise Failed(f"{ratio:.2f} times as long", f"between {low} and {high} times")
        return f"{ratio:.2f} times"

    del attempt, linear


_claims_about_clock("train")
_claims_about_clock("forward")
_claims_about_clock("gradient")


@TIMING.claim(
    "the checksum sums the probed entries of all passes",
    "pass r adds entry probes[r mod PROBES] of its outputs (row by row), or its loss and that entry of its gradient "
    "(laid out as θ); every pass computes all of them",
    "A program",
)
def _checksum(candidate: Candidate) -> str:
    task, count, first = candidate.exercise((9, 12, 8, 3)), 7, 31  # the rotation passes the last row
    model, rng, repeats = candidate.load(task), np.random.default_rng(1), 12
    starts = [(first + repeat * count) % (len(task.x) - count + 1) for repeat in range(repeats)]
    sizes: dict[Operation, int] = {"forward": count * task.network.sizes[-1], "gradient": task.network.n_parameters}
    for operation, entries in sizes.items():
        for n in (1, 5, repeats):
            probes = rng.integers(entries, size=n)
            model.time(operation, first, count, repeats, probes)
            terms = []
            for start, probe in zip(starts, np.resize(probes, repeats), strict=True):
                if operation == "forward":
                    terms.append(float(model.forward(start, count).flat[probe]))
                else:
                    loss, gradient = model.loss_and_gradient(start, count)
                    terms += [loss, float(gradient[probe])]
            if not abs(model.checksum - sum(terms)) <= _CHECKSUM * sum(map(abs, terms)):
                raise Failed(
                    f"{model.checksum:.9g} after time {operation} with {n} probes",
                    f"{sum(terms):.9g}, from the same rows",
                )
    return f"{repeats} passes"


@TIMING.claim(
    "the clock resolves times below a millisecond",
    "use a finer clock, such as CLOCK_MONOTONIC, perf_counter or nanoTime; print seconds with 9 digits",
)
def _resolution(candidate: Candidate) -> str:
    model, repeats = candidate.load(candidate.exercise()), 1
    while model.time("gradient", 0, 7, repeats) < 3 * _RESOLUTION and model.call_wall_seconds < 0.1:
        repeats *= 2
    spans = [model.time("gradient", 0, 7, repeats + more) for more in range(20)]
    if all(abs(span / _RESOLUTION - round(span / _RESOLUTION)) < 1e-6 for span in spans):
        raise Failed(f"whole milliseconds in all of 20 calls: {', '.join(f'{span:g}' for span in spans[:5])}, …")
    return f"{spans[0] * 1e3:.6g} ms, for instance"


@TIMING.claim(
    "minibatches are not prepared in init",
    "copy order; gather the rows of each step inside the timed loop",
)
def _not_prepared(candidate: Candidate) -> str:
    network, rows, entries = candidate.network((1024, 2)), 64, 100_000
    short, long = exercise(network, rows, rows), exercise(network, rows, entries)
    candidate.renew()
    candidate.load(short)
    before = _memory(candidate)
    candidate.load(long)
    grown = _memory(candidate) - before
    prepared = entries * (sum(network.sizes)) * np.dtype(network.dtype).itemsize
    if grown > _PREPARED * prepared:
        raise Failed(
            f"init of {rows} rows with {entries} entries of order takes {grown / _MIB:.0f} MiB more than with {rows}; "
            f"the minibatches are {prepared / _MIB:.0f} MiB"
        )
    return f"{max(0, grown) / _MIB:.0f} MiB for {entries} entries; the minibatches would be {prepared / _MIB:.0f} MiB"


@TIMING.claim(
    "memory does not grow from call to call",
    "free the memory of each call and of the earlier init; better, allocate only in init",
)
def _no_leak(candidate: Candidate) -> str:
    task = exercise(candidate.network((64, 64, 10)), rows=64, entries=640)
    model = candidate.load(task)
    sizes = [_memory(candidate)]
    for _ in range(_STRETCHES + 1):
        until = time.perf_counter() + _LEAK_SECONDS
        for call in range(1, _LEAK_CALLS + 1):
            model.train(0, 64, 8, _RATE)
            model.loss_and_gradient(0, 64)
            model.forward(0, 64)
            if call >= _LEAST_LEAK_CALLS and time.perf_counter() > until:
                break
        model.reset()
        model.load(task.x, task.y, task.order)
        sizes.append(_memory(candidate))
        if len(sizes) > _LEAST_STRETCHES and sizes[-1] - sizes[-2] <= _GROWTH:
            return f"{sizes[-1] / _MIB:.0f} MiB resident"
    steps = ", ".join(f"{size / _MIB:.0f}" for size in sizes[1:])  # the first one may compile and fill pools
    raise Failed(f"resident MiB, stretch by stretch: {steps}")


def _memory(candidate: Candidate) -> int:
    """Return the memory of the process and its children, in bytes."""
    process = psutil.Process(candidate.worker.pid)
    return sum(map(own_memory, (process, *process.children(recursive=True))))


@TIMING.claim(
    "stopped in the middle of a step and continued, the process finishes the step; its clock runs on meanwhile",
    "restart interrupted system calls (EINTR); a helper process must not end because its partner is silent; take "
    "seconds from a monotonic clock (CLOCK_MONOTONIC), not from one of CPU time (clock(), CLOCK_PROCESS_CPUTIME_ID)",
)
def _stopped(candidate: Candidate) -> str:
    model = candidate.load(candidate.exercise((24, 48, 24)))
    repeats = 1
    while model.time("gradient", 0, 20, repeats) < 2 * _STOPPED and model.call_wall_seconds < 1:
        repeats *= 2
    expected, left_out = model.checksum, math.inf
    for _ in range(_TRIES):
        left_out = min(left_out, _time_stopped(candidate, model, repeats))
        same = np.asarray([model.checksum]), np.asarray([expected])
        if not (same_bits(*same) if candidate.description.deterministic else close_to(*same)):
            raise Failed("it finished with another checksum")
        if left_out < _STOPPED / 2:
            return f"for {_STOPPED} s"
    raise Failed(f"its seconds leave out {left_out:.2g} s of a call in which it was stopped for {_STOPPED} s")


def _time_stopped(candidate: Candidate, model: ProcessModel, repeats: int) -> float:
    """Stop the process in the middle of timed passes; return the driver's seconds that it does not claim."""

    def stop() -> None:  # in one thread: a pause of the driver cannot bring the two signals together
        time.sleep(_STOPPED / 2)
        try:
            candidate.worker.signal_tree(signal.SIGSTOP)
            time.sleep(_STOPPED)
        finally:
            candidate.worker.signal_tree(signal.SIGCONT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        seconds = model.time("gradient", 0, 20, repeats)
    finally:
        stopper.join()
    if model.call_wall_seconds < _STOPPED:
        raise Skipped("the call ended before the process could be stopped")
    return model.call_wall_seconds - seconds
