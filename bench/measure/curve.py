"""The training curve: loss against training time at the ends of epochs, from the same θ for every backend."""

import math
from collections.abc import Iterable

from bench.measure.errors import Implausible
from bench.measure.session import Session
from bench.results.schema import Curve
from bench.suites.problem import Problem
from bench.suites.suite import Workload
from pyfnn.errors import Diverged

CURVE_SHARE = 0.05  # of a case's budget
_LOSS_COST = 1.5  # factor on the time of an epoch: the loss over all rows costs about half an epoch


def affordable_epochs(
    workload: Workload, problem: Problem, step_seconds: Iterable[float], budget: float, most: int
) -> int:
    """Return how many epochs every backend can train within the curves' share of the budget, at most `most`.

    Parameters
    ----------
    workload : Workload
    problem : Problem
    step_seconds : iterable of float
        Step time of each backend.
    budget : float
        Seconds that the case has.
    most : int
    """
    steps = -(-workload.rows // workload.batch)
    epoch_seconds = sum(step_seconds) * steps * _LOSS_COST
    affordable = math.floor(CURVE_SHARE * budget / max(epoch_seconds, 1e-9))
    return min(most, problem.n_order // workload.rows, affordable)


def draw_curve(session: Session, workload: Workload, epochs: int) -> Curve:
    """Train some epochs from the workload's θ, with the loss taken at their ends, outside the clock.

    Raises
    ------
    Implausible
        An epoch took no time.
    Diverged
        A loss is not finite.
    """
    session.resume()
    session.reset()
    seconds, losses = [0.0], [session.networks.loss()]
    for epoch in range(epochs):
        spent = session.networks.train_epoch(epoch)
        if spent <= 0:
            raise Implausible(f"claims {spent} s for an epoch of {workload.rows} rows")
        seconds.append(seconds[-1] + spent)
        losses.append(session.networks.loss())
    session.stop()
    for epoch, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} after {epoch} epochs")
    return Curve(epochs=list(range(epochs + 1)), seconds=seconds, losses=losses)
