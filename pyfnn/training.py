"""Training as a user does it: epochs, seeded shuffles, early stopping, on any `Model`.

Nothing here knows how a network is computed, nor whose model it is.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pyfnn.errors import Diverged, InvalidInput
from pyfnn.model import Model
from pyfnn.validation import Array


@dataclass(frozen=True, eq=False)
class History:
    """What a training was. Entry 0 of the losses is from before the first step, entry e from the end of epoch e.

    Attributes
    ----------
    losses : tuple of float
        Over the training rows, the l2 term included.
    validation_losses : tuple of float
        Likewise over the validation rows; empty where there were none.
    seconds : tuple of float
        Of each epoch's steps, on the model's own clock.
    best_epoch : int
        Where the validation loss (without one, the training loss) was lowest; the first such epoch.
    theta : ndarray, shape (n_parameters,)
        At the end of the best epoch.
    last_theta : ndarray, shape (n_parameters,)
        At the end of the last epoch here, and always finite.
    stopped : {"epochs", "patience", "diverged"}
        Why it ended.
    """

    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]
    seconds: tuple[float, ...]
    best_epoch: int
    theta: Array
    last_theta: Array
    stopped: Literal["epochs", "patience", "diverged"]


class FitDiverged(Diverged):
    """θ turned non-finite in `fit`.

    Attributes
    ----------
    history : History
        Up to the end of the last epoch that θ survived.
    step : int or None
        The step, counted from 1 over all epochs, that made θ non-finite; None where a replay did not repeat it.
    """

    def __init__(self, message: str, history: History, step: int | None) -> None:
        super().__init__(message)
        self.history, self.step = history, step


def fit(
    model: Model,
    x: Array,
    y: Array,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    validation: tuple[Array, Array] | None = None,
    patience: int | None = None,
) -> History:
    """Train a model from its first θ; every epoch walks all rows in a fresh order.

    Parameters
    ----------
    model : Model
        Reset first; what it had loaded is replaced. It ends at the last epoch's θ, not at the best one's.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L), of the network's dtype
    epochs, batch_size : int
    learning_rate : float
    seed : int
        Of the orders.
    validation : (x, y), optional
        Rows to watch, never trained on.
    patience : int, optional
        Stop after that many epochs in a row without a new lowest validation loss.

    Raises
    ------
    InvalidInput
        Naming the field, the value and the rule.
    FitDiverged
        With the history so far and the step at which it happened, found by a replay.
    """
    _check(epochs, validation, patience)
    rows = len(x)
    rng = np.random.Generator(np.random.PCG64(seed))
    order = np.concatenate([rng.permutation(rows) for _ in range(epochs)]).astype(np.int64)
    _load(model, x, y, validation, order)
    model.reset()

    run = _Run(model, rows, len(validation[0]) if validation else 0)
    run.record()
    for epoch in range(epochs):
        try:
            run.seconds.append(model.train(epoch * rows, rows, batch_size, learning_rate))
        except Diverged:
            history = run.history("diverged")
            step = _diverging_step(model, epoch, rows, batch_size, learning_rate)
            where = "in a step that a replay did not repeat" if step is None else f"at step {step}"
            message = f"theta turned non-finite {where}, in epoch {epoch + 1}, at learning_rate = {learning_rate}"
            raise FitDiverged(message, history, step) from None
        run.record()
        if patience is not None and epoch + 1 - run.best >= patience:
            return run.history("patience")
    return run.history("epochs")


class _Run:
    """What `History` is made of, as it grows."""

    def __init__(self, model: Model, rows: int, validation_rows: int) -> None:
        self.model, self.rows, self.validation_rows = model, rows, validation_rows
        self.losses: list[float] = []
        self.validation_losses: list[float] = []
        self.seconds: list[float] = []
        self.best = 0
        self.theta = self.last_theta = model.theta()

    def record(self) -> None:
        """Note the losses and θ at the end of an epoch; θ is only looked at."""
        self.losses.append(self.model.loss_and_gradient(0, self.rows)[0])
        if self.validation_rows:
            self.validation_losses.append(self.model.loss_and_gradient(self.rows, self.validation_rows)[0])
        self.last_theta = self.model.theta()
        watched = self.validation_losses or self.losses
        if watched[-1] < watched[self.best] or math.isnan(watched[self.best]):
            self.best, self.theta = len(watched) - 1, self.last_theta

    def history(self, stopped: Literal["epochs", "patience", "diverged"]) -> History:
        losses, validation_losses, seconds = (tuple(v) for v in (self.losses, self.validation_losses, self.seconds))
        return History(losses, validation_losses, seconds, self.best, self.theta, self.last_theta, stopped)


def _check(epochs: int, validation: tuple[Array, Array] | None, patience: int | None) -> None:
    for field, value in (("epochs", epochs), ("patience", 1 if patience is None else patience)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInput(f"{field} = {value!r}: must be a whole number, at least 1")
    if patience is not None and (validation is None or len(validation[0]) == 0):
        raise InvalidInput(f"patience = {patience}: needs validation rows to watch")


def _load(model: Model, x: Array, y: Array, validation: tuple[Array, Array] | None, order: Array) -> None:
    """Training rows first, validation rows after them; `order` names the former only."""
    if validation is not None:
        for field, ours, theirs in (("x", x, validation[0]), ("y", y, validation[1])):
            if ours.shape[1:] != theirs.shape[1:]:
                raise InvalidInput(f"validation {field} has rows of shape {theirs.shape[1:]}, not {ours.shape[1:]}")
        x, y = np.concatenate([x, validation[0]]), np.concatenate([y, validation[1]])
    model.load(x, y, order)


def _diverging_step(model: Model, epoch: int, rows: int, batch_size: int, learning_rate: float) -> int | None:
    """The step, from 1 over all epochs, whose θ is not finite: whole epochs again, then the last one step by step."""
    model.reset()
    steps_before = epoch * -(-rows // batch_size)
    try:
        for earlier in range(epoch):
            model.train(earlier * rows, rows, batch_size, learning_rate)
    except Diverged:
        return None
    for step, at in enumerate(range(0, rows, batch_size), start=1):
        try:
            model.train(epoch * rows + at, min(batch_size, rows - at), batch_size, learning_rate)
        except Diverged:
            return steps_before + step
    return None
