"""Simulated machines: models of noise, drift, load and launch effects, and the two ways to sample them."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

ROUNDS = 3
MOST_LAUNCHES = 60  # launches simulated for a machine; a schedule that needs more ends there, out of budget
_ONE_BLOCK = 1e-3  # seconds; only ratios matter
_MOST_NOISE = 0.9  # share of a block's duration
_AT_ONCE = 500  # machines, for the memory

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contender:
    """A simulated backend: its step time, and its factors of the machine's launch effect, noise and bursts."""

    name: str
    step: float
    launch_effect: float = 1.0  # factor of the launch effect
    noise: float = 1.0
    suffers: float = 1.0  # factor of bursts


SLOWDOWN = 1.03
CONTENDERS = (
    Contender("reference", 1.0),
    Contender("reference@2", 1.0),
    Contender("twin", 1.0),  # as fast as the reference, but not used for the noise floor
    Contender("slowed", SLOWDOWN),
    Contender("fast", 0.05, launch_effect=0.5, noise=0.5, suffers=0.8),
    Contender("fast@2", 0.05, launch_effect=0.5, noise=0.5, suffers=0.8),
    Contender("restless", 0.7, launch_effect=1.5, noise=1.5, suffers=1.2),
)


@dataclass(frozen=True)
class Machine:
    """A model of the disturbances of a turn. Sizes are standard deviations on the log scale unless noted.

    Attributes
    ----------
    noise, tails : float
        Noise of a block, as a share of its duration: Student's t with `tails` degrees, normal if infinite.
    launch_effect, coin : float
        Launch effects, constant for a process: a normal one, and one of two values `coin` apart, equally likely.
    rare, rare_size : float
        Probability that a process is slower, and by how much (log).
    walk, gap : float
        Steps of the drift's random walk: from turn to turn, and between launches.
    burst, burst_end : float
        Probabilities a turn that a burst of other load begins, and that it ends.
    burst_size : float
        Mean slowdown of a burst (log), exponentially distributed.
    """

    noise: float = 0.005
    tails: float = math.inf
    launch_effect: float = 0.01
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
        """The share of turns with a burst."""
        return self.burst / (self.burst + self.burst_end)

    def truth(self, reference: Contender, other: Contender) -> float:
        """Return how many times faster `other` is than `reference`, as __main__.py defines the truth."""
        ours, theirs = (
            one.step * (1 + self.loaded * (1 / (1 - one.suffers * self.burst_size) - 1)) for one in (reference, other)
        )  # E exp(s X) = 1/(1 - s E X) for the exponential X
        return ours / theirs

    def environment(self, rng: np.random.Generator, machines: int, turns: int, launch: int) -> tuple[Floats, Floats]:
        """Draw drift and load of successive turns, `launch` turns a launch; each (machines, turns)."""
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

    def launch_effects(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Draw the effects of launches, one a process, on the log scale."""
        usual = self.launch_effect * rng.standard_normal(shape) + self.coin * (rng.integers(2, size=shape) - 0.5)
        return usual + self.rare_size * ((rng.random(shape) < self.rare) - self.rare) if self.rare else usual

    def noises(self, rng: np.random.Generator, shape: tuple[int, ...], factors: Floats) -> Floats:
        """Draw the noise of blocks: factors with mean 1, so that noisy backends are not slower."""
        drawn = rng.standard_normal(shape) if math.isinf(self.tails) else rng.standard_t(self.tails, shape)
        return np.asarray(1 + np.clip(self.noise * drawn * factors, -_MOST_NOISE, _MOST_NOISE))


_BURSTS = Machine(burst=0.02)
_LAUNCH_EFFECTS = Machine(launch_effect=0.02, coin=0.03)
ALL = Machine(noise=0.01, tails=3, launch_effect=0.01, coin=0.03, walk=0.003, gap=0.02, burst=0.02)
_ALONE = (*CONTENDERS[:-1], replace(CONTENDERS[-1], launch_effect=8.0, noise=2.0))
MACHINES = {
    "quiet": Machine(),
    "drift": Machine(walk=0.003, gap=0.02),
    "bursts": _BURSTS,
    "heavy tails": Machine(noise=0.01, tails=3),
    "launch effects": _LAUNCH_EFFECTS,
    "all of these": ALL,
    "one backend restless alone": Machine(contenders=_ALONE),
}
LIMITS = {f"one process in seven slower by {size} %": Machine(rare=1 / 7, rare_size=size / 100) for size in (5, 20)}
"""Machines on which intervals must fail: five launches often contain none of the slow processes, one in seven."""


def block_seconds(
    machine: Machine, rng: np.random.Generator, machines: int, launches: int, rounds: int, *, shuffle: bool = True
) -> Floats:
    """Return the durations of all blocks, (machines, launches, rounds, contenders), as `bench.measure` takes them.

    Each launch has new processes. Each round has a turn of each instance, shuffled; without `shuffle` always in the
    same order.
    """
    some = machine.contenders
    shape = (machines, launches, rounds, len(some))
    turn = np.broadcast_to(np.arange(len(some)), shape)  # of each contender
    turn = rng.permuted(turn, axis=-1) if shuffle else turn
    drift, load = (
        np.take_along_axis(given.reshape(shape), turn, axis=-1)
        for given in machine.environment(rng, machines, math.prod(shape[1:]), rounds * len(some))
    )
    effects = machine.launch_effects(rng, (machines, launches, 1, len(some)))
    effects = effects * np.array([c.launch_effect for c in some])
    logs = np.log([c.step for c in some]) + drift + load * np.array([c.suffers for c in some]) + effects
    noise = machine.noises(rng, shape, np.array([c.noise for c in some]))
    return np.asarray(_ONE_BLOCK * np.exp(logs) * noise)


def launch_logs_of(
    machine: Machine, rng: np.random.Generator, machines: int, launches: int, rounds: int, *, shuffle: bool = True
) -> Floats:
    """Return the log step times by launch and contender, (machines, launches, contenders): see `block_seconds`."""
    parts = [
        np.log(
            block_seconds(machine, rng, min(_AT_ONCE, machines - first), launches, rounds, shuffle=shuffle).mean(axis=2)
        )
        for first in range(0, machines, _AT_ONCE)
    ]
    return np.concatenate(parts)


def one_after_the_other(
    machine: Machine, rng: np.random.Generator, machines: int, launches: int, *, fresh: bool
) -> tuple[Floats, float]:
    """Simulate the usual way: all samples of the first contender, then all of the last.

    Parameters
    ----------
    fresh : bool
        True for `launches` processes of each; False for one process of each.

    Returns
    -------
    ndarray, shape (machines, 2, launches, ROUNDS)
        Log step times.
    float
        The true ratio.
    """
    pair = (machine.contenders[0], machine.contenders[-1])
    shape = (machines, len(pair), launches, ROUNDS)
    turns = math.prod(shape[1:])
    drift, load = machine.environment(rng, machines, turns, ROUNDS if fresh else turns // 2)
    effects = machine.launch_effects(rng, (*shape[:2], launches if fresh else 1, 1))
    factors = np.array([[c.launch_effect, c.noise, c.suffers] for c in pair]).T[:, None, :, None, None]
    logs = drift.reshape(shape) + load.reshape(shape) * factors[2] + effects * factors[0]
    logs += np.log(machine.noises(rng, shape, factors[1])) + np.log([c.step for c in pair])[:, None, None]
    return logs, machine.truth(*pair)
