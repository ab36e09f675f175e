"""`minimize`: full-batch training of any `Model` by SciPy's optimizers, which is imported when it is called."""

import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from pyfnn.errors import InvalidInput, PyfnnError, UnknownName, shown
from pyfnn.model import Model
from pyfnn.training.checks import check_rule_to_stop, checked_callbacks
from pyfnn.training.data import Data, Rows
from pyfnn.training.history import Callback, History, Record, Stopped
from pyfnn.training.progress import progress_bar
from pyfnn.validation import Array, check_count, check_flag, check_seed

METHODS = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr")  # take a gradient, need no Hessian
_WITHOUT_LIMIT = ("TNC",)  # methods without the option maxiter, which some others set to 100 by default


class _Stop(Exception):
    def __init__(self, stopped: Stopped) -> None:
        super().__init__(stopped)
        self.stopped = stopped


def minimize(
    model: Model,
    x: Array,
    y: Array,
    *,
    iterations: int,
    method: str = "L-BFGS-B",
    validation: Rows | float | None = None,
    seed: int = 0,
    patience: int | None = None,
    tolerance: float = 0.0,
    callbacks: Iterable[Callback] = (),
    progress: bool = False,
    options: Mapping[str, Any] | None = None,
) -> History:
    """Train a model from its initial θ by an optimizer of SciPy, on the loss and gradient of all rows.

    The model ends at the best θ, with the data loaded. SciPy computes in float64; a float32 network's θ is rounded at
    each evaluation.

    Parameters
    ----------
    model, x, y, validation, seed, patience, tolerance, callbacks, progress
        As for `fit`, an iteration of the optimizer in place of an epoch. `learning_rate` is NaN, and `seconds` count
        the whole iteration.
    iterations : int
        Most iterations.
    method : str
        A method of `scipy.optimize.minimize` that takes a gradient and needs no Hessian: "CG" (Polak and Ribière's
        conjugate gradient), "L-BFGS-B", "BFGS", "TNC", "SLSQP", "Newton-CG", "trust-constr".
    options : dict, optional
        Options of the method, such as ``{"gtol": 1e-6}``.

    Returns
    -------
    History
        `stopped` is "epochs" at the iteration limit, "patience", "callback", "converged", or "failed", with SciPy's
        `message`.

    Raises
    ------
    InvalidInput
        An argument breaks its rule.
    UnknownName
        There is no such method.
    PyfnnError
        SciPy is not installed.
    """
    try:
        from scipy import optimize
    except ImportError:
        raise PyfnnError("minimize: SciPy is not installed (pip install scipy)") from None
    check_count("iterations", iterations)
    check_seed("seed", seed)
    check_rule_to_stop(patience, tolerance)
    listed, progress, method = checked_callbacks(callbacks), check_flag("progress", progress), _known(method)
    if options is not None and not (isinstance(options, Mapping) and all(isinstance(name, str) for name in options)):
        raise InvalidInput(f"options = {shown(options)}: must be a dict with the names of the method's options")
    search = _Search(model, Data.make(x, y, validation, seed), iterations, patience, tolerance)
    with progress_bar(iterations) if progress else nullcontext(()) as bars:
        search.callbacks = [*listed, *bars]
        stopped, message = search.run(optimize.minimize, method, dict(options or {}))
    model.set_theta(search.record.theta)
    return search.record.history(stopped, message)


def _known(method: Any) -> str:
    """Return SciPy's spelling of a method's name, which may be in any case."""
    for name in METHODS:
        if isinstance(method, str) and method.upper() == name.upper():
            return name
    raise UnknownName("method", method, METHODS)


class _Search:
    """A search in progress: the function to minimize, and what happens after each iteration."""

    callbacks: list[Callback]

    def __init__(self, model: Model, data: Data, iterations: int, patience: int | None, tolerance: float) -> None:
        self.model, self.data = model, data
        self.iterations, self.patience, self.tolerance = iterations, patience, tolerance
        model.reset()
        theta = model.theta()
        model.set_theta(theta)
        model.load(data.x, data.y, np.zeros(1, np.int64))
        self.record = Record(theta, theta, data.validation_rows > 0)
        self._since = time.perf_counter()
        self._add(theta)

    def run(self, search: Any, method: str, options: dict[str, Any]) -> tuple[Stopped, str]:
        start = self.record.theta.astype(np.float64)
        if method not in _WITHOUT_LIMIT:
            options = {"maxiter": self.iterations + 1, **options}
        try:
            with np.errstate(all="ignore"):
                end = search(self.evaluate, start, jac=True, method=method, callback=self.after, options=options)
        except _Stop as stop:
            return stop.stopped, ""
        return "converged" if end.success else "failed", str(end.message)

    def evaluate(self, point: Array) -> tuple[float, Array]:
        theta = self._rounded(point)
        if not np.isfinite(theta).all():  # a step of a line search that went too far
            return np.inf, np.zeros_like(point)
        self.model.set_theta(theta)
        loss, gradient = self.model.loss_and_gradient(0, self.data.rows)
        return loss, gradient.astype(np.float64)

    def after(self, point: Array, *state: Any) -> None:
        if state and state[0].nit == 1:  # trust-constr begins with a call at the start, before its first iteration
            return
        theta = self._rounded(point)
        self.model.set_theta(theta)
        self._add(theta)
        epoch = self.record.epoch(self.model)
        answers = [callback(epoch) for callback in self.callbacks]
        if any(answer is True for answer in answers):
            raise _Stop("callback")
        if self.patience is not None and self.record.waited >= self.patience:
            raise _Stop("patience")
        if len(self.record.rows) > self.iterations:
            raise _Stop("epochs")

    def _rounded(self, point: Array) -> Array:
        return point.astype(self.model.network.dtype)

    def _add(self, theta: Array) -> None:
        losses, seconds = self.data.losses(self.model), time.perf_counter() - self._since
        self.record.add(theta, np.nan, losses, seconds if self.record.rows else 0.0, self.tolerance)
        self._since = time.perf_counter()
