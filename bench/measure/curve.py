"""The training curve: loss against training time from the first step on, from the same θ for every backend."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

from bench.measure.chain import Stretch, prove_stretch
from bench.measure.errors import Implausible, require
from bench.measure.session import Session
from bench.results.schema import Curve
from bench.suites.problem import Problem
from bench.suites.suite import Workload
from pyfnn import parity
from pyfnn.errors import Diverged
from pyfnn.validation import Array

CURVE_SHARE = 0.05  # of a case's budget
_JUDGED_LOSSES = 4  # of a curve, compared with the oracle's; beside those around the epochs that are proven
_EARLY = 4  # the secret epoch that is proven is one of the first quarter, since those before it are repeated
_LOSS_COST = 0.5  # epochs that the loss over all rows takes about


def affordable_rows(
    workload: Workload, entries: int, step_seconds: Iterable[float], budget: float, most: int
) -> list[int]:
    """Return after how many rows of the order, ascending, every backend can take the loss within the curves' budget.

    The losses are those after 1, 2, 4, 8, … steps within the first epoch, and at the ends of epochs. Where those within
    the epoch would take more than half of the time, they are 4, 8 or more times as far apart.

    Parameters
    ----------
    workload : Workload
    entries : int
        Length of the order.
    step_seconds : iterable of float
        Step time of each backend.
    budget : float
        Seconds that the case has.
    most : int
        Epochs at most.
    """
    steps = -(-workload.rows // workload.batch)
    affordable = CURVE_SHARE * budget / max(sum(step_seconds) * steps, 1e-9)  # in epochs of every backend
    doublings = (steps - 1).bit_length()
    spacings = ([workload.batch * 2**k for k in range(0, doublings, every)] for every in range(1, doublings + 1))
    room = min(affordable / 2, affordable - 1 - _LOSS_COST) / _LOSS_COST  # losses within the first epoch
    within = next((some for some in spacings if len(some) <= room), [])
    epochs = math.floor((affordable - _LOSS_COST * len(within)) / (1 + _LOSS_COST))
    ends = [workload.rows * n for n in range(1, 1 + min(most, entries // workload.rows, epochs))]
    return [*within, *ends] if ends else []


def draw_curve(session: Session, workload: Workload, problem: Problem, after: Sequence[int]) -> Curve:
    """Train from the workload's θ, with the loss taken `after` numbers of rows, outside the clock, and prove it.

    The first epoch and a secret one are proven.

    Raises
    ------
    Implausible
        A call took no time.
    Diverged
        A loss is not finite.
    ParityFailed
        A loss is not that of θ, or a replay of an epoch does not agree.
    """
    session.resume()
    session.reset()
    rows, marks = workload.rows, [0, *after]
    proven = sorted({0, rows * session.secrets.randrange(-(-(marks[-1] // rows) // _EARLY))})
    ends = {end for first in proven for end in (first, first + rows)}
    judged = ends | set(session.secrets.sample(marks, min(_JUDGED_LOSSES, len(marks))))
    seconds, losses, thetas = _train(session, rows, marks, judged)
    checks = [
        parity.loss_check(
            f"loss after {at / rows:.3g} epochs", problem.network, theta, problem.x, problem.y, losses[at]
        )
        for at, theta in thetas.items()
    ]
    require(parity.Evidence(tuple(checks)))
    for first in proven:
        _prove_epoch(session, rows, first, marks, thetas)
    session.stop()
    seen = [0, *(at for at in after if seconds[at] > 0)]  # a coarse clock may read 0 s for the first steps
    return Curve(
        epochs=[at / rows for at in seen],
        seconds=[seconds[at] for at in seen],
        losses=[losses[at] for at in seen],
    )


def _train(
    session: Session, rows: int, marks: Sequence[int], judged: Collection[int]
) -> tuple[dict[int, float], dict[int, float], dict[int, Array]]:
    """Train from mark to mark; return seconds and losses by mark, and θ at those to judge."""
    seconds, losses, thetas = {0: 0.0}, {0: session.networks.loss()}, {0: session.theta()}
    for first, end in pairwise(marks):
        spent = session.networks.train_part(first, end - first)
        if spent < 0 or (spent == 0 and end - first == rows):
            raise Implausible(f"claims {spent} s for {end - first} rows of training")
        seconds[end], losses[end] = seconds[first] + spent, session.networks.loss()
        if end in judged:
            thetas[end] = session.theta()
    for at, loss in losses.items():
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} after {at / rows:.3g} epochs")
    return seconds, losses, thetas


def _prove_epoch(session: Session, rows: int, first: int, marks: Sequence[int], thetas: Mapping[int, Array]) -> None:
    """Repeat the calls before an epoch, which begins after `first` rows, as they were, and prove that epoch."""

    def approach() -> None:
        session.reset()
        for start, end in pairwise(mark for mark in marks if mark <= first):
            session.networks.train_part(start, end - start)

    prove_stretch(session, Stretch(first, rows), session.batch, approach, thetas[first], end=thetas[first + rows])
