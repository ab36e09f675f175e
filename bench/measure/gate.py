"""The gate: no backend is timed before the process that will be timed has passed the parity battery."""

import math
import random
import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.measure.errors import ParityFailed
from bench.measure.networks import networks_of
from bench.measure.session import Block, Session
from bench.suites.problem import Problem
from pyfnn import parity
from pyfnn.process.model import ProcessModel
from pyfnn.validation import Array

SEGMENTS = 12
"""Segments proven in a launch, where time allows. A backend that is wrong in a share p of its steps escapes n of them
with a probability of at most (1 - p)^n: at p = 5 %, 59 segments find it in 95 % of runs, and 5 launches have 60."""

_LEAST_SEGMENTS = 2  # proven in a launch of any network, however long the oracle takes
_SEGMENT_SECONDS = 0.1  # after which no further segment is proven
_SPREADS = 10.0  # a timed θ may be this many times as far from a replay as two replays are from each other
_WIDEST_SPREAD = 0.05  # of two replays, as a share of θ's displacement, at which the timed work can still be judged


@dataclass(frozen=True, eq=False)
class Battery:
    """The trials of a workload: those of single networks and, where the workload has many at once, those of ensembles.

    Its backends and its cases share them, and the oracle's results over all its rows.
    """

    trials: list[parity.Trial]
    ensembles: list[parity.ManyTrial]
    workload: parity.Workload


@lru_cache(maxsize=1)  # expensive for large networks; cases that share a problem follow each other
def battery(problem: Problem, batch: int) -> Battery:
    """Return the battery of a workload."""
    trials = parity.battery(problem.network, problem.theta, problem.x, problem.y, batch)
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
    _require(evidence)
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
        _require(parity.examine_workload(model, battery.workload))


def _require(evidence: parity.Evidence) -> None:
    if not evidence.passed:
        failed = f"{len(evidence.failures)} of {len(evidence.checks)} checks failed"
        raise ParityFailed(f"{evidence.worst}; {failed}", evidence)


@dataclass(frozen=True)
class Proven:
    """What was proven of a launch's timed work: segments compared with the oracle, and the steps in them."""

    segments: int
    steps: int


def replay(session: Session, block: Block) -> Proven:
    """Prove the work of a timed block. Call right after the block.

    The process repeats the block, untimed, from the same θ over the same rows, in pieces. Some pieces are segments of 1
    to 3 steps at secret places, one of them at the block's end: each must agree with the oracle, started from the θ
    before it. The pieces together must end where the timed block ended, bit for bit. So a timed block that does other
    work than these segments is found, and so is one that does the same wrong work.

    A backend that is not repeatable is replayed twice, in pieces as short as those of the battery. The timed θ may
    differ from the replayed one by `_SPREADS` times as much as the two replays differ from each other.

    Raises
    ------
    ParityFailed
        Naming the steps and the tensor, or the distance of the timed result from the replayed one.
    """
    if not session.trains:
        return _replay_passes(session, block)
    timed = session.theta()
    segments = _draw_segments(block.steps, session.secrets)
    if session.repeatable:
        pieces = _pieces(block.steps, segments)
        chain = _walk(session, block, pieces, segments)
        if session.theta().tobytes() != timed.tobytes():
            raise ParityFailed(
                "the timed training, replayed from the same θ over the same rows in several calls, ended at another θ"
            )
    else:
        ends = []
        for _ in range(2):
            cut = session.networks.proof_steps
            chain = _walk(session, block, _pieces(block.steps, segments, cut, session.secrets), segments)
            ends.append(session.theta())
        _check_spread(timed, ends, chain.start, block.steps)
    return _prove_segments(session, block, chain)


@dataclass(frozen=True, eq=False)
class _Chain:
    """θ where a replay started, and before and after each of its segments, which are (first step, steps)."""

    start: Array
    segments: list[tuple[tuple[int, int], Array, Array]]


def _walk(session: Session, block: Block, pieces: list[tuple[int, int]], segments: set[tuple[int, int]]) -> _Chain:
    """Repeat a block in pieces, and note θ around those that are segments."""
    session.approach(block.start, block.burst, block.steps)
    start, noted = session.theta(), []
    for first, steps in pieces:
        chosen = (first, steps) in segments
        before = session.theta() if chosen else start
        session.run(steps, block.start + first)
        if chosen:
            noted.append(((first, steps), before, session.theta()))
    return _Chain(start, noted)


