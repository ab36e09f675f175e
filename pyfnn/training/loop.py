"""`fit`: minibatch training of any `Model`, epoch by epoch, with what surrounds the steps.

Nothing here computes a network or names a backend.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from pyfnn.errors import Diverged, InvalidInput, Unsupported, shown
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.optimizers import DESCENT, Named, Optimizer, State
from pyfnn.training.checkpoints import REMEDY, Checkpoints, Writer
from pyfnn.training.checks import check_rule_to_stop, checked_callbacks
from pyfnn.training.data import Data, Rows, digest
from pyfnn.training.divergence import FitDiverged, find_overflow, likely_cause
from pyfnn.training.epochs import EpochDiverged, Epochs, InModel, Steps, Stepwise, offers_running_loss, runs_inside
from pyfnn.training.history import Callback, History, Record, Stopped
from pyfnn.training.progress import progress_bar
from pyfnn.training.schedules import Constant, Schedule, check_length
from pyfnn.validation import Array, check_array, check_count, check_flag, check_rate, check_seed

TrainingLoss: TypeAlias = bool | Literal["running"]


def fit(
    model: Model,
    x: Array,
    y: Array,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float | Schedule,
    seed: int,
    optimizer: Optimizer | None = None,
    state: State | None = None,
    shuffle: bool = True,
    validation: Rows | float | None = None,
    patience: int | None = None,
    tolerance: float = 0.0,
    training_loss: TrainingLoss = True,
    callbacks: Iterable[Callback] = (),
    progress: bool = False,
    checkpoints: Checkpoints | None = None,
) -> History:
    """Train a model from its initial θ, in epochs that each use all rows, in a new random order.

    The model ends at the best θ, with the data loaded. λ of the L2 term is `network.l2`.

    Parameters
    ----------
    model : Model
        Its data are replaced, and its θ is reset first unless `state` is given.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L), of the network's dtype
    epochs : int
        Most epochs; those in a checkpoint that is found count.
    batch_size : int
        Rows of a step; the last step of an epoch takes those that are left.
    learning_rate : float, or callable
        A rate, or a schedule (see `pyfnn.training.schedules`).
    seed : int
        Seed of the orders and of the split, 0 or more.
    optimizer : Optimizer, optional
        `SGD()` by default. It, `Momentum()` and `Adam()` run inside a model that has them (`Model.optimizers`); other
        optimizers, and these elsewhere, step here, by `Model.loss_and_gradient`.
    state : dict of str to ndarray, optional
        State with which the optimizer starts: the `state` of a `History`, or an empty dict for a new one. The model's
        present θ is kept. It is a training of its own: it counts its epochs from 1, and its orders and rates are those
        of these epochs, so give it another `seed`. The state of a `History` belongs to its `last_theta`, and the model
        is at the best θ: call ``model.set_theta(history.last_theta)`` before.
    shuffle : bool
        False: each epoch takes the rows in their order.
    validation : (x, y) or float, optional
        Rows whose loss is recorded, and which are not used in training; or the share of the rows of x and y to split
        off at random.
    patience : int, optional
        Stop after that many consecutive epochs that did not lower the lowest validation loss (training loss where there
        are no validation rows) by more than `tolerance`.
    tolerance : float
        See `patience`.
    training_loss : bool or "running"
        True: record the loss of the training rows at the end of each epoch, which takes a forward pass over all of
        them. "running": record the running loss instead, which costs next to nothing: the mean over the rows of the
        loss of their step's rows, at θ before that step. There is none from before the first step. False: record none;
        this needs validation rows. NaN stands in the history for a loss that is not there.
    callbacks : iterable of callable
        Each is called with an `Epoch` after every epoch, in turn; the training stops if one of them returns True.
    progress : bool
        Show a progress bar.
    checkpoints : Checkpoints, optional
        Write the state into a file now and then. If that file exists, continue from it, in its next epoch: the result
        has the same bits as that of a run without interruption, on the same backend and machine.

    Returns
    -------
    History

    Raises
    ------
    InvalidInput
        An argument breaks its rule, or the checkpoint belongs to another training; the message names the field, the
        value and the rule.
    FitDiverged
        θ became non-finite. The exception has the history so far, the step, the layer and the likely cause.
    Unsupported
        The model cannot take another θ, or has no running loss: see `Model.offers_running_loss`.
    """
    settings = _Settings(
        epochs,
        batch_size,
        _schedule(learning_rate),
        seed,
        DESCENT if optimizer is None else optimizer,
        patience,
        tolerance,
        training_loss,
    ).checked()
    listed, progress = checked_callbacks(callbacks), check_flag("progress", progress)
    if checkpoints is not None:
        if not isinstance(checkpoints, Checkpoints):
            raise InvalidInput(f"checkpoints = {shown(checkpoints)}: must be Checkpoints(path)")
        checkpoints.check_place()
    data = replace(Data.make(x, y, validation, seed), shuffle=check_flag("shuffle", shuffle))
    if not training_loss and not data.validation_rows:
        raise InvalidInput("training_loss = False: needs validation rows")
    if state is None:
        model.reset()
    theta = model.theta()
    record, started = settings.beginning(theta, state, data)
    writer = Writer(checkpoints, settings.identity(model.network, theta, started, data)) if checkpoints else None
    if writer and (found := writer.read()):
        record, started = found
        settings.check_continues(record)
    training = _Training(model, data, settings, record, started, writer, theta)
    with _bar(progress, epochs, len(record.rows) - 1) as bars:
        return training.run([*listed, *bars])


def _schedule(learning_rate: float | Schedule) -> Schedule:
    if isinstance(learning_rate, type):
        raise InvalidInput(
            f"learning_rate = {shown(learning_rate)}: must be a rate, or a schedule such as Step(0.1, 9)"
        )
    return learning_rate if callable(learning_rate) else Constant(check_rate("learning_rate", learning_rate))


def _bar(progress: bool, epochs: int, done: int) -> AbstractContextManager[tuple[Callback, ...]]:
    return progress_bar(epochs, max(done, 0)) if progress else nullcontext(())


@dataclass(frozen=True)
class _Settings:
    """The settings of a training, named as the arguments of `fit`."""

    epochs: int
    batch_size: int
    schedule: Schedule
    seed: int
    optimizer: Optimizer
    patience: int | None
    tolerance: float
    training_loss: TrainingLoss

    def checked(self) -> "_Settings":
        check_count("epochs", self.epochs)
        check_count("batch_size", self.batch_size)
        check_seed("seed", self.seed)
        check_rule_to_stop(self.patience, self.tolerance)
        check_length(self.schedule, int(self.epochs))
        methods = (getattr(self.optimizer, name, None) for name in ("start", "update"))
        if isinstance(self.optimizer, type) or not all(map(callable, methods)):
            raise InvalidInput(f"optimizer = {shown(self.optimizer)}: must be an optimizer, such as Adam()")
        if not isinstance(self.training_loss, (bool, str)) or self.training_loss not in (True, False, "running"):
            raise InvalidInput(f'training_loss = {shown(self.training_loss)}: must be True, False or "running"')
        return self

    def identity(self, network: Network, theta: Array, state: State, data: Data) -> dict[str, Any]:
        """Return what a checkpoint belongs to, as JSON gives it back. theta, state: before the first step."""
        described = asdict(network)
        return {
            "network": {key: list(value) if isinstance(value, tuple) else value for key, value in described.items()},
            "seed": int(self.seed),
            "batch_size": int(self.batch_size),
            "optimizer": repr(self.optimizer),
            "initial_theta": digest(theta),
            "initial_state": digest(*(state[name] for name in sorted(state))),
            "training_loss": self.training_loss,
            "shuffle": data.shuffle,
            "data": data.digest(),
        }

    def beginning(self, theta: Array, state: State | None, data: Data) -> tuple[Record, State]:
        """Return the record before the first step, and the state with which the optimizer starts."""
        started = self.optimizer.start(theta)
        if state is not None and not isinstance(state, dict):
            raise InvalidInput(f"state = {shown(state)}: must be a dict of arrays, the state of a History")
        if state:
            if state.keys() != started.keys():
                has, needs = ", ".join(map(str, state)), ", ".join(started) or "none"
                raise InvalidInput(f"state has the arrays {shown(has)}: {self.optimizer!r} needs {needs}")
            for name, array in started.items():
                check_array(f"state[{name!r}]", state[name], array.shape, array.dtype.name)
            if isinstance(self.optimizer, Named):
                self.optimizer.check_state(state, theta.size, theta.dtype.name)
            started = {name: state[name].copy() for name in started}
        return Record(theta, theta, data.validation_rows > 0), started

    def check_continues(self, record: Record) -> None:
        """Require that a training with these settings has the epochs of a checkpoint, and perhaps further ones."""
        done = len(record.rows) - 1
        if done > self.epochs:
            raise InvalidInput(f"epochs = {self.epochs}: the checkpoint has {done}. {REMEDY}")
        ended = record.judge_again(self.tolerance, self.patience)
        if ended < done:
            raise InvalidInput(
                f"patience = {self.patience}, tolerance = {self.tolerance}: by these the training ends after epoch "
                f"{ended}, and the checkpoint has {done}. {REMEDY}"
            )
        for epoch, (_, rate, *_) in enumerate(record.rows[1:]):
            if self.schedule(epoch) != rate:
                raise InvalidInput(
                    f"learning_rate: epoch {epoch + 1} of the checkpoint had {rate!r}, not {self.schedule(epoch)!r}"
                )


class _Training:
    """A training in progress. initial: θ before its first step."""

    def __init__(
        self,
        model: Model,
        data: Data,
        settings: _Settings,
        record: Record,
        state: State,
        writer: Writer | None,
        initial: Array,
    ) -> None:
        self.model, self.data, self.settings, self.writer = model, data, settings, writer
        self.record, self.initial = record, initial
        model.set_theta(record.last_theta)  # a model that cannot is refused before the first step
        optimizer, running = settings.optimizer, settings.training_loss == "running"
        if running and not offers_running_loss(model, optimizer, settings.batch_size):
            raise Unsupported(
                f'training_loss = "running": {model.implementation} does not sum the losses in steps of '
                f"{settings.batch_size} rows by {optimizer!r}. Set training_loss to True"
            )
        self.epochs = _epochs(model, data, settings, state)

    def run(self, callbacks: list[Callback]) -> History:
        self.epochs.load(min(max(len(self.record.rows), 1), self.settings.epochs))
        if not self.record.rows:
            self._add(np.nan, Steps(0.0, np.nan))
        stopped = self._stopped()
        while stopped is None:
            self._run_epoch(len(self.record.rows))
            if self.writer:
                self.writer.write_if_due(self.record, self.epochs.state)
            epoch = self.record.epoch(self.model)
            answers = [callback(epoch) for callback in callbacks]
            stopped = "callback" if any(answer is True for answer in answers) else self._stopped()
        state = self.epochs.state()
        self.model.set_theta(self.record.theta)
        if self.writer:
            self.writer.write(self.record, state)
        return replace(self._history(stopped), state=state)

    def _history(self, stopped: Stopped) -> History:
        return replace(self.record.history(stopped), checkpoint_error=self.writer.error if self.writer else "")

    def _stopped(self) -> Stopped | None:
        patience = self.settings.patience
        if patience is not None and self.record.waited >= patience:
            return "patience"
        return "epochs" if len(self.record.rows) > self.settings.epochs else None

    def _run_epoch(self, epoch: int) -> None:
        rate = check_rate(f"epoch {epoch}: learning_rate", self.settings.schedule(epoch - 1))
        try:
            steps = self.epochs.run(epoch, rate)
        except Diverged:
            raise self._diverged(epoch, rate) from None
        self._add(rate, steps)

    def _add(self, rate: float, steps: Steps) -> None:
        kind = self.settings.training_loss
        given = steps.loss if kind == "running" else None if kind else np.nan
        losses = self.data.losses(self.model, given)
        self.record.add(self.model.theta(), rate, losses, steps.seconds, self.settings.tolerance)

    def _diverged(self, epoch: int, rate: float) -> FitDiverged:
        """Replay the epoch, explain the step that diverged, and leave the model at the best θ."""
        found = self.epochs.replay(epoch, rate)
        self.model.set_theta(self.record.theta)
        return _explanation(self, found, epoch, rate, self._history("diverged"))


def _epochs(model: Model, data: Data, settings: _Settings, state: State) -> Epochs:
    optimizer, rows = settings.optimizer, (data, settings.batch_size, settings.seed)
    if not (isinstance(optimizer, Named) and runs_inside(model, optimizer)):
        return Stepwise(model, *rows, optimizer, state)
    running = settings.training_loss == "running"
    return InModel(model, *rows, epochs=settings.epochs, optimizer=optimizer, state=state, running_loss=running)


def _explanation(
    training: _Training, found: EpochDiverged | None, epoch: int, rate: float, history: History
) -> FitDiverged:
    network, data = training.model.network, training.data
    x, y = data.x[: data.rows], data.y[: data.rows]
    theta = found.theta if found else history.last_theta
    overflow = find_overflow(network, theta, x[found.rows], y[found.rows], rate) if found else None
    cause = likely_cause(training.initial, theta, x, y, rate)
    where = f"at step {found.step}" if found else "in a step that a replay did not repeat"
    layer = f"; first the {overflow.numbers} of layer {overflow.layer} overflowed" if overflow else ""
    message = f"theta turned non-finite {where}, in epoch {epoch}, at learning_rate = {rate}{layer}. Likely: {cause}"
    return FitDiverged(message, history, found.step if found else None, overflow.layer if overflow else None, cause)
