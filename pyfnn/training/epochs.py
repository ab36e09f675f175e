"""The two ways to run an epoch: inside the model, or step by step here with an optimizer."""

import time
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from pyfnn.errors import Diverged
from pyfnn.model import Model
from pyfnn.optimizers import Named, Optimizer, State
from pyfnn.training.data import Data
from pyfnn.validation import Array, Order, check_rate

_ENTRIES = 1 << 20  # entries of the orders of the epochs that are loaded at once: 8 MiB


class EpochDiverged(NamedTuple):
    """The step that made θ non-finite."""

    step: int  # from 1, over all epochs
    theta: Array  # before the step: (n_parameters,)
    rows: Order  # of the step: numbers of training rows


class Epochs(ABC):
    """Epochs of one training. `load` prepares an epoch, `run` trains it; epochs come in order, counted from 1."""

    def __init__(self, model: Model, data: Data, batch_size: int, seed: int) -> None:
        self.model, self.data, self.batch_size, self.seed = model, data, batch_size, seed

    @abstractmethod
    def load(self, epoch: int) -> None:
        """Load the data in the order of an epoch."""

    @abstractmethod
    def run(self, epoch: int, rate: float) -> float:
        """Train an epoch and return its seconds; raise `Diverged` where θ becomes non-finite."""

    @abstractmethod
    def replay(self, epoch: int, rate: float, theta: Array) -> EpochDiverged | None:
        """Return the step of the epoch that made θ non-finite. theta: (n_parameters,), from before the epoch."""

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
    """Epochs by `Model.train`. The orders of as many epochs as fit into 8 MiB are loaded at once.

    Parameters
    ----------
    epochs : int
        Number of the last epoch.
    optimizer : SGD, Momentum or Adam
        One that the model has.
    state : dict of str to ndarray
        The state that it continues from.
    """

    def __init__(
        self, model: Model, data: Data, batch_size: int, seed: int, epochs: int, optimizer: Named, state: State
    ) -> None:
        super().__init__(model, data, batch_size, seed)
        self._last, self._loaded = epochs, range(0)
        # Loading an inexact θ rounds it, which must not depend on where a training was interrupted.
        self._at_once = max(1, _ENTRIES // data.rows) if model.holds_exact_theta else 1
        self._optimizer, self._before = optimizer, state
        model.set_optimizer_state(optimizer, state)

    def load(self, epoch: int) -> None:
        """Load the data and the orders of this epoch and the next ones."""
        self._loaded = range(epoch, max(epoch, min(epoch + self._at_once - 1, self._last)) + 1)
        self.model.load(self.data.x, self.data.y, self.data.orders(self.seed, self._loaded))

    def run(self, epoch: int, rate: float) -> float:
        """Train an epoch by one call."""
        if epoch not in self._loaded:
            self.load(epoch)
        self._before = self.model.optimizer_state()
        return self.model.train(self._first(epoch), self.data.rows, self.batch_size, rate, self._optimizer)

    def _first(self, epoch: int) -> int:
        return self._loaded.index(epoch) * self.data.rows

    def state(self) -> State:
        """Return the state in the model."""
        return self.model.optimizer_state()

    def replay(self, epoch: int, rate: float, theta: Array) -> EpochDiverged | None:
        """Repeat the epoch, a step a call."""
        self.model.set_theta(theta)
        self.model.set_optimizer_state(self._optimizer, self._before)
        for at, count in self._batches():
            try:
                self.model.train(self._first(epoch) + at, count, self.batch_size, rate, self._optimizer)
            except Diverged:
                return self._found(epoch, at, count, theta)
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

    def run(self, epoch: int, rate: float) -> float:
        """Make the steps of an epoch."""
        check_rate("learning_rate", rate)
        self.load(epoch)
        theta = self.model.theta()
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            for at, count in self._batches():
                before = theta.copy()
                gradient = self.model.loss_and_gradient(at, count)[1]
                self._optimizer.update(theta, gradient, rate, self._state)
                if not np.isfinite(theta).all():
                    self._diverged = self._found(epoch, at, count, before)
                    raise Diverged(f"theta is not finite after step {self._diverged.step}")
                self.model.set_theta(theta)
        return time.perf_counter() - start

    def state(self) -> State:
        """Return the state, not a copy."""
        return self._state

    def replay(self, epoch: int, rate: float, theta: Array) -> EpochDiverged | None:
        """Return the step that `run` noticed."""
        del epoch, rate, theta
        return self._diverged
