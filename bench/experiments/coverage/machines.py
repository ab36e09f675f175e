"""Simulated machines: noise models, and the schedules that sample them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDS = 3
MOST = 60  # launches that a machine is made up for; who wants more runs out of budget there
_ONE_BLOCK = 1e-3  # seconds; only ratios matter

Floats = NDArray[np.float64]


class Taken(NamedTuple):
    """A sample, as `bench.intervals` wants it."""

    launch: int
    round: int
    seconds: float
    steps: int = 1


@dataclass(frozen=True)
class Contender:
    """A backend: its step time, and how it takes what the machine does, as factors of the usual."""

    name: str
    step: float
    luck: float = 1.0  # of its launches
    noise: float = 1.0
    suffers: float = 1.0  # from bursts


SLOWDOWN = 1.03
CONTENDERS = (
    Contender("reference", 1.0),
    Contender("reference@2", 1.0),
    Contender("twin", 1.0),  # as fast as the reference, but nobody knows
    Contender("slowed", SLOWDOWN),
    Contender("fast", 0.05, luck=0.5, noise=0.5, suffers=0.8),
    Contender("fast@2", 0.05, luck=0.5, noise=0.5, suffers=0.8),
    Contender("restless", 0.7, luck=1.5, noise=1.5, suffers=1.2),
)


@dataclass(frozen=True)
class Machine:
    """What disturbs a turn. Sizes are standard deviations on the log scale, if not said otherwise.

    Attributes
    ----------
    noise, tails : float
        Of a block; Student's t with so many degrees of freedom, normal if infinite.
    luck, coin : float
        Of a process, for as long as it lives: normal; and a coin's toss between two speeds so far apart.
    rare, rare_size : float
        The chance that a process is slower by so much.
    walk, gap : float
        Steps of the drift: from one turn to the next, and between launches.
    burst : float
        The chance in each turn that others' load sets in.
    burst_end : float
        And that it ends.
    burst_size : float
        The mean of how much it slows turns down, exponential.
    """

    noise: float = 0.005
    tails: float = math.inf
    luck: float = 0.01
    coin: float = 0.0
    rare: float = 0.0
    rare_size: float = 0.05
    walk: float = 0.0
    gap: float = 0.0
    burst: float = 0.0
    burst_end: float = 0.3
    burst_size: float = 0.15
    contenders: tuple[Contender, ...] = field(default=CONTENDERS, repr=False)

    @property
    def loaded(self) -> float:
        """The share of turns that a burst hits."""
        return self.burst / (self.burst + self.burst_end)

    def truth(self, reference: Contender, other: Contender) -> float:
        """How many times faster `other` is: see the top of this file."""
        hurts = self.loaded * self.burst_size * (reference.suffers - other.suffers)
        return reference.step / other.step * math.exp(hurts)

    def environment(self, rng: np.random.Generator, machines: int, turns: int, launch: int) -> tuple[Floats, Floats]:
        """Drift and load in successive turns, `launch` of them to a launch; each (machines, turns)."""
        steps = self.walk * rng.standard_normal((machines, turns))
        steps[:, ::launch] += self.gap * rng.standard_normal((machines, -(-turns // launch)))
        load = np.zeros((machines, turns))
        if self.burst:
            size = np.where(rng.random(machines) < self.loaded, rng.exponential(self.burst_size, machines), 0.0)
            for turn in range(turns):
                change, fresh = rng.random(machines), rng.exponential(self.burst_size, machines)
                ended = np.where(change < self.burst_end, 0.0, size)
                size = np.where(size > 0, ended, np.where(change < self.burst, fresh, 0.0))
                load[:, turn] = size
        return np.cumsum(steps, axis=1), load

    def lucks(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """What becomes of processes."""
        usual = self.luck * rng.standard_normal(shape) + self.coin * (rng.integers(2, size=shape) - 0.5)
        return usual + self.rare_size * ((rng.random(shape) < self.rare) - self.rare) if self.rare else usual

    def noises(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """What becomes of blocks."""
        normal = math.isinf(self.tails)
        return self.noise * (rng.standard_normal(shape) if normal else rng.standard_t(self.tails, shape))


_BURSTS = Machine(burst=0.02)
_LUCK = Machine(luck=0.02, coin=0.03)
ALL = Machine(noise=0.01, tails=3, luck=0.01, coin=0.03, walk=0.003, gap=0.02, burst=0.02)
_ALONE = (*CONTENDERS[:-1], replace(CONTENDERS[-1], luck=8.0, noise=2.0))
MACHINES = {
    "quiet": Machine(),
    "drift": Machine(walk=0.003, gap=0.02),
    "bursts": _BURSTS,
    "heavy tails": Machine(noise=0.01, tails=3),
    "launch effects": _LUCK,
    "all of these": ALL,
    "one backend restless alone": Machine(contenders=_ALONE),
}
LIMITS = {f"one process in seven slower by {size} %": Machine(rare=1 / 7, rare_size=size / 100) for size in (5, 20)}
"""Where intervals fail, and must: nobody sees in five launches what befalls one in seven."""


def shuffled_rounds(
    machine: Machine, rng: np.random.Generator, machines: int, launches: int, *, shuffle: bool = True
) -> Iterator[dict[str, list[Taken]]]:
    """Samples by instance, of one machine after the other, as `bench.schedule` takes them.

    That is, in every launch fresh processes, in every round a turn of each, in a fresh shuffle; without `shuffle`
    always in the same order.
    """
    some = machine.contenders
    shape = (machines, launches, ROUNDS, len(some))
    turn = np.broadcast_to(np.arange(len(some)), shape)  # of each contender
    turn = rng.permuted(turn, axis=-1) if shuffle else turn
    drift, load = (
        np.take_along_axis(given.reshape(shape), turn, axis=-1)
        for given in machine.environment(rng, machines, math.prod(shape[1:]), ROUNDS * len(some))
    )
    luck = machine.lucks(rng, (machines, launches, 1, len(some))) * np.array([c.luck for c in some])
    noise = machine.noises(rng, shape) * np.array([c.noise for c in some])
    logs = np.log([c.step for c in some]) + drift + load * np.array([c.suffers for c in some]) + luck + noise
    seconds = _ONE_BLOCK * np.exp(logs)
    places = [(launch, number) for launch in range(launches) for number in range(ROUNDS)]
    for values in seconds.reshape(machines, launches * ROUNDS, len(some)).transpose(0, 2, 1).tolist():
        yield {
            contender.name: [Taken(*place, value) for place, value in zip(places, own, strict=True)]
            for contender, own in zip(some, values, strict=True)
        }


def one_after_the_other(
    machine: Machine, rng: np.random.Generator, machines: int, launches: int, *, fresh: bool
) -> tuple[Floats, float]:
    """Log step times of the first and the last contender, (machines, 2, launches, ROUNDS), and the truth.

    All samples of the one, then all of the other, in `launches` processes each if `fresh`, else in one.
    """
    pair = (machine.contenders[0], machine.contenders[-1])
    shape = (machines, len(pair), launches, ROUNDS)
    turns = math.prod(shape[1:])
    drift, load = machine.environment(rng, machines, turns, ROUNDS if fresh else turns // 2)
    luck = machine.lucks(rng, (*shape[:2], launches if fresh else 1, 1))
    factors = np.array([[c.luck, c.noise, c.suffers] for c in pair]).T[:, None, :, None, None]
    logs = drift.reshape(shape) + load.reshape(shape) * factors[2] + luck * factors[0]
    logs += machine.noises(rng, shape) * factors[1] + np.log([c.step for c in pair])[:, None, None]
    return logs, machine.truth(*pair)
