"""Learning-rate schedules. A schedule is any function of the epoch, 0 for the first, that returns its rate."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from pyfnn.errors import InvalidInput, shown
from pyfnn.validation import check_count, check_rate, is_number

Schedule: TypeAlias = Callable[[int], float]
_put = (
    object.__setattr__
)  # the classes are frozen; they keep Python's numbers, which do not wrap and have full precision


@dataclass(frozen=True)
class Constant:
    """The same rate in every epoch."""

    rate: float

    def __post_init__(self) -> None:
        _put(self, "rate", check_rate("rate", self.rate))

    def __call__(self, epoch: int) -> float:
        """Return the rate of an epoch."""
        del epoch
        return self.rate


@dataclass(frozen=True)
class Step:
    """The rate times `factor` after every `every` epochs, but never below the smallest normal number."""

    rate: float
    every: int
    factor: float = 0.5

    def __post_init__(self) -> None:
        _put(self, "rate", check_rate("rate", self.rate))
        _put(self, "every", check_count("every", self.every))
        _put(self, "factor", check_rate("factor", self.factor))

    def __call__(self, epoch: int) -> float:
        """Return the rate of an epoch."""
        try:
            return max(self.rate * self.factor ** (epoch // self.every), sys.float_info.min)
        except OverflowError:
            return math.inf


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `rate` in the first epoch to `final` after `epochs` (Loshchilov and Hutter 2017, eq. 5).

    `final` also holds for later epochs, so it must be above 0 to train any longer.
    """

    rate: float
    epochs: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _put(self, "rate", check_rate("rate", self.rate))
        _put(self, "epochs", check_count("epochs", self.epochs))
        if not is_number(self.final) or not 0 <= self.final <= self.rate:
            raise InvalidInput(f"final = {shown(self.final)}: must lie in [0, rate]")
        _put(self, "final", float(self.final))

    def __call__(self, epoch: int) -> float:
        """Return the rate of an epoch."""
        share = min(epoch / self.epochs, 1.0)
        return self.final + (self.rate - self.final) * ((1 + math.cos(math.pi * share)) / 2)


@dataclass(frozen=True)
class InverseTime:
    """rate / (1 + decay · epoch), whose sum diverges while the sum of its squares does not (Robbins and Monro 1951)."""

    rate: float
    decay: float

    def __post_init__(self) -> None:
        _put(self, "rate", check_rate("rate", self.rate))
        _put(self, "decay", check_rate("decay", self.decay))

    def __call__(self, epoch: int) -> float:
        """Return the rate of an epoch."""
        return self.rate / (1 + self.decay * epoch)


@dataclass(frozen=True)
class Later:
    """A schedule from a later epoch on, which is its epoch 0."""

    schedule: Schedule
    first: int

    def __call__(self, epoch: int) -> float:
        """Return the rate of an epoch."""
        return self.schedule(self.first + epoch)


def check_length(schedule: Schedule, epochs: int) -> None:
    """Require that a `Cosine` that falls to 0 lasts for so many epochs; a step at the rate 0 is an error.

    Raises
    ------
    InvalidInput
        Naming the schedule and the epoch.
    """
    inner, first = (schedule.schedule, schedule.first) if isinstance(schedule, Later) else (schedule, 0)
    if isinstance(inner, Cosine) and inner.final == 0 and first + epochs > inner.epochs:
        after = f"its rate is 0 after {inner.epochs} epochs, and the training has {first + epochs}"
        raise InvalidInput(f"learning_rate = {inner!r}: {after}. Give it as many, or a final above 0")
