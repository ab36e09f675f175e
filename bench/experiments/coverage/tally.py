"""The count of intervals that contain the known truth on simulated machines, by schedule and kind of interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean, median

import numpy as np
from scipy.stats import binomtest
from scipy.stats import t as student_t

from bench.experiments.coverage.machines import (
    MOST_LAUNCHES,
    ROUNDS,
    Machine,
    SimulatedSample,
    launch_logs_of,
    one_after_the_other,
    shuffled_rounds,
)
from bench.statistics import intervals
from bench.statistics.intervals import Estimate
from bench.statistics.stopping import Stopping
from bench.statistics.verdicts import compare, ratios_of

COUNTS = (5, 10, 20)  # launches
_AT_ONCE = 250  # machines


def naive_coverage(
    machine: Machine, rng: np.random.Generator, machines: int, launches: int, *, fresh: bool
) -> "Coverage":
    """Return the coverage of Welch's t interval of the ratio, over samples or, if `fresh`, over processes."""
    logs, truth = one_after_the_other(machine, rng, machines, launches, fresh=fresh)
    units = np.log(np.exp(logs).mean(axis=3)) if fresh else logs.reshape(*logs.shape[:2], -1)
    n = units.shape[2]
    share = units.var(axis=2, ddof=1) / n  # (machines, 2)
    degrees = share.sum(axis=1) ** 2 * (n - 1) / (share**2).sum(axis=1)
    margin = student_t.ppf(0.975, degrees) * np.sqrt(share.sum(axis=1))
    centre = units[:, 0].mean(axis=1) - units[:, 1].mean(axis=1)
    return Coverage(float(np.mean(np.abs(centre - math.log(truth)) <= margin)), machines, float(np.median(margin)))


# Estimates -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coverage:
    """The share of intervals that contained the truth, and their width.

    Attributes
    ----------
    share : float
        Over all pairs and machines.
    machines : int
    margin : float
        Median half-width, on the log scale.
    least, most : float
        The lowest and highest share of a single pair.
    launches : float
        Mean number of launches.
    """

    share: float
    machines: int
    margin: float
    least: float = math.nan
    most: float = math.nan
    launches: float = math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The share's own 95 % interval (Clopper and Pearson).

        It takes all pairs of a machine as a single trial. The pairs are correlated, but less than that, so the
        interval is wider than necessary.
        """
        found = binomtest(round(self.share * self.machines), self.machines).proportion_ci(0.95)
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.interval)
        return f"{100 * self.share:.1f} [{low:.1f}, {high:.1f}]"


@dataclass(frozen=True)
class Schedule:
    """A stopping rule: the number of launches within the budget, and the precision to reach."""

    budget: int
    precision: float = 1e-9  # never reached

    def run(self, pairs: Sequence[Sequence[float]]) -> tuple[int, bool]:
        """Apply the stopping rule of `bench.statistics.stopping`.

        Parameters
        ----------
        pairs : sequence of sequence of float
            The log ratios to the reference, by pair and launch.

        Returns
        -------
        int
            The number of launches.
        bool
            True if it depends on the samples.
        """
        stopping, made = Stopping(self.precision, self.budget), intervals.MIN_LAUNCHES
        while not (stop := stopping.after(made, made, [logs[:made] for logs in pairs])):
            made += 1
        return made, stop.chosen


def _pairs(samples: Mapping[str, Sequence[SimulatedSample]]) -> list[list[float]]:
    """Return the log ratios to the reference, which is the first; second instances do not drive the stopping."""
    reference, *others = (own for name, own in samples.items() if "@" not in name)
    return [intervals.log_ratios(reference, other) for other in others]


def stein(logs: Sequence[float], first: int = intervals.MIN_LAUNCHES) -> Estimate:
    """Return Stein's interval: the mean of all launches with the spread of the first ones alone."""
    pilot = intervals.t_interval(logs[:first])
    assert pilot is not None
    margin = math.log(pilot.high / pilot.median) * math.sqrt(first / len(logs))
    centre = fmean(logs)
    return Estimate(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin))


