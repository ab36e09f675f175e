"""Optimizers of minibatch training: how θ follows from a gradient. Nothing here computes a gradient.

Those of `TABLE` have a name, with which a backend declares that its models train by them. `pyfnn.training.fit` runs any
`Optimizer` on any backend.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, Protocol

import numpy as np

from pyfnn.errors import InvalidInput, UnknownName, Unsupported, shown
from pyfnn.validation import MOST, Array, check_array, check_flag, check_rate, is_number

State = dict[str, Array]


class Optimizer(Protocol):
    """An optimizer. Its `repr` shows its settings: a checkpoint belongs to one optimizer with one `repr`."""

    def start(self, theta: Array) -> State:
        """Return the state before the first step. theta: (n_parameters,)."""

    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Make one step, in place; may overwrite the gradient. theta, gradient: (n_parameters,), of one dtype."""


class Named(ABC):
    """An optimizer of `TABLE`, which models can have inside.

    Attributes
    ----------
    vectors : tuple of str
        Names of the vectors of its state, each (n_parameters,); all are 0 before the first step.
    counts : bool
        Its state has the number of steps too, as "steps".
    """

    vectors: ClassVar[tuple[str, ...]] = ()
    counts: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the row of `TABLE`."""

    @property
    @abstractmethod
    def settings(self) -> tuple[float, ...]:
        """Settings, in the order of `text`."""

    @abstractmethod
    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Make one step, as `Optimizer.update`."""

    @property
    def text(self) -> str:
        """Name and settings, as `parse` reads them: ``adam(0.9,0.999,1e-08)``."""
        return f"{self.name}({','.join(map(repr, self.settings))})" if self.settings else self.name

    @property
    def label(self) -> str:
        """The name alone where the settings are the default ones, else `text`."""
        return self.name if self == parse(self.name) else self.text

    def start(self, theta: Array) -> State:
        """Return the state before the first step: zeros."""
        return self.unpack(0, [np.zeros_like(theta) for _ in self.vectors])

    def pack(self, state: State) -> tuple[int, list[Array]]:
        """Return the number of steps, 0 where it is not counted, and the vectors of a state."""
        return int(state["steps"][0]) if self.counts else 0, [state[name] for name in self.vectors]

    def unpack(self, steps: int, vectors: Iterable[Array]) -> State:
        """Return the state with this number of steps and these vectors."""
        state = dict(zip(self.vectors, vectors, strict=True))
        return {**state, "steps": np.array([steps])} if self.counts else state

    def check_state(self, state: State, n_parameters: int, dtype: str) -> None:
        """Require a state of this optimizer.

        Raises
        ------
        InvalidInput
            Naming the array and the rule.
        """
        names = [*self.vectors, *["steps"] * self.counts]
        if not isinstance(state, dict) or set(state) != set(names):
            raise InvalidInput(f"state: must be a dict with the arrays {', '.join(names) or 'none'}")
        for name in self.vectors:
            check_array(f"state[{name!r}]", state[name], (n_parameters,), dtype)
        if self.counts:
            check_array("state['steps']", state["steps"], (1,), "int64")
            if not 0 <= state["steps"][0] <= MOST:
                raise InvalidInput(f"state['steps'] = {state['steps'][0]}: must be 0 or more, at most 2**53")


@dataclass(frozen=True)
class SGD(Named):
    """Gradient descent, θ ← θ − α dθ."""

    @property
    def name(self) -> str:
        """``sgd``."""
        return "sgd"

    @property
    def settings(self) -> tuple[float, ...]:
        """No settings."""
        return ()

    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Subtract α dθ."""
        del state
        theta -= theta.dtype.type(rate) * gradient


DESCENT: Final = SGD()
"""The optimizer where none is named."""


@dataclass(frozen=True)
class Momentum(Named):
    """Gradient descent with momentum μ: v ← μ v − α dθ, θ ← θ + v; with Nesterov's, θ ← θ + μ v − α dθ.

    The second is Sutskever et al. 2013, eqs. 3 and 4, in terms of the point at which the gradient is computed. The
    defaults are those of scikit-learn's `MLPRegressor`.
    """

    vectors: ClassVar[tuple[str, ...]] = ("velocity",)

    momentum: float = 0.9
    nesterov: bool = True

    def __post_init__(self) -> None:
        _check_share("momentum", self.momentum)
        object.__setattr__(self, "nesterov", check_flag("nesterov", self.nesterov))

    @property
    def name(self) -> str:
        """``nesterov`` or ``momentum``."""
        return "nesterov" if self.nesterov else "momentum"

    @property
    def settings(self) -> tuple[float, ...]:
        """μ."""
        return (float(self.momentum),)

    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Update v, then θ; overwrite the gradient."""
        v, real = state["velocity"], theta.dtype.type
        gradient *= real(rate)
        v *= real(self.momentum)
        v -= gradient
        theta += real(self.momentum) * v - gradient if self.nesterov else v


