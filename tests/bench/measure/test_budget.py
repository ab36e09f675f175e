"""Claims about a case's time: the budget, the launches that it leaves out, the time left, and the length of blocks."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import misbehaving
import pytest
from support.cases import SHORT, Listener, Measure

from bench.measure.arm import Calibration
from bench.measure.calibration import Calibrator, Warmup
from bench.measure.curve import CURVE_SHARE, affordable_rows
from bench.measure.session import Session
from bench.measure.settings import Settings
from bench.suites.load import load_suite

STEADY = misbehaving.STEADY


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 12)  # less to read for workers in plain Python
    return Measure(tmp_path)


def test_planned_launches_end_with_the_budget(measure: Measure) -> None:
    case = measure.run({"steady": STEADY, "slow": "dallies train 1"}, replace(SHORT, launches=100), budget=4.0)
    assert case.stopped.startswith("precision reached")
    assert 2 <= len({sample.launch for sample in case.backends[0].samples}) < 100


def test_the_budget_stops_a_case_after_the_least_launches(measure: Measure) -> None:
    settings = replace(SHORT, precision=1e-9)
    case = measure.run(dict.fromkeys(("steady", "x", "y"), STEADY), settings, budget=3.0)
    launches = {s.launch for s in case.backends[0].samples}
    assert case.stopped.startswith(f"budget: {len(launches)} launch")
    assert "its share of the budget was 3 s" in case.stopped
    assert not case.launches_chosen
    assert 2 <= len(launches) < 100


def test_a_budget_that_bounds_the_case_leaves_one_launch_of_each_backend_without_second_instances_and_curves(
    measure: Measure,
) -> None:
    settings = replace(SHORT, min_launches=5, bounded=True)
    case = measure.run({"steady": STEADY, "slow": "dallies train 1"}, settings, budget=0.01)
    assert {b.instance: b.status for b in case.backends} == {"steady": "ok", "slow": "ok"}
    assert all({s.launch for s in b.samples} == {0} for b in case.backends)
    assert all(b.curve is None for b in case.backends)
    assert case.stopped.startswith("budget: 1 of at least 5 launches, one gives no interval. ")
    assert case.measured_seconds is not None
    assert case.measured_seconds > 0.01


def test_the_time_left_is_known_after_the_first_launch(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(0.0, 0.01)  # each look at the clock takes as long
    monkeypatch.setattr("bench.measure.case.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    seen: list[float | None] = []

    class Timer(Listener):
        def progress(self, text: str, share: float, left: float | None = None) -> None:
            super().progress(text, share, left)
            seen.append(left)

    measure.run({"steady": STEADY}, replace(SHORT, launches=3, min_launches=3), listener=Timer())
    assert seen[:2] == [None, None]
    known = [left for left in seen[2:] if left is not None]
    assert len(known) == 4
    assert known == sorted(known, reverse=True)


def test_a_backend_that_cannot_fit_the_budget_is_too_slow_before_its_proof_and_with_the_prediction(
    measure: Measure,
) -> None:
    case = measure.run({"steady": STEADY, "dawdler": "slow train 1"})
    slow = case.backends[1]
    assert slow.status == "too_slow"
    assert "a step took " in slow.reason
    assert "more than the 30 s that it may take here" in slow.reason
    assert slow.samples == []
    assert slow.parity == {}
    assert case.backends[0].status == "ok"


@pytest.mark.parametrize(
    ("seconds", "order_steps", "expected"),
    [
        (0.010, None, (100, 20)),  # as long as it must be
        (0.008, None, (150, 30)),
        (0.001, None, (200, 40)),  # one reading may be wrong
        (0.008, 120, (120, 24)),
        (0.008, 100, (100, 20)),  # half of the order
    ],
)
def test_a_short_block_makes_the_next_ones_longer_as_far_as_the_order_reaches(
    seconds: float, order_steps: int | None, expected: tuple[int, int]
) -> None:
    calibrator = Calibrator(Settings(), block_seconds=0.01, budget=1.0, order_steps=order_steps)
    found = calibrator.lengthened(Calibration(100, 20, 1e-4), seconds)
    assert (found.steps, found.burst) == expected


def test_each_block_may_lengthen_the_next_by_the_time_that_it_took(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = list[float]()

    def lengthened(_: Calibrator, calibration: Calibration, seconds: float) -> Calibration:
        took.append(seconds)
        return replace(calibration, steps=calibration.steps + 1)

    monkeypatch.setattr(Calibrator, "lengthened", lengthened)
    samples = measure.run({"steady": STEADY}, replace(SHORT, rounds=4, min_launches=1, launches=1)).backends[0].samples
    assert [sample.steps for sample in samples] == [samples[0].steps + turn for turn in range(4)]
    assert {sample.work_cpu_seconds for sample in samples} <= set(took)  # the other blocks are of the second instance


@pytest.mark.parametrize(("fastest", "calibrations"), [(1e-4, 2), (60.0, 1)])
def test_a_backend_is_calibrated_again_where_the_warm_up_made_its_blocks_too_short(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, fastest: float, calibrations: int
) -> None:
    calibrate, calls = Calibrator.calibrate, list[Session]()

    def counted(self: Calibrator, session: Session, proof_seconds: float) -> Calibration:
        calls.append(session)
        return calibrate(self, session, proof_seconds)

    monkeypatch.setattr(Calibrator, "calibrate", counted)
    monkeypatch.setattr("bench.measure.case.warm_up", lambda *_: Warmup(0.1, 10, fastest, steady=True))
    case = measure.run({"steady": STEADY}, replace(SHORT, min_launches=1, launches=1))
    assert case.backends[0].status == "ok"
    assert len(calls) == calibrations


@pytest.mark.parametrize(("slow_proofs", "status"), [(1, "ok"), (9, "too_slow")])
def test_a_backend_that_is_too_slow_by_its_proof_alone_has_one_more_process_which_finds_what_was_compiled(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, slow_proofs: int, status: str
) -> None:
    calibrate, sessions = Calibrator.calibrate, list[Session]()

    def after_compiling(self: Calibrator, session: Session, proof_seconds: float) -> Calibration:
        if session not in sessions:
            sessions.append(session)
        return calibrate(self, session, 1e6 if len(sessions) <= slow_proofs else proof_seconds)

    monkeypatch.setattr(Calibrator, "calibrate", after_compiling)
    case = measure.run({"steady": STEADY}, replace(SHORT, min_launches=1, launches=1))
    assert case.backends[0].status == status
    assert len(sessions) >= 2
    assert sessions[0].worker is not sessions[1].worker
    if status == "too_slow":
        assert len(sessions) == 2
        assert "more than the 30 s" in case.backends[0].reason


def rows_of_a_curve(epochs: float) -> list[int]:
    """Return the rows of a curve for which there is time to train both backends for so many epochs."""
    _, workloads = load_suite("seed")
    workload = next(iter(workloads.values())).model_copy(update={"rows": 1000, "batch": 4})
    budget = epochs * 250 * (1e-5 + 2e-5) / CURVE_SHARE
    return affordable_rows(workload, 10**6, [1e-5, 2e-5], budget, most=40)


def test_a_curve_has_losses_from_the_first_step_on_and_as_many_epochs_as_its_time_allows() -> None:
    within = [4, 8, 16, 32, 64, 128, 256, 512]
    assert rows_of_a_curve(1000) == [*within, *(1000 * n for n in range(1, 41))]
    assert rows_of_a_curve(10.1) == [*within, *(1000 * n for n in range(1, 5))]
    assert rows_of_a_curve(3.1) == [4, 32, 256, 1000]
    assert rows_of_a_curve(2.1) == [4, 1000]
    assert rows_of_a_curve(1.6) == [1000]
    assert rows_of_a_curve(1.4) == []
