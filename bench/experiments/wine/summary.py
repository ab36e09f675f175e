"""Statistics over seeds, and the choice of settings by validation rows. Pure functions of what the cells hold."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bench.experiments.averages import Mean, mean_of
from bench.experiments.engine.cell import Finished
from bench.experiments.wine.baselines import NAMES as BASELINES
from bench.experiments.wine.published import L2


def chosen(validation: Sequence[float | None]) -> int | None:
    """Return the entry with the lowest validation error; None where none is a number."""
    finite = [at for at, error in enumerate(validation) if error is not None and math.isfinite(error)]
    return min(finite, key=lambda at: float(validation[at] or 0.0)) if finite else None


OVERLAP = 0.15 / 0.70  # test rows of a split over its training rows
Key = tuple[str, bool, int]  # wine, with duplicates, seed: one split


class Candidate(NamedTuple):
    """A network done right that validation may choose: its setting, λ, and its errors."""

    setting: str
    l2: float
    validation: float | None
    test: float | None


def candidates(finished: Iterable[Finished]) -> dict[Key, list[Candidate]]:
    """Return the networks of the article's settings done right, for each split, in the order of the cells."""
    found: dict[Key, list[Candidate]] = {}
    for each in finished:
        p, values = each.cell.parameters, each.values
        if p["kind"] == "right" and p["table"] == "settings":
            rows = zip(p["l2"], values["validation"], values["test"], strict=True)
            found.setdefault(split_of(p), []).extend(Candidate(setting_name(p), *row) for row in rows)
    return found


def select(finished: Iterable[Finished]) -> dict[Key, Candidate]:
    """Return for each split the candidate with the lowest validation error; the test errors have no say."""
    found = {}
    for split, those in candidates(finished).items():
        at = chosen([each.validation for each in those])
        if at is not None:
            found[split] = those[at]
    return found


def split_of(parameters: Mapping[str, Any]) -> Key:
    """Return the split that a cell trains on."""
    return parameters["wine"], parameters["duplicates"], parameters["seed"]


def network_name(parameters: Mapping[str, Any]) -> str:
    """Return hidden widths and activation of a cell, as tables name a network."""
    return f"{'-'.join(map(str, parameters['hidden']))} {parameters['activation']}"


def setting_name(parameters: Mapping[str, Any]) -> str:
    """Return the name of a cell's setting, as `Setting.name`."""
    return f"{network_name(parameters)} {parameters['rate']}"


PUBLISHED, NORMALIZED, CORRECTED = "as published", "as published, normalized", "gradient corrected"
RIGHT, RIGHT_CHOSEN = "done right, λ = 0.1", "done right, λ chosen"
TREATMENTS = (PUBLISHED, NORMALIZED, CORRECTED, RIGHT, RIGHT_CHOSEN)


class Group(NamedTuple):
    """A group of cells that differ in the seed: a treatment of a network at a rate, on one kind of rows of a wine."""

    table: str
    wine: str
    duplicates: bool
    network: str
    rate: float
    treatment: str


class Found(NamedTuple):
    """Result of one seed: mean squared error of the test rows; spread of the outputs there over that of the labels."""

    test: float | None
    spread: float | None


def grouped(finished: Iterable[Finished]) -> dict[Group, list[Found]]:
    """Return what each treatment found, seed by seed."""
    groups: dict[Group, list[Found]] = {}
    for each in finished:
        p = each.cell.parameters
        if p["kind"] in ("published", "corrected", "right"):
            for treatment, found in _found(p, each.values):
                key = Group(p["table"], p["wine"], p["duplicates"], network_name(p), p["rate"], treatment)
                groups.setdefault(key, []).append(found)
    return groups


def _found(p: Mapping[str, Any], values: Mapping[str, Any]) -> Iterable[tuple[str, Found]]:
    if p["kind"] == "corrected":
        yield CORRECTED, Found(values["test"], values["spread"])
    elif p["kind"] == "published":
        yield NORMALIZED if p["normalize"] else PUBLISHED, Found(values["test"], values["spread"])
    else:
        of_each = [Found(*row) for row in zip(values["test"], values["spread"], strict=True)]
        if L2 in p["l2"]:
            yield RIGHT, of_each[p["l2"].index(L2)]
        at = chosen(values["validation"])
        yield RIGHT_CHOSEN, Found(None, None) if at is None else of_each[at]


class Contest(NamedTuple):
    """The selected networks against the baselines, on one kind of rows of a wine.

    selected, baselines: mean test errors; differences: selected minus least squares, split by split; difference: their
    mean; overlapping: the same with an interval that allows for the rows that the splits share.
    """

    selected: Mean
    baselines: dict[str, Mean]
    differences: list[float]
    difference: Mean
    overlapping: Mean


def contests(finished: Sequence[Finished]) -> dict[tuple[str, bool], Contest]:
    """Return the contest of each wine, with and without duplicates."""
    selected = select(finished)
    errors = {split_of(p): each.values for each in finished if (p := each.cell.parameters)["kind"] == "baselines"}
    found: dict[tuple[str, bool], Contest] = {}
    for wine, duplicates in sorted({split[:2] for split in errors}, key=lambda kind: (kind[0], not kind[1])):
        splits = [split for split in errors if split[:2] == (wine, duplicates) and split in selected]
        tests = [float(selected[split].test or math.nan) for split in splits]
        differences = [test - errors[split]["least_squares"] for test, split in zip(tests, splits, strict=True)]
        baselines = {name: mean_of(errors[split][name] for split in splits) for name in BASELINES}
        found[wine, duplicates] = Contest(
            mean_of(tests), baselines, differences, mean_of(differences), mean_of(differences, OVERLAP)
        )
    return found
