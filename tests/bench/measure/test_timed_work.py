"""Claims about the proof of timed work: each kind of `planted.timed` is rejected, and correct work is not."""

import shlex
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import misbehaving
import pytest
from misbehaving import faulty
from planted import timed
from planted.kinds import ACCEPTED, BACKENDS
from support.places import TESTS

from bench.measure import chain, gate
from bench.measure.curve import draw_curve
from bench.measure.errors import Disturbed, Implausible, ParityFailed
from bench.measure.session import Session
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from bench.terms import CaseOperation
from pyfnn import registry
from pyfnn.errors import Unsupported
from pyfnn.optimizers import Adam

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

STEPS = 1000  # 60 ms or more
SHORT_ORDER = 1 << 15  # entries
FORMS = {"float32": "program", "float64": "class"}  # each dtype has one: the gate does the same to both
OF_CURVES = {"HalfEpochs", "HalfFirstCalls", "RosyLosses"}
CURVE = (*(4 * 2**k for k in range(8)), *(1000 * n for n in range(1, 7)))  # rows after which the loss is taken
OF_PASSES = {"FewerRowsInLongCalls": "forward", "NoGradientInLongCalls": "gradient"}  # the operation that is wrong
ODD_PASSES = [  # kind and operation, in one dtype
    ("float64", "LastRowMissingInLongCalls", "forward"),
    ("float32", "LastRowMissingInLongCalls", "gradient"),
    ("float64", "ChunkedGraph", "gradient"),
    ("float32", "MissingDWInLongCalls", "gradient"),
]
CLOCKS = {"Late", "InAThread", "HastyClock"}
ONCE = {"LastTargetZero", "SkipsByPlaceLater", "LostUpdatesLater"}  # in one dtype and form, below


@pytest.fixture(params=list(FORMS))
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CaseKey, Problem]:
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", SHORT_ORDER)
    monkeypatch.setattr(chain, "_SEGMENT_SECONDS", 60.0)  # on a busy machine, too, all segments are judged
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    path = tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    suite, workloads = load_suite(str(path))
    (key,) = cases_of(suite.model_copy(update={"dtypes": (request.param,)}), workloads)
    return key, make_problem(key.workload, key.dtype)


@pytest.fixture
def form(case: tuple[CaseKey, Problem]) -> str:
    """Return how the worker is written in this case's dtype: as a program, or as a class that pyfnn hosts."""
    return FORMS[case[0].dtype]


def opened(folder: Path, case: tuple[CaseKey, Problem], kind: str, form: str = "class") -> Session:
    """Start a process of this kind: a program, or a class that pyfnn hosts."""
    program = shlex.join(["env", f"PYTHONPATH={TESTS}", sys.executable, faulty.__file__, kind, "one"])
    hosted = BACKENDS.get(kind, f"planted.optimizers:{kind}")
    line = f"run = '''{program}'''" if form == "program" else f'host = "{hosted}"'
    row = registry.find("one", [misbehaving.manifest(folder / "backend.toml", {}, {"one": line})])
    return Session(row, *case, timeout=60.0, seed="timed work")


