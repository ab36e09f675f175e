"""Proof of a training that has been timed: replays of it in pieces, some of which the oracle judges.

A stretch of training is given by its entries of the order. A replay walks the stretch in pieces. Some pieces are
segments of 1 to 3 steps at secret places; one is at the stretch's end.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.measure.errors import ParityFailed, require
from bench.measure.networks import Noted
from bench.measure.session import Session
from pyfnn import parity
from pyfnn.validation import Array

SEGMENTS = 12
"""Segments proven in a launch, where time allows. A backend that is wrong in a share p of its steps escapes n of them
with a probability of at most (1 - p)^n: at p = 5 %, 59 segments find it in 95 % of runs, and 5 launches have 60."""

_LEAST_SEGMENTS = 2  # proven in a launch of any network, however long the oracle takes
_SEGMENT_SECONDS = 0.1  # after which no further segment is proven
_SPREADS = 10.0  # a timed θ may be this many times as far from a replay as two replays are from each other
_WIDEST_SPREAD = 0.05  # of two replays, as a share of θ's displacement, at which the timed work can still be judged


@dataclass(frozen=True, order=True)
class Stretch:
    """Entries [first, first + count) of the order, which training uses batch by batch."""

    first: int
    count: int


@dataclass(frozen=True)
class Proven:
    """Segments of a launch's timed work that were compared with the oracle, and the steps in them."""

    segments: int
    steps: int


class Segment(NamedTuple):
    """A piece of a replay, with what was noted before and after it."""

    piece: Stretch
    before: Noted
    after: Noted


def prove_stretch(
    session: Session, stretch: Stretch, batch: int, approach: Callable[[], object], start: Array | None, end: Array
) -> Proven:
    """Replay a stretch of training in pieces, and compare its end and its segments.

    The pieces together must end at the same θ, bit for bit. So a training that did other work than these segments is
    found, and so is one that did the same wrong work. A backend that is not repeatable is replayed twice, in pieces as
    short as those of the battery and as segments; of both kinds, some are segments. Its θ may differ from the replayed
    one by `_SPREADS` times as much as the two replays differ from each other.

    Parameters
    ----------
    session : Session
    stretch : Stretch
    batch : int
        Rows of a full minibatch.
    approach : callable
        Brings the process to the beginning of the stretch.
    start : ndarray or None
        θ there, if it was noted: the replay must come to the same one.
    end : ndarray
        θ at the end of the stretch as it was timed.

    Raises
    ------
    ParityFailed
        Naming the steps and the tensor, or the distance of the timed result from the replayed one.
    """
    if session.repeatable:
        segments = draw_segments(stretch, batch, session.secrets)
        approach()
        if start is not None and session.theta().tobytes() != start.tobytes():
            raise ParityFailed("the timed training, repeated in the same calls, ended at another θ")
        walked = _walk(session, cut(stretch, batch, segments), segments)
        if session.theta().tobytes() != end.tobytes():
            raise ParityFailed(
                "the timed training, replayed from the same θ over the same rows in several calls, ended at another θ"
            )
        return _prove_segments(session, stretch, batch, walked)
    ends, proven = [], []
    for longest in (session.networks.proof_steps, parity.LONGEST_SEGMENT):
        segments = draw_segments(stretch, batch, session.secrets, longest)
        approach()
        begun = session.theta()
        walked = _walk(session, cut(stretch, batch, segments, longest, session.secrets), segments)
        ends.append(session.theta())
        proven.append(_prove_segments(session, stretch, batch, walked))
    _check_spread(end, ends, begun, -(-stretch.count // batch))
    return Proven(sum(each.segments for each in proven), sum(each.steps for each in proven))


def draw_segments(
    stretch: Stretch, batch: int, secrets: random.Random, longest: int = parity.LONGEST_SEGMENT
) -> set[Stretch]:
    """Draw segments of whole steps, none of which overlap; one is at the end, where the last step may be short."""
    steps = -(-stretch.count // batch)
    last = secrets.randint(1, min(longest, steps))
    drawn, taken = {_steps(stretch, batch, steps - last, last)}, set(range(steps - last, steps))
    for _ in range(SEGMENTS - 1):
        length = secrets.randint(1, longest)
        first = secrets.randint(0, max(0, steps - length))
        span = range(first, first + length)
        if first + length <= steps and taken.isdisjoint(span):
            drawn.add(_steps(stretch, batch, first, length))
            taken.update(span)
    return drawn


def _steps(stretch: Stretch, batch: int, first: int, steps: int) -> Stretch:
    """Return the entries of `steps` steps of a stretch, after its first `first`."""
    begin = first * batch
    return Stretch(stretch.first + begin, min(steps * batch, stretch.count - begin))


def cut(
    stretch: Stretch,
    batch: int,
    segments: set[Stretch],
    longest: int | None = None,
    secrets: random.Random | None = None,
) -> list[Stretch]:
    """Cut a stretch into its segments and the pieces between them, these of at most `longest` steps."""
    pieces, at = list[Stretch](), stretch.first
    for segment in [*sorted(segments), Stretch(stretch.first + stretch.count, 0)]:
        while at < segment.first:
            piece = segment.first - at
            if longest is not None and secrets is not None:
                piece = min(piece, batch * secrets.randint(max(1, longest // 2), longest))
            pieces.append(Stretch(at, piece))
            at += piece
        if segment.count:
            pieces.append(segment)
            at += segment.count
    return pieces


def _walk(session: Session, pieces: list[Stretch], segments: set[Stretch]) -> list[Segment]:
    """Train piece by piece, and note θ and the optimizer's state around those that are segments."""
    noted = []
    for piece in pieces:
        before = session.networks.noted() if piece in segments else None
        session.networks.train_part(piece.first, piece.count)
        if before is not None:
            noted.append(Segment(piece, before, session.networks.noted()))
    return noted


def _prove_segments(session: Session, stretch: Stretch, batch: int, walked: list[Segment]) -> Proven:
    """Compare segments with the oracle: the last one, and others in random order while there is time."""
    *others, last = walked
    session.secrets.shuffle(others)
    checks, segments, steps, begin = list[parity.Check](), 0, 0, time.perf_counter()
    for piece, before, after in [last, *others]:
        if segments >= _LEAST_SEGMENTS and time.perf_counter() - begin > _SEGMENT_SECONDS:
            break
        step, length = (piece.first - stretch.first) // batch + 1, -(-piece.count // batch)
        where = f"step {step}" if length == 1 else f"steps {step} to {step + length - 1}"
        of = f"{where} of {-(-stretch.count // batch)}"
        found = session.networks.segment_checks(of, before, after, piece.first, piece.count, session.secrets)
        checks += found
        segments, steps = segments + bool(found), steps + length * bool(found)
    if checks:  # none where every segment is long and rounding errors grow in it
        require(parity.Evidence(tuple(checks)))
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
            f"two replays of the timed training differ by {np.max(spread):.3g}, where θ moved by {np.max(moved):.3g}: "
            f"the training cannot be proven"
        )
    off = np.minimum(distance(timed, ends[0]), distance(timed, ends[1]))
    if not (off <= _SPREADS * np.maximum(spread, rounding)).all():
        raise ParityFailed(
            f"the timed training ended {np.max(off):.3g} from its replay in short calls; two such replays differ by "
            f"{np.max(spread):.3g}"
        )
