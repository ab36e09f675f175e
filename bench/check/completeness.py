"""Claims about the whole work: all rows are read, all steps are made, also late in training and in long calls."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.check.kit import Candidate, Exercise, Failed, Topic, exercise, same_bits
from pyfnn import losses, oracle
from pyfnn.network import DTYPES, Network
from pyfnn.parity import Check
from pyfnn.parity.rounding import UNIT_ROUNDOFF
from pyfnn.parity.segments import LONGEST_SEGMENT, segment_checks
from pyfnn.parity.workload import Workload, examine_workload, whole_workload
from pyfnn.process.model import ProcessModel
from pyfnn.validation import Array

COMPLETENESS = Topic("completeness", "A program")

_MANY = 70_001  # rows: above 2¹⁶, and each file above 64 KiB
_BATCH = 4
_PLACES = (0, 65_534, 66_000, _MANY - 7)  # entries of order at which steps are judged
_ROWS, _STEPS = 300, 320
_WHOLE = (_ROWS // _BATCH, 2 * _ROWS // _BATCH, _STEPS)  # steps of single calls: one epoch, two epochs, all
_RATE, _L2 = 0.02, 1e-4
_JUDGED = 14  # short pieces of the training that the oracle judges
_NOISE = 1e-3  # of the targets of easy rows, whose loss is tiny
_OWN_SPREAD = 8.0  # times the spread of a program that is not deterministic


# All rows -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _large(network: Network) -> tuple[Exercise, Workload]:
    """Return an exercise with many rows, each once in `order`, and the oracle's results over all of them."""
    rows = _MANY if network.sizes[0] < 10 else 40
    task = exercise(network, rows)
    task = replace(task, order=np.random.default_rng(1).permutation(rows))
    return task, whole_workload(network, task.theta, task.x, task.y)


@COMPLETENESS.claim(
    "every row of x.bin and y.bin is read as it is, and all of theta.bin, also in files above 64 KiB",
    "read each file to its end, in a loop if a read may return less; keep the values in the network's dtype",
)
def _all_rows(candidate: Candidate) -> str:
    worst = 0.0
    for dtype in DTYPES:
        for sizes in ((2, 3, 2), (130, 130, 2)):
            task, workload = _large(candidate.network(sizes, dtype))
            evidence = examine_workload(candidate.load(task), workload)
            if not evidence.passed:
                raise Failed(f"{dtype}, {len(task.x)} rows of {'-'.join(map(str, sizes))}: {evidence.worst}")
            worst = max(worst, evidence.worst.share)
    return f"{_MANY} rows, the worst at {worst:.0%} of its bound"


