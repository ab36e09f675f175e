"""Claims about sentences that compare groups: they are decided where the ranges do not overlap, and only there."""

import pytest

from bench.experiments.ranges import compared


@pytest.mark.parametrize(
    ("own", "other", "text", "kind"),
    [
        ([1.0, 2.0], [3.0, 4.0], "The loss of A is lower than that of B from every start: 1.500 and 3.500", "shown"),
        ([5.0], [3.0, 4.0], "The loss of A is higher than that of B from every start: 5.000 and 3.500", "shown"),
        ([1.0, 3.0], [3.0, 4.0], "It is undecided whether the loss of A differs from that of B", "undecided"),
        ([2.0], [2.0], "It is undecided whether the loss of A differs from that of B", "undecided"),
    ],
)
def test_groups_differ_where_their_ranges_do_not_overlap(
    own: list[float], other: list[float], text: str, kind: str
) -> None:
    found, of_kind = compared("the loss of A", "that of B", own, other)
    assert found.startswith(text)
    assert of_kind == kind
