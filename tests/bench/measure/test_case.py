"""Claims about a case: its launches, rounds, turns and A/A pairs, and the cost of a backend's failure."""

import re
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import misbehaving
import psutil
import pytest
from support.cases import SHORT, Listener, Measure
from support.requirements import workers

from bench.measure import gate, memory
from bench.measure.block import Block
from bench.measure.case import CaseRun
from bench.measure.errors import (
    STATUS_OF,
    Implausible,
    NotEnoughMemory,
    ParityFailed,
    ThreadsMismatch,
    TooSlow,
    status_of,
)
from bench.measure.session import Session
from bench.report.views import case_view
from bench.results.derive import on_clock
from bench.results.events import SampleEvent
from bench.results.journal import read_journal
from bench.results.schema import Case
from bench.statistics import intervals
from bench.terms import STATUSES
from pyfnn import errors
from pyfnn.errors import PyfnnError, Unsupported

LONGER = replace(SHORT, block_seconds=0.05)
STEADY = misbehaving.STEADY


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 12)  # less to read for workers in plain Python
    return Measure(tmp_path)


def turns(case: Case) -> dict[str, Counter[tuple[int, int]]]:
    return {b.instance: Counter((s.launch, s.round) for s in b.samples) for b in case.backends}


def test_second_instances_rotate_over_the_backends_two_a_launch_and_every_arm_has_a_sample_in_every_round(
    measure: Measure,
) -> None:
    settings = replace(SHORT, reference="slow", min_launches=3)
    case = measure.run({"slow": "dallies train 1", "steady": STEADY, "other": "dallies train 1"}, settings)
    assert [b.instance for b in case.backends][:3] == ["slow", "steady", "other"]
    assert {b.instance for b in case.backends[3:]} == {"slow@2", "steady@2", "other@2"}
    assert {b.status for b in case.backends} == {"ok"}
    found = turns(case)
    every = {(launch, number): 1 for launch in range(3) for number in range(2)}
    assert all(found[b.instance] == every for b in case.backends[:3])
    launches = {b.instance: {launch for launch, _ in found[b.instance]} for b in case.backends[3:]}
    assert all(set(found[b.instance].values()) == {1} for b in case.backends)
    assert all(len(found[instance]) == 2 * len(made) for instance, made in launches.items())
    assert sorted(launch for made in launches.values() for launch in made) == [0, 0, 1, 1, 2, 2]
    assert all(len(made) == 2 for made in launches.values())
    assert case.reference == "slow"
    assert len(case.a_a_pairs or ()) == 3
    assert case.stopped == "precision reached: every ratio to slow within ±1e+32 % after 3 launches"
    assert not case.launches_chosen


def test_the_precision_is_that_of_ratios_to_the_replacement_of_an_absent_reference(measure: Measure) -> None:
    settings = replace(SHORT, reference="absent")
    behaviours = {"quick": STEADY, "slow": "dallies train 1", "other": "dallies train 1"}
    case = measure.run(behaviours, settings, divisions={"quick": "tuned"})
    assert case.reference == "slow"
    assert case.stopped.startswith("precision reached: every ratio to slow within")


def test_without_a_plain_backend_the_precision_is_that_of_ratios_to_the_first(measure: Measure) -> None:
    case = measure.run({"quick": STEADY, "slow": "dallies train 1"}, divisions={"quick": "tuned", "slow": "tuned"})
    assert case.reference is None
    assert case.stopped.startswith("precision reached: every ratio to quick within")


def test_a_single_backend_has_one_second_instance(measure: Measure) -> None:
    case = measure.run({"steady": STEADY})
    assert [b.instance for b in case.backends] == ["steady", "steady@2"]


def test_planned_launches_are_made_where_the_budget_allows(measure: Measure) -> None:
    planned = replace(SHORT, launches=4)
    case = measure.run({"steady": STEADY, "slow": "dallies train 1"}, planned, budget=120.0)
    assert case.stopped == "precision reached: every ratio to steady within ±1e+32 % after 4 launches"
    assert not case.launches_chosen
    assert case.rounds_choice is not None
    assert case.rounds_choice.rounds == 2  # as many as the settings allow