def _draw_segments(steps: int, secrets: random.Random) -> set[tuple[int, int]]:
    """Draw segments of a block, (first step, steps), none of which overlap; one is at the end."""
    longest = parity.LONGEST_SEGMENT
    last = secrets.randint(1, min(longest, steps))
    drawn, taken = {(steps - last, last)}, set(range(steps - last, steps))
    for _ in range(SEGMENTS - 1):
        length = secrets.randint(1, longest)
        first = secrets.randint(0, max(0, steps - length))
        span = range(first, first + length)
        if first + length <= steps and taken.isdisjoint(span):
            drawn.add((first, length))
            taken.update(span)
    return drawn


def _pieces(
    steps: int, segments: set[tuple[int, int]], longest: int | None = None, secrets: random.Random | None = None
) -> list[tuple[int, int]]:
    """Cut a block into pieces, (first step, steps): the segments, and pieces of at most `longest` steps between."""
    pieces, done = list[tuple[int, int]](), 0
    for first, length in [*sorted(segments), (steps, 0)]:
        while done < first:
            piece = first - done
            if longest is not None and secrets is not None:
                piece = min(piece, secrets.randint(max(1, longest // 2), longest))
            pieces.append((done, piece))
            done += piece
        if length:
            pieces.append((first, length))
            done += length
    return pieces


def _prove_segments(session: Session, block: Block, chain: _Chain) -> Proven:
    """Compare segments with the oracle: the last one, and others in random order while there is time."""
    *others, last = chain.segments
    session.secrets.shuffle(others)
    checks, segments, steps, begin = list[parity.Check](), 0, 0, time.perf_counter()
    for (first, length), before, after in [last, *others]:
        if segments >= _LEAST_SEGMENTS and time.perf_counter() - begin > _SEGMENT_SECONDS:
            break
        where = f"step {first + 1}" if length == 1 else f"steps {first + 1} to {first + length}"
        checks += session.networks.segment_checks(
            f"{where} of {block.steps}", before, after, block.start + first, length, session.secrets
        )
        segments, steps = segments + 1, steps + length
    _require(parity.Evidence(tuple(checks)))
    return Proven(segments, steps)


def _check_spread(timed: Array, ends: list[Array], start: Array, steps: int) -> None:
    """Require that the timed θ lies as close to a replay as another replay does, within a factor."""

    def distance(one: Array, other: Array) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(one.astype(np.float64) - other, axis=-1))

    u = float(np.finfo(timed.dtype).eps) / 2
    rounding = u * math.sqrt(steps) * np.linalg.norm(timed.astype(np.float64), axis=-1)
    spread, moved = distance(*ends), distance(timed, start)
    if not (spread <= _WIDEST_SPREAD * moved + rounding).all():
        raise ParityFailed(
            f"two replays of the timed training differ by {np.max(spread / moved):.3g} of the way that θ moved: the "
            f"training cannot be proven"
        )
    off = np.minimum(distance(timed, ends[0]), distance(timed, ends[1]))
    allowed = _SPREADS * np.maximum(spread, rounding)
    if not (off <= allowed).all():
        raise ParityFailed(
            f"the timed training ended {np.max(off):.3g} from its replay in short calls; two such replays differ by "
            f"{np.max(spread):.3g}"
        )


def _replay_passes(session: Session, block: Block) -> Proven:
    """Make the passes of a block again, in two calls, and compare the checksums; then prove passes at secret places."""
    session.approach(block.start, block.burst, block.steps)
    cut = session.secrets.randint(0, block.steps - 1)
    parts = [(0, cut), (cut, block.steps - cut)] if cut else [(0, block.steps)]
    again = sum(session.run(steps, block.start + first).checksum for first, steps in parts)
    checks, passes, begin = list[parity.Check](), 0, time.perf_counter()
    while len(checks) < SEGMENTS and (len(checks) < _LEAST_SEGMENTS or time.perf_counter() - begin < _SEGMENT_SECONDS):
        made = session.secrets.randint(1, parity.LONGEST_SEGMENT)
        checks.append(session.networks.checked_passes(f"{made} passes", made, session.secrets))
        passes += made
    _require(parity.Evidence(tuple(checks)))
    allowed = block.steps * max(check.bound for check in checks)  # each check is of one pass or more
    if not abs(again - block.checksum) <= allowed:
        raise ParityFailed(
            f"the timed passes, made again in several calls, have checksum {again:.9g}: it was {block.checksum:.9g}"
        )
    return Proven(len(checks), passes)
