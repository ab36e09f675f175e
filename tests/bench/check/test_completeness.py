"""Claims about the kit: it finds backends that do wrong or less work than they claim, as programs and as classes."""

import shlex
import sys
from collections.abc import Iterable
from itertools import cycle, product
from pathlib import Path

import pytest
from misbehaving import faulty
from planted.kinds import BACKENDS
from support.topics import fault_found

from bench.check.__main__ import TOPICS
from bench.check.completeness import COMPLETENESS
from bench.check.kit import Candidate, Claim, Outcome, examine
from bench.machine.cpus import all_threads
from pyfnn import registry

CLAIMS = {claim.text: claim for topic in TOPICS for claim in topic.claims}
TESTS = Path(__file__).parents[2]
INCOMPLETE = {  # by kind of mistake: the claim that must fail, and what must be seen
    "ShortRead": ("every row of x.bin", "of the whole workload"),
    "HalfInputs": ("every row of x.bin", "of the whole workload"),
    "ShortOrder": ("every entry of order", "displacement of"),
    "ByteRows": ("every entry of order", "displacement of"),
    "FreezesFirstLayer": ("each step of a training", "displacement of W_1"),
    "HalvesRate": ("each step of a training", "displacement of"),
    "SkipsEasySteps": ("each step of a training", "displacement of"),
    "SkipsEverySecondStep": ("a long call makes every step", "the same calls twice end 0 apart"),
    "SkipsLongCalls": ("a long call makes every step", "the same calls twice end 0 apart"),
    "SkipsLayers": ("a long call makes every step", "the same calls twice end 0 apart"),
    "HalfEpochs": ("a long call makes every step", "75 steps in one call"),
    "RosyLosses": ("after training, outputs", "loss over all rows"),
}

FORMS = ("program", "class")

UNPUNCTUAL = {
    "Late": ("all of the work of train", "until theta is there"),
    "InAThread": ("all of the work of train", "until theta is there"),
    "LatePasses": ("the reply to time gradient comes after the work", "theta then took"),
    "BusyAfterReply": ("the process is idle after the reply to train", "s after the reply"),
    "HastyClock": ("all of the work of train", "until theta is there"),
    "Caches": ("a call of train that comes again", "for one that was made before"),
    "CachedPasses": ("a call of time gradient that comes again", "for one that was made before"),
    "HelperProcess": ("seconds of train cover all work", "may run on CPUs"),
    "CpuClock": ("its clock runs on meanwhile", "in which it was stopped for"),
    "RowTable": ("a pass of time forward takes as long", "passes over 256 rows"),
}

NEEDS = {
    "HelperProcess": pytest.mark.skipif(
        sys.platform != "linux" or all_threads() < 2, reason="needs Linux and a CPU that is not granted"
    )
}


def outcomes_of(line: str, claims: Iterable[Claim], folder: Path) -> list[Outcome]:
    """Check claims on the backend that this line of a manifest names."""
    path = folder / "backend.toml"
    path.write_text(f'[[backend]]\nname = "faulty"\nlanguage = "Python"\ndivision = "plain"\n{line}\n')
    with Candidate(registry.find("faulty", [path]), 100.0) as candidate:
        return list(examine(candidate, claims))


def line_of(kind: str, form: str) -> str:
    """Return the line of a manifest for a kind of mistake: a program, or a class that pyfnn hosts."""
    program = shlex.join(["env", f"PYTHONPATH={TESTS}", sys.executable, faulty.__file__, kind, "faulty"])
    return f"run = '''{program}'''" if form == "program" else f'host = "{BACKENDS[kind]}"'


def outcome_of(kind: str, claim: Claim, form: str, folder: Path) -> Outcome:
    """Check a claim on a backend with this kind of mistake."""
    (outcome,) = outcomes_of(line_of(kind, form), [claim], folder)
    return outcome


@pytest.fixture(autouse=True)
def _tests_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


@pytest.mark.parametrize("host", ["planted.timed:CorrectBackend", "misbehaving.hosted:Unsteady"])
def test_a_correct_backend_keeps_the_claims_about_complete_work(host: str, tmp_path: Path) -> None:
    outcomes = outcomes_of(f'host = "{host}"', COMPLETENESS.claims, tmp_path)
    assert [outcome for outcome in outcomes if outcome.result != "pass"] == []


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        pytest.param(kind, form, marks=NEEDS.get(kind, ()))
        for kind, form in (
            *zip(INCOMPLETE, cycle(FORMS)),  # both forms have the same loop; their clocks differ
            *product(UNPUNCTUAL, FORMS),
        )
    ],
)
def test_incomplete_work_fails_the_claim_that_is_about_it(kind: str, form: str, tmp_path: Path) -> None:
    words, seen = (INCOMPLETE | UNPUNCTUAL)[kind]
    (claim,) = [claim for text, claim in CLAIMS.items() if words in text]
    outcome = fault_found(claim, lambda: outcome_of(kind, claim, form, tmp_path), seen)
    assert outcome.result == "FAIL"
    assert seen in outcome.seen
    assert outcome.fix