@COMPLETENESS.claim(
    "every entry of order names a row of its own, also beyond the first 2¹⁶ rows and entries",
    "read all of order.bin; keep row numbers in 64 bits, and index order by FIRST",
)
def _all_entries(candidate: Candidate) -> str:
    steps = 0
    for dtype in DTYPES:
        task, _ = _large(candidate.network((2, 3, 2), dtype))
        model = candidate.load(task)
        for first in _PLACES:
            count = min(2 * _BATCH + 1, len(task.order) - first)
            before = model.theta()
            model.train(first, count, _BATCH, _RATE)
            _judge(task, before, model.theta(), first, count, f"{dtype}, train {first} {count} {_BATCH} {_RATE}")
            steps += -(-count // _BATCH)
    return f"{steps} steps"


def _judge(task: Exercise, before: Array, after: Array, first: int, count: int, what: str) -> None:
    """Raise `Failed` unless θ has moved as the oracle moves it from the same θ over the same entries of order."""
    rows = task.order[first : first + count]
    where = f"steps from entry {first}"
    checks = segment_checks(where, task.network, before, after, task.x, task.y, rows, _BATCH, _RATE)
    failed: list[Check] = [check for check in checks if not check.passed]
    if failed:
        raise Failed(f"{what}: {failed[0]}")


# All steps ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _easy(network: Network) -> Exercise:
    """Return an exercise in which half of the rows have a tiny loss, where the loss allows one."""
    task = exercise(network, _ROWS, _STEPS * _BATCH)
    if losses.TABLE[network.loss].fuses:
        return task
    y = task.y.copy()
    outputs = oracle.forward(network, task.theta.astype(np.float64), task.x).A[-1]
    noise = np.random.default_rng(2).normal(0, _NOISE, y.shape)
    y[::2] = (outputs + noise)[::2].astype(y.dtype)
    order = task.order.copy()
    order[_ROWS:] -= order[_ROWS:] % 2  # after one epoch, easy rows alone
    return replace(task, y=y, order=order)


@dataclass(frozen=True)
class _Piece:
    """A short call of a training: its first step, its number of steps, and whether the oracle judges it."""

    first: int
    steps: int
    judged: bool


def _pieces() -> Iterator[_Piece]:
    """Cut the training into calls of one to three steps at random places; some of them are judged, the ends among them.

    The places of `_WHOLE` are among the cuts.
    """
    rng = np.random.default_rng(3)
    cuts: list[int] = [0]
    while cuts[-1] < _STEPS:
        stop = min(end for end in _WHOLE if end > cuts[-1])
        cuts.append(min(stop, cuts[-1] + int(rng.integers(1, LONGEST_SEGMENT + 1))))
    number = len(cuts) - 1
    judged = {0, number - 1, *rng.choice(number, _JUDGED - 2, replace=False).tolist()}
    for at in range(number):
        yield _Piece(cuts[at], cuts[at + 1] - cuts[at], at in judged)


def _in_pieces(model: ProcessModel, task: Exercise, judge: bool) -> dict[int, Array]:
    """Train in short calls from the initial θ; return θ after each of `_WHOLE` steps."""
    model.reset()
    ends = {}
    for piece in _pieces():
        first, count = piece.first * _BATCH, piece.steps * _BATCH
        before = model.theta() if piece.judged and judge else None
        model.train(first, count, _BATCH, _RATE)
        if before is not None:
            what = f"{task.network.dtype}, {piece.steps} steps after {piece.first} others"
            _judge(task, before, model.theta(), first, count, what)
        if piece.first + piece.steps in _WHOLE:
            ends[piece.first + piece.steps] = model.theta()
    return ends


def _in_one_call(model: ProcessModel, steps: int) -> Array:
    model.reset()
    model.train(0, steps * _BATCH, _BATCH, _RATE)
    return model.theta()


@COMPLETENESS.claim(
    "each step of a training is right, also after hundreds of others and where the loss is tiny",
    "do the same in every step; leave out none where little changes, and count no steps",
)
def _all_steps(candidate: Candidate) -> str:
    for dtype in DTYPES:
        task = _easy(candidate.network(dtype=dtype, l2=_L2))
        _in_pieces(candidate.load(task), task, judge=True)
    return (
        f"{_JUDGED} of the {sum(1 for _ in _pieces())} pieces judged, of {_STEPS} steps in {DTYPES[0]} and {DTYPES[1]}"
    )


@COMPLETENESS.claim(
    "a long call makes every step: it ends where the same steps in short calls end, also if it is one epoch",
    "make all COUNT / BATCH steps; wait until the last one is done before θ is read",
)
def _long_calls(candidate: Candidate) -> str:
    hello, widest = candidate.description, 0.0
    for dtype in DTYPES:
        task = _easy(candidate.network(dtype=dtype, l2=_L2))
        model = candidate.load(task)
        short = _in_pieces(model, task, judge=False)
        spread = dict.fromkeys(_WHOLE, 0.0)
        if not hello.deterministic:
            again = _in_pieces(model, task, judge=False)
            spread = {steps: _distance(short[steps], again[steps]) for steps in _WHOLE}
        for steps in _WHOLE:
            long = _in_one_call(model, steps)
            if hello.deterministic and not same_bits(long, short[steps]):
                raise Failed(f"{dtype}: {steps} steps in one call end at another θ than in calls of 1 to 3 steps")
            if hello.deterministic:
                continue
            own = max(spread[steps], _distance(long, _in_one_call(model, steps)))
            floor = UNIT_ROUNDOFF[dtype] * steps * float(np.linalg.norm(task.theta.astype(np.float64)))
            seen = _distance(long, short[steps])
            if not seen <= _OWN_SPREAD * own + floor:
                raise Failed(
                    f"{dtype}: {steps} steps in one call end {seen:.2g} away from the same steps in short calls; "
                    f"the same calls twice end {own:.2g} apart"
                )
            widest = max(widest, own)
    return "bit for bit" if hello.deterministic else f"deterministic=no: the same calls end up to {widest:.2g} apart"


def _distance(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a.astype(np.float64) - b.astype(np.float64)))


@COMPLETENESS.claim(
    "after training, outputs and loss are right over all rows",
    "compute the loss of the present θ over all COUNT rows; keep no value from before",
)
def _after_training(candidate: Candidate) -> str:
    worst = 0.0
    for dtype in DTYPES:
        task = _easy(candidate.network(dtype=dtype, l2=_L2))
        model = candidate.load(task)
        model.train(0, _ROWS, _BATCH, _RATE)
        theta: NDArray[np.floating] = model.theta()
        evidence = examine_workload(model, whole_workload(task.network, theta, task.x, task.y))
        if not evidence.passed:
            raise Failed(f"{dtype}, after {_ROWS // _BATCH} steps: {evidence.worst}")
        worst = max(worst, evidence.worst.share)
    return f"{_ROWS} rows, the worst at {worst:.0%} of its bound"
