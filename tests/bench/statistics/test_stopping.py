"""Claims about the stopping rule: the number of launches that a precision needs, and the reason for the last one."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics.intervals import WIDENED
from bench.statistics.stopping import Stopping, launches_needed, launches_of_widest, stop
from bench.statistics.verdicts import ratios_of

WIDE, NARROW = [0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.11, 0.1, 0.1, 0.1]


def test_the_number_of_launches_needed_is_that_of_steins_rule() -> None:
    # s² = 0.025, t(0.975, 4) = 2.776445, log 1.05 = 0.0487902: (2.776445 s / 0.0487902)² = 80.96
    assert launches_needed(0.025, 4, 5, precision=0.05) == 81
    assert launches_of_widest([WIDE], 0.05) == 81  # one pair is not moderated


def test_more_degrees_of_freedom_need_fewer_launches() -> None:
    assert launches_needed(0.025, 54, 5, precision=0.05) < 45


def test_no_fewer_launches_are_needed_than_were_made() -> None:
    assert launches_needed(0.0, 2, 3, precision=0.01) == 3
    assert launches_of_widest([[0.1, 0.1001, 0.0999]], precision=0.5) == 3


def test_more_launches_are_needed_only_while_the_interval_is_wider_than_the_precision() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        logs = rng.normal(0, 0.03, 12)
        half = math.exp(WIDENED * stats.t.ppf(0.975, 11) * logs.std(ddof=1) / math.sqrt(12)) - 1
        assert launches_of_widest([logs.tolist()], half * 1.001) == 12
        assert launches_of_widest([logs.tolist()], half * 0.98) > 12  # type: ignore[operator]


def test_the_widest_ratio_decides_by_its_moderated_variance() -> None:
    found = ratios_of(-np.array([[0.0] * 5, NARROW, WIDE]).T)
    needs = [launches_needed(found.variances[at], found.degrees[at], 5, 0.05) for at in (0, 1)]
    assert needs[0] < needs[1] == launches_of_widest([NARROW, WIDE], 0.05)
    assert launches_of_widest([NARROW, WIDE], 0.05) != launches_of_widest([WIDE], 0.05)


def test_ratios_with_fewer_launches_than_others_do_not_count() -> None:
    assert launches_of_widest([WIDE, [0.3], [9.0, -9.0]], 0.05) == launches_of_widest([WIDE], 0.05)
    assert launches_of_widest([[0.3], []], 0.05) is None
    assert launches_of_widest([], 0.05) is None


@pytest.mark.parametrize(
    ("made", "wanted", "spent", "why", "chosen"),
    [
        (5, 5, 1e9, "precision reached: every ratio to the reference within ±2 % after 5 launches", False),
        (12, 12, 0.0, "precision reached: every ratio to the reference within ±2 % after 12 launches", True),
        (5, 31, 51.0, "budget: 5 launches, and every ratio to the reference within ±2 % takes about 31. "
                      "The case took 51 s; its share of the budget was 60 s", False),
        (100, 240, 0.0, "launch limit: 100 launches, and every ratio to the reference within ±2 % takes about 240; "
                        "no case makes more than 100", False),
        (1, None, 0.0, "nothing to compare: 1 launch, and no ratio has an interval", False),
    ],
)  # fmt: skip
def test_the_reason_for_the_last_launch_is_given(
    made: int, wanted: int | None, spent: float, why: str, chosen: bool
) -> None:
    found = stop(made, wanted, spent, 60.0, 0.02)
    assert found
    assert found.why.startswith(why)
    assert found.chosen == chosen


def test_another_launch_is_made_while_it_is_needed_and_fits_the_budget() -> None:
    assert stop(5, 6, 50.0, 60.0, 0.02) is None  # a sixth launch fits exactly
    assert stop(5, 6, 50.1, 60.0, 0.02) is not None


def test_the_reason_for_the_end_has_the_number_of_launches_by_all_of_them() -> None:
    """Planned at five launches, when the spread was large; judged again when the budget ends the case."""
    stopping = Stopping(precision=0.02, budget=10.0)
    logs = [0.1, -0.1, 0.1, -0.1, 0.1]
    assert stopping.after(5, 5.0, [logs]) is None
    logs += [0.0] * 5
    found = stopping.after(10, 10.0, [logs])
    assert found
    needed = launches_of_widest([logs], 0.02)
    assert f"budget: 10 launches, and every ratio to the reference within ±2 % takes about {needed}." in found.why
    assert launches_of_widest([logs], 0.02) != launches_of_widest([logs[:5]], 0.02)


def test_the_least_launches_are_made_beyond_the_budget_unless_it_bounds_them() -> None:
    assert Stopping(0.02, budget=1.0).after(1, 7.0, [[0.1]]) is None
    found = Stopping(0.02, budget=1.0, bounded=True).after(1, 7.0, [[0.1]])
    assert found
    assert (
        found.why
        == "budget: 1 of at least 5 launches, one gives no interval. The case took 7 s; its share of the budget was 1 s"
    )
    found = Stopping(0.02, budget=20.0, bounded=True).after(2, 14.0, [[0.1, 0.1]])
    assert found
    assert found.why.startswith("budget: 2 of at least 5 launches, intervals are wide")
    assert not found.chosen


def test_another_launch_fits_by_what_one_is_expected_to_take_where_that_is_known() -> None:
    bounded = Stopping(0.02, budget=20.0, bounded=True)
    assert bounded.after(1, 12.0, [[0.1]]) is not None  # 24 s if it took as long as the first
    assert bounded.after(1, 12.0, [[0.1]], coming=8.0) is None


@pytest.mark.parametrize(
    ("bounded", "made", "spent", "expected"),
    [
        (False, 1, 4.0, 5),
        (True, 1, 4.0, 3),
        (True, 1, 90.0, 1),
        (True, 2, 0.0, 4),
        (False, 6, 4.0, 8),
        (False, 9, 0.0, 9),
    ],
)
def test_the_number_of_launches_to_expect_is_the_planned_one_within_the_budget_and_at_least_the_least(
    bounded: bool, made: int, spent: float, expected: int
) -> None:
    budget = 14.0 if made < 6 else 100.0
    stopping = Stopping(0.02, budget, planned=8, bounded=bounded)
    assert stopping.expected(made, spent, coming=5.0) == expected


def test_the_number_of_launches_needed_reaches_the_precision() -> None:
    rng = np.random.default_rng(1)
    wide = 0
    for _ in range(300):
        pilot = rng.normal(0, 0.03, 5).tolist()
        more = rng.normal(0, 0.03, launches_needed(float(np.var(pilot, ddof=1)), 4, 5, 0.02) - 5).tolist()
        margin = stats.t.ppf(0.975, 4) * np.std(pilot, ddof=1) / math.sqrt(5 + len(more))
        wide += margin > math.log1p(0.02) * (1 + 1e-9)
    assert wide == 0
