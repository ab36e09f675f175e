"""The gate: no backend is timed before the process that will be timed has passed the parity battery."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bench.measure.errors import ParityFailed
from bench.measure.networks import networks_of
from bench.measure.session import Block, Session
from bench.suites.problem import Problem
from pyfnn import parity

_REORDERED = 1e-9  # relative change of a checksum that the order of its additions may cause
_NONDETERMINISTIC = 0.1  # tolerance of a nondeterministic replay: share of the displacement or of the checksum


@dataclass(frozen=True, eq=False)
class Battery:
    """The trials of a workload: those of single networks and, where the workload has many at once, those of ensembles.

    Its backends and its cases share them.
    """

    trials: list[parity.Trial]
    ensembles: list[parity.ManyTrial]


@lru_cache(maxsize=1)  # expensive for large networks; cases that share a problem follow each other
def battery(problem: Problem, batch: int) -> Battery:
    """Return the battery of a workload."""
    trials = parity.battery(problem.network, problem.theta, problem.x, problem.y, batch)
    return Battery(trials, networks_of(problem).ensemble_trials(problem, batch))


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
    if not evidence.passed:
        failed = f"{len(evidence.failures)} of {len(evidence.checks)} checks failed"
        raise ParityFailed(f"{evidence.worst}; {failed}", evidence)
    return evidence


def replay(session: Session, burst: int, block: Block) -> None:
    """Run the steps of a timed block again, untimed and cut into other pieces, and compare the results.

    The first piece is as long as a trajectory of the battery, and every piece is shorter than the block, so that a
    backend that does less work in a long call than in short ones is found. Training must end at the same θ bit for bit.
    Timed passes must end at the same checksum, except for rounding by the order of its additions. A nondeterministic
    backend, and one whose θ is rounded between calls, may differ by `_NONDETERMINISTIC`. Call right after the block.

    Raises
    ------
    ParityFailed
    """
    timed = session.theta()
    session.reset()
    start = session.theta()
    session.run(burst)
    again, done = 0.0, 0
    for steps in _pieces(block.steps, session.networks.proof_steps):
        again += session.run(steps, skip=done).checksum
        done += steps
    if session.trains:
        end = session.theta()
        deviation, moved = (np.linalg.norm(d.astype(np.float64), axis=-1) for d in (end - timed, timed - start))
        exact = end.tobytes() == timed.tobytes()
        if not (exact if session.repeatable else (deviation <= _NONDETERMINISTIC * moved).all()):
            raise ParityFailed(
                "the timed training, replayed from the same θ over the same rows in several calls, ended at another θ"
            )
    else:
        scale = block.steps * max(1.0, abs(block.checksum / block.steps), abs(again / block.steps))
        if not abs(again - block.checksum) <= (_REORDERED if session.repeatable else _NONDETERMINISTIC) * scale:
            raise ParityFailed(
                f"the timed passes, made again in several calls, have checksum {again:.9g}: it was {block.checksum:.9g}"
            )


def _pieces(steps: int, first: int) -> list[int]:
    """Cut a number of steps into pieces: the first one, a third of the rest, and the remainder."""
    first = max(1, min(first, steps - 1))
    second = (steps - first) // 3
    return [piece for piece in (first, second, steps - first - second) if piece]
