"""The training curve: loss against training time at the ends of epochs, from the same θ for every backend."""

import math
from collections.abc import Iterable, Mapping

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
_JUDGED_LOSSES = 4  # of a curve, compared with the oracle's; two more are those around the epoch that is proven
_EARLY = 4  # the epoch that is proven is one of the first quarter, since those before it are repeated
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


def draw_curve(session: Session, workload: Workload, problem: Problem, epochs: int) -> Curve:
    """Train some epochs from the workload's θ, with the loss taken at their ends, outside the clock, and prove them.

    Raises
    ------
    Implausible
        An epoch took no time.
    Diverged
        A loss is not finite.
    ParityFailed
        A loss is not that of θ, or a replay of an epoch does not agree.
    """
    session.resume()
    session.reset()
    secret = session.secrets.randrange(-(-epochs // _EARLY))
    seconds, losses, thetas = [0.0], [session.networks.loss()], {0: session.theta()}
    judged = {secret, secret + 1, *session.secrets.sample(range(epochs + 1), min(_JUDGED_LOSSES, epochs + 1))}
    for epoch in range(epochs):
        spent = session.networks.train_part(epoch * workload.rows, workload.rows)
        if spent <= 0:
            raise Implausible(f"claims {spent} s for an epoch of {workload.rows} rows")
        seconds.append(seconds[-1] + spent)
        losses.append(session.networks.loss())
        if epoch + 1 in judged:
            thetas[epoch + 1] = session.theta()
    for epoch, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} after {epoch} epochs")
    data = problem.x, problem.y
    checks = [
        parity.loss_check(f"loss after {epoch} epochs", problem.network, theta, *data, losses[epoch])
        for epoch, theta in thetas.items()
    ]
    require(parity.Evidence(tuple(checks)))
    _prove_epoch(session, workload.rows, secret, thetas)
    session.stop()
    return Curve(epochs=list(range(epochs + 1)), seconds=seconds, losses=losses)


def _prove_epoch(session: Session, rows: int, epoch: int, thetas: Mapping[int, Array]) -> None:
    """Repeat the epochs before a secret one as they were, and prove that one."""

    def approach() -> None:
        session.reset()
        for earlier in range(epoch):
            session.networks.train_part(earlier * rows, rows)

    prove_stretch(session, Stretch(epoch * rows, rows), session.batch, approach, thetas[epoch], end=thetas[epoch + 1])
