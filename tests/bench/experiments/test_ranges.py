"""Claims about sentences that compare groups: they are decided where the ranges do not overlap, and only there."""

import pytest

from bench.experiments.ranges import compared

LOW, HIGH = [1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("own", "other", "text", "kind"),
    [
        (LOW, HIGH, "The loss of A is lower than that of B from every start: 1.500 and 3.500", "shown"),
        (HIGH, LOW, "The loss of A is higher than that of B from every start: 3.500 and 1.500", "shown"),
        (
            [1.0, 1.0, 2.0, 3.0],
            HIGH,
            "It is undecided whether the loss of A differs from that of B, because",
            "undecided",
        ),
        (LOW[:3], HIGH, "It is undecided whether the loss of A differs from that of B, with fewer than 4", "undecided"),
        (LOW, HIGH[:1], "It is undecided whether the loss of A differs from that of B, with fewer than 4", "undecided"),
    ],
)
def test_groups_differ_where_their_ranges_do_not_overlap(
    own: list[float], other: list[float], text: str, kind: str
) -> None:
    found, of_kind = compared("the loss of A", "that of B", own, other)
    assert found.startswith(text)
    assert of_kind == kind
