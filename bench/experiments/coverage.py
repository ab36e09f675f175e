"""Do 95 % intervals hold the truth 95 % of the time? python -m bench.experiments.coverage times a made-up machine whose
true ratios are known, by `bench.intervals` and its stopping rule, and one backend after the other as is usual.

Prints the tables of docs/method.md and draws its figure. Nothing here is measured.

The truth is the ratio of two backends' step times, each the geometric mean over all the launches and rounds that this
machine could ever give: so the backends' own factors, and what a burst of others' load costs the one more than the
other. Noise and the luck of a launch have a mean of 0 on the log scale, drift cancels since turns are shuffled.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import binomtest
from scipy.stats import t as student_t

from bench import intervals
from bench.experiments.command import perform
from bench.intervals import Estimate
from bench.report.drawing import BLACK, BLUE, DPI, EDGE, FAINT, GREEN, LEGEND, LINE, SHADE, STYLE, VERMILION
from bench.report.overview import WIDE
from bench.report.tables import Table, markdown
from pyfnn.errors import PyfnnError

ROUNDS = 3
COUNTS = (5, 10, 20)  # launches
MOST = 60  # launches that a machine is made up for; who wants more runs out of budget there
_AT_ONCE = 250  # machines
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
_ALL = Machine(noise=0.01, tails=3, luck=0.01, coin=0.03, walk=0.003, gap=0.02, burst=0.02)
_ALONE = (*CONTENDERS[:-1], replace(CONTENDERS[-1], luck=8.0, noise=2.0))
MACHINES = {
    "quiet": Machine(),
    "drift": Machine(walk=0.003, gap=0.02),
    "bursts": _BURSTS,
    "heavy tails": Machine(noise=0.01, tails=3),
    "launch effects": _LUCK,
    "all of these": _ALL,
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


def naive_coverage(
    machine: Machine, rng: np.random.Generator, machines: int, launches: int, *, fresh: bool
) -> "Coverage":
    """How often Welch's t interval of the ratio holds the truth: over samples, or over processes if `fresh`."""
    logs, truth = one_after_the_other(machine, rng, machines, launches, fresh=fresh)
    units = logs.mean(axis=3) if fresh else logs.reshape(*logs.shape[:2], -1)
    n = units.shape[2]
    share = units.var(axis=2, ddof=1) / n  # (machines, 2)
    degrees = share.sum(axis=1) ** 2 * (n - 1) / (share**2).sum(axis=1)
    margin = student_t.ppf(0.975, degrees) * np.sqrt(share.sum(axis=1))
    centre = units[:, 0].mean(axis=1) - units[:, 1].mean(axis=1)
    return Coverage(float(np.mean(np.abs(centre - math.log(truth)) <= margin)), machines, float(np.median(margin)))


# Estimates -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth, and how wide they were.

    Attributes
    ----------
    share : float
        Over all pairs and machines.
    machines : int
    margin : float
        The median half-width, on the log scale.
    least, most : float
        Of any pair.
    launches : float
        How many there were on average.
    """

    share: float
    machines: int
    margin: float
    least: float = math.nan
    most: float = math.nan
    launches: float = math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The share's own 95 % interval (Clopper and Pearson), as if all pairs of a machine were a single trial: they
        hang together, but not so closely, and so it is wider than need be.
        """
        found = binomtest(round(self.share * self.machines), self.machines).proportion_ci(0.95)
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.interval)
        return f"{100 * self.share:.1f} [{low:.1f}, {high:.1f}]"


@dataclass(frozen=True)
class Plan:
    """How a run is stopped: the launches that its budget has room for, and the precision wished for."""

    budget: int
    precision: float = 1e-9  # which is never reached

    def run(self, pairs: Sequence[Sequence[float]]) -> tuple[int, bool]:
        """How many launches are made, and whether the samples chose that, as `bench.schedule` is told to stop.

        Parameters
        ----------
        pairs : sequence of sequence of float
            The log ratios to the reference, launch by launch, as far as the machine is made up.
        """
        stopping, made = intervals.Stopping(self.precision, self.budget), intervals.MIN_LAUNCHES
        while not (stop := stopping.after(made, made, [logs[:made] for logs in pairs])):
            made += 1
        return made, stop.chosen


def _pairs(samples: Mapping[str, Sequence[Taken]]) -> list[list[float]]:
    reference, *others = samples.values()
    return [intervals.log_ratios(reference, other) for other in others]


