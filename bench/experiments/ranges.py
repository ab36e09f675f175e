"""Sentences that compare the values of two groups over all seeds: decided where their ranges do not overlap.

Two groups of four whose values come from one distribution have separate ranges, one way or the other, with probability
2/C(8, 4) = 0.03; smaller groups are not compared.
"""

from collections.abc import Sequence
from statistics import median

from bench.format import entry_text
from bench.results.experiment_report import Kind

FEWEST = 4  # values of a group


def compared(
    ours: str, theirs: str, own: Sequence[float], other: Sequence[float], remark: str = ""
) -> tuple[str, Kind]:
    """Return a sentence on two groups, with their medians, and its kind.

    Parameters
    ----------
    ours, theirs : str
        The groups, for readers: "the loss of A", "that of B".
    own, other : sequence of float
        A value of each seed, at least one each.
    remark : str, optional
        It follows the sentence's numbers.
    """
    numbers = f"{entry_text(float(median(own)))} and {entry_text(float(median(other)))}"
    seeds = f"medians of {len(own)}" if len(own) == len(other) else f"medians of {len(own)} and {len(other)}"
    tail = f": {numbers} ({seeds}){remark}."
    first = ours[:1].upper() + ours[1:]
    if min(len(own), len(other)) < FEWEST:
        return (
            f"It is undecided whether {ours} differs from {theirs}, with fewer than {FEWEST} seeds{tail}",
            "undecided",
        )
    if max(own) < min(other):
        return f"{first} is lower than {theirs} from every start{tail}", "shown"
    if min(own) > max(other):
        return f"{first} is higher than {theirs} from every start{tail}", "shown"
    return f"It is undecided whether {ours} differs from {theirs}, because their ranges overlap{tail}", "undecided"
