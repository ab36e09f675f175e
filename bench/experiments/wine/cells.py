"""The cells of the wine experiment: five kinds, each on one split of one wine. `compute` has what they compute."""

import argparse
import itertools
from collections.abc import Iterator
from typing import Any

from bench.experiments.engine.cell import Cell, Settings, at_least
from bench.experiments.wine import agreement
from bench.experiments.wine.data import SOURCES
from bench.experiments.wine.published import (
    EPOCHS,
    L2,
    L2_GRID,
    MOST_EPOCHS,
    PATIENCE,
    RATES,
    SETTINGS,
    SWEPT,
    WINES,
    Setting,
)
from pyfnn.network import DTYPES

NAME = "wine"
AGREEING_SEEDS = 10  # at most, for the comparison of backends; the oracle follows the first three
FOLLOWED_SEEDS = 3
SWEEP_SEEDS = 10  # at most, of the rate sweep


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's own options."""
    parser.add_argument(
        "--epochs",
        type=at_least(1),
        default=EPOCHS,
        metavar="N",
        help=f"epochs as published, where the article prints no number (default: {EPOCHS})",
    )
    parser.add_argument(
        "--batch-normalization",
        action="store_true",
        help="one more treatment: as published, with the article's row-wise (Z - min) / (max - min)",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="of the networks done right (default: float32)"
    )


def cells(settings: Settings) -> list[Cell]:
    """Return every cell, those that take longest first, so that no process ends late."""
    return sorted((Cell(NAME, parameters) for parameters in _parameters(settings)), key=_cost, reverse=True)


def _cost(cell: Cell) -> float:
    """Return a rough relative cost: rows and weights, for each network of the cell."""
    p = cell.parameters
    sizes = (11, *p.get("hidden", (100,)), 1)
    weights: int = sum(a * b for a, b in itertools.pairwise(sizes))
    networks = len(p["l2"]) if p["kind"] == "right" else 1
    return float((3 if p["wine"] == "white" else 1) * (weights + 200) * networks)


def _parameters(settings: Settings) -> Iterator[dict[str, Any]]:
    for wine in WINES:
        for duplicates in (True, False):
            for seed in range(settings.seeds):
                split = _split(wine, duplicates, seed)
                yield {"kind": "baselines", "table": "baselines", **split}
                for setting in SETTINGS:
                    yield from _of_setting(settings, split, setting)
        for seed in range(min(settings.seeds, SWEEP_SEEDS)):
            yield from _of_sweep(settings, _split(wine, True, seed))
    for seed in range(min(settings.seeds, AGREEING_SEEDS)):
        yield from _of_agreement(settings, _split("red", True, seed))


def _split(wine: str, duplicates: bool, seed: int) -> dict[str, Any]:
    return {"wine": wine, "duplicates": duplicates, "data": SOURCES[wine].sha256, "seed": seed}


def _of_setting(settings: Settings, split: dict[str, Any], setting: Setting) -> Iterator[dict[str, Any]]:
    trained = {**split, "table": "settings", "hidden": setting.hidden, "activation": setting.activation}
    yield _as_published(settings, trained, setting.rate, False)
    if settings.batch_normalization:
        yield _as_published(settings, trained, setting.rate, True)
    shared = {"rate": setting.rate, "backend": settings.backend}
    yield {**trained, **shared, "kind": "corrected", "l2": L2, "epochs": settings.epochs}
    yield _right(settings, trained, setting.rate, L2_GRID)


def _of_sweep(settings: Settings, split: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for hidden, activation in SWEPT:
        for rate in RATES:
            trained = {**split, "table": "rates", "hidden": hidden, "activation": activation}
            yield _as_published(settings, trained, rate, False)
            yield _right(settings, trained, rate, (0.0,))


def _of_agreement(settings: Settings, split: dict[str, Any]) -> Iterator[dict[str, Any]]:
    hidden, activation, rate, l2 = agreement.HIDDEN, agreement.ACTIVATION, agreement.RATE, agreement.L2
    trained = {**split, "table": "agreement", "hidden": hidden, "activation": activation}
    for backend in agreement.BACKENDS:
        yield {**_right(settings, trained, rate, (l2,)), "backend": backend, "dtype": "float64"}
    if split["seed"] < FOLLOWED_SEEDS:
        followed = {"backends": agreement.BACKENDS, "epochs": agreement.FOLLOWED}
        yield {**trained, **followed, "kind": "trajectories", "rate": rate, "l2": l2}


def _as_published(settings: Settings, trained: dict[str, Any], rate: float, normalize: bool) -> dict[str, Any]:
    implementation = "numpy" if settings.backend == "numpy" else "c"
    own = {"normalize": normalize, "implementation": implementation, "l2": L2, "epochs": settings.epochs}
    return {**trained, **own, "kind": "published", "rate": rate}


def _right(settings: Settings, trained: dict[str, Any], rate: float, l2: tuple[float, ...]) -> dict[str, Any]:
    own = {"backend": settings.backend, "dtype": settings.dtype, "epochs": MOST_EPOCHS, "patience": PATIENCE}
    return {**trained, **own, "kind": "right", "rate": rate, "l2": l2}
