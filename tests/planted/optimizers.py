"""Models that train by momentum, Nesterov's momentum and Adam in plain NumPy, with at most one bug in it.

The gradient is that of model.py, without a bug. `examine` and the segments of a timed training must reject each bug.
"""

import time
from dataclasses import replace

import numpy as np

from planted.model import PlantedBackend, PlantedModel
from pyfnn.manifest import Row
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.optimizers import TABLE, Named, State
from pyfnn.validation import Array

BUGS = {
    "momentum_sign": ("momentum", "v <- mu v + rate g: the velocity points up the gradient"),
    "momentum_damped": ("momentum", "v <- mu v - (1 - mu) rate g"),
    "no_look_ahead": ("nesterov", "theta <- theta + v, as without Nesterov's look-ahead"),
    "stale_look_ahead": ("nesterov", "theta <- theta + mu v - rate g with the v of the step before"),
    "no_bias_correction": ("adam", "the moments are not corrected for their start at 0"),
    "betas_swapped": ("adam", "beta_1 and beta_2 are swapped"),
    "epsilon_in_root": ("adam", "m / sqrt(v + epsilon)"),
    "epsilon_before_correction": ("adam", "epsilon is added to the corrected sqrt(v)"),
    "no_square": ("adam", "v averages the size of the gradient"),
    "steps_not_counted": ("adam", "each step is corrected as the first one"),
    "own_settings": ("adam", "the settings are the default ones"),
    "state_lost": ("adam", "each call starts with a state of zeros"),
    "state_kept": ("adam", "reset leaves the state as it is"),
    "half_precision_state": ("adam", "v is kept in half the digits"),
}
"""Bugs by name: the optimizer, and what is wrong."""


class OptimizerModel(PlantedModel):
    """A model with at most one bug of `BUGS`."""

    def __init__(self, network: Network, theta: Array, bug: str | None = None) -> None:
        super().__init__(network, theta)
        assert bug is None or bug in BUGS
        self.wrong = bug
        self._moments: list[Array] = []
        self._steps = 0

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        assert self._used_order is not None
        assert self._optimizer is not None
        if self.wrong == "state_lost":
            self._set_optimizer_state(self._optimizer, self._optimizer.start(self._now))
        begin = time.perf_counter()
        for at in range(first, first + count, batch_size):
            rows = self._used_order[at : min(at + batch_size, first + count)]
            gradient = self._gradient(self._x[rows], self._y[rows], batch_size)[1]
            self._steps += 1
            step = self._adam if self._optimizer.name == "adam" else self._velocity
            self._now = self._now - step(gradient, learning_rate)
        return time.perf_counter() - begin

    def _velocity(self, g: Array, rate: float) -> Array:
        """Update v and return what to subtract from θ."""
        assert self._optimizer is not None
        mu, (before,) = self._real(self._optimizer.settings[0]), self._moments
        step = self._real(rate) * g * {"momentum_sign": -1, "momentum_damped": 1 - mu}.get(str(self.wrong), 1)
        v = mu * before - step
        self._moments = [v]
        if self._optimizer.name == "momentum" or self.wrong == "no_look_ahead":
            return np.asarray(-v)
        return np.asarray(step - mu * (before if self.wrong == "stale_look_ahead" else v))

    def _adam(self, g: Array, rate: float) -> Array:
        """Update both moments and return what to subtract from θ."""
        assert self._optimizer is not None
        own = TABLE["adam"]().settings
        beta_1, beta_2, epsilon = own if self.wrong == "own_settings" else self._optimizer.settings
        if self.wrong == "betas_swapped":
            beta_1, beta_2 = beta_2, beta_1
        real, t = self._real, 1 if self.wrong == "steps_not_counted" else self._steps
        m, v = self._moments
        m = real(beta_1) * m + real(1 - beta_1) * g
        v = real(beta_2) * v + real(1 - beta_2) * (np.abs(g) if self.wrong == "no_square" else g * g)
        if self.wrong == "half_precision_state":
            v = v.astype({"float32": "float16", "float64": "float32"}[self.network.dtype]).astype(v.dtype)
        self._moments = [m, v]
        root, correction = np.sqrt(v), np.sqrt(1 - beta_2**t)
        size = root + real(epsilon)
        if self.wrong == "epsilon_in_root":
            size = np.sqrt(v + real(epsilon))
        elif self.wrong == "epsilon_before_correction":
            size = root + real(epsilon * correction)
        factor = rate if self.wrong == "no_bias_correction" else rate * correction / (1 - beta_1**t)
        return np.asarray(real(factor) * m / size)

    def _optimizer_state(self, optimizer: Named) -> State:
        return optimizer.unpack(self._steps, [moment.copy() for moment in self._moments])

    def _set_optimizer_state(self, optimizer: Named, state: State) -> None:
        self._steps, moments = optimizer.pack(state)
        self._moments = [moment.copy() for moment in moments]

    def _zero_optimizer_state(self, optimizer: Named) -> None:
        if self.wrong != "state_kept" or len(self._moments) != len(optimizer.vectors):
            super()._zero_optimizer_state(optimizer)


class OptimizerBackend(PlantedBackend):
    """A backend whose models all have the same bug of `BUGS`, or none."""

    def __init__(self, bug: str | None = None) -> None:
        super().__init__(None)
        self._description = replace(self._description, optimizers=tuple(TABLE))
        self.wrong = bug

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return OptimizerModel(network, theta, self.wrong)


class Hosted(OptimizerBackend):
    """A correct backend for a backend.toml."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        self._description = replace(self._description, name=row.name)


class _Later(OptimizerModel):
    """Swap β₁ and β₂ after 100 steps."""

    def _adam(self, g: Array, rate: float) -> Array:
        self.wrong = "betas_swapped" if self._steps > 100 else None
        return super()._adam(g, rate)


class _LongCalls(OptimizerModel):
    """Forget the state before each call of more than 30 steps."""

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        self.wrong = "state_lost" if count > 30 * batch_size else None
        return super()._train_with(first, count, batch_size, learning_rate)


class Later(Hosted):
    """A backend for a backend.toml, wrong after some time."""

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return _Later(network, theta)


class LongCalls(Hosted):
    """A backend for a backend.toml, wrong in long calls."""

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return _LongCalls(network, theta)
