"""The work of each new process: the trainings that choose settings, and those of a launch that are timed."""

import gc
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isclose, log
from statistics import fmean

from bench.experiments.estimators.arms import ARMS, BATCHES, DEFAULT_BATCH, DEFAULT_RATE, RATES, VARIANTS, Setting
from bench.experiments.estimators.problems import Predict, Problem
from bench.machine.cpus import choose_cpus
from pyfnn.errors import PyfnnError

PATIENCE = 10  # epochs without a lower validation error after which a training stops: scikit-learn's default
MOST_EPOCHS = 400
SLACK = 1.02  # factor on the error that a setting must reach to be chosen
FIRST_TUNING_SEED = 1000  # launches have the seeds from 0

PYFNN, SKLEARN, TORCH = "pyfnn", "scikit-learn, own batch", "PyTorch"  # rate and batch are chosen
DEFAULT, SAME = "scikit-learn", "pyfnn, same settings"  # the rate of scikit-learn is chosen
UNTUNED, UNTUNED_PYFNN = "scikit-learn, untuned", "pyfnn, untuned"  # nothing is chosen
ENTRANTS = {
    PYFNN: "pyfnn",
    SAME: "pyfnn",
    UNTUNED_PYFNN: "pyfnn",
    SKLEARN: "scikit-learn",
    DEFAULT: "scikit-learn",
    UNTUNED: "scikit-learn",
    TORCH: "PyTorch",
}
"""The arm of each entrant in the comparison."""
PARTNERS = {DEFAULT: SAME, UNTUNED: UNTUNED_PYFNN}
"""The entrant of pyfnn that has the same settings as one of scikit-learn."""

Settings = Mapping[str, Setting]  # by entrant


@dataclass(frozen=True)
class Curve:
    """Validation errors after each epoch, and the seconds of training until then."""

    errors: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The lowest error."""
        return min(self.errors)

    def epochs_to(self, error: float) -> int | None:
        """Return the first epoch, from 1, whose error is at most this; None where none is."""
        return next((epoch for epoch, each in enumerate(self.errors, 1) if each <= error), None)

    def seconds_to(self, error: float) -> float | None:
        """Return the seconds until that epoch."""
        epochs = self.epochs_to(error)
        return self.seconds[epochs - 1] if epochs else None


@dataclass(frozen=True)
class Tried:
    """A training that helps to choose a setting."""

    dataset: str
    arm: str
    setting: Setting
    seed: int
    curve: Curve


@dataclass(frozen=True)
class TimedFit:
    """A timed training to the common error of its launch; the launch has the seed of its number.

    Attributes
    ----------
    error, target : float
        Validation error at its end, and the common error.
    score : float
        Score of the test rows at its end.
    best : float
        Lowest validation error that the entrant reached before it was stopped.
    """

    dataset: str
    entrant: str
    launch: int
    round: int
    seconds: float
    epochs: int
    error: float
    target: float
    score: float
    best: float
    steps: int = 1


def follow(arm: str, problem: Problem, setting: Setting, seed: int) -> Curve:
    """Train until the validation error has not fallen for `PATIENCE` epochs, and return the errors."""
    errors: list[float] = []
    seconds: list[float] = []
    start, looking = time.perf_counter(), 0.0

    def watch(predict: Predict) -> bool:
        nonlocal looking
        now = time.perf_counter()
        seconds.append(now - start - looking)
        errors.append(problem.error(predict))
        looking += time.perf_counter() - now
        return len(errors) - 1 - errors.index(min(errors)) >= PATIENCE

    ARMS[arm].train(problem, setting, MOST_EPOCHS, seed, watch)
    return Curve(tuple(errors), tuple(seconds))


def pin() -> None:
    """Keep this process on one CPU."""
    if cpus := choose_cpus(1):
        os.sched_setaffinity(0, cpus)


def grid(arm: str, variant: str) -> list[Setting]:
    """Return the settings that are tried: the same rates and batches for each arm."""
    return [Setting(rate, batch, variant * (arm == TORCH)) for rate, batch in product(RATES, BATCHES)]


def try_settings(names: Sequence[str], seed: int) -> list[Tried]:
    """Try all settings of all arms on some datasets, in a random order."""
    pin()
    shuffle, tried = random.Random(seed), []
    for name in names:
        problem = Problem.make(name, seed)
        variant = _fastest_variant(problem)
        trials = [(arm, setting) for arm in ARMS for setting in grid(arm, variant)]
        for arm, setting in shuffle.sample(trials, len(trials)):
            tried.append(Tried(name, arm, setting, seed, follow(arm, problem, setting, seed)))
    return tried


def _fastest_variant(problem: Problem) -> str:
    """Return the variant of PyTorch's Adam with the least time, of three trainings each."""
    seconds = dict.fromkeys(VARIANTS, float("inf"))
    for variant in VARIANTS * 3:
        start = time.perf_counter()
        ARMS[TORCH].train(problem, Setting(0.001, DEFAULT_BATCH, variant), 5, 0)
        seconds[variant] = min(seconds[variant], time.perf_counter() - start)
    return min(VARIANTS, key=seconds.__getitem__)


