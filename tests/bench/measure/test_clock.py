"""Contradictions between the clocks of one run."""

from dataclasses import replace

import pytest

from bench.measure.clock import Reading, contradiction, work_cpu_seconds
from bench.measure.errors import Disturbed, Implausible, ThreadsMismatch

NOTHING = Reading(0.0, 0.0, 0.0)
QUIET = Reading(seconds=0.1, wall_seconds=0.1002, cpu_seconds=0.1001, claimed_cpu_seconds=0.1)
WAITED = Reading(seconds=0.1, wall_seconds=0.15, cpu_seconds=0.0601, claimed_cpu_seconds=0.06, waited_seconds=0.09)


@pytest.mark.parametrize("counts_cpu", [False, True])
@pytest.mark.parametrize("run", [QUIET, replace(QUIET, claimed_cpu_seconds=None)])
def test_clocks_that_agree_are_accepted(run: Reading, counts_cpu: bool) -> None:
    assert contradiction(run, NOTHING, threads=1, counts_cpu=counts_cpu) is None


@pytest.mark.parametrize("run", [WAITED, replace(WAITED, claimed_cpu_seconds=None)])
def test_a_turn_that_waited_for_a_cpu_is_accepted_where_cpu_time_counts(run: Reading) -> None:
    assert contradiction(run, NOTHING, threads=1, counts_cpu=True) is None


def test_a_block_that_neither_ran_nor_waited_is_no_cpu_time() -> None:
    asleep = replace(QUIET, cpu_seconds=0.0401, claimed_cpu_seconds=0.04, waited_seconds=0.01)
    assert contradiction(asleep, NOTHING, threads=1) is None
    error = contradiction(asleep, NOTHING, threads=1, counts_cpu=True)
    assert isinstance(error, Implausible)
    assert "neither ran nor waited for a CPU in 0.0499 of 0.1 s" in str(error)


def test_work_outside_the_clock_shows_on_a_busy_machine_where_the_worker_reports_its_cpu_time() -> None:
    late = replace(WAITED, cpu_seconds=0.0665)
    error = contradiction(late, NOTHING, threads=1)
    assert isinstance(error, Implausible)
    assert "used 0.0065 CPU seconds outside its clock" in str(error)
    late = replace(WAITED, late_seconds=0.01, late_cpu_seconds=0.0065)
    assert isinstance(contradiction(late, NOTHING, threads=1), Implausible)


def test_little_work_outside_the_clock_leaves_a_turn_that_waited_unjudged_and_much_does_not() -> None:
    run = Reading(0.01, 0.0137, 0.0108, claimed_cpu_seconds=0.01, waited_seconds=0.003)
    assert isinstance(contradiction(replace(run, waited_seconds=0.0004), NOTHING, threads=1), Implausible)
    error = contradiction(run, NOTHING, threads=1)  # others emptied the caches, or it works late
    assert isinstance(error, Disturbed)
    assert "used 0.0008 CPU seconds outside its clock" in str(error)
    assert isinstance(contradiction(replace(run, cpu_seconds=0.0131), NOTHING, threads=1), Implausible)


def test_time_outside_the_clock_must_be_waiting_or_work_in_all() -> None:
    run = Reading(0.01, 0.0150, 0.0103, claimed_cpu_seconds=0.01, waited_seconds=0.0043)
    assert isinstance(contradiction(run, NOTHING, threads=1), Disturbed)
    idle = replace(run, wall_seconds=0.0152)
    assert isinstance(contradiction(idle, NOTHING, threads=1), Implausible)


@pytest.mark.parametrize("claimed", [0.76, None])
def test_late_work_explains_no_time_of_a_run_that_did_not_wait(claimed: float | None) -> None:
    serial = Reading(0.1, 0.1225, 0.7825 if claimed else 0.8465, claimed_cpu_seconds=claimed)  # after eight threads
    assert isinstance(contradiction(serial, NOTHING, threads=8), Implausible)
    assert isinstance(contradiction(Reading(0.1, 0.1058, 0.1029), NOTHING, threads=1), Implausible)


def test_work_beside_the_clock_shows_where_no_wall_time_does() -> None:
    two_threads = replace(QUIET, cpu_seconds=0.16)
    assert contradiction(two_threads, NOTHING, threads=2) is not None
    assert contradiction(replace(two_threads, claimed_cpu_seconds=0.16), NOTHING, threads=2) is None


def test_without_a_reported_cpu_time_waiting_leaves_the_turn_unjudged() -> None:
    assert isinstance(contradiction(replace(WAITED, claimed_cpu_seconds=None), NOTHING, threads=1), Disturbed)


def test_a_clock_of_cpu_time_is_accepted_where_it_agrees_with_the_wall_and_never_where_the_worker_waited() -> None:
    assert contradiction(replace(QUIET, seconds=0.1, claimed_cpu_seconds=0.1), NOTHING, threads=1) is None
    assert isinstance(contradiction(replace(WAITED, seconds=0.06), NOTHING, threads=1), Disturbed)


