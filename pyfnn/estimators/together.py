"""Training of many plans of one shape as an ensemble: one native call trains an epoch of all of them."""

from collections.abc import Hashable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyfnn.ensemble import Ensemble
from pyfnn.errors import Diverged
from pyfnn.estimators.models import FIRST_ROW, backend
from pyfnn.estimators.plan import Plan
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.training import SGD
from pyfnn.training.data import Data
from pyfnn.training.schedules import Schedule, check_length
from pyfnn.validation import Array, Order

_ENTRIES = 1 << 20  # entries of the orders that are loaded at once, for all members together: 8 MiB


def shape(plan: Plan) -> Hashable | None:
    """Return what plans that one call can train have in common; None where an ensemble lacks the plan's solver."""
    if not plan.by_epochs or not isinstance(plan.optimizer, SGD):
        return None
    settings = plan.settings
    return settings.backend, settings.threads, replace(plan.network, l2=0.0), plan.batch_size


def train_together(plans: Sequence[Plan]) -> None:
    """Train plans of one `shape` on the same rows; each ends as `Plan.run` would end it.

    A plan whose θ becomes non-finite has `stopped` set to "diverged".
    """
    first = plans[0]
    engine, threads = backend(first.settings.backend), int(first.settings.threads)
    data = Data.make(*first.rows, first.validation, seed=0)
    members = [_Member(plan, plan.theta, plan.schedule) for plan in plans]
    for member in members:
        check_length(member.schedule, member.plan.epochs)
    with ExitStack() as opened:
        judges = {}  # one for each alpha: their losses have their own l2 term
        for network in {plan.network for plan in plans}:
            judges[network] = opened.enter_context(engine.create(network, first.theta, threads))
            judges[network].load(data.x, data.y, FIRST_ROW)
        while members:
            thetas = np.stack([member.theta for member in members])
            l2 = np.array([member.plan.network.l2 for member in members])
            with engine.create_many(first.network, thetas, l2, threads) as ensemble:
                members = _train_until_half_are_done(ensemble, members, data, judges)


@dataclass(eq=False)
class _Member:
    """A plan in training: its θ after `plan.n_iter` epochs."""

    plan: Plan
    theta: Array
    schedule: Schedule

    def ends(self, theta: Array, running_loss: float | None, data: Data, judge: Model) -> bool:
        """Record an epoch that ended at θ; return True where the training is over. judge: of this network, loaded."""
        plan, self.theta = self.plan, theta
        if not np.isfinite(theta).all():
            plan.stopped = "diverged"
            return True
        judge.set_theta(theta)
        outputs = judge.forward(data.rows, data.validation_rows) if plan.validation else None
        loss = judge.loss(0, data.rows) if running_loss is None else running_loss
        if plan.after(loss, outputs, theta):
            plan.stopped = "callback"
        elif plan.n_iter == plan.epochs:
            plan.stopped = "epochs"
        if plan.validation is None:
            plan.theta = theta
        plan.state = {}
        return plan.stopped != ""


def _train_until_half_are_done(
    ensemble: Ensemble, members: list[_Member], data: Data, judges: dict[Network, Model]
) -> list[_Member]:
    """Train epochs until at most half of the members are left; return these, which get an ensemble of their own."""
    left, epoch, loaded = list(enumerate(members)), members[0].plan.n_iter, range(0)
    while len(left) > len(members) // 2:
        if epoch not in loaded:
            loaded = range(epoch, epoch + max(1, _ENTRIES // (data.rows * len(members))))
            ensemble.load(data.x, data.y, np.stack([_orders(member.plan, data, loaded) for member in members]))
        rates = np.array([member.schedule(epoch) for member in members])
        losses = _train_epoch(ensemble, loaded.index(epoch) * data.rows, data.rows, members[0].plan.batch_size, rates)
        thetas = ensemble.thetas()
        left = [
            (at, member)
            for at, member in left
            if not member.ends(thetas[at], losses[at], data, judges[member.plan.network])
        ]
        epoch += 1
    return [member for _, member in left]


def _train_epoch(
    ensemble: Ensemble, first: int, count: int, batch_size: int, rates: NDArray[np.float64]
) -> Sequence[float | None]:
    """Train, and return the running loss of each member, or None where the ensemble has none."""
    if ensemble.offers_running_loss(batch_size):
        losses: list[float] = ensemble.train_with_loss(first, count, batch_size, rates)[1].tolist()
        return losses
    with suppress(Diverged):  # the members' θ show which
        ensemble.train(first, count, batch_size, rates)
    return [None] * ensemble.members


def _orders(plan: Plan, data: Data, epochs: range) -> Order:
    numbers = range(epochs.start + 1, epochs.stop + 1)  # `fit` counts epochs from 1
    return replace(data, shuffle=plan.settings.shuffle).orders(plan.seed, numbers)