def prove_all(session: Session, case: tuple[CaseKey, Problem], turns: int = 1, steps: int = STEPS) -> None:
    """Do what a launch does, as far as it proves something."""
    key, problem = case
    battery = gate.battery(problem, key.workload.batch, key.optimizer)
    session.load_workload()
    gate.prove(session, battery)
    session.load_workload()
    gate.prove_workload(session, battery)
    for _ in range(turns):
        block = session.turn(steps // 5, steps)
    gate.replay(session, block)


@pytest.mark.parametrize(
    ("case", "kind"),
    [("float32", "SkipsByPlaceLater"), ("float64", "LostUpdatesLater")],
    indirect=["case"],
)
def test_steps_that_are_skipped_in_all_calls_but_the_shortest_fail_parity(
    kind: str, form: str, tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    with opened(tmp_path, case, kind, form) as wrong, pytest.raises(ParityFailed, match="displacement of"):
        prove_all(wrong, case)


@pytest.mark.parametrize("case", ["float64"], indirect=True)
def test_one_wrong_target_of_20_000_fails_parity(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    key = replace(case[0], workload=case[0].workload.model_copy(update={"rows": 20_000}))
    case = key, make_problem(key.workload, key.dtype)
    with opened(tmp_path, case, "LastTargetZero") as wrong, pytest.raises(ParityFailed, match="whole workload"):
        prove_all(wrong, case)


def test_correct_work_is_accepted(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with opened(tmp_path, case, "Correct") as correct:
        prove_all(correct, case, turns=3)


@pytest.mark.parametrize("kind", sorted(timed.KINDS.keys() - ACCEPTED - OF_CURVES - CLOCKS - ONCE))
def test_wrong_or_missing_work_fails_parity(
    kind: str, form: str, tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    with opened(tmp_path, case, kind, form) as wrong, pytest.raises(ParityFailed):
        prove_all(wrong, case)


@pytest.mark.parametrize(("kind", "right"), [("Hosted", True), ("Later", False), ("LongCalls", False)])
def test_training_by_adam_is_proven_with_its_state(
    kind: str, right: bool, tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    case = replace(case[0], optimizer=Adam()), case[1]
    with opened(tmp_path, case, kind) as session, nullcontext() if right else pytest.raises(ParityFailed):
        prove_all(session, case)


def test_a_backend_without_the_optimizer_of_a_case_is_refused_by_name(
    tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    case = replace(case[0], optimizer=Adam()), case[1]
    with (
        opened(tmp_path, case, "Correct") as session,
        pytest.raises(Unsupported, match="one has no optimizer 'adam': it has sgd"),
    ):
        session.load_workload()


def judge_clocks(session: Session, case: tuple[CaseKey, Problem]) -> None:
    """Do what a launch does; raise the error of a session none of whose turns could be judged."""
    prove_all(session, case, turns=3)
    if session.disturbed and not session.judged:
        raise session.disturbed


def fault_of_clocks(session: Session, case: tuple[CaseKey, Problem]) -> str:
    """Return what `judge_clocks` finds; "" where it finds nothing."""
    try:
        judge_clocks(session, case)
    except (Implausible, Disturbed) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", sorted(CLOCKS))
def test_work_outside_the_workers_clock_is_found(
    kind: str, form: str, tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    """Look in up to three processes: on a busy machine one may pass, and a run has several launches."""
    for _ in range(3):
        with opened(tmp_path, case, kind, form) as hasty:
            if found := fault_of_clocks(hasty, case):
                break
    assert "returned before its work was done" in found


@pytest.mark.parametrize("entries", [1, SHORT_ORDER])  # an order of one epoch has few places for a block
def test_a_call_never_comes_twice(
    entries: int, tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", entries)
    case = case[0], make_problem(case[0].workload, case[0].dtype)
    turns, steps = (30, 125) if entries == 1 else (6, 400)
    with opened(tmp_path, case, "Correct") as correct, opened(tmp_path, case, "Caches") as remembering:
        sessions = (correct, remembering)
        for session in sessions:
            session.load_workload()
        used = [[session.turn(20, steps).cpu_seconds for session in sessions] for _ in range(turns)]
        works, remembers = map(min, zip(*used, strict=True))
        assert remembers > 0.25 * works  # a call from memory takes a hundredth


@pytest.mark.parametrize("kind", sorted(OF_CURVES))
def test_a_curve_of_less_work_or_of_other_losses_fails_parity(
    kind: str, form: str, tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    key, problem = case
    with opened(tmp_path, case, kind, form) as rosy:
        prove_all(rosy, case)
        with pytest.raises(ParityFailed):
            draw_curve(rosy, key.workload, problem, CURVE)


def test_a_correct_curve_is_accepted(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    key, problem = case
    with opened(tmp_path, case, "Correct") as correct:
        correct.load_workload()
        drawn = draw_curve(correct, key.workload, problem, CURVE)
    assert drawn.epochs == [0, *(rows / 1000 for rows in CURVE)]
    assert drawn.seconds == sorted(drawn.seconds)
    assert drawn.losses[-1] < drawn.losses[8] < drawn.losses[0]


def of_operation(case: tuple[CaseKey, Problem], operation: CaseOperation) -> tuple[CaseKey, Problem]:
    return replace(case[0], operation=operation), case[1]


def require_acceptance(folder: Path, case: tuple[CaseKey, Problem], kind: str, form: str = "class") -> None:
    """Require that correct passes are accepted: in a second process where a busy machine spoilt the times of one."""
    for last in (False, True):
        with opened(folder, case, kind, form) as correct:
            try:
                prove_all(correct, case, turns=3)
                correct.require_no_reuse(STEPS, STEPS)
            except Implausible:
                if last:
                    raise
            else:
                return


@pytest.mark.parametrize("operation", ["forward", "gradient"])
def test_correct_passes_are_accepted(
    operation: CaseOperation, form: str, tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    require_acceptance(tmp_path, of_operation(case, operation), "Caches", form)


def test_a_table_of_all_rows_is_no_help_to_passes(form: str, tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    case = of_operation(case, "forward")
    with opened(tmp_path, case, "RowTable", form) as remembering:
        prove_all(remembering, case, turns=3)
        with pytest.raises(Implausible, match="results may be kept from pass to pass"):
            remembering.require_no_reuse(STEPS, STEPS)


@pytest.mark.parametrize("case", ["float32"], indirect=True)
def test_a_table_of_some_rows_is_no_help_either(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judge claimed times of 1 ms a computed pass, since the gain is less than that by which machines change speed."""
    monkeypatch.setattr("bench.measure.session.contradiction", lambda *_, **__: None)
    case = of_operation(case, "gradient")
    with opened(tmp_path, case, "CachedThird") as remembering:
        prove_all(remembering, case, steps=8 * STEPS)  # most passes meet rows again
        with pytest.raises(Implausible, match=r"take 1\.41 times as long .* kept from pass to pass"):
            remembering.require_no_reuse(STEPS, 8 * STEPS)


@pytest.mark.parametrize(("case", "operation"), [("float32", "forward"), ("float64", "gradient")], indirect=["case"])
def test_a_call_of_passes_may_have_a_start_of_its_own(
    operation: CaseOperation, tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    require_acceptance(tmp_path, of_operation(case, operation), "SlowCalls")


def test_passes_after_the_reply_are_found(form: str, tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    case = of_operation(case, "gradient")
    late = pytest.raises((Implausible, Disturbed, ParityFailed))  # half of the passes have half of the checksum
    with opened(tmp_path, case, "LatePasses", form) as hasty, late:
        judge_clocks(hasty, case)


@pytest.mark.parametrize(
    ("case", "kind", "operation"),
    [*((dtype, *odd) for dtype in FORMS for odd in sorted(OF_PASSES.items())), *ODD_PASSES],
    indirect=["case"],
)
def test_passes_that_are_wrong_in_long_calls_alone_fail_parity(
    kind: str, operation: CaseOperation, form: str, tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    case = of_operation(case, operation)
    with opened(tmp_path, case, kind, form) as wrong, pytest.raises(ParityFailed, match="made again in several calls"):
        prove_all(wrong, case)
