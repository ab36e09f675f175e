"""Statistics over seeds, and the choice of settings by validation rows. Pure functions of what the cells hold."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from bench.experiments.averages import Mean, mean_of
from bench.experiments.engine.cell import Finished
from bench.experiments.wine.baselines import NAMES as BASELINES
from bench.experiments.wine.published import L2


def chosen(validation: Sequence[float | None]) -> int | None:
    """Return the entry with the lowest validation error; None where none is a number."""
    finite = [at for at, error in enumerate(validation) if error is not None and math.isfinite(error)]
    return min(finite, key=lambda at: float(validation[at] or 0.0)) if finite else None


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


def select_for_all(finished: Iterable[Finished]) -> dict[Key, Candidate]:
    """Return for each split the setting and λ whose mean validation error over all splits of such rows is lowest.

    One choice for a wine, as in a cross-validated grid search; only networks that are finite on every split take part.
    """
    offered = candidates(finished)
    found: dict[Key, Candidate] = {}
    for kind in dict.fromkeys(split[:2] for split in offered):
        splits = [split for split in offered if split[:2] == kind]
        errors: dict[tuple[str, float], list[float]] = {}
        for split in splits:
            for each in offered[split]:
                if each.validation is not None:
                    errors.setdefault(each[:2], []).append(each.validation)
        means = {name: fmean(values) for name, values in errors.items() if len(values) == len(splits)}
        if means:
            best = min(means, key=means.__getitem__)
            found |= {split: next(each for each in offered[split] if each[:2] == best) for split in splits}
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

    selected, baselines: mean test errors; differences: selected minus least squares, split by split, and their mean.
    choice: the setting and λ. of_each_split: the mean difference of the networks that each split's own validation rows
    select.
    """

    choice: str
    of_each_split: Mean
    selected: Mean
    baselines: dict[str, Mean]
    differences: list[float]
    difference: Mean


def contests(finished: Sequence[Finished]) -> dict[tuple[str, bool], Contest]:
    """Return the contest of each wine, with and without duplicates."""
    selected, of_each = select_for_all(finished), select(finished)
    errors = {split_of(p): each.values for each in finished if (p := each.cell.parameters)["kind"] == "baselines"}
    found: dict[tuple[str, bool], Contest] = {}
    for wine, duplicates in sorted({split[:2] for split in errors}, key=lambda kind: (kind[0], not kind[1])):
        splits = [split for split in errors if split[:2] == (wine, duplicates) and split in selected]
        if splits:
            tests, others = ([float(those[s].test or math.nan) for s in splits] for those in (selected, of_each))
            least_squares = [errors[split]["least_squares"] for split in splits]
            differences, of_others = (
                [test - theirs for test, theirs in zip(ours, least_squares, strict=True)] for ours in (tests, others)
            )
            baselines = {name: mean_of(errors[split][name] for split in splits) for name in BASELINES}
            choice = f"{selected[splits[0]].setting}, λ = {selected[splits[0]].l2:g}"
            means = mean_of(of_others), mean_of(tests), baselines, differences, mean_of(differences)
            found[wine, duplicates] = Contest(choice, *means)
    return found
