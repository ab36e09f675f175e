"""The two ways to run an epoch: inside the model, or step by step here with an optimizer."""

import math
import time
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from pyfnn.errors import Diverged
from pyfnn.model import Model
from pyfnn.optimizers import Named, Optimizer, State
from pyfnn.training.data import Data
from pyfnn.validation import Array, Order, check_rate

_ENTRIES = 1 << 16, 1 << 20  # entries of the orders that are loaded at once, at most: for small data, and for any
_FEWEST = 8  # epochs whose orders are loaded at once, where they are not too long: of the first ones


class EpochDiverged(NamedTuple):
    """The step that made θ non-finite."""

    step: int  # from 1, over all epochs
    theta: Array  # before the step: (n_parameters,)
    rows: Order  # of the step: numbers of training rows


class Steps(NamedTuple):
    """The steps of an epoch: their seconds, and the running loss (see `Model.train_with_loss`) or NaN."""

    seconds: float
    loss: float


def runs_inside(model: Model, optimizer: Optimizer) -> bool:
    """Return True where the model itself makes the steps of this optimizer."""
    return isinstance(optimizer, Named) and optimizer.name in model.optimizers


def offers_running_loss(model: Model, optimizer: Optimizer, batch_size: int) -> bool:
    """Return True where the steps on so many rows compute the running loss."""
    return not runs_inside(model, optimizer) or model.offers_running_loss(batch_size)


class Epochs(ABC):
    """Epochs of one training. `load` prepares an epoch, `run` trains it; epochs come in order, counted from 1."""

    def __init__(self, model: Model, data: Data, batch_size: int, seed: int) -> None:
        self.model, self.data, self.batch_size, self.seed = model, data, batch_size, seed

    @abstractmethod
    def load(self, epoch: int) -> None:
        """Load the data in the order of an epoch."""

    @abstractmethod
    def run(self, epoch: int, rate: float) -> Steps:
        """Train an epoch; raise `Diverged` where θ becomes non-finite."""

    @abstractmethod
    def replay(self, epoch: int, rate: float) -> EpochDiverged | None:
        """Return the step of the epoch, the last one, that made θ non-finite; None where it does not again."""

    @abstractmethod
    def state(self) -> State:
        """Return the optimizer's state."""

    def _batches(self) -> list[tuple[int, int]]:
        """Return the first entry and the number of rows of each step of an epoch."""
        rows, size = self.data.rows, self.batch_size
        return [(at, min(size, rows - at)) for at in range(0, rows, size)]

    def _found(self, epoch: int, at: int, count: int, theta: Array) -> EpochDiverged:
        steps_before = (epoch - 1) * len(self._batches())
        order = self.data.orders(self.seed, [epoch])
        return EpochDiverged(steps_before + at // self.batch_size + 1, theta, order[at : at + count])


class InModel(Epochs):
    """Epochs by `Model.train`. The orders of several epochs are loaded at once: 8, and then as many as were trained.

    They have no more entries than x has numbers, or 2**16 if that is more, and no more than 2**20: 8 MiB.

    Parameters
    ----------
    epochs : int
        Number of the last epoch.
    optimizer : SGD, Momentum or Adam
        One that the model has.
    state : dict of str to ndarray
        The state that it continues from.
    running_loss : bool
        Return the running losses, which the model offers.
    """

    def __init__(
        self,
        *common: Any,
        epochs: int,
        optimizer: Named,
        state: State,
        running_loss: bool,
    ) -> None:
        super().__init__(*common)
        self._last, self._loaded, self._running_loss = epochs, range(0), running_loss
        # Loading an inexact θ rounds it, which must not depend on where a training was interrupted.
        least, most = _ENTRIES
        entries = min(max(least, self.data.x.size), most)
        self._most_at_once = max(1, entries // self.data.rows) if self.model.holds_exact_theta else 1
        self._optimizer = optimizer
        self.model.set_optimizer_state(optimizer, state)

    def load(self, epoch: int) -> None:
        """Load the data and the orders of this epoch and the next ones."""
        epochs = min(max(_FEWEST, epoch - 1), self._most_at_once)
        self._loaded = range(epoch, max(epoch, min(epoch + epochs - 1, self._last)) + 1)
        self.model.load(self.data.x, self.data.y, self.data.orders(self.seed, self._loaded))
        self._start, self._rates = (self.model.theta(), self.model.optimizer_state()), list[float]()

    def run(self, epoch: int, rate: float) -> Steps:
        """Train an epoch by one call."""
        if epoch not in self._loaded:
            self.load(epoch)
        self._rates.append(rate)
        work = (self._first(epoch), self.data.rows, self.batch_size, rate, self._optimizer)
        if self._running_loss:
            return Steps(*self.model.train_with_loss(*work))
        return Steps(self.model.train(*work), math.nan)

    def _first(self, epoch: int) -> int:
        return self._loaded.index(epoch) * self.data.rows

    def state(self) -> State:
        """Return the state in the model."""
        return self.model.optimizer_state()

    def replay(self, epoch: int, rate: float) -> EpochDiverged | None:
        """Repeat the epochs since the orders were loaded, and then this one, a step a call."""
        theta, state = self._start
        self.model.set_theta(theta)
        self.model.set_optimizer_state(self._optimizer, state)
        first, rows = self._first(epoch), self.data.rows
        epochs = [(self._first(before), rows, its) for before, its in zip(self._loaded, self._rates[:-1], strict=False)]
        for at, count, its in [*epochs, *((first + at, count, rate) for at, count in self._batches())]:
            try:
                self.model.train(at, count, self.batch_size, its, self._optimizer)
            except Diverged:
                return self._found(epoch, at - first, count, theta) if at >= first else None
            theta = self.model.theta()
        return None


class Stepwise(Epochs):
    """Epochs by `Model.loss_and_gradient` and an optimizer; each loads the rows in its order.

    Parameters
    ----------
    state : dict of str to ndarray
        The optimizer's, updated in place.
    """

    def __init__(
        self, model: Model, data: Data, batch_size: int, seed: int, optimizer: Optimizer, state: State
    ) -> None:
        super().__init__(model, data, batch_size, seed)
        self._optimizer, self._state = optimizer, state
        self._diverged: EpochDiverged | None = None

    def load(self, epoch: int) -> None:
        """Load the rows in the order of an epoch."""
        self.model.load(*self.data.shuffled(self.data.orders(self.seed, [epoch])), np.zeros(1, np.int64))

    def run(self, epoch: int, rate: float) -> Steps:
        """Make the steps of an epoch."""
        check_rate("learning_rate", rate)
        self.load(epoch)
        theta, sum_of_losses = self.model.theta(), 0.0
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            for at, count in self._batches():
                before = theta.copy()
                loss, gradient = self.model.loss_and_gradient(at, count)
                sum_of_losses += count * loss
                self._optimizer.update(theta, gradient, rate, self._state)
                if not np.isfinite(theta).all():
                    self._diverged = self._found(epoch, at, count, before)
                    raise Diverged(f"theta is not finite after step {self._diverged.step}")
                self.model.set_theta(theta)
        return Steps(time.perf_counter() - start, sum_of_losses / self.data.rows)

    def state(self) -> State:
        """Return the state, not a copy."""
        return self._state

    def replay(self, epoch: int, rate: float) -> EpochDiverged | None:
        """Return the step that `run` noticed."""
        del epoch, rate
        return self._diverged