@dataclass(frozen=True)
class Adam(Named):
    """Adam (Kingma and Ba 2015), in the order of computation at the end of their section 2.

    At step t, from moments of 0: m ← β₁ m + (1−β₁) dθ, v ← β₂ v + (1−β₂) dθ², and
    θ ← θ − α √(1−β₂ᵗ)/(1−β₁ᵗ) · m/(√v + ε). The defaults, and the place of ε, are those of scikit-learn's
    `MLPRegressor`. An ε below the smallest normal number of the network's dtype counts as that number.
    """

    vectors: ClassVar[tuple[str, ...]] = ("m", "v")
    counts: ClassVar[bool] = True

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _check_share("beta_1", self.beta_1)
        _check_share("beta_2", self.beta_2)
        check_rate("epsilon", self.epsilon)

    @property
    def name(self) -> str:
        """``adam``."""
        return "adam"

    @property
    def settings(self) -> tuple[float, ...]:
        """β₁, β₂ and ε."""
        return float(self.beta_1), float(self.beta_2), float(self.epsilon)

    def update(self, theta: Array, gradient: Array, rate: float, state: State) -> None:
        """Update the moments, then θ; overwrite the gradient."""
        m, v, real = state["m"], state["v"], theta.dtype.type
        state["steps"] += 1
        t = int(state["steps"][0])
        m *= real(self.beta_1)
        m += real(1 - self.beta_1) * gradient
        gradient *= gradient
        gradient *= real(1 - self.beta_2)
        v *= real(self.beta_2)
        v += gradient
        step = np.sqrt(v, out=gradient)
        step += max(real(self.epsilon), np.finfo(real).tiny)  # 0/(0 + 0) is NaN
        np.divide(m, step, out=step)
        step *= real(rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t))
        theta -= step


def _check_share(field: str, value: Any) -> None:
    if not is_number(value) or not 0 <= value < 1:
        raise InvalidInput(f"{field} = {shown(value)}: must lie in [0, 1)")


TABLE: dict[str, Callable[..., Named]] = {
    "sgd": SGD,
    "momentum": partial(Momentum, nesterov=False),
    "nesterov": partial(Momentum, nesterov=True),
    "adam": Adam,
}
"""What makes each named optimizer from its settings."""


def parse(text: str) -> Named:
    """Return the optimizer that a text names: ``adam``, or with settings ``adam(0.9,0.999,1e-8)``.

    Raises
    ------
    UnknownName
        No optimizer has that name.
    InvalidInput
        The settings are malformed or out of range.
    """
    found = re.fullmatch(r"(\w*)(?:\(([^()]*)\))?", text.strip())
    name = found.group(1) if found else text
    if not found or name not in TABLE:
        raise UnknownName("optimizer", name, TABLE)
    words = found.group(2).split(",") if found.group(2) else []
    try:
        settings = [float(word) for word in words]
    except ValueError:
        settings = None
    if settings is None or len(settings) > len(TABLE[name]().settings):
        raise InvalidInput(f"optimizer = {text!r}: write a name, or a name and its settings: {TABLE[name]().text}")
    return TABLE[name](*settings)


def check_offered(implementation: str, offered: Sequence[str], optimizer: Any) -> None:
    """Raise `Unsupported` where an implementation lacks an optimizer; name both."""
    if not isinstance(optimizer, Named):
        raise InvalidInput(f"optimizer = {shown(optimizer)}: must be SGD(), Momentum(...) or Adam(...)")
    if optimizer.name not in offered:
        raise Unsupported(f"{implementation} has no optimizer {optimizer.name!r}: it has {', '.join(offered)}")
