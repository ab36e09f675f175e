"""Claims about cases of many networks at once: their problem, their proof, their blocks, and what a report shows."""

from dataclasses import replace
from pathlib import Path

import misbehaving
import numpy as np
import pytest
from support.places import TESTS
from support.sample_results import events, results_of

from bench import format
from bench.measure import gate
from bench.measure.block import Block
from bench.measure.case import CaseRun
from bench.measure.clock import Reading
from bench.measure.errors import Implausible, ParityFailed
from bench.measure.networks import Late, networks_of
from bench.measure.session import Session
from bench.measure.settings import Settings
from bench.report import figures, tables, views
from bench.report.run_view import run_view
from bench.results.events import RunEvent
from bench.results.journal import Journal, now
from bench.results.schema import SCHEMA, Case, Results
from bench.results.store import load_results, save_results
from bench.suites import load
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from bench.terms import CASE_OPERATIONS
from pyfnn import registry
from pyfnn.errors import InvalidInput

MEMBERS = 3
SHORT = Settings(
    reference="steady", precision=1e30, rounds=2, min_launches=2, launches=2, block_seconds=0.002, burst_seconds=0.001
)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CaseKey, Problem]:
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 12)
    path = misbehaving.suite(tmp_path / "tiny.toml")
    path.write_text(path.read_text() + f"members = {MEMBERS}\n")
    (key,) = cases_of(*load_suite(str(path)))
    return key, make_problem(key.workload, key.dtype)


def session(folder: Path, case: tuple[CaseKey, Problem], behaviour: str = "", host: str = "") -> Session:
    behaviours, hosts = ({"one": behaviour}, {}) if behaviour else ({}, {"one": host})
    row = registry.find("one", [misbehaving.manifest(folder / "backend.toml", behaviours, hosts)])
    return Session(row, *case, timeout=60.0)


def battery(case: tuple[CaseKey, Problem]) -> gate.Battery:
    return gate.battery(case[1], case[0].workload.batch)


def test_every_member_has_its_own_seed_order_rate_and_l2(case: tuple[CaseKey, Problem]) -> None:
    problem, workload = case[1], case[0].workload
    own = problem.members
    assert own is not None
    assert own.thetas[0].tobytes() == problem.theta.tobytes()
    for array in (own.thetas, own.orders, own.rates, own.l2):
        assert len(np.unique(array, axis=0)) == len(array) == MEMBERS
    assert (abs(np.log2(own.rates / workload.learning_rate)) <= 1).all()
    assert (abs(np.log10(own.l2 / workload.l2)) <= 1).all()
    assert (np.sort(own.orders.reshape(MEMBERS, -1, workload.rows)) == np.arange(workload.rows)).all()
    assert problem.n_order == own.orders.shape[1]


def test_one_network_has_no_members_and_no_trials_of_ensembles() -> None:
    problem = make_problem(load.built_in_workloads()["wine-deep"], "float32")
    assert problem.members is None
    assert networks_of(problem).ensemble_trials(problem, 1) == []


def test_many_networks_have_a_case_for_training_only() -> None:
    suite, workloads = load_suite("full")
    wanted = suite.model_copy(update={"workloads": ("ensemble", "digits"), "threads": (1,), "dtypes": ("float32",)})
    cases = [(key.workload.name, key.operation) for key in cases_of(wanted, workloads)]
    assert cases == [("ensemble", "train"), *(("digits", operation) for operation in CASE_OPERATIONS)]
    with pytest.raises(InvalidInput, match=r"operations = forward: many networks at once, as in workload ensemble"):
        cases_of(wanted.model_copy(update={"operations": ("forward",)}), workloads)


