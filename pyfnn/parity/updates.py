"""One step of each optimizer by the oracle, and how far the rounding of a gradient can carry it.

A row of `_TABLE` has both for one optimizer of `pyfnn.optimizers`, of which it uses nothing but the settings.
`trajectory` walks with them. Errors are in units of u, entry by entry; an implementation may be off by C·u times them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyfnn.activations import Array
from pyfnn.optimizers import Named, State

Vectors = tuple[Array, ...]


@dataclass(frozen=True)
class Point:
    """A place on a trajectory: θ, and the state of its optimizer.

    Attributes
    ----------
    theta : ndarray, shape (n_parameters,) or (stack, n_parameters)
    vectors : tuple of ndarray
        Vectors of the state, each of the shape of theta, in the optimizer's order.
    steps : int
        Steps so far.
    """

    theta: Array
    vectors: Vectors = ()
    steps: int = 0

    @classmethod
    def of(cls, optimizer: Named, theta: Array, state: State | None = None) -> "Point":
        """Return the point at θ with this state, or with a state of zeros, in θ's dtype."""
        steps, vectors = optimizer.pack(optimizer.start(theta) if state is None else state)
        return cls(theta, tuple(vector.astype(theta.dtype) for vector in vectors), steps)


@dataclass(frozen=True)
class _Step:
    """One step: settings, rate and number t of the step, from 1; dθ as `gradient`; and the vectors before it."""

    settings: tuple[float, ...]
    rate: float
    t: int
    gradient: Array
    before: Vectors


@dataclass(frozen=True)
class _Errors:
    """Errors of the gradient and of the vectors before a step; `unit`: C·u, the size of an error of 1."""

    gradient: Array
    before: Vectors
    unit: float


@dataclass(frozen=True)
class _Row:
    """move: a step -> the displacement that is subtracted from θ, and the vectors after it.

    errors: (step, vectors after it, errors before it) -> errors of the displacement and of the vectors.
    """

    move: Callable[[_Step], tuple[Array, Vectors]]
    errors: Callable[[_Step, Vectors, _Errors], tuple[Array, Vectors]]


def moved(optimizer: Named, point: Point, gradient: Array, rate: float) -> Point:
    """Return the point after one step, computed in the dtype of the point."""
    step = _Step(optimizer.settings, rate, point.steps + 1, gradient, point.vectors)
    displacement, vectors = _TABLE[optimizer.name].move(step)
    return Point(point.theta - displacement, vectors, point.steps + 1)


def errors_of_step(
    optimizer: Named, before: Point, after: Point, gradient: Array, rate: float, errors: Vectors, unit: float
) -> tuple[Array, Vectors]:
    """Return the errors of a step's displacement, without that of θ itself, and those of the state after it.

    Parameters
    ----------
    optimizer : SGD, Momentum or Adam
    before, after : Point
        The oracle's, around the step.
    gradient : ndarray, shape (n_parameters,)
    rate : float
    errors : tuple of ndarray of float64
        Errors of the gradient and of each vector of the state before the step.
    unit : float
        C·u.
    """
    plain = gradient.astype(np.float64)
    step = _Step(optimizer.settings, rate, after.steps, plain, tuple(v.astype(np.float64) for v in before.vectors))
    known = _Errors(errors[0], errors[1:], unit)
    return _TABLE[optimizer.name].errors(step, tuple(v.astype(np.float64) for v in after.vectors), known)


# Gradient descent: d = α dθ -------------------------------------------------------------------------------------------


def _sgd(step: _Step) -> tuple[Array, Vectors]:
    return step.gradient.dtype.type(step.rate) * step.gradient, ()


def _sgd_errors(step: _Step, after: Vectors, errors: _Errors) -> tuple[Array, Vectors]:
    del after
    return step.rate * errors.gradient, ()


# Momentum: v ← μ v − α dθ; d = −v, with Nesterov's d = α dθ − μ v -----------------------------------------------------


def _velocity(step: _Step) -> Array:
    (mu,), real = step.settings, step.gradient.dtype.type
    return np.asarray(real(mu) * step.before[0] - real(step.rate) * step.gradient)