def stein(logs: Sequence[float], first: int = intervals.MIN_LAUNCHES) -> Estimate:
    """Stein's interval: the mean of all launches, the spread of the first alone."""
    pilot = intervals.t_interval(logs[:first])
    assert pilot is not None
    margin = math.log(pilot.high / pilot.median) * math.sqrt(first / len(logs))
    centre = fmean(logs)
    return Estimate(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin))


@dataclass
class Tally:
    """What a plan's intervals said of all machines: by pair, whether they held the truth, and how wide they were."""

    held: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    by_stein: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    bare: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    margins: list[float] = field(default_factory=list)
    stein_margins: list[float] = field(default_factory=list)
    launches: list[int] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)
    verdicts: dict[str, list[str]] = field(default_factory=dict)  # of the reference's twin, and of the slowed one

    def add(self, machine: Machine, samples: Mapping[str, Sequence[Taken]], made: int, chosen: bool) -> None:
        """Judge one machine after so many launches."""
        own = {name: taken[: made * ROUNDS] for name, taken in samples.items()}
        self.launches.append(made)
        for reference, other in combinations([c for c in machine.contenders if "@" not in c.name], 2):
            pair, truth = (reference.name, other.name), machine.truth(reference, other)
            found = intervals.ratio(own[reference.name], own[other.name], chosen=chosen)
            logs = intervals.log_ratios(own[reference.name], own[other.name])
            bare, old = intervals.t_interval(logs), stein(logs)
            assert found is not None
            assert bare is not None
            self.held.setdefault(pair, []).append(found.low <= truth <= found.high)
            self.bare.setdefault(pair, []).append(bare.low <= truth <= bare.high)
            self.by_stein.setdefault(pair, []).append(old.low <= truth <= old.high)
            self.margins.append(math.log(found.high / found.median))
            self.stein_margins.append(math.log(old.high / old.median))
        a_a = [intervals.ratio(own[name], own[f"{name}@2"], chosen=chosen) for name in ("reference", "fast")]
        self.floors.append(max(intervals.farther_bound(found) for found in a_a if found))
        for name in ("twin", "slowed"):
            found = intervals.ratio(own["reference"], own[name], chosen=chosen)
            assert found is not None
            self.verdicts.setdefault(name, []).append(intervals.verdict(found, self.floors[-1]))
            self.verdicts.setdefault(f"{name}, no floor", []).append(intervals.verdict(found, None))

    def coverage(self, of: str = "held") -> Coverage:
        """Of the intervals reported (`held`), of Stein's (`by_stein`), or of Student's as it stands (`bare`)."""
        shares = [fmean(held) for held in getattr(self, of).values()]
        margin = median(self.stein_margins if of == "by_stein" else self.margins)
        return Coverage(fmean(shares), len(self.launches), margin, min(shares), max(shares), fmean(self.launches))


def judge(machine: Machine, plans: Mapping[str, Plan], machines: int, seed: int = 0) -> dict[str, Tally]:
    """Each plan's tally over so many such machines."""
    rng = np.random.default_rng((seed, 1))
    most = max(plan.budget for plan in plans.values())
    tallies = {name: Tally() for name in plans}
    for first in range(0, machines, _AT_ONCE):
        for samples in shuffled_rounds(machine, rng, min(_AT_ONCE, machines - first), most):
            pairs = _pairs(samples)
            for name, plan in plans.items():
                tallies[name].add(machine, samples, *plan.run(pairs))
    return tallies


def precision_for(machine: Machine, launches: int, seed: int = 0, machines: int = 200) -> float:
    """The precision that takes so many launches, by the median of the first plans that other such machines give."""
    rng = np.random.default_rng((seed, 2))
    spreads = []
    for samples in shuffled_rounds(machine, rng, machines, intervals.MIN_LAUNCHES):
        estimates = [intervals.t_interval(logs) for logs in _pairs(samples)]
        spreads.append(max(math.log(found.high / found.median) for found in estimates if found))
    return math.expm1(median(spreads) * math.sqrt(intervals.MIN_LAUNCHES / launches))


# The command ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    """All that is told of one machine."""

    tallies: Mapping[str, Tally]
    one_process: tuple[Coverage, ...]
    fresh: tuple[Coverage, ...]


BY_BUDGET = tuple(f"budget, {count}" for count in COUNTS)
AIMED = (10, 20)  # launches, by the precisions that are tried
BY_PRECISION = tuple(f"precision, about {count}" for count in AIMED)


