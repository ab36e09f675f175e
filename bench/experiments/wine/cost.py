"""The cost of the training steps of a run, and what they would cost in NumPy: measured on a part, extrapolated."""

from collections.abc import Callable, Mapping, Sequence
from time import process_time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.experiments.engine.cell import Finished, Settings
from bench.experiments.wine import article
from bench.experiments.wine.published import L2
from bench.experiments.wine.treatments import network
from bench.format import duration_text
from bench.terminal import console
from pyfnn.errors import BackendUnavailable
from pyfnn.network import initialize
from pyfnn.registry import load_backend

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

_RATE = 1e-4  # so low that θ hardly moves: the time of a step then does not depend on it
_ROWS = 1000
_STEPS = {"numpy": 200}  # that are timed; elsewhere:
_MORE_STEPS = 2000
_REPEATS = 3  # the fastest counts


class Work(NamedTuple):
    """Steps of one kind: how they are computed, and by which network."""

    computed_by: str  # "c" or "numpy" as published, else the backend
    as_published: bool
    hidden: tuple[int, ...]
    activation: str
    dtype: str


def report(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    """Time single steps of each network, multiply by the steps of the run, write the table and print its last line.

    The hosts of a cluster may have computed the cells by a backend that this machine lacks: then a note says so.
    """
    try:
        _report(steps_of(finished), out, settings)
    except BackendUnavailable as error:
        out.say(f"The cost of the training steps was not measured here: {error}.", "note")


def _report(steps: Mapping[Work, int], out: "Report", settings: Settings) -> None:
    rows, totals = [], [0.0, 0.0]
    for published in (True, False):
        parts = {work: count for work, count in steps.items() if work.as_published is published}
        own = sum(count * seconds_per_step(work) for work, count in parts.items())
        numpys = sum(count * seconds_per_step(work._replace(computed_by="numpy")) for work, count in parts.items())
        totals = [totals[0] + own, totals[1] + numpys]
        names = sorted({work.computed_by for work in parts})
        what = "as published" if published else "gradient corrected, and done right"
        millions = sum(parts.values()) / 1e6
        rows.append(
            [what, ", ".join(names), millions, duration_text(own), duration_text(numpys), numpys / (own or 1.0)]
        )
    rows.append(["all", "", sum(steps.values()) / 1e6, *map(duration_text, totals), totals[1] / (totals[0] or 1.0)])
    header = ["treatment", "computed by", "steps, in millions", "CPU time", "in NumPy", "ratio"]
    notes = [
        f"Times of a step: measured at the end of the run, the fastest of {_REPEATS} times {_STEPS['numpy']} steps of "
        f"each network in NumPy and {_MORE_STEPS} elsewhere, multiplied by the steps of the run.",
        "Steps alone: without validation passes, baselines and the comparison of backends.",
    ]
    out.table("wine_cost", header, rows, title="Wine: the cost of the training steps", notes=notes)
    text = (
        f"Training steps: {duration_text(totals[0])} of CPU time by {settings.backend}; NumPy would take "
        f"{duration_text(totals[1])}, {totals[1] / (totals[0] or 1.0):.0f} times as long (extrapolated: wine_cost.md)."
    )
    out.say(text, "note")
    console().print(text)


def steps_of(finished: Sequence[Finished]) -> dict[Work, int]:
    """Return the number of steps of each kind in a run; cells that compare backends do not count."""
    steps: dict[Work, int] = {}
    for each in finished:
        p = each.cell.parameters
        if "steps" in each.values and p["table"] != "agreement":
            computed_by = p["implementation"] if p["kind"] == "published" else p["backend"]
            dtype = p.get("dtype", "float64")
            work = Work(computed_by, p["kind"] == "published", tuple(p["hidden"]), p["activation"], dtype)
            steps[work] = steps.get(work, 0) + each.values["steps"]
    return steps


def seconds_per_step(work: Work) -> float:
    """Return the CPU seconds of a step on one row, of random numbers, on one thread."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(_ROWS, 11)), rng.normal(size=(_ROWS, 1))
    net = network(work.hidden, work.activation, L2, work.dtype)
    count = _STEPS.get(work.computed_by, _MORE_STEPS)
    order = np.resize(rng.permutation(_ROWS), count)
    theta = initialize(net, 0)
    if work.as_published:
        train = article.TRAIN[work.computed_by]
        return _fastest(lambda: train(net, theta, x, y, order, _RATE, False), count)
    with load_backend(work.computed_by).create(net, theta) as model:
        model.load(x.astype(net.dtype), y.astype(net.dtype), order)
        return _fastest(lambda: model.train(0, count, 1, _RATE), count)


def _fastest(train: Callable[[], object], steps: int) -> float:
    """Return the CPU seconds of a step; the first call, not counted, warms up."""
    seconds = []
    for _ in range(1 + _REPEATS):
        start = process_time()
        train()
        seconds.append(process_time() - start)
    return min(seconds[1:]) / steps
