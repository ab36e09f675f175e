"""The record of a training: what callbacks see of an epoch, and the history that a training returns."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from pyfnn.model import Model
from pyfnn.optimizers import State
from pyfnn.validation import Array

COLUMNS = np.dtype(
    [("epoch", "i8"), ("learning_rate", "f8"), ("loss", "f8"), ("validation_loss", "f8"), ("seconds", "f8")]
)
Stopped: TypeAlias = Literal["epochs", "patience", "callback", "converged", "failed", "diverged"]


@dataclass(frozen=True, eq=False)
class Epoch:
    """The end of an epoch, as a callback sees it.

    Attributes
    ----------
    model : Model
        The model in training; a callback may call `predict` and `loss`, and must not change θ or the data.
    number : int
        From 1.
    learning_rate : float
    loss, validation_loss : float
        Mean losses, l2 term included; the second is NaN where there are no validation rows.
    seconds : float
        Duration of the epoch's steps, on the model's own clock.
    theta : ndarray, shape (n_parameters,)
    is_best : bool
        No earlier epoch had so low a loss.
    """

    model: Model
    number: int
    learning_rate: float
    loss: float
    validation_loss: float
    seconds: float
    theta: Array
    is_best: bool


Callback: TypeAlias = Callable[[Epoch], bool | None]


@dataclass(frozen=True, eq=False)
class History:
    """Record of a training.

    Attributes
    ----------
    table : structured ndarray, shape (epochs + 1,)
        One row an epoch; row 0 is from before the first step. Columns: ``epoch``; ``learning_rate``; ``loss`` and
        ``validation_loss``, the mean losses at the end of the epoch, l2 term included, or the running loss where
        `fit` has ``training_loss="running"``; ``seconds`` of the epoch's steps, on the model's own clock. NaN where
        there is no such number. `pandas.DataFrame(table)` works.
    best_epoch : int
        First epoch with the lowest validation loss (training loss where there are no validation rows).
    theta : ndarray, shape (n_parameters,)
        Parameters at the end of the best epoch.
    last_theta : ndarray, shape (n_parameters,)
        Parameters at the end of the last recorded epoch; always finite.
    stopped : {"epochs", "patience", "callback", "converged", "failed", "diverged"}
        Reason for the end. "converged" and "failed" come from `minimize` alone.
    message : str
        SciPy's words on the end of `minimize`.
    state : dict of str to ndarray
        The optimizer's state at `last_theta`, with which `fit` can start: see its `state`.
    checkpoint_error : str
        Reason why the last writing of a checkpoint failed; empty if it succeeded, or none was asked for.
    """

    table: Array
    best_epoch: int
    theta: Array
    last_theta: Array
    stopped: Stopped
    message: str = ""
    state: State = field(default_factory=dict)
    checkpoint_error: str = ""


@dataclass(eq=False)
class Record:
    """The record of a training in progress.

    Attributes
    ----------
    validated : bool
        The validation loss decides which epoch is best, not the training loss.
    rows : list of tuple
        The table so far, as `COLUMNS`.
    best : int
        Number of the best epoch.
    theta, last_theta : ndarray
        θ at the end of the best and of the last epoch.
    waited : int
        Consecutive epochs without an improvement by more than the tolerance.
    """

    theta: Array
    last_theta: Array
    validated: bool
    rows: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    best: int = 0
    waited: int = 0

    def add(self, theta: Array, rate: float, losses: tuple[float, float], seconds: float, tolerance: float) -> None:
        """Record the end of an epoch; the first call records the state before the first step."""
        self.last_theta = theta
        self.rows.append((len(self.rows), rate, *losses, seconds))
        if len(self.rows) > 1 and self._judge(len(self.rows) - 1, tolerance):
            self.theta = theta

    def judge_again(self, tolerance: float, patience: int | None) -> int:
        """Judge all epochs by this tolerance; return the first that ends the training by the patience, or the last."""
        self.best = self.waited = 0
        for epoch in range(1, len(self.rows)):
            self._judge(epoch, tolerance)
            if patience is not None and self.waited >= patience:
                return epoch
        return len(self.rows) - 1

    def _judge(self, epoch: int, tolerance: float) -> bool:
        """Update `waited` and `best` by an epoch; return True where it is the best so far."""
        now, best = self._judged(epoch), self._judged(self.best)
        self.waited = 0 if now < best - tolerance or math.isnan(best) else self.waited + 1
        is_best = now < best or math.isnan(best)
        if is_best:
            self.best = epoch
        return is_best

    def _judged(self, at: int) -> float:
        _, _, loss, validation_loss, _ = self.rows[at]
        return validation_loss if self.validated else loss

    def epoch(self, model: Model) -> Epoch:
        """Return the last epoch, for callbacks."""
        return Epoch(model, *self.rows[-1], self.last_theta, self.best == len(self.rows) - 1)

    def table(self) -> Array:
        """Return the table so far, as `History.table`."""
        return np.array(self.rows, COLUMNS)

    def history(self, stopped: Stopped, message: str = "") -> History:
        """Return the record so far."""
        return History(self.table(), self.best, self.theta, self.last_theta, stopped, message)