def examine(machine: Machine, machines: int, seed: int = 0) -> Findings:
    """Everything about one machine."""
    plans = {name: Plan(count) for name, count in zip(BY_BUDGET, COUNTS, strict=True)}
    plans |= {
        name: Plan(MOST, precision_for(machine, count, seed)) for name, count in zip(BY_PRECISION, AIMED, strict=True)
    }
    tallies = judge(machine, plans, machines, seed)
    rng = np.random.default_rng((seed, 3))
    naive = [
        tuple(naive_coverage(machine, rng, machines, count, fresh=fresh) for count in COUNTS) for fresh in (False, True)
    ]
    return Findings(tallies, *naive)


def paired_table(found: Mapping[str, Findings], title: str = "Paired, as reported") -> Table:
    """What is reported."""
    lines = []
    for name, own in found.items():
        shares = {plan: tally.coverage() for plan, tally in own.tallies.items()}
        chosen = tuple(f"{shares[plan]} ({shares[plan].launches:.0f})" for plan in BY_PRECISION)
        every = [bound for share in shares.values() for bound in (share.least, share.most)]
        spanned = f"{100 * min(every):.1f} to {100 * max(every):.1f}"
        lines.append((name, *(str(shares[plan]) for plan in BY_BUDGET), *chosen, spanned))
    budgets = (f"{count} launches" for count in COUNTS)
    precisions = (f"precision of about {count} (made)" for count in AIMED)
    return Table(title, ("machine", *budgets, *precisions, "any pair"), (("", tuple(lines)),))


def naive_table(found: Mapping[str, Findings]) -> Table:
    """What is usual."""
    lines = tuple(
        (name, *(f"{100 * share.share:.0f}" for share in (*own.one_process, *own.fresh))) for name, own in found.items()
    )
    samples = (f"one process each, {count * ROUNDS} samples" for count in COUNTS)
    processes = (f"{count} processes each" for count in COUNTS)
    return Table("One backend after the other", ("machine", *samples, *processes), (("", lines),))


def compared_table(found: Mapping[str, Findings]) -> Table:
    """The intervals that there were to choose from."""
    lines = []
    for name, own in found.items():
        plans = [own.tallies[plan] for plan in (BY_BUDGET[-1], BY_PRECISION[-1])]
        shares = [tally.coverage(of) for tally in plans for of in ("by_stein", "bare", "held")]
        lines.append((name, *(f"{100 * share.share:.1f} ({100 * share.least:.1f})" for share in shares)))
    columns = (f"{how}: {of}" for how in ("20 launches", "precision") for of in ("Stein's", "Student's", "reported"))
    return Table("Intervals to choose from", ("machine", *columns), (("", tuple(lines)),))


DEFAULT = 0.02  # --precision of bench.run, if not given
POWER = {"quiet": Machine(), "quieter": Machine(luck=0.004, noise=0.003), "all of these": _ALL}


def power(machines: int, seed: int = 0) -> Table:
    """What is said of a backend as fast as the reference, and of one that is 3 % slower."""
    lines = []
    for name, machine in POWER.items():
        for precision in (DEFAULT, DEFAULT / 2):
            (tally,) = judge(machine, {"": Plan(MOST, precision)}, machines, seed).values()
            low = [floor < 0.01 for floor in tally.floors]
            twin, twin_bare, slowed, slowed_bare = (
                [verdict != "no difference shown" for verdict in tally.verdicts[name]]
                for name in ("twin", "twin, no floor", "slowed", "slowed, no floor")
            )
            there = ([said for said, under in zip(found, low, strict=True) if under] for found in (slowed, slowed_bare))
            about = (name, f"{100 * precision:g} %", f"{fmean(tally.launches):.0f}")
            lines.append((*about, *(_share(found) for found in (twin_bare, twin, slowed, *there))))
    columns = (
        "machine",
        "precision",
        "launches",
        "twin called different by its interval alone",
        "and by the floor",
        "3 % slower found",
        "where the floor is under 1 %",
        "there by its interval alone",
    )
    return Table("Verdicts", columns, (("", tuple(lines)),))


def _share(values: Sequence[bool]) -> str:
    return f"{100 * fmean(values):.1f} % of {len(values)}" if values else "never so low"