def test_a_bug_between_members_is_found_through_the_process_with_the_member_named(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with session(tmp_path, case, host='host = "planted.ensemble:Neighbour"') as planted:
        assert gate.prove(planted, replace(battery(case), ensembles=[])).passed
        with pytest.raises(ParityFailed, match=r"of W_1 after 6 steps of member 0 of the own ensemble's network"):
            gate.prove(planted, battery(case))


@pytest.mark.parametrize("name", ["numpy", "cpp", "c"])
def test_a_proven_backend_passes_the_replay(name: str, case: tuple[CaseKey, Problem]) -> None:
    with Session(registry.find(name), *case, timeout=60.0) as correct:
        assert gate.prove(correct, battery(case)).passed
        correct.load_workload()
        for steps in (1, 2, 30):
            gate.replay(correct, correct.turn(2, steps))


def test_a_program_in_float64_whose_theta_is_rounded_between_calls_passes_the_replay(
    tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    with session(tmp_path, case, misbehaving.STEADY) as steady:
        assert gate.prove(steady, battery(case)).passed
        steady.load_workload()
        assert not steady.repeatable
        block = steady.turn(2, 30)
        assert block.calls == MEMBERS
        gate.replay(steady, block)


def test_a_backend_that_does_less_in_a_long_call_passes_the_battery_and_fails_the_replay(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with session(tmp_path, case, host='host = "planted.ensemble:Lazy"') as lazy:
        assert gate.prove(lazy, battery(case)).passed
        lazy.load_workload()
        with pytest.raises(ParityFailed, match="ended at another θ"):
            gate.replay(lazy, lazy.turn(2, 100))


@pytest.mark.parametrize("calls", [1, 256])
def test_the_protocol_time_of_several_calls_is_not_counted_against_the_worker(
    calls: int, tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(tmp_path, case, misbehaving.STEADY) as steady:
        steady.load_workload()
        monkeypatch.setattr(steady, "run", lambda *_: Block(9, 0.3, 0.4, 0.3, 0, calls=calls))
        monkeypatch.setattr(steady, "_least_work", lambda *_: Reading(0.0, 0.0, 0.0))
        monkeypatch.setattr(steady, "_waits", dict)
        monkeypatch.setattr(steady.networks, "late", lambda: Late(0.0, 0.0))
        if calls == 1:
            with pytest.raises(Implausible, match="claims only"):
                steady.turn(1, 9)
        else:
            assert steady.turn(1, 9).seconds == 0.3


def measured(folder: Path, case: tuple[CaseKey, Problem], behaviours: dict[str, str]) -> Case:
    class Listener:
        def progress(self, text: str, share: float, left: float | None = None) -> None:
            assert text
            assert 0 <= share <= 1
            assert left is None or left >= 0

        def failed(self, instance: str, status: str, reason: str) -> None:
            assert instance
            assert status
            assert reason

    manifest = misbehaving.manifest(folder / "backend.toml", behaviours)
    chosen = [registry.find(name, [manifest]) for name in (*behaviours, "c")]
    with Journal(folder / "run") as journal:
        journal.write(RunEvent(schema=SCHEMA, created=now(), settings=vars(SHORT)))
        CaseRun(0, *case, chosen, SHORT, 60.0, journal, Listener()).run()
    return load_results(folder / "run").cases[0]


def test_a_case_of_many_networks_counts_the_steps_of_each(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: set[int] = set()

    class Counted(Session):
        def turn(self, burst: int, steps: int) -> Block:
            block = super().turn(burst, steps)
            blocks.add(block.steps)
            return block

    monkeypatch.setattr("bench.measure.case.Session", Counted)
    measured_case = measured(tmp_path, case, {"steady": misbehaving.STEADY})
    assert {b.name: b.status for b in measured_case.backends} == {"steady": "ok", "c": "ok"}
    assert measured_case.members == MEMBERS
    assert measured_case.title.endswith("1 thread · 3 networks")
    for backend in measured_case.backends:
        assert backend.curve is None
        assert {sample.steps for sample in backend.samples} <= {MEMBERS * steps for steps in blocks}
        assert backend.parity["checks"] > 2 * MEMBERS


def test_a_training_of_many_networks_that_cannot_be_replayed_fails_parity(
    tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    measured_case = measured(tmp_path, case, {"steady": misbehaving.STEADY, "drifting": "drifts train 1"})
    status = {b.name: b.status for b in measured_case.backends}
    assert status == {"steady": "ok", "drifting": "parity_failed", "c": "ok"}


def test_many_networks_that_cannot_fit_the_budget_are_too_slow(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.measure.case.least_block", lambda *_: 10.0**4)
    assert {b.status for b in measured(tmp_path, case, {}).backends} == {"too_slow"}


def results_with(members: int) -> Results:
    made = list(events(("numpy", "cpp"), ("wine-deep",), {}))
    for event in made:
        if event["event"] == "case" and members > 1:
            event["members"] = members
    return results_of(made)


def test_a_report_shows_steps_a_second_for_many_networks_only() -> None:
    for members in (1, 256):
        (shown,) = views.case_views(results_with(members))
        table = tables.case_table(shown)
        drawn = [
            text.get_text()
            for _, figure in figures.figures(run_view(results_with(members)))
            for text in figure.findobj(match=None)
            if hasattr(text, "get_text")
        ]
        assert ("network-steps/s" in table.columns) == (members > 1)
        assert any("256 networks are trained at once" in note for note in shown.notes) == (members > 1)
        assert any(text.endswith("M/s") for text in drawn) == (members > 1)
        assert any(text.startswith("Network-step time") for text in drawn) == (members > 1)
        for backend in shown.backends:
            assert backend.step is not None
            assert backend.rate == (format.rate_text(1 / format.centre_of(backend.step)) if members > 1 else "")
        assert {len(cells) for _, section in table.sections for cells in section} == {len(table.columns)}


@pytest.mark.parametrize(
    ("rate", "text"), [(0.5, "0.500"), (840.0, "840"), (18_900.0, "18.9 k"), (1.1e6, "1.10 M"), (2.5e9, "2.50 G")]
)
def test_a_rate_has_three_digits_and_a_prefix(rate: float, text: str) -> None:
    assert format.rate_text(rate) == text


def test_results_from_before_there_were_members_are_of_one_network(tmp_path: Path) -> None:
    path = save_results(results_with(1), tmp_path)
    text = path.read_text()
    assert text.count('"members": 1,') == 1
    path.write_text(text.replace('"members": 1,', ""))
    assert load_results(tmp_path) == results_with(1)
