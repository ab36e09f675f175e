"""Handwritten digits: python -m bench.experiments digits. Test accuracy and time of training, beside scikit-learn's.

Both train the same network by the same rule on the same rows: scikit-learn's defaults, 100 relu units, Adam, batches of
200, and the same with early stopping. The accuracies are the cells'; the times are measured when these are finished.
"""

import argparse
import math
import warnings
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from bench.experiments.averages import mean_of
from bench.experiments.engine.cell import Cell, Experiment, Finished, Parameters, Settings, Values, at_least, digest
from bench.experiments.engine.figures import figure_style
from bench.format import with_interval
from bench.report.drawing import WIDE, log_axis
from bench.report.style import BLUE, GREEN
from bench.statistics.intervals import Estimate, t_interval
from pyfnn.datasets import load
from pyfnn.validation import Array

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

NAME = "digits"
SKLEARN = "scikit-learn"
HIDDEN = (100,)
WAYS: dict[str, dict[str, Any]] = {
    "200 epochs": {},
    "early stopping": {"early_stopping": True},
}  # at most 200 epochs, both by default
REPEATS = 5  # of the timing, each from another seed, in turns
OVERLAP = 0.15 / 0.85  # test rows of a split over its training rows


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's own options."""
    parser.add_argument(
        "--repeats",
        type=at_least(2),
        default=REPEATS,
        metavar="N",
        help=f"of the timing, at least 2 (default: {REPEATS})",
    )


def split(seed: int) -> tuple[Array, Array, Array, Array]:
    """Return x and labels of the training rows, 85 %, standardized, and of the test rows, 15 %."""
    data = load("digits", seed)
    train = np.concatenate([data.train, data.validation])  # early stopping sets rows aside by itself
    mean, deviation = data.x[train].mean(axis=0), data.x[train].std(axis=0)
    x, labels = (data.x - mean) / np.where(deviation == 0, 1, deviation), data.y.argmax(axis=1)
    return x[train], labels[train], x[data.test], labels[data.test]


def classifier(trainer: str, way: str, seed: int) -> Any:
    """Return an estimator that is not fitted. trainer: a backend, or scikit-learn; way: a key of `WAYS`."""
    if trainer == SKLEARN:
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(HIDDEN, random_state=seed, **WAYS[way])
    from pyfnn.estimators import FNNClassifier

    return FNNClassifier(HIDDEN, backend=trainer, random_state=seed, **WAYS[way])


def cells(settings: Settings) -> list[Cell]:
    """Return a cell for each trainer, way and seed."""
    data = load("digits")
    of_data = digest([data.x.tolist(), data.y.tolist()])
    return [
        Cell(NAME, {"trainer": trainer, "way": way, "seed": seed, "hidden": HIDDEN, "data": of_data})
        for trainer in (SKLEARN, settings.backend)
        for way in WAYS
        for seed in range(settings.seeds)
    ]


def compute(parameters: Parameters) -> Values:
    """Train an estimator; return its ``accuracy`` on the test rows, and its ``epochs``."""
    p = dict(parameters)
    x, labels, x_test, labels_test = split(p["seed"])
    fitted = fit(classifier(p["trainer"], p["way"], p["seed"]), x, labels)
    return {"accuracy": float(fitted.score(x_test, labels_test)), "epochs": int(fitted.n_iter_)}