@dataclass
class Tally:
    """The intervals of a schedule on all machines: by pair, True if they contained the truth; and their widths."""

    held: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    by_stein: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    bare: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    margins: list[float] = field(default_factory=list)
    stein_margins: list[float] = field(default_factory=list)
    launches: list[int] = field(default_factory=list)

    def add(self, machine: Machine, samples: Mapping[str, Sequence[SimulatedSample]], made: int, chosen: bool) -> None:
        """Count the intervals of one machine after `made` launches."""
        own = {name: taken[: made * ROUNDS] for name, taken in samples.items()}
        self.launches.append(made)
        firsts = {name: some for name, some in own.items() if "@" not in name}
        reported = {(p.than, p.backend): p.ratio for p in compare(firsts, chosen=chosen).pairs}
        for reference, other in combinations([c for c in machine.contenders if "@" not in c.name], 2):
            pair, truth = (reference.name, other.name), machine.truth(reference, other)
            found = reported[pair]
            logs = intervals.log_ratios(own[reference.name], own[other.name])
            bare, old = intervals.t_interval(logs), stein(logs)
            assert bare is not None
            self.held.setdefault(pair, []).append(found.low <= truth <= found.high)
            self.bare.setdefault(pair, []).append(bare.low <= truth <= bare.high)
            self.by_stein.setdefault(pair, []).append(old.low <= truth <= old.high)
            self.margins.append(math.log(found.high / found.median))
            self.stein_margins.append(math.log(old.high / old.median))

    def coverage(self, of: str = "held") -> Coverage:
        """Return the coverage of the reported intervals (`held`), Stein's (`by_stein`) or Student's (`bare`)."""
        shares = [fmean(held) for held in getattr(self, of).values()]
        margin = median(self.stein_margins if of == "by_stein" else self.margins)
        return Coverage(fmean(shares), len(self.launches), margin, min(shares), max(shares), fmean(self.launches))


def judge(machine: Machine, schedules: Mapping[str, Schedule], machines: int, seed: int = 0) -> dict[str, Tally]:
    """Simulate `machines` machines; return each schedule's tally."""
    rng = np.random.default_rng((seed, 1))
    most = max(schedule.budget for schedule in schedules.values())
    tallies = {name: Tally() for name in schedules}
    for first in range(0, machines, _AT_ONCE):
        for samples in shuffled_rounds(machine, rng, min(_AT_ONCE, machines - first), most):
            pairs = _pairs(samples)
            for name, schedule in schedules.items():
                tallies[name].add(machine, samples, *schedule.run(pairs))
    return tallies


def precision_for(machine: Machine, launches: int, seed: int = 0, machines: int = 200) -> float:
    """Return the precision that takes about `launches` launches, by the median of a separate pilot simulation."""
    rng = np.random.default_rng((seed, 2))
    first = intervals.MIN_LAUNCHES
    logs = launch_logs_of(machine, rng, machines, first, ROUNDS)
    arms = [at for at, contender in enumerate(machine.contenders) if "@" not in contender.name]
    found = ratios_of(logs[..., arms])
    reach = student_t.ppf(0.975, found.degrees) * found.errors
    widest = reach[:, : len(arms) - 1].max(axis=1)  # the pairs of the reference come first
    return math.expm1(float(np.median(widest)) * math.sqrt(first / launches))


# Findings ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    """The tallies of all schedules on one machine, and the coverage of the usual ways."""

    tallies: Mapping[str, Tally]
    one_process: tuple[Coverage, ...]
    fresh: tuple[Coverage, ...]


BY_BUDGET = tuple(f"budget, {count}" for count in COUNTS)
AIMED = (10, 20)  # launches that the precisions aim at
BY_PRECISION = tuple(f"precision, about {count}" for count in AIMED)


def examine(machine: Machine, machines: int, seed: int = 0) -> Findings:
    """Simulate one kind of machine with every schedule and both usual ways."""
    schedules = {name: Schedule(count) for name, count in zip(BY_BUDGET, COUNTS, strict=True)}
    schedules |= {
        name: Schedule(MOST_LAUNCHES, precision_for(machine, count, seed))
        for name, count in zip(BY_PRECISION, AIMED, strict=True)
    }
    tallies = judge(machine, schedules, machines, seed)
    rng = np.random.default_rng((seed, 3))
    naive = [
        tuple(naive_coverage(machine, rng, machines, count, fresh=fresh) for count in COUNTS) for fresh in (False, True)
    ]
    return Findings(tallies, *naive)
