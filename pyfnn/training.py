"""Training of any `Model` as a user does it: epochs, seeded shuffles, early stopping.

Nothing here computes a network or names a backend.
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
    """Record of a training. Entry 0 of the losses is from before the first step, entry e from the end of epoch e.

    Attributes
    ----------
    losses : tuple of float
        Mean loss of the training rows, l2 term included.
    validation_losses : tuple of float
        Mean loss of the validation rows, l2 term included; empty where there were none.
    seconds : tuple of float
        Duration of each epoch's steps, on the model's own clock.
    best_epoch : int
        First epoch with the lowest validation loss (training loss where there are no validation rows).
    theta : ndarray, shape (n_parameters,)
        Parameters at the end of the best epoch.
    last_theta : ndarray, shape (n_parameters,)
        Parameters at the end of the last recorded epoch; always finite.
    stopped : {"epochs", "patience", "diverged"}
        Reason for the end.
    """

    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]
    seconds: tuple[float, ...]
    best_epoch: int
    theta: Array
    last_theta: Array
    stopped: Literal["epochs", "patience", "diverged"]


class FitDiverged(Diverged):
    """θ became non-finite in `fit`.

    Attributes
    ----------
    history : History
        Record up to the end of the last epoch in which θ stayed finite.
    step : int or None
        Step, counted from 1 over all epochs, that made θ non-finite; None where a replay did not repeat it.
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
    """Train a model from its initial θ; each epoch uses all rows in a new random order.

    Parameters
    ----------
    model : Model
        Its data are replaced and its θ is reset first. It ends with the last epoch's θ, not with the best epoch's.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L), of the network's dtype
    epochs, batch_size : int
    learning_rate : float
    seed : int
        Seed of the orders.
    validation : (x, y), optional
        Rows whose loss is recorded, and which are not used in training.
    patience : int, optional
        Stop after that many consecutive epochs without a new lowest validation loss.

    Returns
    -------
    History

    Raises
    ------
    InvalidInput
        An argument breaks its rule; the message names the field, the value and the rule.
    FitDiverged
        θ became non-finite; the exception has the history so far and the step, found by a replay.
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
    """The record of a training in progress, from which `history` makes a `History`."""

    def __init__(self, model: Model, rows: int, validation_rows: int) -> None:
        self.model, self.rows, self.validation_rows = model, rows, validation_rows
        self.losses: list[float] = []
        self.validation_losses: list[float] = []
        self.seconds: list[float] = []
        self.best = 0
        self.theta = self.last_theta = model.theta()

    def record(self) -> None:
        """Record the losses and θ at the end of an epoch; θ does not change."""
        self.losses.append(self.model.loss_and_gradient(0, self.rows)[0])
        if self.validation_rows:
            self.validation_losses.append(self.model.loss_and_gradient(self.rows, self.validation_rows)[0])
        self.last_theta = self.model.theta()
        judged = self.validation_losses or self.losses
        if judged[-1] < judged[self.best] or math.isnan(judged[self.best]):
            self.best, self.theta = len(judged) - 1, self.last_theta

    def history(self, stopped: Literal["epochs", "patience", "diverged"]) -> History:
        """Return the record so far."""
        losses, validation_losses, seconds = (tuple(v) for v in (self.losses, self.validation_losses, self.seconds))
        return History(losses, validation_losses, seconds, self.best, self.theta, self.last_theta, stopped)


def _check(epochs: int, validation: tuple[Array, Array] | None, patience: int | None) -> None:
    for field, value in (("epochs", epochs), ("patience", 1 if patience is None else patience)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInput(f"{field} = {value!r}: must be a whole number, at least 1")
    if patience is not None and (validation is None or len(validation[0]) == 0):
        raise InvalidInput(f"patience = {patience}: needs validation rows to watch")


def _load(model: Model, x: Array, y: Array, validation: tuple[Array, Array] | None, order: Array) -> None:
    """Load the training rows, and after them the validation rows, which `order` does not name."""
    if validation is not None:
        for field, ours, theirs in (("x", x, validation[0]), ("y", y, validation[1])):
            if ours.shape[1:] != theirs.shape[1:]:
                raise InvalidInput(f"validation {field} has rows of shape {theirs.shape[1:]}, not {ours.shape[1:]}")
        x, y = np.concatenate([x, validation[0]]), np.concatenate([y, validation[1]])
    model.load(x, y, order)


def _diverging_step(model: Model, epoch: int, rows: int, batch_size: int, learning_rate: float) -> int | None:
    """Return the step, from 1 over all epochs, that makes θ non-finite; None where the replay does not diverge.

    The replay repeats the earlier epochs whole, and `epoch` step by step.
    """
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
