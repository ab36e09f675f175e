"""Sentences on the results of the wine experiment, made from its cells."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.experiments.averages import Mean, mean_of
from bench.experiments.engine.cell import Finished
from bench.experiments.wine.published import WINES
from bench.experiments.wine.summary import CORRECTED, PUBLISHED, Found, Group, contests, select
from bench.results.experiment_report import Kind

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

CONSTANT = 0.05  # spread of the outputs over that of the labels, below which a network is called a constant
_ROWS = {True: "", False: ", without exact duplicates"}


def say(finished: Sequence[Finished], groups: dict[Group, list[Found]], out: "Report") -> None:
    """Add the sentences: the selected networks against least squares, the settings as published, the agreement."""
    _headline(finished, groups, out)
    _contests(finished, out)
    for treatment in (PUBLISHED, CORRECTED):
        _constants(groups, treatment, out)
    _agreement(finished, out)


def _headline(finished: Sequence[Finished], groups: dict[Group, list[Found]], out: "Report") -> None:
    """Add the answer in two sentences, if there are networks done right."""
    found = {wine: each for (wine, duplicates), each in contests(finished).items() if duplicates}
    if not any(each.difference.finite > 1 for each in found.values()):
        return
    parts = []
    for wine, each in found.items():
        if each.overlapping.excludes_zero:
            parts.append(f"{'lower' if each.difference.mean < 0 else 'higher'} on {wine} wine")
        else:
            parts.append(f"undecided on {wine} wine")
    decided = all(each.overlapping.excludes_zero for each in found.values())
    spreads = [spread for wine in WINES for spread in _spreads(groups, wine, PUBLISHED)]
    useless = sum(spread.finite == 0 or spread.mean < CONSTANT for spread in spreads)
    as_published = (
        f"As published, {useless} of {len(spreads)} networks end as a constant or as NaN. " if spreads else ""
    )
    text = f"{as_published}Done right, their error against that of least squares is {', '.join(parts)}."
    out.say(text, "shown" if decided else "undecided")


def _spreads(groups: dict[Group, list[Found]], wine: str, treatment: str) -> list[Mean]:
    """Return the spread of the outputs over that of the labels, for each setting."""
    return [
        mean_of(each.spread for each in found)
        for key, found in groups.items()
        if (key.table, key.wine, key.duplicates, key.treatment) == ("settings", wine, True, treatment)
    ]


def _contests(finished: Sequence[Finished], out: "Report") -> None:
    for (wine, duplicates), contest in contests(finished).items():
        difference, strict = contest.difference, contest.overlapping
        if difference.finite < 2:
            continue
        side = "below" if difference.mean < 0 else "above"
        text = (
            f"{wine.capitalize()} wine{_ROWS[duplicates]}: networks selected by validation have a test error of "
            f"{contest.selected.text}, {abs(difference.mean):.3f} ± {difference.half:.3f} {side} that of least squares"
        )
        if strict.excludes_zero:
            out.say(f"{text}. The stricter interval, for splits that share rows, ± {strict.half:.3f}, decides it, too.")
        elif difference.excludes_zero:
            out.say(
                f"{text}. By the stricter interval, for splits that share rows, ± {strict.half:.3f}, it is undecided.",
                "undecided",
            )
        else:
            out.say(f"{text}: undecided.", "undecided")
    lowest = [each.test for each in select(finished).values() if each.test is not None and math.isfinite(each.test)]
    if lowest:
        out.say(f"The lowest test error of all selected networks is {min(lowest):.3f}.", "note")


def _constants(groups: dict[Group, list[Found]], treatment: str, out: "Report") -> None:
    """Count the settings whose outputs hardly depend on the wine."""
    for wine in WINES:
        spreads = _spreads(groups, wine, treatment)
        lost = sum(spread.finite == 0 for spread in spreads)
        constant = sum(spread.finite > 0 and spread.mean < CONSTANT for spread in spreads)
        if spreads:
            ends = f"{constant} of {len(spreads)} settings end as a constant" + (f", {lost} as NaN" if lost else "")
            out.say(
                f"{wine.capitalize()} wine, {treatment}: {ends} (spread of the outputs below "
                f"{100 * CONSTANT:g} % of that of the labels).",
                "shown" if constant + lost else "note",
            )


def _agreement(finished: Sequence[Finished], out: "Report") -> None:
    shares = [
        share
        for each in finished
        if each.cell.parameters["kind"] == "trajectories"
        for followed in each.values.values()
        for share in followed["of_bound"]
    ]
    if shares:
        worst = math.inf if None in shares else max(shares)
        bound = "what rounding allows"
        ends = f"at most {100 * worst:.2g} % of {bound}" if worst <= 1 else f"{worst:.2g} times {bound}"
        kind: Kind = "shown" if worst <= 1 else "attention"
        out.say(f"Backends follow the oracle's trajectory: they differ from it by {ends}.", kind)
