"""Claims about the meaning of 95 %: on simulated machines with known ratios, sampled by the rules of a real run."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, median

import numpy as np
import pytest

from bench.experiments.coverage import __main__ as coverage
from bench.experiments.coverage.__main__ import main
from bench.experiments.coverage.machines import CONTENDERS, MACHINES, MOST_LAUNCHES, ROUNDS, Machine, launch_logs_of
from bench.experiments.coverage.tally import (
    AIMED,
    BY_BUDGET,
    BY_PRECISION,
    COUNTS,
    Coverage,
    Findings,
    Schedule,
    Tally,
    examine,
    first_instances,
    judge,
    naive_coverage,
)
from bench.experiments.coverage.whole_tables import (
    BACKENDS,
    KINDS,
    NOISES,
    POWER,
    SLOWER,
    TRUTHS,
    contenders,
    false_tables,
    share_of,
    simulate,
)
from bench.statistics import intervals

MANY = 300  # machines, each with ten correlated pairs
EVERYTHING = MACHINES["all of these"]


@pytest.fixture(scope="module")
def found() -> dict[str, Findings]:
    """A machine with all disturbances, and the one for which chosen intervals are widened."""
    names = ("all of these", "one backend restless alone")
    return {name: examine(MACHINES[name], MANY, seed=8) for name in names}


@pytest.mark.parametrize("schedule", [*BY_BUDGET, *BY_PRECISION])
def test_19_of_20_intervals_contain_the_truth_under_every_stopping_rule(
    found: dict[str, Findings], schedule: str
) -> None:
    for own in found.values():
        share = own.tallies[schedule].coverage()
        assert 0.93 <= share.share <= 0.97
        assert 0.89 <= share.least <= share.most <= 0.995  # single pairs, 300 intervals each


def test_a_budget_is_kept_and_a_precision_takes_about_the_launches_it_aims_at(
    found: dict[str, Findings],
) -> None:
    for own in found.values():
        assert [set(own.tallies[schedule].launches) for schedule in BY_BUDGET] == [{count} for count in COUNTS]
        for schedule, count in zip(BY_PRECISION, AIMED, strict=True):
            made = own.tallies[schedule].launches
            assert len(set(made)) > 10
            assert 0.8 * count < median(made) < 1.8 * count


def test_timing_one_backend_after_the_other_misses_the_truth_most_of_the_time(
    found: dict[str, Findings],
) -> None:
    own = found["all of these"]
    assert max(share.share for share in own.one_process) < 0.6  # samples of one process do not show its launch effect
    assert max(share.share for share in own.fresh) < 0.85  # processes in a row do not show the drift
    assert own.fresh[-1].share < own.fresh[0].share  # more of them are worse, because the interval is narrower


def test_without_drift_fresh_processes_one_after_the_other_reach_95_percent() -> None:
    """The failure above comes from the drift, not from the simulation."""
    rng = np.random.default_rng(3)
    share = naive_coverage(MACHINES["quiet"], rng, 2000, 10, fresh=True)
    assert 0.93 <= share.share <= 0.97


def test_pairing_keeps_drift_out_of_the_intervals() -> None:
    quiet, drifting = (
        judge(MACHINES[name], {"": Schedule(5)}, 100, seed=2)[""].coverage().margin for name in ("quiet", "drift")
    )
    assert drifting < 1.2 * quiet


@pytest.mark.parametrize(("shuffle", "least", "most"), [(True, 0.93, 1.0), (False, 0.0, 0.7)])
def test_turns_in_a_fixed_order_take_a_steady_drift_for_a_difference(
    monkeypatch: pytest.MonkeyPatch, shuffle: bool, least: float, most: float
) -> None:
    def slowing(*given: int) -> object:
        machines, turns = given[2:4]
        return np.broadcast_to(0.003 * np.arange(turns), (machines, turns)), np.zeros((machines, turns))

    monkeypatch.setattr(Machine, "environment", slowing)
    machine, tally = Machine(), Tally()
    every = launch_logs_of(machine, np.random.default_rng(0), 100, 10, ROUNDS, shuffle=shuffle)
    for logs in every[..., first_instances(machine)]:
        tally.add(machine, logs, chosen=False)
    assert least <= tally.coverage().share <= most


def test_the_truth_is_the_limit_of_very_many_launches() -> None:
    """Also with bursts that cost one backend more than the other."""
    machine = replace(EVERYTHING, burst=0.05)
    every = launch_logs_of(machine, np.random.default_rng(4), 60, 50, ROUNDS).reshape(-1, len(CONTENDERS))
    by_name = {contender.name: contender for contender in CONTENDERS}
    names = list(by_name)
    for one, other in (("reference", "restless"), ("slowed", "fast"), ("reference", "twin")):
        found = every[:, names.index(one)] - every[:, names.index(other)]
        error = found.std() / math.sqrt(len(found))
        assert abs(found.mean() - math.log(machine.truth(by_name[one], by_name[other]))) < 4 * error
    assert machine.truth(by_name["reference"], by_name["restless"]) != pytest.approx(1 / 0.7, rel=0.003)
    assert machine.truth(by_name["reference"], by_name["slowed"]) == pytest.approx(1 / 1.03)


def test_steins_interval_is_exact_for_normal_samples_and_fails_with_bursts() -> None:
    """Reason why it is not the reported one."""
    for name, low, high in (("quiet", 0.93, 0.97), ("bursts", 0.0, 0.92)):
        tally = judge(MACHINES[name], {"": Schedule(20)}, MANY, seed=5)[""]
        assert low <= tally.coverage("by_stein").share <= high
        assert 0.93 <= tally.coverage().share <= 0.975


def test_without_widening_the_interval_of_a_pair_that_decides_alone_misses_too_often() -> None:
    """Two-stage samples of one ratio, at the worst spread: about 20 launches."""
    rng = np.random.default_rng(6)
    held, bare = list[bool](), list[bool]()
    schedule = Schedule(MOST_LAUNCHES, 0.02)
    for _ in range(3000):
        logs = (1.6 * math.log(1.02) * rng.standard_normal(MOST_LAUNCHES)).tolist()
        made, chosen = schedule.run([logs])
        for widened, into in ((intervals.WIDENED if chosen else 1.0, held), (1.0, bare)):
            estimate = intervals.t_interval(logs[:made], widened=widened)
            assert estimate is not None
            into.append(estimate.low <= 1 <= estimate.high)
    assert fmean(bare) < 0.93 <= fmean(held)


@pytest.mark.parametrize(
    ("kind", "noise", "truth"),
    [
        *(("all of these", noise, "all equal") for noise in NOISES),
        *((kind, "one 3 × as noisy", "all equal") for kind in ("quiet", "drift", "bursts", "heavy tails")),
        ("quiet", "equal noise", "half slower by the margin"),
        ("all of these", "noise from 1 to 8 ×", "half slower by the margin"),
    ],
)
def test_at_most_6_of_100_tables_of_14_backends_have_any_false_verdict(kind: str, noise: str, truth: str) -> None:
    machine = replace(KINDS[kind], contenders=contenders(NOISES[noise], TRUTHS[truth]))
    share = share_of(false_tables(machine, 1000, 5, seed=3)["now"])
    assert share.share <= 0.06
    assert share.interval[1] < 0.08


def test_the_rule_before_and_the_interval_alone_are_false_far_more_often() -> None:
    """The noise floor of two quiet A/A arms is no protection where the others are noisier."""
    machine = replace(KINDS["quiet"], contenders=contenders(NOISES["all but the A/A arms 4 × as noisy"]))
    found = false_tables(machine, 500, 5, seed=3)
    assert found["before"].mean() > 0.15
    assert found["interval alone"].mean() > 0.8


def test_the_worst_truths_for_sameness_stay_below_6_percent_at_every_spread() -> None:
    """Half of the backends are slower by exactly the margin, measured just well enough to be called the same."""
    for launch_effect in (0.004, 0.006, 0.008, 0.01):
        some = contenders((), TRUTHS["half slower by the margin"])
        machine = Machine(launch_effect=launch_effect, noise=0.005, contenders=some)
        assert share_of(false_tables(machine, 800, 8, seed=4)["now"]).share <= 0.06


def test_a_slowdown_is_found_and_equal_backends_are_called_the_same_on_a_quiet_machine() -> None:
    quiet = replace(POWER["quiet"], contenders=contenders((), (1.0, 1.0, *SLOWER)))
    judged = simulate(quiet, 300, 8, seed=5)["now"]
    pairs = list(combinations(range(BACKENDS), 2))
    for at in range(len(SLOWER)):
        assert judged.different[:, pairs.index((0, 2 + at))].mean() > 0.8
    assert judged.same[:, pairs.index((5, 6))].mean() > 0.8


def test_a_share_is_printed_with_its_own_interval() -> None:
    share = Coverage(0.95, 2000, 0.01)
    assert share.interval == pytest.approx((0.9395, 0.9591), abs=2e-4)
    assert str(share) == "95.0 [94.0, 95.9]"


def test_the_command_prints_the_tables_and_draws_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "MACHINES", {"quiet": Machine()})
    monkeypatch.setattr(coverage, "LIMITS", {"rare": Machine(rare=0.1)})
    assert main(["--machines", "20", "--out", str(tmp_path / "c.png")]) == 0
    printed = capsys.readouterr().out
    titles = (
        "Tables with any false verdict (%)",
        "Found (%)",
        *("Paired, as reported", "One backend after the other", "Kinds of interval"),
    )
    assert all(title in printed for title in titles)
    assert (tmp_path / "c.png").stat().st_size > 10_000


@pytest.mark.parametrize("option", ["--machines=0", "--seed=-1"])
def test_invalid_arguments_are_refused_by_name(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 2
    assert option.replace("=", " ") in capsys.readouterr().err


def test_a_figure_that_cannot_be_written_is_an_error_before_the_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(coverage, "examine", pytest.fail)
    assert main(["--out", str(tmp_path / "file" / "c.png")]) == 1
    assert "File exists" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["coverage", "coverage.txt"])
def test_a_figure_of_no_known_format_is_refused_before_the_simulation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coverage, "examine", pytest.fail)
    assert main(["--out", str(tmp_path / name)]) == 2
    assert "must end with one of" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
