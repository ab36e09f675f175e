"""Claims about the proof of the work that is timed: each kind of `planted.timed` is rejected, and correct work is not."""

from pathlib import Path

import misbehaving
import pytest
from planted.timed import KINDS
from support.places import TESTS

from bench.measure import gate
from bench.measure.arm import Settings
from bench.measure.errors import Implausible, ParityFailed
from bench.measure.session import Session
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from pyfnn import registry
from pyfnn.errors import PyfnnError

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
    while session.run(steps).wall_seconds < 0.06:
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
