"""One training as an estimator's parameters ask for it: the arguments for `pyfnn.training`, and when to stop.

The rule, and the meaning of each parameter, are those of scikit-learn's `MLPRegressor` and `MLPClassifier`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.optimizers import State
from pyfnn.training import SGD, Adam, Epoch, History, Momentum, Optimizer, fit, minimize
from pyfnn.training.data import Rows
from pyfnn.training.epochs import offers_running_loss
from pyfnn.training.schedules import Later, Schedule
from pyfnn.validation import Array

if TYPE_CHECKING:
    from pyfnn.estimators.base import NetworkEstimator

METHODS = {"lbfgs": "L-BFGS-B", "cg": "CG"}  # solvers that use all rows at once, by SciPy
Scorer = Callable[[Array], float]
"""Returns the score of outputs, (rows, m_L)."""
LEAST_RATE = 1e-6  # of the schedule "adaptive", as scikit-learn's


@dataclass
class Course:
    """Losses and scores of an estimator so far, over all calls that continue its training.

    Attributes
    ----------
    rate : float
        Learning rate of the schedule "adaptive".
    losses, scores : list of float
        Of each epoch: loss of the training rows, l2 term included; score of the validation rows.
    best_loss, best_score : float
    waited : int
        Consecutive epochs without an improvement by more than the tolerance.
    rows : int
        Rows in all training steps.
    """

    rate: float
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_score: float = -math.inf
    waited: int = 0
    rows: int = 0

    def copy(self) -> "Course":
        """Return a course that a training can continue while this one stays as it is."""
        return replace(self, losses=[*self.losses], scores=[*self.scores])

    def add(self, loss: float, score: float | None, rows: int, tolerance: float) -> "Course":
        """Return the course after a further epoch of so many rows. It shares the lists, which get longer."""
        self.losses.append(loss)
        best_score = self.best_score
        if score is None:
            waits = loss > self.best_loss - tolerance
        else:  # it decides
            self.scores.append(score)
            waits, best_score = score < best_score + tolerance, max(best_score, score)
        return Course(
            self.rate,
            self.losses,
            self.scores,
            min(self.best_loss, loss),
            best_score,
            self.waited + 1 if waits else 0,
            self.rows + rows,
        )


class _EndOfEpoch(NamedTuple):
    """The end of the last whole epoch: the course, the lengths of its lists, θ of the best score, and the last θ."""

    course: Course
    losses: int
    scores: int
    best: Array
    last: Array


@dataclass(eq=False)
class Plan:
    """A training before it is run, and its result afterwards.

    Parameters
    ----------
    settings : NetworkEstimator
        Its parameters have been validated.
    network : Network
    theta : ndarray, shape (n_parameters,)
        θ before the first step; afterwards the result.
    state : dict of str to ndarray
        The optimizer's state of an earlier call to continue with; empty for a new one.
    rows : (x, y), shapes (rows, m_0) and (rows, m_L)
        Training rows.
    validation : (x, y) or None
        Rows whose score decides when to stop, and at which θ.
    epochs, batch_size, seed : int
    course : Course
        Continued by the training, and therefore its own.
    """

    settings: "NetworkEstimator"
    network: Network
    theta: Array
    state: State
    rows: Rows
    validation: Rows | None
    epochs: int
    batch_size: int
    seed: int
    course: Course
    stopped: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._before = len(self.course.losses)
        self._score = self.settings._scorer(self.validation[1]) if self.validation else None
        self._ended = self._end_of_epoch(self.course, self.theta, self.theta)

    @property
    def by_epochs(self) -> bool:
        """True for minibatches, False for an optimizer on all rows at once."""
        return self.settings.solver not in METHODS

    @property
    def optimizer(self) -> Optimizer:
        """Optimizer of the minibatch steps."""
        p = self.settings
        if p.solver == "adam":
            return Adam(p.beta_1, p.beta_2, p.epsilon)
        return Momentum(p.momentum, p.nesterovs_momentum) if p.momentum else SGD()

    @property
    def schedule(self) -> Schedule:
        """Learning rate of each epoch of this training, 0 for the first. Schedules by name are for "sgd" alone."""
        p, before, rows, size = self.settings, self._before, self.course.rows, len(self.rows[0])
        if callable(p.learning_rate):
            return Later(p.learning_rate, before)
        if p.solver == "sgd" and p.learning_rate == "invscaling":
            return lambda epoch: float(p.learning_rate_init / (rows + epoch * size + 1) ** p.power_t)
        return lambda _: self.course.rate

    def run(self, model: Model) -> None:
        """Train; set `theta`, `state` and `stopped`. model: at `theta`, its initial one for a solver of all rows.

        Raises
        ------
        FitDiverged
            θ became non-finite.
        """
        history = self._fit(model) if self.by_epochs else self._minimize(model)
        self.stopped = history.stopped
        self.state = history.state
        if not self.course.losses:  # SciPy found that nothing is left to do, before its first iteration
            self.course.losses.append(float(history.table["loss"][-1]))
            self.course.best_loss, self._before = self.course.losses[-1], 1
            self._ended = self._end_of_epoch(self.course, self.theta, self.theta)
        if self.validation is None:
            self.theta = history.last_theta

    def _fit(self, model: Model) -> History:
        optimizer = self.optimizer
        return fit(
            model,
            *self.rows,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.schedule,
            seed=self.seed,
            optimizer=optimizer,
            state=self.state,
            shuffle=self.settings.shuffle,
            validation=self.validation,
            training_loss="running" if offers_running_loss(model, optimizer, self.batch_size) else True,
            callbacks=[self._after],
        )

    def _minimize(self, model: Model) -> History:
        options: dict[str, Any] = {"gtol": self.settings.tol}
        if self.settings.solver == "lbfgs":
            options["maxfun"] = self.settings.max_fun
        return minimize(
            model,
            *self.rows,
            iterations=self.epochs,
            method=METHODS[self.settings.solver],
            validation=self.validation,
            callbacks=[self._after],
            options=options,
        )

    def _after(self, epoch: Epoch) -> bool:
        outputs = epoch.model.forward(len(self.rows[0]), len(self.validation[0])) if self.validation else None
        return self.after(epoch.loss, outputs, epoch.theta)

    def after(self, loss: float, outputs: Array | None, theta: Array) -> bool:
        """Record an epoch, and return True where the training stops.

        Parameters
        ----------
        loss : float
            Mean loss of the training rows.
        outputs : ndarray, shape (validation rows, m_L), or None
        theta : ndarray, shape (n_parameters,)
            θ at the end of the epoch.
        """
        p = self.settings
        score = None if outputs is None or self._score is None else self._score(outputs)
        course = self.course.add(loss, score, len(self.rows[0]), p.tol)
        watched = self.by_epochs or score is not None  # SciPy has its own rule for the loss
        stops = watched and course.waited > p.n_iter_no_change and not self._lowers_the_rate(course)
        best = theta if score is not None and score > self.course.best_score else self.theta
        self._ended = self._end_of_epoch(course, best, theta)  # one step: an interruption finds all of an epoch or none
        self.course, self.theta = course, best
        if p.verbose:
            shown = "" if score is None else f", validation score = {score:.6f}"
            print(f"Iteration {self.n_iter}, loss = {loss:.8f}{shown}")
        return stops

    @staticmethod
    def _end_of_epoch(course: Course, best: Array, last: Array) -> _EndOfEpoch:
        return _EndOfEpoch(course, len(course.losses), len(course.scores), best, last)

    def _lowers_the_rate(self, course: Course) -> bool:
        """Lower the rate in place of stopping, under the schedule "adaptive"; return False where it is the last one."""
        p = self.settings
        adaptive = p.solver == "sgd" and isinstance(p.learning_rate, str) and p.learning_rate == "adaptive"
        if not adaptive or course.rate <= LEAST_RATE:
            return False
        course.rate /= 5
        course.waited = 0
        return True

    def end_at_last_epoch(self) -> None:
        """Make the result of a training that was interrupted: that of its whole epochs, without optimizer state."""
        self.stopped, self.state = "interrupted", {}
        self.course, losses, scores, best, last = self._ended
        del self.course.losses[losses:], self.course.scores[scores:]
        self.theta = best if self.validation else last

    @property
    def n_iter(self) -> int:
        """Number of epochs of this training."""
        return len(self.course.losses) - self._before

    @property
    def unfinished(self) -> str:
        """Reason why the training ended before it converged, for a warning; empty where it converged."""
        if self.stopped == "epochs":
            return f"max_iter = {self.epochs} iterations reached, and the training has not converged"
        if self.stopped == "interrupted":
            return f"the training was interrupted: the estimator has what the first {self.n_iter} epochs learned"
        return "the solver stopped before it converged" if self.stopped == "failed" else ""


def call_seed(seed: int, call: int) -> int:
    """Return the seed of the epoch that the given call of `partial_fit` trains, so that each has its own order."""
    return seed + call
