"""Claims about when the work is done: before the reply, and in every call anew."""

import math
import time
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from bench.check.kit import Candidate, Failed, Topic
from bench.check.timing import BATCH, ROWS, medium_session
from bench.measure.session import Session
from bench.terms import CaseOperation
from pyfnn.model import Operation
from pyfnn.process.model import ProcessModel
from pyfnn.process.protocol import optional_seconds_field, seconds_field
from pyfnn.process.tree import waited

PROMPTNESS = Topic("promptness", "A program")

_CONSTANTS = 12  # calls of one step: on a busy machine, few of them are undisturbed
_CALLS = 20  # short calls in each try
_TRIES = 6  # a claim fails if every try shows the fault: a busy machine shows some of them now and then
_RATE = 1e-3
_BLOCK = 0.1  # seconds, at least, from a command to the reply to the query after it
_SHORTEST = 3  # calls of which the shortest counts while the length of a block is sought
_MOST_STEPS = 1 << 14
_LATE, _LEAST_LATE = 0.05, 1.5e-3  # share of the block, and seconds, that the query after it may take longer
_UNCLAIMED_CPU, _UNCLAIMED = 0.04, 0.07  # shares of a block that may lie outside the clock; wall time has more noise
_PAUSE, _IDLE = 0.12, 0.3  # seconds without a command, and the share of them that a process may compute
_REPEATS, _FASTER = 4, 1.25  # pairs of calls, and how much faster a call may be that the process has seen before
_FEW_PASSES = 40  # passes over fewer rows than there are
_CHEAPER = 1.5  # how much faster a pass may be in a long call
_SYNCHRONIZE = (
    "the call returned before its work was done: wait for the device, the threads or the lazy values "
    "(synchronize, join, block until ready) before the clock stops, then reply"
)

_LENGTHS: WeakKeyDictionary[Session, int] = WeakKeyDictionary()  # steps of a block


@dataclass(frozen=True)
class _Clocks:
    """Clocks of a call and of the query for θ after it.

    Attributes
    ----------
    seconds : float
        Claimed by the process.
    wall, cpu : float
        Of the call, by the driver; CPU time of the process.
    late, late_cpu : float
        Of the query after it, beyond those of a second query.
    claimed_cpu : float or None
        CPU time that the process reports; None where it does not.
    """

    seconds: float
    wall: float
    cpu: float
    late: float
    late_cpu: float
    claimed_cpu: float | None

    @property
    def until_result(self) -> float:
        """Seconds from the command until θ was there."""
        return self.wall + max(0.0, self.late)

    @property
    def unclaimed(self) -> float:
        """Seconds outside the process's own clock."""
        return self.until_result - self.seconds

    @property
    def unclaimed_cpu(self) -> float:
        """CPU seconds beyond those that the process reports, or that one thread can use within the claimed seconds."""
        return self.cpu + max(0.0, self.late_cpu) - (self.seconds if self.claimed_cpu is None else self.claimed_cpu)


def _call(
    session: Session, operation: CaseOperation, steps: int, skip: int = 0
) -> tuple[float, float, float, float | None]:
    """Run steps from the initial θ; return claimed seconds, the driver's wall and CPU seconds, the claimed CPU time.

    `Model.train` would ask for θ at once, so `train` is sent directly.
    """
    session.reset()
    worker = session.worker
    if operation == "train":
        reply = worker.call("train", skip * BATCH, steps * BATCH, BATCH, repr(_RATE), accounts=True)
        claimed_cpu = optional_seconds_field(reply, "cpu_seconds")
        return seconds_field(reply), worker.wall_seconds, worker.cpu_seconds, claimed_cpu
    block = session.run(steps, skip)
    return block.seconds, block.wall_seconds, block.cpu_seconds, block.claimed_cpu_seconds


def _clocks(session: Session, operation: CaseOperation, steps: int, skip: int = 0) -> _Clocks:
    seconds, wall, cpu, claimed_cpu = _call(session, operation, steps, skip)
    worker = session.worker
    worker.call("theta", accounts=True)
    first = worker.wall_seconds, worker.cpu_seconds
    worker.call("theta", accounts=True)
    late, late_cpu = first[0] - worker.wall_seconds, first[1] - worker.cpu_seconds
    return _Clocks(seconds, wall, cpu, late, late_cpu, claimed_cpu)


def _shortest(session: Session, operation: CaseOperation, steps: int) -> float:
    """Return the least seconds until the result of a few calls, none like another; the first ones may compile."""
    return min(_clocks(session, operation, steps, skip).until_result for skip in range(_SHORTEST))


def _session(candidate: Candidate, operation: CaseOperation) -> tuple[Session, int]:
    """Return a loaded session, and the number of steps of which the result is there after `_BLOCK` or later."""
    session = medium_session(candidate, operation)
    if session not in _LENGTHS:
        steps = 4
        while (seconds := _shortest(session, operation, steps)) < _BLOCK and steps < _MOST_STEPS:
            steps *= 2 if seconds > _BLOCK / 4 else 4
        _LENGTHS[session] = steps
    return session, _LENGTHS[session]


def _late(operation: CaseOperation, candidate: Candidate) -> str:
    session, steps = _session(candidate, operation)
    tries = []
    for _ in range(_TRIES):
        tries.append(_clocks(session, operation, steps))
        late = tries[-1].late
        if late < max(_LEAST_LATE, _LATE * tries[-1].until_result):
            return f"theta comes {max(0.0, late) * 1e3:.2f} ms later right after it"
    least = min(tries, key=lambda clocks: clocks.late / clocks.until_result)
    raise Failed(
        f"the reply came after {least.wall * 1e3:.1f} ms; theta then took {least.late * 1e3:.1f} ms longer than a "
        "moment later"
    )


