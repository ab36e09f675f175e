"""Optimizers of minibatch training: how θ follows from a gradient. Nothing here computes a gradient.

`SGD` trains inside the model, by `Model.train`. All others work here, on `Model.loss_and_gradient`, and so on every
backend; their state consists of arrays, which checkpoints keep.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pyfnn.errors import InvalidInput
from pyfnn.validation import Array, check_rate

State = dict[str, Array]


class Optimizer(Protocol):
    """An optimizer. Its `repr` shows its settings: a checkpoint belongs to one optimizer with one `repr`."""

    def start(self, theta: Array) -> State:
        """Return the state before the first step. theta: (n_parameters,)."""

    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Make one step, in place. theta, gradient: (n_parameters,), of one dtype."""


@dataclass(frozen=True)
class SGD:
    """Gradient descent, θ ← θ − α dθ. `fit` leaves it to the model, which steps natively."""

    def start(self, theta: Array) -> State:
        """Return no state."""
        del theta
        return {}

    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Subtract α dθ."""
        del state
        theta -= theta.dtype.type(rate) * gradient


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum μ: v ← μ v − α dθ, θ ← θ + v; with Nesterov's, θ ← θ + μ v − α dθ.

    The second is Sutskever et al. 2013, eqs. 3 and 4, in terms of the point at which the gradient is computed. The
    defaults are those of scikit-learn's `MLPRegressor`.
    """

    momentum: float = 0.9
    nesterov: bool = True

    def __post_init__(self) -> None:
        _check_share("momentum", self.momentum)

    def start(self, theta: Array) -> State:
        """Return v = 0."""
        return {"velocity": np.zeros_like(theta)}

    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Update v, then θ."""
        v, scaled = state["velocity"], theta.dtype.type(rate) * gradient
        v *= theta.dtype.type(self.momentum)
        v -= scaled
        theta += theta.dtype.type(self.momentum) * v - scaled if self.nesterov else v


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), in the order of computation at the end of their section 2.

    At step t, from moments of 0: m ← β₁ m + (1−β₁) dθ, v ← β₂ v + (1−β₂) dθ², and
    θ ← θ − α √(1−β₂ᵗ)/(1−β₁ᵗ) · m/(√v + ε). The defaults, and the place of ε, are those of scikit-learn's
    `MLPRegressor`.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _check_share("beta_1", self.beta_1)
        _check_share("beta_2", self.beta_2)
        check_rate("epsilon", self.epsilon)

    def start(self, theta: Array) -> State:
        """Return both moments, and the number of steps."""
        return {"m": np.zeros_like(theta), "v": np.zeros_like(theta), "steps": np.zeros(1, np.int64)}

    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Update the moments, then θ."""
        m, v, real = state["m"], state["v"], theta.dtype.type
        state["steps"] += 1
        t = int(state["steps"][0])
        m *= real(self.beta_1)
        m += real(1 - self.beta_1) * gradient
        v *= real(self.beta_2)
        v += real(1 - self.beta_2) * (gradient * gradient)
        scale = rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        theta -= real(scale) * m / (np.sqrt(v) + real(self.epsilon))


def _check_share(field: str, value: float) -> None:
    if not 0 <= value < 1:
        raise InvalidInput(f"{field} = {value!r}: must lie in [0, 1)")
