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
    Floats,
    Machine,
    launch_logs_of,
    one_after_the_other,
)
from bench.statistics import intervals
from bench.statistics.stopping import Stopping
from bench.statistics.verdicts import Bools, ratios_of

COUNTS = (5, 10, 20)  # launches


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


def first_instances(machine: Machine) -> list[int]:
    """Return the places of the contenders that are no second instance; the reference comes first."""
    return [at for at, contender in enumerate(machine.contenders) if "@" not in contender.name]


@dataclass
class Tally:
    """The intervals of a schedule on all machines: whether each pair's contained the truth, and their half-widths.

    `held` has the reported intervals, `bare` Student's, and `by_stein` Stein's: the mean of all launches with the
    spread of the first ones alone. An entry a machine, of shape (pairs,).
    """

    held: list[Bools] = field(default_factory=list)
    by_stein: list[Bools] = field(default_factory=list)
    bare: list[Bools] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    launches: list[int] = field(default_factory=list)

    def add(self, machine: Machine, logs: Floats, chosen: bool) -> None:
        """Count the intervals of one machine. logs: (launches, first instances), log step times."""
        some = [machine.contenders[at] for at in first_instances(machine)]
        truths = np.log([machine.truth(one, other) for one, other in combinations(some, 2)])
        one, other = np.array(list(combinations(range(len(some)), 2))).T
        ratios, made, first = logs[:, one] - logs[:, other], len(logs), intervals.MIN_LAUNCHES
        found = ratios_of(logs)
        off = np.abs(found.centres - truths)
        reported = student_t.ppf(0.975, found.degrees) * found.errors * (intervals.WIDENED if chosen else 1.0)
        bare = student_t.ppf(0.975, made - 1) * ratios.std(axis=0, ddof=1) / math.sqrt(made)
        stein = student_t.ppf(0.975, first - 1) * ratios[:first].std(axis=0, ddof=1) / math.sqrt(made)
        self.launches.append(made)
        self.margins.append(float(np.median(reported)))
        for into, reach in ((self.held, reported), (self.bare, bare), (self.by_stein, stein)):
            into.append(off <= reach)

    def coverage(self, of: str = "held") -> Coverage:
        """Return the coverage of the reported intervals (`held`), Stein's (`by_stein`) or Student's (`bare`)."""
        shares = np.array(getattr(self, of)).mean(axis=0)
        least, most = float(shares.min()), float(shares.max())
        return Coverage(
            float(shares.mean()), len(self.launches), median(self.margins), least, most, fmean(self.launches)
        )


def judge(machine: Machine, schedules: Mapping[str, Schedule], machines: int, seed: int = 0) -> dict[str, Tally]:
    """Simulate `machines` machines; return each schedule's tally."""
    rng = np.random.default_rng((seed, 1))
    most = max(schedule.budget for schedule in schedules.values())
    every = launch_logs_of(machine, rng, machines, most, ROUNDS)[..., first_instances(machine)]
    tallies = {name: Tally() for name in schedules}
    for logs in every:
        pairs = (logs[:, :1] - logs[:, 1:]).T.tolist()
        for name, schedule in schedules.items():
            made, chosen = schedule.run(pairs)
            tallies[name].add(machine, logs[:made], chosen)
    return tallies


def precision_for(machine: Machine, launches: int, seed: int = 0, machines: int = 200) -> float:
    """Return the precision that takes about `launches` launches, by the median of a separate pilot simulation."""
    rng = np.random.default_rng((seed, 2))
    first = intervals.MIN_LAUNCHES
    logs = launch_logs_of(machine, rng, machines, first, ROUNDS)
    arms = first_instances(machine)
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
