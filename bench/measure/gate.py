"""The gate: no backend is timed before the very process that would be timed has passed the parity battery."""

from functools import lru_cache

import numpy as np

from bench.measure.errors import ParityFailed
from bench.measure.session import Block, Session
from bench.suites.problem import Problem
from pyfnn import parity

_ADDED_UP = 1e-9  # of a checksum's size: what the order of its additions may change
_BLURRED = 0.1  # of the displacement, or of a checksum's size: what nondeterminism is granted in a replay


@lru_cache(maxsize=1)  # dear for large networks; cases of one workload and dtype share a problem and are neighbours
def trials(problem: Problem, batch: int) -> list[parity.Trial]:
    """The battery for a workload, shared by its backends and its cases."""
    return parity.battery(problem.network, problem.theta, problem.x, problem.y, batch)


@lru_cache(maxsize=1)
def many_trials(problem: Problem, batch: int) -> list[parity.ManyTrial]:
    """What comes on top for many networks at once; nothing for a single one."""
    own = problem.members
    if own is None:
        return []
    return parity.many_battery(problem.network, own.thetas, own.l2, problem.x, problem.y, batch)


def prove(seat: Session, battery: list[parity.Trial], many: list[parity.ManyTrial] | None = None) -> parity.Evidence:
    """Put a process through the battery; and then through that for many networks at once, if there is one.

    Raises
    ------
    ParityFailed
        Naming the tensor, the error and what would have been allowed.
    """
    deterministic = seat.worker.description.deterministic
    evidence = parity.examine(seat.make, battery, deterministic=deterministic)
    if many and evidence.passed:
        more = parity.examine_many(seat.make_many, many, deterministic=deterministic)
        evidence = parity.Evidence(evidence.checks + more.checks)
    if not evidence.passed:
        failed = f"{len(evidence.failures)} of {len(evidence.checks)} checks failed"
        raise ParityFailed(f"{evidence.worst}; {failed}", evidence)
    return evidence


def replay(seat: Session, burst: int, block: Block) -> None:
    """What was timed is what was proven: the steps of a timed block again, untimed, cut into other pieces.

    The first piece is as long as a walk of the battery, and no piece as long as the block: who does less in a long call
    than in short ones ends elsewhere. Training must end at the same θ, bit for bit; timed passes must have the same
    checksum, but for the order of its additions. A backend that declares itself nondeterministic is held to
    `_BLURRED` alone, and so is one whose θ is rounded between calls. Call right after the block.

    Raises
    ------
    ParityFailed
    """
    timed = seat.theta()
    seat.reset()
    start = seat.theta()
    seat.run(burst)
    again, done = 0.0, 0
    walk = parity.STEPS if seat.single else parity.MANY_STEPS
    for steps in _pieces(block.steps, walk):
        again += seat.run(steps, skip=done).checksum
        done += steps
    if seat.trains:
        end = seat.theta()
        strayed, moved = (np.linalg.norm(far.astype(np.float64), axis=-1) for far in (end - timed, timed - start))
        same = end.tobytes() == timed.tobytes() if seat.repeatable else (strayed <= _BLURRED * moved).all()
        if not same:
            raise ParityFailed(
                "the timed training, replayed from the same θ over the same rows in several calls, ended at another θ"
            )
    else:
        scale = block.steps * max(1.0, abs(block.checksum / block.steps), abs(again / block.steps))
        if not abs(again - block.checksum) <= (_ADDED_UP if seat.repeatable else _BLURRED) * scale:
            raise ParityFailed(
                f"the timed passes, made again in several calls, have checksum {again:.9g}: it was {block.checksum:.9g}"
            )


def _pieces(steps: int, walk: int) -> list[int]:
    """A cut of that many steps: first a walk's length, then a third of the rest, then what is left."""
    first = max(1, min(walk, steps - 1))
    second = (steps - first) // 3
    return [piece for piece in (first, second, steps - first - second) if piece]
