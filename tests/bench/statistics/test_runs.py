"""Claims about several runs: an interval over runs needs three, and changes are false in at most 5 % of tables."""

import math
from itertools import product

import numpy as np
import pytest

from bench.results.schema import Sample
from bench.statistics.intervals import t_interval
from bench.statistics.runs import LEAST_ENTRIES, Change, Runs, can_judge, changes, interleaved_changes, over_runs

TABLES = 300


def runs(rng: np.random.Generator, centres: list[float], launches: int = 6, noise: float = 0.005) -> Runs:
    return [list(centre + noise * rng.normal(size=launches)) for centre in centres]


def table(
    rng: np.random.Generator, entries: int, count: int, between: float, moved: float = 1.0
) -> tuple[list[Runs], list[Runs]]:
    """Return both sides of a table, `count` runs each. The first backend is `moved` times as fast on the new side."""
    shifts = [math.log(moved), *[0.0] * (entries - 1)]
    old = [runs(rng, list(between * rng.standard_t(4, size=count))) for _ in shifts]
    return old, [runs(rng, list(shift + between * rng.standard_t(4, size=count))) for shift in shifts]


def test_a_ratio_over_runs_has_the_run_as_its_unit() -> None:
    three = [[0.1, 0.1, 0.1, 0.1], [0.2] * 9, [0.3]]
    assert over_runs(three) == t_interval([0.1, 0.2, 0.3])
    assert over_runs(three[:2]) is None


@pytest.mark.parametrize("between", [0.0, 0.02])
@pytest.mark.parametrize(("count", "entries"), [(1, 4), (1, 20), (3, 6)])
def test_at_most_one_table_of_twenty_has_a_false_change(count: int, entries: int, between: float) -> None:
    rng = np.random.default_rng([count, entries, int(1000 * between)])
    wrong = 0
    for _ in range(TABLES):
        found = changes(*table(rng, entries, count, between))
        wrong += any(change.verdict in ("faster", "slower") for change in found)
    assert wrong <= 0.05 * TABLES + 2 * math.sqrt(0.05 * 0.95 * TABLES)  # two standard errors


def test_a_change_that_stands_out_is_found() -> None:
    rng = np.random.default_rng(5)
    tables = [changes(*table(rng, 12, 1, 0.0, moved=1 / 1.05)) for _ in range(60)]
    assert sum(found[0].verdict == "slower" for found in tables) >= 57
    several = [changes(*table(rng, 12, 4, 0.005, moved=1.1)) for _ in range(60)]
    assert sum(found[0].verdict == "faster" for found in several) >= 50


def test_equal_runs_are_called_the_same_where_the_table_is_quiet() -> None:
    rng = np.random.default_rng(6)
    found = changes(*table(rng, 8, 1, 0.0), margin=0.05)
    assert {change.verdict for change in found} == {"same"}


def test_where_everything_moves_alike_nothing_is_called_a_change() -> None:
    rng = np.random.default_rng(7)
    old, new = ([runs(rng, [centre]) for _ in range(9)] for centre in (0.0, 0.1))
    assert {change.verdict for change in changes(old, new)} == {"no change shown"}


def test_too_few_runs_or_backends_have_no_verdict() -> None:
    rng = np.random.default_rng(8)
    few = changes(*table(rng, LEAST_ENTRIES - 1, 1, 0.0, moved=2.0))
    assert {change.verdict for change in few} == {"no change shown"}
    two = changes(*table(rng, 12, 2, 0.0, moved=2.0))
    assert {change.verdict for change in two} == {"no change shown"}
    assert can_judge(1, 1, LEAST_ENTRIES)
    assert can_judge(3, 3, 1)
    assert not can_judge(1, 3, 50)


def test_an_interval_of_a_change_holds_it() -> None:
    rng = np.random.default_rng(9)
    held = 0
    for _ in range(200):
        first = changes(*table(rng, 10, 3, 0.01, moved=1.2))[0].change
        held += first.low <= 1.2 <= first.high
    assert held >= 183  # 95 % of 200, less two standard errors


# Revisions in one run ------------------------------------------------------------------------------------------------


def interleaved(rng: np.random.Generator, moved: float, noise: float = 0.015) -> list[list[Change | None]]:
    """Judge three backends at two revisions on two workloads; the first is `moved` times as fast on the first."""
    tables = []
    for case in range(2):
        arms: dict[str, list[Sample]] = {}
        for backend, revision in product("abc", ("old", "new")):
            speed = moved if (case, backend, revision) == (0, "a", "new") else 1.0
            logs = (noise * rng.normal(size=8)).tolist()
            arms[f"{backend}@{revision}"] = [sample(launch, math.exp(log) / speed) for launch, log in enumerate(logs)]
        tables.append((arms, [(f"{backend}@old", f"{backend}@new") for backend in "abc"], False))
    return interleaved_changes(tables)


def sample(launch: int, seconds: float) -> Sample:
    return Sample(launch=launch, round=0, seconds=seconds, steps=1, cpu_seconds=seconds, wall_seconds=seconds)


def test_equal_revisions_in_one_run_have_a_false_change_in_at_most_one_run_of_twenty() -> None:
    rng = np.random.default_rng(8)
    found = [[change for case in interleaved(rng, 1.0) for change in case if change] for _ in range(TABLES)]
    wrong = sum(any(change.verdict in ("faster", "slower") for change in changes) for changes in found)
    assert wrong <= 0.05 * TABLES + 2 * math.sqrt(0.05 * 0.95 * TABLES)


def test_a_slowdown_of_5_percent_is_found_in_at_least_nine_runs_of_ten() -> None:
    rng = np.random.default_rng(9)
    verdicts = [found.verdict for _ in range(60) if (found := interleaved(rng, 1 / 1.05)[0][0])]
    assert verdicts.count("slower") >= 54


def test_revisions_with_a_single_launch_in_common_have_no_verdict() -> None:
    arms = {"a@old": [sample(0, 1.0)], "a@new": [sample(0, 1.0), sample(1, 1.0)]}
    assert interleaved_changes([(arms, [("a@old", "a@new")], False)]) == [[None]]
