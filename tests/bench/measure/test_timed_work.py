"""Claims about the proof of timed work: each kind of `planted.timed` is rejected, and correct work is not."""

from pathlib import Path

import misbehaving
import pytest
from planted.timed import KINDS
from support.places import TESTS

from bench.measure import gate
from bench.measure.errors import Disturbed, Implausible, ParityFailed
from bench.measure.session import Session
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from pyfnn import registry

SUITE = """
[suite]
workloads = ["small"]
budget = 60.0
[workload.small]
sizes = [20, 6, 2]
activation = "tanh"
loss = "squared_error"
l2 = 0.001
rows = 1000
batch = 4
learning_rate = 0.02
"""

DTYPES = ("float32", "float64")
ACCEPTED = {"Caches"}  # its calls are never identical: it is timed as a correct one is
OF_CURVES = {"HalfEpochs", "RosyLosses"}
CLOCKS = {"Late", "InAThread", "HastyClock"}


@pytest.fixture(params=DTYPES)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CaseKey, Problem]:
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 15)
    monkeypatch.setattr(gate, "_SEGMENT_SECONDS", 60.0)  # on a busy machine, too, all segments are judged
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    path = tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    suite, workloads = load_suite(str(path))
    (key,) = cases_of(suite.model_copy(update={"dtypes": (request.param,)}), workloads)
    return key, make_problem(key.workload, key.dtype)


def hosted(folder: Path, case: tuple[CaseKey, Problem], name: str) -> Session:
    host = f'host = "planted.timed:{name}Backend"'
    row = registry.find("one", [misbehaving.manifest(folder / "backend.toml", {}, {"one": host})])
    return Session(row, *case, timeout=60.0, seed="timed work")


def prove_all(session: Session, case: tuple[CaseKey, Problem], turns: int = 1) -> None:
    """Do what a launch does, as far as it proves something."""
    key, problem = case
    battery = gate.battery(problem, key.workload.batch)
    session.load_workload()
    gate.prove(session, battery)
    session.load_workload()
    gate.prove_workload(session, battery)
    steps = 1
    while session.run(steps).wall_seconds < 0.06 and 4 * steps < problem.n_order // key.workload.batch:
        steps *= 2
    for _ in range(turns):
        block = session.turn(max(1, steps // 5), steps)
    gate.replay(session, block)


def test_correct_work_is_accepted(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with hosted(tmp_path, case, "Correct") as correct:
        prove_all(correct, case, turns=3)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - ACCEPTED - OF_CURVES - CLOCKS))
def test_wrong_or_missing_work_fails_parity(kind: str, tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with hosted(tmp_path, case, kind) as wrong, pytest.raises(ParityFailed):
        prove_all(wrong, case)


@pytest.mark.parametrize("kind", sorted(CLOCKS))
def test_work_outside_the_workers_clock_is_found(kind: str, tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with (
        hosted(tmp_path, case, kind) as hasty,
        pytest.raises((Implausible, Disturbed), match="returned before its work was done"),
    ):
        prove_all(hasty, case)
        hasty.require_judged()


def test_a_call_never_comes_twice(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with hosted(tmp_path, case, "Correct") as correct, hosted(tmp_path, case, "Caches") as remembering:
        seconds = []
        for session in (correct, remembering):
            session.load_workload()
            seconds.append(min(session.turn(20, 400).seconds for _ in range(6)))
        assert seconds[1] > 0.5 * seconds[0]
