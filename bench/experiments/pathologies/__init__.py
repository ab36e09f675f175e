"""Vanishing and exploding gradients and dead units, layer by layer over the steps of a training, each beside its cures.

`arms` has the trainings, `figures` draws them.
"""

import argparse
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from math import inf
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

import pyfnn
from bench.experiments.engine.cell import Cell, Experiment, Finished, Parameters, Settings, Values
from bench.experiments.engine.figures import figure_style
from bench.experiments.pathologies import figures
from bench.experiments.pathologies.arms import PATHOLOGIES, Pathology
from bench.experiments.ranges import compared
from pyfnn import datasets, oracle
from pyfnn.datasets import Dataset
from pyfnn.errors import Diverged, PyfnnError
from pyfnn.network import Network, initialize
from pyfnn.training import diagnose
from pyfnn.training.data import digest
from pyfnn.validation import Array

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

SPLIT = 0  # seed of the split of the rows
DIAGNOSED = 300  # training rows on which the layers are diagnosed
DATA = ("wine-red", "wine-white", "diabetes")
COLUMNS = ("gradient_norm", "activation_rms", "saturated", "dead")  # of `diagnose`


def cells(settings: Settings) -> list[Cell]:
    """Return a cell for each arm and seed."""
    found = []
    for name, pathology in PATHOLOGIES.items():
        data = pathology.data or settings.data
        for arm in pathology.arms:
            x, y = _rows(data, arm.standardized)
            parameters = {
                "pathology": name,
                "arm": arm.name,
                "network": pathology.network(arm, x.shape[1], y.shape[1]),
                "scheme": arm.scheme,
                "data": data,
                "standardized": arm.standardized,
                "data_hash": digest(x, y),
                "batch": pathology.batch,
                "rate": arm.rate,
                "checkpoints": checkpoints(pathology.steps),
                "backend": settings.backend,
            }
            found += [Cell(EXPERIMENT.name, parameters | {"seed": seed}) for seed in range(settings.seeds)]
    return found


def checkpoints(steps: int) -> list[int]:
    """Return the steps after which the layers are diagnosed: 0, and about eight a decade up to `steps`."""
    spaced = np.geomspace(1, steps, 1 + round(8 * np.log10(steps)))
    return [0, *sorted({round(step) for step in spaced})]


@lru_cache(maxsize=4)
def _dataset(name: str, standardized: bool) -> Dataset:
    raw = datasets.load(name, SPLIT, "float64")
    return raw.standardized() if standardized else raw


def _rows(name: str, standardized: bool) -> tuple[Array, Array]:
    """Return the training rows of a dataset."""
    data = _dataset(name, standardized)
    return data.x[data.train], data.y[data.train]


def compute(parameters: Parameters) -> Values:
    """Train one arm; diagnose every layer at the checkpoints, until θ overflows."""
    network, batch = Network(**parameters["network"]), parameters["batch"]
    x, y = _rows(parameters["data"], parameters["standardized"])
    if digest(x, y) != parameters["data_hash"]:
        raise PyfnnError(f"{parameters['data']}: other rows than those of the cell")
    theta = initialize(network, parameters["seed"], parameters["scheme"])
    steps: list[int] = parameters["checkpoints"]
    order = np.random.default_rng(parameters["seed"]).integers(len(x), size=steps[-1] * batch)
    health = [_health(network, theta, x, y)]
    overflow = None
    with pyfnn.load_backend(parameters["backend"]).create(network, theta) as model:
        model.load(x, y, order)
        for before, after in pairwise(steps):
            try:
                model.train(before * batch, (after - before) * batch, batch, parameters["rate"])
            except Diverged:
                overflow = after
                break
            health.append(_health(network, model.theta(), x, y))
    by_column = {name: [row[name] for row in health] for name in health[0]}
    return {"steps": steps[: len(health)], "overflow": overflow, **by_column}