def draw(found: Mapping[str, Findings]) -> Figure:
    """Coverage of the intervals reported, beside that of timing one backend after the other; a row a machine."""
    names = list(found)
    height, left, gap, right = 0.36 * len(names) + 8 * LINE, 1.7, 0.35, 0.12
    figure = Figure(figsize=(WIDE, height))
    wide = (WIDE - left - gap - right) / 2
    top, bottom = 3.4 * LINE / height, 4.4 * LINE / height
    panels = [
        figure.add_axes(((left + i * (wide + gap)) / WIDE, bottom, wide / WIDE, 1 - top - bottom)) for i in (0, 1)
    ]
    for at, name in enumerate(names):
        own = found[name]
        shares = [own.tallies[plan].coverage() for plan in (*BY_BUDGET, *BY_PRECISION)]
        for axes in panels:
            axes.axhline(at, color=FAINT, linewidth=0.5, zorder=0.5)
        _marks(panels[0], at - 0.26, shares[:3], "o", BLUE)
        _marks(panels[0], at + 0.13, shares[3:], "D", GREEN)
        _marks(panels[1], at - 0.30, own.one_process, "s", VERMILION)
        _marks(panels[1], at + 0.06, own.fresh, "^", BLACK)
    for axes, limits in zip(panels, ((90, 100), (0, 100)), strict=True):
        axes.axvspan(93, 97, color=SHADE, linewidth=0, zorder=0)
        axes.axvline(95, color=BLACK, linewidth=0.4, zorder=1)
        axes.set(xlim=limits, ylim=(len(names) - 0.5, -0.5), xlabel="Intervals that hold the truth (%)")
        axes.set_yticks(range(len(names)), names if axes is panels[0] else [])
        axes.tick_params(axis="y", length=0)
    panels[0].set_title("paired in shuffled rounds, as reported", fontsize="medium", pad=3)
    panels[1].set_title("one backend after the other", fontsize="medium", pad=3)
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=3.5, linestyle="none", label=label)
        for label, marker, colour in (
            ("stopped by the budget: 5, 10, 20 launches", "o", BLUE),
            ("by precision, at about 10, 20", "D", GREEN),
            ("one process: 15, 30, 60 samples", "s", VERMILION),
            ("5, 10, 20 processes", "^", BLACK),
        )
    ]
    figure.legend(handles=handles, loc="upper left", ncols=4, **LEGEND)
    machines = next(iter(found.values())).one_process[0].machines
    note = f"Simulated: {machines} machines a row. Bars: the share's own 95 % interval. Shaded: 93 to 97 %."
    figure.text(EDGE / WIDE, EDGE / height, note, color="#555555", va="bottom")
    return figure


def _marks(axes: Axes, first: float, shares: Sequence[Coverage], marker: str, colour: str) -> None:
    """Shares below each other, the first at height `first`."""
    for i, share in enumerate(shares):
        y = first + 0.12 * i
        low, high = share.interval
        axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=0.9, zorder=2)
        axes.plot([100 * share.share], [y], marker=marker, markersize=3, color=colour, zorder=3)


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.experiments.coverage", description="Do intervals hold the truth?")
    p.add_argument("--machines", type=int, default=2000, metavar="N", help="of each kind (2000)")
    p.add_argument("--seed", type=int, default=0, metavar="N")
    p.add_argument(
        "--out", type=Path, metavar="FILE", help="draw the figure there, for instance docs/images/coverage.png"
    )
    return p


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Judge, print the tables, draw."""
    machines, seed = arguments.machines, arguments.seed
    for name, least, most in (("machines", 1, 1_000_000), ("seed", 0, 2**32)):
        if not least <= getattr(arguments, name) <= most:
            raise PyfnnError(f"--{name} {getattr(arguments, name)}: must be from {least} to {most}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.touch()  # or the minutes before would be for nothing
    found = {name: examine(machine, machines, seed) for name, machine in MACHINES.items()}
    limits = {name: examine(machine, machines, seed) for name, machine in LIMITS.items()}
    told = [make(found) for make in (paired_table, naive_table, compared_table)]
    for table in [*told, power(machines, seed), paired_table(limits, "Where it fails")]:
        print(f"{table.title}\n\n{markdown(table)}", flush=True)
    if arguments.out:
        with style.context(["default", STYLE]):
            draw(found).savefig(arguments.out, dpi=DPI)
        console.print(f"written: {arguments.out}", highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status 0, or another and the reason: see `perform`."""
    return perform("coverage", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
