"""Claims about the gate: a backend that computes wrong values is not timed, from planted bugs to a broken line of C.

Which planted bugs the battery finds is tested in tests/pyfnn/parity; here, that the harness acts on the evidence.
"""

import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import misbehaving
import numpy as np
import pytest
from support.broken_library import BROKEN, LINE, library
from support.places import TESTS

from bench.measure import chain, gate
from bench.measure.block import Place
from bench.measure.errors import ParityFailed
from bench.measure.networks import Noted
from bench.measure.session import Session
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from bench.terms import CASE_OPERATIONS, CaseOperation
from pyfnn import registry


@pytest.fixture
def case(tmp_path: Path) -> tuple[CaseKey, Problem]:
    (key,) = cases_of(*load_suite(str(misbehaving.suite(tmp_path / "tiny.toml"))))
    return key, make_problem(key.workload, key.dtype)


def session(folder: Path, case: tuple[CaseKey, Problem], behaviour: str = "", host: str = "") -> Session:
    behaviours, hosts = ({"one": behaviour}, {}) if behaviour else ({}, {"one": host})
    row = registry.find("one", [misbehaving.manifest(folder / "backend.toml", behaviours, hosts)])
    return Session(row, *case, timeout=60.0)


def test_a_correct_worker_passes_with_evidence(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with session(tmp_path, case, misbehaving.STEADY) as correct:
        evidence = gate.prove(correct, gate.battery(case[1], 4))
    assert evidence.passed
    assert evidence.summary()["passed"] is True


def test_a_planted_bug_is_found_through_the_process_with_its_tensor_named(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    host = 'host = "misbehaving.hosted:Article"'
    with (
        session(tmp_path, case, host=host) as planted,
        pytest.raises(ParityFailed, match=r"^dW_2 of the own") as caught,
    ):
        gate.prove(planted, gate.battery(case[1], 4))
    assert caught.value.evidence is not None
    assert caught.value.evidence.summary()["worst"]["what"] == "dW_2"


def test_output_that_a_host_prints_does_not_reach_the_protocol(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with session(tmp_path, case, host='host = "misbehaving.hosted:Noisy"') as noisy:
        gate.prove(noisy, gate.battery(case[1], 4))
        assert "this line must not reach the driver" in noisy.worker.stderr


def test_a_broken_line_of_c_is_found_with_its_tensor_named(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with session(tmp_path, case, host=library(tmp_path, LINE)) as whole:
        assert gate.prove(whole, gate.battery(case[1], 4)).passed
    shutil.rmtree(tmp_path / "c_cuda")
    host = library(tmp_path, BROKEN)
    with session(tmp_path, case, host=host) as broken, pytest.raises(ParityFailed, match=r"^db_2 of the own network"):
        gate.prove(broken, gate.battery(case[1], 4))


def test_a_repeatable_training_passes_the_replay(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with session(tmp_path, case, misbehaving.STEADY) as steady:
        steady.load_workload()
        for steps in (1, 2, 3, 21, 70):
            gate.replay(steady, steady.turn(2, steps))


def test_a_training_that_drifts_fails_the_replay(tmp_path: Path, case: tuple[CaseKey, Problem]) -> None:
    with session(tmp_path, case, "drifts train 3") as drifting:
        drifting.load_workload()
        block = drifting.turn(2, 3)
        with pytest.raises(ParityFailed, match=r"replayed from the same θ over the same rows .* ended at another θ"):
            gate.replay(drifting, block)


def test_a_theta_that_the_timed_rows_do_not_give_fails_the_replay(
    tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    with session(tmp_path, case, misbehaving.STEADY) as steady:
        steady.load_workload()
        block = steady.turn(2, 3)
        with pytest.raises(ParityFailed, match="another θ"):
            gate.replay(steady, replace(block, steps=4))


@pytest.mark.parametrize("operation", CASE_OPERATIONS)
def test_a_backend_that_does_less_in_a_long_call_passes_the_battery_and_fails_the_replay(
    operation: CaseOperation, tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    key = replace(case[0], operation=operation)
    with session(tmp_path, (key, case[1]), host='host = "misbehaving.hosted:Lazy"') as lazy:
        assert gate.prove(lazy, gate.battery(case[1], 4)).passed
        lazy.load_workload()
        for steps in (50, 600):
            place = Place(0, steps, burst_start=7, burst=2)
            lazy.approach(place)
            block = replace(lazy.run(steps), place=place)
            if steps == 50:
                gate.replay(lazy, block)
        with pytest.raises(ParityFailed, match="ended at another θ" if operation == "train" else "have checksum"):
            gate.replay(lazy, block)


def test_a_replay_in_which_no_segment_can_be_judged_proves_none_and_is_no_error() -> None:
    """A long segment in which rounding errors grow has no check; the replay in short segments has."""
    networks = SimpleNamespace(segment_checks=lambda *_: [])
    session = cast("Session", SimpleNamespace(networks=networks, secrets=random.Random(0)))
    whole = chain.Stretch(0, 20)
    nothing = Noted(np.zeros(1), {})
    assert chain._prove_segments(session, whole, 1, [chain.Segment(whole, nothing, nothing)]) == chain.Proven(0, 0)