def test_every_launch_starts_fresh_processes_and_leaves_none(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    class Counted(Session):
        def load_workload(self) -> None:
            super().load_workload()
            pids.append(self.worker.pid)

    monkeypatch.setattr("bench.measure.case.Session", Counted)
    measure.run({"steady": STEADY})
    assert len(set(pids)) == 4  # two arms, two launches
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no SIGSTOP here")
def test_all_other_workers_are_stopped_during_a_turn(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    class Watched(Session):
        def turn(self, burst: int, steps: int) -> Block:
            block = super().turn(burst, steps)
            others = [p for p in workers() if p.pid != self.worker.pid]
            seen.append([p.status() for p in others])
            return block

    monkeypatch.setattr("bench.measure.case.Session", Watched)
    measure.run({"steady": STEADY, "slow": "dallies train 1"})
    assert max(map(len, seen)) == 3
    assert {status for statuses in seen for status in statuses} == {psutil.STATUS_STOPPED}


NAMES = ["steady", "x", "y"]


def order_of_turns(folder: Path, seed: int) -> list[str]:
    measure = Measure(folder)
    measure.folder.mkdir()
    settings = replace(SHORT, seed=seed, rounds=4, min_launches=1, launches=1)
    measure.run(dict.fromkeys(NAMES, STEADY), settings)
    events = read_journal(measure.journal / "journal.jsonl")
    return [e.instance for e in events if isinstance(e, SampleEvent) and "@" not in e.instance]


def test_each_round_is_shuffled_anew_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CaseRun, "_second_arms", lambda _: [])
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 12)
    order = order_of_turns(tmp_path / "once", 5)
    rounds = {tuple(order[at : at + 3]) for at in range(0, 12, 3)}
    assert all(sorted(one) == NAMES for one in rounds)
    assert len(rounds) > 1
    assert order_of_turns(tmp_path / "again", 5) == order
    assert order_of_turns(tmp_path / "other", 6) != order


def workers_of(name: str) -> list[psutil.Process]:
    """Return the workers of a backend that shows this behaviour."""
    return [p for p in workers() if name in p.cmdline()]


def test_a_backend_killed_between_turns_loses_both_arms_and_keeps_its_samples(measure: Measure) -> None:
    """Kill both arms at once: the arm that comes first in the round takes the other with it, before its own turn."""

    def kill(launch: int, number: int) -> None:
        if (launch, number) == (1, 1):
            for process in workers_of("steady"):
                process.kill()

    listener = Listener(kill)
    case = measure.run({"steady": STEADY, "slow": "dallies train 1"}, listener=listener)
    by_instance = {b.instance: b for b in case.backends}
    assert by_instance["slow"].status == "ok"
    assert len(by_instance["slow"].samples) == 4
    for instance in ("steady", "steady@2"):
        lost = by_instance[instance]
        assert lost.status == "crashed"
        assert "SIGKILL" in lost.reason
        assert [(s.launch, s.round) for s in lost.samples] == [(0, 0), (0, 1), (1, 0)]
        assert (lost.step_seconds, lost.ratio, lost.gflops) == (None, None, None)
    assert listener.verdicts == [("steady", "crashed")]
    assert case.reference == "slow"


def test_a_case_ends_when_no_backend_is_left(measure: Measure) -> None:
    case = measure.run({"steady": "exits hello 1"})
    assert case.stopped == "no backend left"
    assert case.backends[0].status == "crashed"
    assert case.reference is None