def _velocity_errors(step: _Step, errors: _Errors) -> Array:
    (mu,) = step.settings
    return np.asarray(mu * errors.before[0] + step.rate * errors.gradient + 2 * mu * np.abs(step.before[0]))


def _momentum(step: _Step) -> tuple[Array, Vectors]:
    v = _velocity(step)
    return -v, (v,)


def _momentum_errors(step: _Step, after: Vectors, errors: _Errors) -> tuple[Array, Vectors]:
    del after
    of_v = _velocity_errors(step, errors)
    return of_v, (of_v,)


def _nesterov(step: _Step) -> tuple[Array, Vectors]:
    v, real = _velocity(step), step.gradient.dtype.type
    return real(step.rate) * step.gradient - real(step.settings[0]) * v, (v,)


def _nesterov_errors(step: _Step, after: Vectors, errors: _Errors) -> tuple[Array, Vectors]:
    (mu,), of_v = step.settings, _velocity_errors(step, errors)
    return mu * of_v + step.rate * errors.gradient + 2 * mu * np.abs(after[0]), (of_v,)


# Adam: m ← β₁ m + (1−β₁) dθ; v ← β₂ v + (1−β₂) dθ²; d = s m/(√v + ε), s = α √(1−β₂ᵗ)/(1−β₁ᵗ)


def _adam_factor(step: _Step) -> float:
    beta_1, beta_2, _ = step.settings
    return step.rate * math.sqrt(1 - beta_2**step.t) / (1 - beta_1**step.t)


def _adam(step: _Step) -> tuple[Array, Vectors]:
    real = step.gradient.dtype.type
    beta_1, beta_2, epsilon = map(real, step.settings)
    m = beta_1 * step.before[0] + (1 - beta_1) * step.gradient
    v = beta_2 * step.before[1] + (1 - beta_2) * step.gradient**2
    factor = real(step.rate) * np.sqrt(1 - beta_2**step.t) / (1 - beta_1**step.t)
    return factor * m / (np.sqrt(v) + epsilon), (m, v)


def _adam_errors(step: _Step, after: Vectors, errors: _Errors) -> tuple[Array, Vectors]:
    """Propagate the errors through m, v and d = s m/(√v + ε): docs/rounding.md has the formula.

    Where v may be as small as its own error, d may have any size up to its largest, and either sign.
    """
    beta_1, beta_2, epsilon = step.settings
    g, unit = np.abs(step.gradient), errors.unit
    of_m = beta_1 * (errors.before[0] + 2 * np.abs(step.before[0])) + (1 - beta_1) * (errors.gradient + 2 * g)
    of_g2 = (2 * g + unit * errors.gradient) * errors.gradient  # of dθ², the square of the error included
    of_v = beta_2 * (errors.before[1] + 2 * step.before[1]) + (1 - beta_2) * (of_g2 + 3 * g**2)
    m, v = np.abs(after[0]), after[1]
    size = np.sqrt(v) + epsilon
    least = np.sqrt(np.maximum(v - unit * of_v, 0)) + epsilon
    factor = _adam_factor(step)
    of_quotient = of_m / least + m * (size - least) / (unit * least * size)
    largest = 2 * _largest_quotient(beta_1, beta_2, step.t) / unit
    return factor * (np.minimum(of_quotient, largest) + 4 * m / size), (of_m, of_v)


def _largest_quotient(beta_1: float, beta_2: float, t: int) -> float:
    """Return a bound on |m|/√v after t steps from 0, by Cauchy and Schwarz: m and √v weigh the same gradients."""
    if beta_1**2 >= beta_2:
        return math.inf  # it grows with t without end: no limit is used
    ratio = beta_1**2 / beta_2
    return (1 - beta_1) * math.sqrt((1 - ratio**t) / (1 - ratio) / (1 - beta_2))


_TABLE = {
    "sgd": _Row(_sgd, _sgd_errors),
    "momentum": _Row(_momentum, _momentum_errors),
    "nesterov": _Row(_nesterov, _nesterov_errors),
    "adam": _Row(_adam, _adam_errors),
}