def choose(tried: Sequence[Tried]) -> Settings:
    """Choose the settings of one dataset: those with the least time to the error of scikit-learn's default batch.

    That error is the lowest of scikit-learn with its default batch, over the rates, of each seed, times `SLACK`. The
    settings that reach it from the most seeds come first; the time is their geometric mean over these seeds.

    Raises
    ------
    PyfnnError
        An arm reaches the error with no setting.
    """
    defaults = [each for each in tried if each.arm == DEFAULT and each.setting.batch == DEFAULT_BATCH]
    targets: dict[int, float] = {}
    for each in defaults:
        targets[each.seed] = min(targets.get(each.seed, float("inf")), SLACK * each.curve.best)
    free = {entrant: _fastest(tried, ENTRANTS[entrant], targets) for entrant in (SKLEARN, PYFNN, TORCH)}
    default = _fastest(defaults, DEFAULT, targets)
    untuned = Setting(DEFAULT_RATE, DEFAULT_BATCH)
    return {**free, DEFAULT: default, SAME: default, UNTUNED: untuned, UNTUNED_PYFNN: untuned}


def _fastest(tried: Sequence[Tried], arm: str, targets: Mapping[int, float]) -> Setting:
    logs: dict[Setting, list[float]] = {}
    for each in tried:
        seconds = each.curve.seconds_to(targets[each.seed])
        if each.arm == arm and seconds is not None:
            logs.setdefault(Setting(each.setting.rate, each.setting.batch), []).append(log(seconds))
    if not logs:
        raise PyfnnError(f"{arm} does not reach scikit-learn's error on {tried[0].dataset} with any setting")
    chosen = min(logs, key=lambda setting: (-len(logs[setting]), fmean(logs[setting])))
    return next(each.setting for each in tried if each.arm == arm and _like(each.setting, chosen))


def _like(one: Setting, other: Setting) -> bool:
    return (one.rate, one.batch) == (other.rate, other.batch)


def launch(settings: Mapping[str, Settings], number: int, rounds: int) -> list[TimedFit]:
    """Time the trainings of all entrants to their common error, with the seed `number`, in rounds of random order.

    The common error is the largest of the entrants' lowest ones, so that each reaches it.

    Raises
    ------
    PyfnnError
        A timed training ended at another error than the one that was followed.
    """
    pin()
    shuffle, found = random.Random(number), []
    for name, chosen in settings.items():
        problem = Problem.make(name, number)
        curves = {
            entrant: follow(ENTRANTS[entrant], problem, chosen[entrant], number)
            for entrant in shuffle.sample(list(ENTRANTS), len(ENTRANTS))
        }
        target = max(curve.best for curve in curves.values())
        gc.collect()
        gc.freeze()  # so that the collection before each training takes no time
        for turn in range(rounds):
            for entrant in shuffle.sample(list(ENTRANTS), len(ENTRANTS)):
                found.append(_timed(problem, entrant, chosen[entrant], curves[entrant], target, (number, turn)))
    return found


def _timed(
    problem: Problem, entrant: str, setting: Setting, curve: Curve, target: float, at: tuple[int, int]
) -> TimedFit:
    epochs, seed = curve.epochs_to(target), at[0]
    assert epochs is not None
    gc.collect()
    start = time.perf_counter()
    predict = ARMS[ENTRANTS[entrant]].train(problem, setting, epochs, seed)
    seconds = time.perf_counter() - start
    error = problem.error(predict)
    if not isclose(error, curve.errors[epochs - 1], rel_tol=1e-4):
        raise PyfnnError(f"{entrant}, {problem.name}: {epochs} epochs end at another error than the same ones before")
    return TimedFit(problem.name, entrant, *at, seconds, epochs, error, target, problem.score(predict), curve.best)