def _health(network: Network, theta: Array, x: Array, y: Array) -> dict[str, Any]:
    """Return each column of `diagnose` as a list over layers, and the loss, on the first rows."""
    some = x[:DIAGNOSED], y[:DIAGNOSED]
    table = diagnose(network, theta, *some)
    with np.errstate(all="ignore"):
        loss = float(oracle.loss(network, theta, *some))
    return {"loss": loss, **{column: table[column].tolist() for column in COLUMNS}}


def report(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    """Write sentences, a table of all arms, and a figure for each pathology."""
    del settings
    rows = []
    for name, pathology in PATHOLOGIES.items():
        by_arm = _by_arm(finished, name)
        rows += [(name, arm, *_summary(values)) for arm, values in by_arm.items()]
        if by_arm:
            _sentences(pathology, by_arm, out)
            with figure_style():
                out.figure(
                    figures.draw(pathology, by_arm),
                    f"{EXPERIMENT.name}-{name}",
                    f"{pathology.title}: size of the gradient, {pathology.share.replace('_', ' ')} and loss over the "
                    f"steps of training, layer by layer, for {', '.join(by_arm)}. {pathology.lesson}",
                )
    header = (
        "pathology", "arm", "gradient norm, first layer", "last layer", "saturated, hidden", "dead, hidden",
        "loss before", "loss after", "overflows",
    )  # fmt: skip
    notes = (
        "Medians over seeds. Gradient norms: before the first step. Saturated and dead: shares at the last checkpoint "
        "with a finite θ, mean over hidden layers.",
    )
    out.table(EXPERIMENT.name, header, rows, title="Pathologies of training and their cures", notes=notes)


def _sentences(pathology: Pathology, by_arm: dict[str, list[Values]], out: "Report") -> None:
    """Compare the loss at the end of the illest arm with that of each other one."""
    (ill, own), *others = by_arm.items()
    topic = pathology.title.partition(":")[0]
    for arm, values in others:
        ours, theirs = f"the last loss of “{arm}”", f"that of “{ill}”"
        text, kind = compared(ours, theirs, _last_losses(values), _last_losses(own))
        out.say(f"{topic}: {text[0].lower()}{text[1:]}", kind)
    out.say(f"{topic}: {pathology.lesson}", "note")


def _last_losses(seeds: Sequence[Values]) -> list[float]:
    """Return the loss at the last checkpoint of each seed; infinity where θ overflowed or the loss is no number."""
    last = [(values["overflow"], values["loss"][-1]) for values in seeds]
    return [inf if overflow is not None or loss is None else loss for overflow, loss in last]


def _by_arm(finished: Sequence[Finished], pathology: str) -> dict[str, list[Values]]:
    """Return the values of every seed of each arm, in the order of the cells."""
    found: dict[str, list[Values]] = {}
    for one in finished:
        if one.cell.parameters["pathology"] == pathology:
            found.setdefault(one.cell.parameters["arm"], []).append(one.values)
    return found


def _summary(seeds: Sequence[Values]) -> tuple[Any, ...]:
    """Return the numbers of an arm for the table."""

    def middle(numbers: Iterable[float | None]) -> float | None:
        """Return the median of the finite numbers, since JSON has None for the others."""
        finite = [number for number in numbers if number is not None]
        return median(finite) if finite else None

    def hidden(values: Values, column: str) -> float:
        return fmean(values[column][-1][:-1])

    overflows = [values["overflow"] for values in seeds if values["overflow"] is not None]
    return (
        *(middle(values["gradient_norm"][0][layer] for values in seeds) for layer in (0, -1)),
        *(middle(hidden(values, column) for values in seeds) for column in ("saturated", "dead")),
        *(middle(values["loss"][at] for values in seeds) for at in (0, -1)),
        f"{len(overflows)} of {len(seeds)}, by step {max(overflows)}" if overflows else "none",
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", choices=DATA, default=DATA[0], help=f"dataset of the exploding network (default: {DATA[0]})"
    )


EXPERIMENT = Experiment(
    name="pathologies",
    summary="vanishing and exploding gradients and dead units, layer by layer, each beside its cures",
    version=1,
    cells=cells,
    compute=compute,
    report=report,
    arguments=_arguments,
    seeds=5,
    question="What do vanishing and exploding gradients and dead units look like, and what cures them?",
)
