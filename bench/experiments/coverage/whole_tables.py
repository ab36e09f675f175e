"""The share of whole tables with any false verdict, and the power, on simulated machines with 14 backends.

All tables of a machine are simulated and judged at once, by the functions that judge real runs. Beside the verdicts of
now stand those of the rule before (each interval by itself, beyond the noise floor of two A/A pairs) and of each
interval by itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.stats import t as student_t

from bench.experiments.coverage.machines import ALL, MACHINES, Contender, Floats, Machine, launch_logs_of
from bench.experiments.coverage.tally import Coverage
from bench.report.render import ReportTable
from bench.statistics.intervals import CONFIDENCE
from bench.statistics.verdicts import MARGIN, Bools, judge, ratios_of

BACKENDS = 14
ROUNDS = 30  # of 10 ms
LAUNCHES = (5, 8, 12)
SLOWER = (1.03, 1.05, 1.10)

Noise = tuple[float, ...]

ONE_NOISY, HALF_NOISY = (8.0,), (8.0,) * (BACKENDS // 2)
NOISES: Mapping[str, Noise] = {
    "equal noise": (),
    "one 3 × as noisy": (3.0,),
    "one 8 × as noisy": ONE_NOISY,
    "half 8 × as noisy": HALF_NOISY,
    "all but the A/A arms 4 × as noisy": (4.0,) * (BACKENDS - 2),
    "noise from 1 to 8 ×": tuple(np.geomspace(8, 1, BACKENDS).tolist()),
}
"""Factors of the noise and the launch effects of the last backends; those of the others are 1."""

RULES = ("now", "before", "interval alone")
TRUTHS = {"all equal": (), "half slower by the margin": (1 + MARGIN,) * (BACKENDS // 2)}
"""Step times of the first backends. The second is the worst case for sameness."""

KINDS: Mapping[str, Machine] = {
    "quiet": Machine(),
    "drift": MACHINES["drift"],
    "bursts": MACHINES["bursts"],
    "heavy tails": MACHINES["heavy tails"],
    "all of these": ALL,
}
_QUIET = Machine(noise=0.015, launch_effect=0.005)
POWER = {"quiet": _QUIET, "launch effects twice as large": Machine(noise=0.015), "all of these": ALL}


def contenders(noise: Noise = (), steps: Sequence[float] = ()) -> tuple[Contender, ...]:
    """Return 14 backends, and the second instances of the first two.

    Parameters
    ----------
    noise : tuple of float
        Factors of the noise of the last backends.
    steps : sequence of float
        Step times of the first backends; those of the others are 1.
    """
    factors = (1.0,) * (BACKENDS - len(noise)) + tuple(reversed(noise))
    times = (*steps, *(1.0,) * (BACKENDS - len(steps)))
    some = [Contender(str(i), times[i], launch_effect=factors[i], noise=factors[i]) for i in range(BACKENDS)]
    return (*some, *(Contender(f"{one.name}@2", one.step, one.launch_effect, one.noise) for one in some[:2]))


@dataclass(frozen=True)
class Judgements:
    """Verdicts of one rule on all tables of a machine. (tables, pairs), in the order of `combinations`."""

    different: Bools
    same: Bools
    centres: Floats

    def false(self, truths: Floats, margin: float = MARGIN) -> Bools:
        """Return the tables with any false verdict. `truths` are the log ratios of the pairs."""
        wrong = self.different & (np.sign(self.centres) * np.sign(truths) <= 0)
        wrong |= self.same & (np.abs(truths) >= math.log1p(margin) * (1 - 1e-9))
        return np.asarray(wrong.any(axis=-1))


def judge_tables(logs: Floats) -> dict[str, Judgements]:
    """Return the judgements by the present rule, by the former one (beyond the noise floor) and by intervals alone.

    Parameters
    ----------
    logs : ndarray, shape (tables, launches, BACKENDS + 2)
        Log step times; the last two arms are the second instances of the first two.
    """
    found = ratios_of(logs[..., :BACKENDS])
    now = judge(found.centres, found.errors, found.degrees)
    launches = logs.shape[1]
    quantile = student_t.ppf((1 + CONFIDENCE) / 2, launches - 1) / math.sqrt(launches)
    one, other = np.array(list(combinations(range(BACKENDS), 2))).T
    reach = quantile * (logs[..., one] - logs[..., other]).std(axis=1, ddof=1)
    a_a = logs[..., :2] - logs[..., BACKENDS:]
    floor = (np.abs(a_a.mean(axis=1)) + quantile * a_a.std(axis=1, ddof=1)).max(axis=1, keepdims=True)
    never = np.zeros(reach.shape, np.bool_)
    return {
        "now": Judgements(now.different, now.same, found.centres),
        "before": Judgements(np.abs(found.centres) - reach > floor, never, found.centres),
        "interval alone": Judgements(np.abs(found.centres) > reach, never, found.centres),
    }


def simulate(machine: Machine, tables: int, launches: int, seed: int = 0) -> dict[str, Judgements]:
    """Simulate and judge tables of a machine with the contenders of `contenders`."""
    rng = np.random.default_rng((seed, launches))
    return judge_tables(launch_logs_of(machine, rng, tables, launches, ROUNDS))


def false_tables(machine: Machine, tables: int, launches: int, seed: int = 0) -> dict[str, Bools]:
    """Return whether each table has a false verdict, by rule."""
    some = machine.contenders[:BACKENDS]
    truths = np.array([math.log(machine.truth(one, other)) for one, other in combinations(some, 2)])
    return {rule: judged.false(truths) for rule, judged in simulate(machine, tables, launches, seed).items()}


def headline(tables: int, seed: int = 0) -> ReportTable:
    """Return the table of tables with any false verdict, by truth, noise and launches.

    `tables` is the number in each cell, in equal parts of each kind of machine.
    """
    lines = []
    for truth, steps in TRUTHS.items():
        for noise, factors in NOISES.items():
            some = contenders(factors, steps)
            shares = []
            for launches in LAUNCHES:
                found = [
                    false_tables(replace(machine, contenders=some), -(-tables // len(KINDS)), launches, seed)
                    for machine in KINDS.values()
                ]
                shares.append({rule: share_of(np.concatenate([each[rule] for each in found])) for rule in RULES})
            first = [str(shares[0][rule]) for rule in RULES[1:]]
            lines.append((truth, noise, *(str(share["now"]) for share in shares), *first))
    now = (f"{launches} launches" for launches in LAUNCHES)
    before = (f"{rule}, {LAUNCHES[0]} launches" for rule in ("rule before", "interval alone"))
    return ReportTable("Tables with any false verdict (%)", ("truth", "noise", *now, *before), (("", tuple(lines)),))


def share_of(found: Bools) -> Coverage:
    """Return the share of the tables that are false, with its own interval."""
    return Coverage(float(found.mean()), found.size, math.nan)


def power_table(tables: int, seed: int = 0) -> ReportTable:
    """Return the table of how often a slower backend is found, and equal ones are called the same, in percent.

    The reference is the first backend, and three others are 3, 5 and 10 % slower; the rest are as fast.
    """
    pairs = list(combinations(range(BACKENDS), 2))
    places = [pairs.index((0, 2 + at)) for at in range(len(SLOWER))]  # arm 1 is an A/A arm
    equal = [at for at, pair in enumerate(pairs) if not {2, 3, 4} & set(pair)]
    lines = []
    for name, machine in POWER.items():
        some = replace(machine, contenders=contenders((), (1.0, 1.0, *SLOWER)))
        for launches in LAUNCHES[:2]:
            found = simulate(some, tables, launches, seed)
            slower = {rule: (judged.different & (judged.centres < 0)).mean(axis=0) for rule, judged in found.items()}
            cells = [" / ".join(f"{100 * slower[rule][place]:.0f}" for rule in RULES) for place in places]
            lines.append((name, f"{launches}", *cells, f"{100 * found['now'].same[:, equal].mean():.0f}"))
    slowed = (f"{100 * (step - 1):.0f} % slower" for step in SLOWER)
    columns = ("machine", "launches", *slowed, "equal called the same")
    return ReportTable("Found (%): now / rule before / interval alone", columns, (("", tuple(lines)),))
