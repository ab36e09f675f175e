"""The gate: what is proven of a process before it is timed, and of its work after it was timed.

Before: the parity battery, and the whole loaded workload. After: the timed block itself, by repeating it in pieces.
"""

import math
import time
from dataclasses import dataclass
from functools import lru_cache, partial

from bench.measure.block import Block
from bench.measure.chain import SEGMENTS, Proven, Stretch, prove_stretch
from bench.measure.errors import ParityFailed, require
from bench.measure.networks import networks_of
from bench.measure.session import Session
from bench.suites.problem import Problem
from pyfnn import parity
from pyfnn.optimizers import DESCENT, Named
from pyfnn.process.model import ProcessModel

_CALLS = 150  # about so many make the passes of a block again
_REORDERED = 1e-12  # relative rounding by the order in which a checksum is added up in double
_PASS_SECONDS = 0.1  # after which no further passes are proven


@dataclass(frozen=True, eq=False)
class Battery:
    """The trials of a workload: those of single networks and, where the workload has many at once, those of ensembles.

    Its backends and its cases share them, and the oracle's results over all its rows.
    """

    trials: list[parity.Trial]
    ensembles: list[parity.ManyTrial]
    workload: parity.Workload


@lru_cache(maxsize=1)  # expensive for large networks; cases that share a problem follow each other
def battery(problem: Problem, batch: int, optimizer: Named = DESCENT) -> Battery:
    """Return the battery of a workload that is trained by an optimizer."""
    trials = parity.battery(problem.network, problem.theta, problem.x, problem.y, batch, optimizer=optimizer)
    workload = parity.whole_workload(problem.network, problem.theta, problem.x, problem.y)
    return Battery(trials, networks_of(problem).ensemble_trials(problem, batch), workload)


def prove(session: Session, battery: Battery) -> parity.Evidence:
    """Examine a process with the battery: trials of single networks first, then those of ensembles.

    The networks that the session had loaded are replaced.

    Raises
    ------
    ParityFailed
        Naming the tensor, its error and the allowed error.
    """
    deterministic = session.worker.description.deterministic
    evidence = parity.examine(session.networks.make, battery.trials, deterministic=deterministic)
    if battery.ensembles and evidence.passed:
        more = parity.examine_many(session.networks.make_many, battery.ensembles, deterministic=deterministic)
        evidence = parity.Evidence(evidence.checks + more.checks)
    require(evidence)
    return evidence


def prove_workload(session: Session, battery: Battery) -> None:
    """Compare outputs and loss of the loaded workload, all rows, with the oracle's. Many networks at once report none.

    Raises
    ------
    ParityFailed
        Naming the row, its error and the allowed error.
    """
    model = session.model
    if isinstance(model, ProcessModel):
        require(parity.examine_workload(model, battery.workload))


def replay(session: Session, block: Block) -> Proven:
    """Prove the work of a timed block, by repeating it, untimed, in pieces. Call right after the block.

    Raises
    ------
    ParityFailed
        Naming the steps and the tensor, or the distance of the timed result from the replayed one.
    """
    if not session.trains:
        return _replay_passes(session, block)
    batch, end = session.batch, session.theta()
    stretch = Stretch(block.place.start * batch, block.steps * batch)
    return prove_stretch(session, stretch, batch, partial(session.approach, block.place), None, end)


def _replay_passes(session: Session, block: Block) -> Proven:
    """Make the passes of a block again, in calls of very different lengths, and prove passes at secret places.

    The proven calls are short. A backend that computes less in longer ones has another sum over these calls than over
    the block, since many of them are short as well.
    """
    session.approach(block.place)
    again, done = 0.0, 0
    while done < block.steps:
        steps = min(block.steps - done, round(math.exp(session.secrets.uniform(0.0, math.log(_longest(block.steps))))))
        again += session.networks.run(steps, block.place.start + done).checksum
        done += steps
    checks, passes, begin = list[parity.Check](), 0, time.perf_counter()
    while len(checks) < SEGMENTS and (not checks or time.perf_counter() - begin < _PASS_SECONDS):
        made = session.secrets.randint(1, parity.LONGEST_SEGMENT)
        checks.append(session.networks.checked_passes(f"{made} passes", made, session.secrets))
        passes += made
    require(parity.Evidence(tuple(checks)))
    allowed = block.steps * max(check.bound for check in checks)  # each check is of one pass or more
    if session.repeatable:  # the passes have the same bits
        allowed *= _REORDERED / session.unit_roundoff
    if not abs(again - block.checksum) <= allowed:
        raise ParityFailed(
            f"the timed passes, made again in several calls, have checksum {again:.9g}: it was {block.checksum:.9g}"
        )
    return Proven(len(checks), passes)


def _longest(steps: int) -> float:
    """Return the longest of calls whose lengths have uniform logarithms, so that some `_CALLS` of them make a block."""
    mean, longest = max(1.0, steps / _CALLS), 2.0
    while longest / math.log(longest) < mean:
        longest *= 1.2
    return longest