def fit(estimator: Any, x: Array, labels: Array) -> Any:
    """Fit an estimator. That 200 epochs, its default, may not be enough is no surprise here."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(x, labels)


def seconds_of(trainers: Sequence[str], way: str, repeats: int) -> dict[str, list[float]]:
    """Return the wall time of trainings, trainer by trainer in turns; the first turn, not counted, warms up."""
    found: dict[str, list[float]] = {trainer: [] for trainer in trainers}
    for seed in range(-1, repeats):
        x, labels, *_ = split(max(seed, 0))
        for trainer in trainers:
            start = perf_counter()
            fit(classifier(trainer, way, max(seed, 0)), x, labels)
            found[trainer] += [perf_counter() - start] if seed >= 0 else []
    return found


def report(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    """Time both trainers, and write sentences, the table and the figure."""
    accuracies: dict[tuple[str, str], list[Values]] = {}
    for each in finished:
        p = each.cell.parameters
        accuracies.setdefault((p["way"], p["trainer"]), []).append(each.values)
    with threadpool_limits(1):
        seconds = {way: seconds_of((SKLEARN, settings.backend), way, settings.repeats) for way in WAYS}
    _sentences(finished, seconds, settings.backend, out)
    _table(accuracies, seconds, out, settings)
    with figure_style():
        out.figure(
            draw(accuracies, seconds, settings.backend),
            "digits",
            f"Accuracy on the test rows of each split, and seconds of each training, by scikit-learn and by "
            f"{settings.backend}, in 200 epochs and with early stopping. The tables have the numbers.",
        )


Seconds = dict[str, dict[str, list[float]]]


def _sentences(finished: Sequence[Finished], seconds: Seconds, backend: str, out: "Report") -> None:
    """Compare the times of each way, paired by turn, and the accuracies, paired by split."""
    for way, times in seconds.items():
        ratio = _speed(times, backend)
        if ratio:
            shown = with_interval(ratio)
            if ratio.low > 1 or ratio.high < 1:
                out.say(f"{backend} trains {shown} times as fast as scikit-learn ({way}; 95 % interval).")
            else:
                out.say(
                    f"It is undecided which one trains faster ({way}): {backend} is {shown} times as fast.", "undecided"
                )
    for way in WAYS:
        own = {(p["trainer"], p["seed"]): each.values for each in finished if (p := each.cell.parameters)["way"] == way}
        seeds = [seed for trainer, seed in own if trainer == backend and (SKLEARN, seed) in own]
        differences = [100 * (own[backend, seed]["accuracy"] - own[SKLEARN, seed]["accuracy"]) for seed in seeds]
        gain = mean_of(differences, OVERLAP)
        if gain.finite > 1:
            shown = f"{gain.mean:+.2f} ± {gain.half:.2f} percentage points, paired over {gain.finite} splits"
            if gain.excludes_zero:
                out.say(f"The accuracy of {backend} differs from scikit-learn's ({way}): {shown}.")
            else:
                out.say(f"No difference in accuracy is shown ({way}): {backend} has {shown}.", "undecided")


def _speed(times: dict[str, list[float]], trainer: str) -> Estimate | None:
    """Return scikit-learn's time over that of a trainer, with its interval, paired by turn."""
    pairs = zip(times[trainer], times[SKLEARN], strict=True)
    return t_interval([math.log(theirs / ours) for ours, theirs in pairs])


def _table(
    accuracies: dict[tuple[str, str], list[Values]], seconds: Seconds, out: "Report", settings: Settings
) -> None:
    rows = []
    for (way, trainer), values in accuracies.items():
        shares = [100 * each["accuracy"] for each in values]
        epochs = float(np.mean([each["epochs"] for each in values]))
        ratio = _speed(seconds[way], trainer)
        own = (
            f"{epochs:.0f}",
            float(np.median(seconds[way][trainer])),
            "1" if trainer == SKLEARN or ratio is None else with_interval(ratio),
        )
        rows.append([way, trainer, mean_of(shares).text, *own])
    header = ["training", "trainer", "accuracy, %", "epochs", "seconds", "scikit-learn's time over this one's"]
    notes = [
        f"{settings.seeds} splits, 1526 training and 271 test rows, ± half of the 95 % interval by Student's t.",
        f"seconds: of a training, wall time, one thread, median of {settings.repeats} in turns, after all cells.",
    ]
    title = f"Digits: 64-{'-'.join(map(str, HIDDEN))}-10 relu, Adam, by scikit-learn and by {settings.backend}"
    out.table("digits", header, rows, title=title, notes=notes)


def draw(accuracies: dict[tuple[str, str], list[Values]], seconds: Seconds, backend: str) -> Figure:
    """Draw the test accuracy of every split, and the seconds of every training."""
    figure = Figure(figsize=(WIDE, 2.4))
    figure.text(0.01, 0.93, f"Digits: the same training by scikit-learn and by {backend}", weight="bold")
    places = {"left": 0.25, "right": 0.985, "bottom": 0.2, "top": 0.86, "wspace": 0.08}
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw=places)
    keys = [(way, trainer) for way in WAYS for trainer in (SKLEARN, backend)]
    for row, (way, trainer) in enumerate(keys):
        colour = GREEN if trainer == SKLEARN else BLUE
        shares = [100 * each["accuracy"] for each in accuracies.get((way, trainer), ())]
        for axes, values in ((left, shares), (right, seconds[way][trainer])):
            axes.plot(values, [row] * len(values), "|", color=colour, markersize=8)
            if values:
                axes.plot(np.mean(values), row, "D", color=colour, markersize=4)
    left.set_yticks(range(len(keys)), [f"{trainer}, {way}" for way, trainer in keys])
    left.set(ylim=(len(keys) - 0.5, -0.5), xlabel="accuracy on the test rows, %")
    log_axis(right, "x", [value for each in seconds.values() for values in each.values() for value in values])
    right.set_xlabel("seconds of a training (bars: each; diamond: mean)")
    return figure


EXPERIMENT = Experiment(
    name=NAME,
    summary="handwritten digits: test accuracy and time of training, beside scikit-learn's",
    version=1,
    cells=cells,
    compute=compute,
    report=report,
    arguments=arguments,
    question="Does pyfnn train the same network on digits as scikit-learn does, and how much faster?",
)