def test_launches_are_made_until_every_ratio_reaches_the_precision_and_the_case_records_it(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def wanted(pairs: Iterable[Sequence[float]], precision: float, least: int) -> int:
        asked.append(max(map(len, pairs)))
        assert (precision, least) == (1e30, 2)
        return {2: 3, 3: 5, 5: 5}[asked[-1]]

    monkeypatch.setattr("bench.statistics.stopping.launches_of_widest", wanted)
    case = measure.run({"steady": STEADY, "slow": "dallies train 1"}, budget=120.0)
    assert asked == [2, 3, 5]  # after the least launches, and each time the number needed is reached
    assert {s.launch for s in case.backends[0].samples} == set(range(5))
    assert case.stopped.startswith("precision reached")
    assert case.launches_chosen
    reference, other = case.backends[:2]
    samples = (on_clock(backend.samples, case.clock) for backend in (reference, other))
    chosen = intervals.ratio(*samples, chosen=True)
    assert chosen
    assert other.ratio
    assert other.ratio.high == pytest.approx(chosen.high)


def test_a_jit_backend_is_timed_after_its_compilation_and_the_warmup_is_recorded(measure: Measure) -> None:
    case = measure.run({"jit": "warms train 9"})  # after the eight trainings of the second launch's proof
    jit = case.backends[0]
    assert jit.status == "ok"
    assert jit.warmup_seconds
    assert all(launch.settled for launch in jit.launches)
    assert jit.launches[1].warmup_blocks >= 7  # six of them before it is compiled


def test_a_backend_that_keeps_getting_faster_is_marked_as_not_steady(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "steady_state", lambda _: False)
    monkeypatch.setattr("bench.measure.calibration.MOST_WARM_BLOCKS", 6)
    case = measure.run({"steady": STEADY})
    restless = case.backends[0]
    assert restless.status == "ok"
    assert [(launch.warmup_blocks, launch.settled) for launch in restless.launches] == [(6, False)] * 2
    assert any("No steady state" in note and "steady" in note for note in case_view(case, "steady").notes)


def test_every_launch_records_the_time_of_its_start_and_of_its_first_step(measure: Measure) -> None:
    case = measure.run({"steady": STEADY, "dawdler": "dawdles hello 1"})
    steady, dawdler = case.backends[:2]
    assert [launch.launch for launch in dawdler.launches] == [0, 1]
    assert all(0 < launch.startup_seconds < launch.first_step_seconds for launch in steady.launches)
    assert dawdler.startup_seconds
    assert dawdler.first_step_seconds
    assert 0.5 <= dawdler.startup_seconds < dawdler.first_step_seconds
    assert steady.build_seconds is None


def test_a_time_that_does_not_grow_with_the_repeats_is_implausible(measure: Measure) -> None:
    case = measure.run({"steady": STEADY, "hoisting": "hoists time 7"}, LONGER, operation="forward")
    steady, hoisting = case.backends[:2]
    assert (steady.status, hoisting.status) == ("ok", "implausible")
    found = re.match(r"twice the repeats took (\S+) times as long", hoisting.reason)
    assert found
    assert float(found[1]) < 1.6
    assert steady.curve is None


def test_a_timed_training_that_cannot_be_replayed_fails_parity(measure: Measure) -> None:
    case = measure.run({"steady": STEADY, "tiring": "tires train 1"}, LONGER)
    assert {b.name: b.status for b in case.backends} == {"steady": "ok", "tiring": "parity_failed"}
    assert "replayed from the same θ" in case.backends[1].reason


@pytest.mark.parametrize("operation", ["train", "forward", "gradient"])
def test_turns_taken_again_in_doubt_of_reuse_leave_the_replay_its_block(
    operation: str, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "require_no_reuse", lambda session, burst, steps: session.turn(burst, steps))
    case = measure.run({"steady": STEADY}, operation=operation)
    assert {b.status for b in case.backends} == {"ok"}


def test_every_curve_starts_at_the_same_loss_and_has_the_same_epochs(measure: Measure) -> None:
    case = measure.run({"steady": STEADY, "other": STEADY})
    curves = [b.curve for b in case.backends if b.instance == b.name]
    assert curves[0] is not None
    assert curves[1] is not None
    assert curves[0].losses == curves[1].losses
    assert curves[0].epochs == curves[1].epochs
    whole = [epoch for epoch in curves[0].epochs if epoch == int(epoch)]
    assert whole == list(range(len(whole)))
    assert len(whole) > 1


def test_a_loss_of_nan_costs_only_its_backend(measure: Measure) -> None:
    case = measure.run({"steady": STEADY, "blurred": "not_a_number gradient 5"})
    assert {b.name: b.status for b in case.backends} == {"steady": "ok", "blurred": "diverged"}
    assert "the loss is nan after 0 epochs" in case.backends[1].reason


def test_a_backend_without_enough_memory_is_not_run_and_the_reason_names_the_free_memory(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "description", SimpleNamespace(available_memory=lambda: 0))  # there was some before
    case = measure.run({"steady": STEADY})
    assert case.backends[0].status == "not_run"
    assert "0 MiB are free" in case.backends[0].reason


def test_no_backend_is_timed_on_a_workload_that_allows_no_proof(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unprovable(*_: object) -> None:
        raise Unsupported("only 3 of 24 rows are clear of this network's kinks")

    monkeypatch.setattr(gate, "battery", unprovable)
    case = measure.run({"steady": STEADY})
    assert (case.backends[0].status, case.stopped) == ("not_run", "nothing can be proven here")
    assert "clear of this network's kinks" in case.backends[0].reason


def test_an_interrupted_case_keeps_its_samples_and_records_the_interruption(measure: Measure) -> None:
    def interrupt(launch: int, number: int) -> None:
        if (launch, number) == (0, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure.run({"steady": STEADY}, listener=Listener(interrupt))
    case = measure.case
    assert case.stopped == "interrupted"
    assert turns(case) == {"steady": {(0, 0): 1}, "steady@2": {(0, 0): 1}}
    assert case.backends[0].status == "not_run"
    assert case.backends[0].reason
    assert not workers()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BuildFailed("x"), "build_failed"),
        (errors.BackendUnavailable("x"), "unavailable"),
        (errors.Unsupported("x"), "unsupported"),
        (ParityFailed("x"), "parity_failed"),
        (errors.Diverged("x"), "diverged"),
        (ThreadsMismatch("x"), "threads_mismatch"),
        (Implausible("x"), "implausible"),
        (errors.WorkerTimeout("x"), "timed_out"),
        (errors.WorkerDied("x"), "crashed"),
        (NotEnoughMemory("x"), "not_run"),
        (TooSlow("x"), "too_slow"),
        (errors.ProtocolError("x"), "protocol_error"),
        (errors.InvalidInput("x"), "protocol_error"),
    ],
)
def test_each_error_has_its_status(error: PyfnnError, status: str) -> None:
    assert status_of(error) == status


def test_every_status_but_ok_has_an_error() -> None:
    assert {status for _, status in STATUS_OF} | {"ok"} == set(STATUSES)