def test_a_share_of_the_cpu_time_outside_the_clock_leaves_a_turn_with_much_waiting_unjudged() -> None:
    hasty = replace(WAITED, seconds=0.1, wall_seconds=0.11, cpu_seconds=0.022, claimed_cpu_seconds=0.02)
    assert isinstance(contradiction(hasty, NOTHING, threads=1), Disturbed)
    assert contradiction(replace(hasty, cpu_seconds=0.0203), NOTHING, threads=1) is None


def test_time_that_nobody_waited_nor_worked_for_is_implausible() -> None:
    error = contradiction(replace(WAITED, waited_seconds=0.04), NOTHING, threads=1)
    assert isinstance(error, Implausible)
    assert "claims only 0.1 of the 0.15 s" in str(error)


@pytest.mark.parametrize("claimed", [0.05, 0.2])
def test_cpu_time_must_be_within_the_seconds_and_within_what_the_processes_used(claimed: float) -> None:
    run = replace(QUIET, seconds=min(claimed, 0.1), claimed_cpu_seconds=max(claimed, 0.1))
    error = contradiction(run, NOTHING, threads=1)
    assert isinstance(error, Implausible)
    assert f"claims {min(claimed, 0.1):.4g} s for" in str(error) or "CPU seconds: its processes used" in str(error)


def test_more_cpu_time_than_the_threads_have_is_a_mismatch_whatever_is_claimed() -> None:
    run = replace(QUIET, cpu_seconds=0.19, claimed_cpu_seconds=0.19)
    assert isinstance(contradiction(run, NOTHING, threads=1), ThreadsMismatch)
    assert contradiction(run, NOTHING, threads=2) is None


def test_what_a_run_without_work_takes_outside_its_clock_is_not_counted() -> None:
    run = replace(QUIET, wall_seconds=0.11, cpu_seconds=0.11)
    constant = Reading(seconds=0.0, wall_seconds=0.01, cpu_seconds=0.01, claimed_cpu_seconds=0.0)
    assert isinstance(contradiction(run, NOTHING, threads=1), Implausible)
    assert contradiction(run, constant, threads=1) is None


def test_the_cpu_time_around_each_of_many_calls_is_not_that_of_more_threads() -> None:
    run = Reading(seconds=0.006, wall_seconds=0.0224, cpu_seconds=0.0259, protocol_seconds=0.255)  # go, 256 networks
    assert contradiction(run, NOTHING, threads=1) is None


def test_where_cpu_time_counts_waking_up_may_take_2_ms_and_work_may_not() -> None:
    slow_to_wake = replace(QUIET, seconds=0.01, wall_seconds=0.0115, cpu_seconds=0.0101, claimed_cpu_seconds=0.01)
    assert contradiction(slow_to_wake, NOTHING, threads=1, counts_cpu=True) is None
    assert isinstance(contradiction(slow_to_wake, NOTHING, threads=1), Implausible)
    late = replace(slow_to_wake, late_seconds=0.004, late_cpu_seconds=0.004)
    assert isinstance(contradiction(late, NOTHING, threads=1, counts_cpu=True), Implausible)


def test_the_reported_cpu_time_counts_unless_the_processes_used_more() -> None:
    nothing = Reading(seconds=0.0, wall_seconds=0.0004, cpu_seconds=0.0003, claimed_cpu_seconds=0.0)
    run = Reading(seconds=0.012, wall_seconds=0.0125, cpu_seconds=0.0123, claimed_cpu_seconds=0.0119)
    assert work_cpu_seconds(run, [nothing], 0.001) == 0.0119
    late = replace(run, late_seconds=0.001, late_cpu_seconds=0.001)
    assert work_cpu_seconds(late, [nothing], 0.0) == pytest.approx(0.0130)


def test_without_a_report_the_cpu_time_is_that_of_the_processes_less_a_run_without_work() -> None:
    constants = [Reading(0.0, 0.001, used, late_cpu_seconds=0.0001) for used in (0.0002, 0.0003, 0.009)]
    run = Reading(seconds=0.01, wall_seconds=0.0102, cpu_seconds=0.0103, late_cpu_seconds=0.0002)
    assert work_cpu_seconds(run, constants, 0.0) == pytest.approx(0.0101)
    assert work_cpu_seconds(run, constants, 0.01) == pytest.approx(0.0101 / 0.99)
    assert work_cpu_seconds(run, constants, 0.5) == pytest.approx(0.0105)  # so much of it is work


def test_of_many_calls_neither_the_waiting_nor_the_reading_of_clocks_counts() -> None:
    run = Reading(seconds=0.04, wall_seconds=0.06, cpu_seconds=0.065, claimed_cpu_seconds=0.041, protocol_seconds=0.255)
    assert work_cpu_seconds(run, [], 0.0) == 0.04
    assert work_cpu_seconds(replace(run, seconds=0.09), [], 0.0) == 0.041
    assert contradiction(run, NOTHING, threads=1, counts_cpu=True) is None