def _clocked(operation: CaseOperation, candidate: Candidate) -> str:
    session, steps = _session(candidate, operation)
    least = [_clocks(session, operation, 1) for _ in range(_CONSTANTS)]  # what is constant, such as reading the command
    constant = max(0.0, min(each.unclaimed for each in least))
    constant_cpu = max(0.0, min(each.unclaimed_cpu for each in least))
    wall = cpu = total = math.inf
    for _ in range(_TRIES):
        each = _clocks(session, operation, steps)
        wall = min(wall, (each.unclaimed - constant) / each.until_result)
        cpu = min(cpu, (each.unclaimed_cpu - constant_cpu) / each.until_result)
        total = min(total, each.until_result)
        if cpu <= _UNCLAIMED_CPU and wall <= _UNCLAIMED:
            return f"all but {max(0.0, wall):.1%} of {total * 1e3:.0f} ms"
    raise Failed(
        f"its seconds leave out {max(wall, cpu):.0%} of the {total * 1e3:.0f} ms until theta is there, "
        f"{max(0.0, cpu):.0%} of them CPU time"
    )


def _idle(operation: CaseOperation, candidate: Candidate) -> str:
    session, steps = _session(candidate, operation)
    shares = []
    for _ in range(_TRIES):
        _call(session, operation, steps)
        shares.append(_busy_share(session))
        if shares[-1] < _IDLE:
            return f"busy for {shares[-1]:.0%} of {_PAUSE} s"
    raise Failed(f"it was busy for {min(shares):.0%} of the {_PAUSE} s after the reply", "no work between commands")


def _again(operation: CaseOperation, candidate: Candidate) -> str:
    session, steps = _session(candidate, operation)
    new = old = new_cpu = old_cpu = math.inf
    for repeat in range(_REPEATS):
        clocks = _clocks(session, operation, steps, skip=repeat + _SHORTEST)
        new, new_cpu = min(new, clocks.until_result), min(new_cpu, clocks.cpu + max(0.0, clocks.late_cpu))
        clocks = _clocks(session, operation, steps)
        old, old_cpu = min(old, clocks.until_result), min(old_cpu, clocks.cpu + max(0.0, clocks.late_cpu))
        worked = candidate.row.device == "cpu" and new_cpu <= _FASTER * old_cpu  # on a busy machine, too
        if repeat > 0 and (new <= _FASTER * old or worked):
            return f"{old / new:.2f} times"
    raise Failed(f"{new * 1e3:.1f} ms for a new call, {old * 1e3:.1f} ms for one that was made before")


def _claims_about(operation: CaseOperation) -> None:
    command = "train" if operation == "train" else f"time {operation}"
    claims = (
        (f"the reply to {command} comes after the work, not before", _SYNCHRONIZE, _late),
        (f"all of the work of {command} is done while its clock runs", _SYNCHRONIZE, _clocked),
        (f"the process is idle after the reply to {command}", _SYNCHRONIZE, _idle),
        (
            f"a call of {command} that comes again takes as long as a new one",
            "compute in every call: keep no result of an earlier call",
            _again,
        ),
    )
    for text, fix, attempt in claims:
        PROMPTNESS.claim(text, fix)(partial(attempt, operation))


def _busy_share(session: Session) -> float:
    """Pause; return the share of it for which threads that still live ran, or waited for a CPU."""
    tree, start = session.worker.tree, time.perf_counter()
    cpu, delays = tree.cpu_seconds(), tree.run_delays()
    time.sleep(_PAUSE)
    used = tree.cpu_seconds() - cpu + waited(delays, tree.run_delays())
    return used / (time.perf_counter() - start)


_claims_about("train")
_claims_about("forward")
_claims_about("gradient")


def _claim_about_passes(operation: Operation) -> None:
    @PROMPTNESS.claim(
        f"a pass of time {operation} takes as long in a long call as in a short one",
        "compute each repeat on its own rows: no table of all rows, and no result of an earlier repeat",
    )
    def attempt(candidate: Candidate) -> str:
        session, steps = _session(candidate, operation)
        few = min(_FEW_PASSES, max(1, steps // 4))
        for number in range(_TRIES):  # each times long and short calls: the machine may change its speed in between
            long = min(_per_step(session, steps) for _ in range(2))
            new = range(_CALLS * number, _CALLS * (number + 1))
            short = min(_after_a_step(session, operation, few, at) for at in new)
            if short <= _CHEAPER * long:
                break
        else:
            raise Failed(
                f"{short * 1e6:.3g} µs a pass in calls of {few}, {long * 1e6:.3g} µs in calls of {steps} passes over "
                f"{ROWS} rows"
            )
        return f"{long / short:.2f} times"

    del attempt


def _per_step(session: Session, steps: int) -> float:
    session.reset()
    return session.run(steps).seconds / steps


def _after_a_step(session: Session, operation: Operation, passes: int, at: int) -> float:
    """Return the seconds of a pass in a short call, with a θ that no earlier call has seen."""
    model = session.model
    assert isinstance(model, ProcessModel)
    model.reset()
    model.train(BATCH * at, BATCH, BATCH, _RATE)
    return model.time(operation, BATCH * (at % (ROWS // BATCH)), BATCH, passes) / passes


_claim_about_passes("forward")
_claim_about_passes("gradient")
