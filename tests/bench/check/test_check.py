"""Claims about `python -m bench.check`: faultless backends pass; each fault fails the claim that is about it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import numpy as np
import pytest
from misbehaving import faulty
from planted.model import BUGS
from support.processes import until
from support.requirements import require
from support.topics import PATIENCE, TIMED, UNTIMED, examined, fault_found, passes

from bench.check import kit, mathematics
from bench.check.__main__ import TOPICS, main
from bench.check.diagnosis import explain
from bench.check.kit import Candidate, Claim, Failed, Outcome, examine
from bench.check.timing import _judged_block
from bench.experiments.calibrate_parity import OracleModel
from bench.measure.block import Block
from bench.measure.errors import Disturbed, Implausible
from bench.measure.session import Session
from bench.suites.load import built_in_workloads
from bench.suites.problem import make_problem
from pyfnn import oracle, parity, registry
from pyfnn.errors import PyfnnError, Unsupported
from pyfnn.losses import TABLE as LOSSES
from pyfnn.manifest import Row
from pyfnn.network import DTYPES, Network
from pyfnn.parity import small_variant
from pyfnn.validation import Array

CLAIMS = {claim.text: claim for topic in TOPICS for claim in topic.claims}
TESTS = Path(__file__).parents[2]
FOREIGN = TESTS / "foreign" / "backend.toml"
DOCUMENT = TESTS.parent / "docs" / "add-a-language.md"


def manifest(folder: Path, fault: str, *, wrapper: str = "", more: str = "") -> Path:
    """Write a backend.toml of one row, `faulty`."""
    program = shlex.join(["env", f"PYTHONPATH={TESTS}", sys.executable, faulty.__file__, fault, "faulty"])
    run = f"{wrapper} {program}".strip()
    path = folder / "backend.toml"
    path.write_text(
        f'[[backend]]\nname = "faulty"\nlanguage = "Python"\ndivision = "plain"\nremedy = "none"\n{more}\n'
        f"run = '''{run}'''\n"
    )
    return path


def row_of(path: Path) -> Row:
    return registry.find("faulty", [path])


def the_claim(words: str) -> Claim:
    """Return the only claim with these words in it."""
    (claim,) = [claim for text, claim in CLAIMS.items() if words in text]
    return claim


def outcomes_of(row: Row, claims: Sequence[Claim], patience: float = PATIENCE) -> list[Outcome]:
    with mock.patch.object(kit, "_PATIENCE", patience), Candidate(row, 100.0) as candidate:
        return list(examine(candidate, claims))


# Backends that keep the contract --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "topics"),
    [("foreign", TIMED), ("foreign", UNTIMED), ("c", TIMED)],
    ids=["foreign: timing and memory", "foreign: other topics", "c: timing and memory"],
)
def test_a_backend_that_keeps_the_contract_passes(name: str, topics: str, capsys: pytest.CaptureFixture[str]) -> None:
    require("perl", name != "foreign" or shutil.which("perl") is not None, "install Perl 5.22 or later")
    passed = passes(topics, str(FOREIGN), "--backends", name)
    printed = capsys.readouterr().out
    assert passed, printed
    assert " 0 failed" in printed


def test_a_backend_with_all_activations_and_optimizers_keeps_the_other_claims() -> None:
    untimed = [claim for topic in TOPICS if topic.name in UNTIMED.split(",") for claim in topic.claims]
    # Each of eight claims tries every activation, in seconds. c is proven with them all in test_every_activation.
    eight = [claim for claim in untimed if "with every activation that hello lists" in claim.text]
    assert len(eight) == len(DTYPES) * len(LOSSES)
    outcomes = outcomes_of(registry.find("c"), [claim for claim in untimed if claim not in eight[1:]])
    assert [outcome for outcome in outcomes if outcome.result == "FAIL"] == []
    held = {outcome.claim for outcome in outcomes if outcome.result == "pass"}
    assert {
        eight[0].text,
        "an activation with a parameter",
        "training by every further optimizer that hello lists",
    } <= held


def test_the_faulty_worker_without_its_fault_keeps_the_contract(tmp_path: Path) -> None:
    topics = [topic for topic in TOPICS if topic.name not in ("mathematics", "timing and memory", "promptness")]
    outcomes = outcomes_of(row_of(manifest(tmp_path, "none")), [claim for topic in topics for claim in topic.claims])
    assert [outcome for outcome in outcomes if outcome.result == "FAIL"] == []


# Backends with a fault ------------------------------------------------------------------------------------------------

FAULTS = {
    "WrongName": ("hello's name is the manifest's", "'another'"),
    "NamesWithParameters": ("names that pyfnn knows", "' tanh'"),
    "Prints": ("stdout carries one reply a command", "4 lines to two commands"),
    "DiesOfBlank": ("a blank line does no harm", "exit status 1"),
    "Quits3": ("quit is answered ok", "exit status 3"),
    "EndsWith3": ("the end of input ends it", "exit status 3"),
    "Mute": ("every error has a message", "'error'"),
    "Unencoded": ("every error has a message", "not written as %25"),
    "DiesOnUnknown": ("an unknown command is answered", "ended at 'frobnicate' with exit status 1"),
    "HangsOnUnknown": ("an unknown command is answered", "no reply to 'frobnicate' in time"),
    "Rubbish": ("refused commands change nothing", "neither ok nor error"),
    "TakesAnyWords": ("words that are not numbers", "'forward 0 1.5'"),
    "ReadsShortFiles": ("cut short, empty or too long", "theta.bin a byte short"),
    "TakesAnyOrder": ("row numbers outside", "order[7] = -1 of 40 rows"),
    "NoKind": ("kind=unsupported and its name", "another kind"),
    "ClaimsTooMuch": ("float32: squared_error, with every activation", "refused: no activation 'relu'"),
    "RefusesToTime": ("float64: squared_error, with every activation", "refused: no such thing"),
    "ReadsAgain": ("commands read no file", "No such file"),
    "KeepsTheta": ("init starts from theta.bin after training", "theta differs from theta.bin"),
    "FewDigits": ("the loss has 17 digits", "more than 6 digits"),
    "nondeterministic": ("the same calls twice", "gradient"),
    "SeedsByThePid": ("a fresh process gives the same bits", "theta after train"),
    "reset_incomplete": ("reset restores theta", "after train and reset"),
    "reading_moves_theta": ("leave theta unchanged", "differs after them"),
    "Understates": ("seconds of train", "CPU seconds: the call returned before its work was done"),
    "Instant": ("seconds of forward", "CPU seconds: the call returned before its work was done"),
    "Overstates": ("seconds of gradient", "claims"),
    "Hoists": ("twice the work of forward", "times as long"),
    "Milliseconds": ("resolves times below a millisecond", "whole milliseconds"),
    "RepliesEarly": ("the reply to train comes after the work", "theta then took"),
    "RepliesFromAThread": ("the reply to train comes after the work", "theta then took"),
    "TakesAnyProbes": ("probes outside the outputs", "ok, in reply to 'time forward 0 4 1 2'"),
    "ReadsSomeProbes": ("a probes.bin that is missing", "'time forward 0 4 5 2'"),
    "IgnoresProbes": ("the checksum sums the probed entries", "after time forward"),
    "end_rows_when_timed": ("the checksum sums the probed entries", "after time forward"),
    "one_entry_when_timed": ("the checksum sums the probed entries", "after time gradient"),
    "missing_dW_when_timed": ("the checksum sums the probed entries", "after time gradient"),
    "Prepares": ("not prepared in init", "MiB more than with 64"),
    "Leaks": ("memory does not grow", "resident MiB"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_claim_that_is_about_it(fault: str, tmp_path: Path) -> None:
    words, seen = FAULTS[fault]
    path = manifest(tmp_path, fault)
    patience = kit._PATIENCE if fault == "HangsOnUnknown" else PATIENCE
    claim = the_claim(words)
    outcome = fault_found(claim, lambda: outcomes_of(row_of(path), [claim], patience)[0], seen)
    assert outcome.result == "FAIL"
    assert seen in outcome.seen
    assert outcome.fix
    assert outcome.section in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", ["its descendants do the work", "seconds of train cover all work"])
def test_a_wrapper_need_not_exec(words: str, tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\n"$@"\n')
    wrapper.chmod(0o755)
    path = manifest(tmp_path, "none", wrapper=str(wrapper))
    # A busy machine may have the second claim skipped.
    found = examined(lambda: outcomes_of(row_of(path), [the_claim(words)])[0], lambda one: one.result == "pass")
    assert found.result == "pass", found


def test_a_build_that_writes_beside_its_sources_is_found(tmp_path: Path) -> None:
    path = manifest(tmp_path, "none", more='build = "touch {folder}/object.o"')
    outcomes = outcomes_of(
        row_of(path), [the_claim("it builds from a read-only folder"), the_claim("how to get the toolchain")]
    )
    assert [outcome.result for outcome in outcomes] == ["FAIL", "FAIL"]
    assert "object.o" in outcomes[0].seen or "Permission denied" in outcomes[0].seen
    assert "without a probe" in outcomes[1].seen


def test_a_pattern_of_sources_that_matches_no_file_is_found(tmp_path: Path) -> None:
    (outcome,) = outcomes_of(row_of(manifest(tmp_path, "none", more='sources = ["gone.zig"]')), [the_claim("sources")])
    assert (outcome.result, "gone.zig" in outcome.seen) == ("FAIL", True)


# Explanations of wrong results ----------------------------------------------------------------------------------------

ADVICE = {
    "missing_batch_mean": "1/B is missing",
    "last_sample_dropped": "the last row is left out",
    "no_activation_mask": "delta_l lacks the factor f_l'(Z_l)",
    "l2_on_biases": "λ acts on the biases, too",
    "no_l2": "λ W_l is missing in dW_l",
    "l2_not_in_loss": "the loss lacks (λ/2) Σ ‖W_l‖²",
    "transposed_weights": "W_l is read column by column",
    "short_batch_full_size": "the short minibatch is divided by BATCH",
    "StaleOrder": "order is that of an earlier init",
    "sequential_order": "order is not followed",
    "article": "multiply A_{l-1}",
    "updated_before_propagated": "take the W_l of before the update",
    "relu_at_zero": "relu'(0) = 0",
}


@pytest.mark.parametrize(
    "bug", [*(bug for bug in BUGS if bug != "stale_order"), "StaleOrder"]
)  # stale_order needs two inits
def test_every_planted_bug_fails_the_mathematics_and_common_ones_are_named(bug: str, tmp_path: Path) -> None:
    (outcome,) = outcomes_of(row_of(manifest(tmp_path, bug)), [the_claim("float64: squared_error")])
    assert outcome.result == "FAIL"
    assert ADVICE.get(bug, "") in outcome.fix, outcome.seen


class Mistaken(OracleModel):
    """A model whose gradient lacks λ, and whose outputs, on request, lack the biases."""

    def __init__(self, network: Network, theta: Array, *, biases: bool = True) -> None:
        super().__init__(network, theta, np.ndarray)
        self._biases = biases

    def _forward(self, first: int, count: int) -> Array:
        kept = self._current
        if not self._biases:
            self._current = kept.copy()
            for _, b in self.network.layers(self._current):
                b[:] = 0
        outputs = super()._forward(first, count)
        self._current = kept
        return outputs

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        loss, gradient = super()._loss_and_gradient(first, count)
        for dW, W in zip(self.network.layers(gradient), self.network.layers(self._current), strict=True):
            dW.W[:] -= self.network.l2 * W.W
        return loss, gradient


@pytest.mark.parametrize(("biases", "advice"), [(True, "λ W_l is missing in dW_l"), (False, "b_l is not added to Z_l")])
@pytest.mark.parametrize("activation", ["prelu", "maxout(3)"])
def test_mistakes_are_named_in_layers_with_a_layout_of_their_own_too(
    activation: str, biases: bool, advice: str
) -> None:
    network = Network((4, 6, 5, 2), activation, "squared_error", dtype="float64")
    trial = small_variant(network, np.random.default_rng(0))
    assert explain(lambda network, theta: Mistaken(network, theta, biases=biases), trial) == advice


# The command ----------------------------------------------------------------------------------------------------------


def test_a_failed_claim_gives_exit_status_1_and_is_printed_with_its_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = [
        str(manifest(tmp_path, "WrongName")),
        "--topics",
        "manifest",
        "--json",
        str(tmp_path / "outcomes.json"),
    ]
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    for words in ("FAIL", "seen:", "fix:", 'see: docs/add-a-language.md, "The manifest"', "1 failed"):
        assert words in printed
    outcomes = json.loads((tmp_path / "outcomes.json").read_text())["faulty"]
    assert [outcome["claim"] for outcome in outcomes if outcome["result"] == "FAIL"] == [
        "hello's name is the manifest's"
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('probe = "no-such-compiler --version"', "unavailable: no-such-compiler is not on PATH"),
        ('build = "echo no such thing >&2; exit 1"', "no such thing"),
    ],
)
def test_a_backend_that_cannot_run_here_is_printed_with_reason_and_remedy(
    more: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(manifest(tmp_path, "none", more=more))]) == 1
    printed = capsys.readouterr().out
    assert words in " ".join(printed.split())
    assert "fix: none" in printed


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [("print('hi')", "it starts and answers hello"), ("import time; time.sleep(60)", "no reply to 'hello' in time")],
)
def test_a_program_that_does_not_answer_hello_has_that_one_failure(
    behaviour: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "backend.toml"
    command = shlex.join([sys.executable, "-c", behaviour])
    path.write_text(f"[[backend]]\nname = 'mute'\nlanguage = 'Python'\ndivision = 'plain'\nrun = '''{command}'''\n")
    assert main([str(path), "--timeout", "1"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert words in printed
    assert printed.count("FAIL") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to check"),
        (["no-such.toml"], "no-such.toml: "),
        (["--backends", "numpyy"], "did you mean 'numpy'"),
        (["--backends", ","], "names no backend"),
        (["--backends", "numpy", "--topics", "poetry"], "unknown topic 'poetry'"),
        (["--backends", "numpy", "--timeout", "0"], "--timeout 0.0"),
    ],
)
def test_bad_arguments_give_exit_status_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_every_claim_names_a_section_and_a_fix() -> None:
    headings = [line.lstrip("# ") for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    for claim in CLAIMS.values():
        assert claim.section in headings, claim.text
        assert claim.fix, claim.text
    assert len(CLAIMS) == sum(len(topic.claims) for topic in TOPICS)


class DoubtfulSession:
    """A session whose turns end in these errors, or in blocks: judged ones (None) or disturbed ones."""

    def __init__(self, *ends: PyfnnError | None) -> None:
        self._ends, self.lengths = list(ends), list[int]()
        self.disturbed: Disturbed | None = None

    def turn(self, burst: int, steps: int) -> Block:  # noqa: ARG002
        self.lengths.append(steps)
        end = self._ends.pop(0)
        if isinstance(end, Disturbed):
            self.disturbed = end
        elif end:
            raise end
        return Block(steps, 0.1, 0.1, 0.1, 0)


@pytest.mark.parametrize("doubt", [Implausible("early"), Disturbed("waited")])
def test_a_clock_in_doubt_is_judged_again_by_a_block_four_times_as_long(doubt: PyfnnError) -> None:
    session = DoubtfulSession(doubt, None)
    block = _judged_block(cast(Session, session), "forward", 100)
    assert (block.steps, session.lengths, session.disturbed) == (400, [100, 400], None)
    session = DoubtfulSession(doubt, Implausible("early again"))
    with pytest.raises(Implausible, match="early again"):
        _judged_block(cast(Session, session), "train", 1 << 15)
    assert session.lengths == [1 << 15, 1 << 16], "training ends with the order"
    session = DoubtfulSession(doubt, Disturbed("waited again"))
    _judged_block(cast(Session, session), "forward", 100)
    assert str(session.disturbed) == "waited again"


def test_a_clock_that_is_right_is_judged_once() -> None:
    session = DoubtfulSession(None)
    assert _judged_block(cast(Session, session), "gradient", 100).steps == 100
    assert session.lengths == [100]


# The kit itself -------------------------------------------------------------------------------------------------------


def test_a_process_that_cannot_load_the_workload_is_not_kept_for_the_next_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = list[Session]()
    close = Session.close

    def refuse(_: Session) -> None:
        raise Unsupported("no float32")

    def note(session: Session) -> None:
        closed.append(session)
        close(session)

    monkeypatch.setattr(Session, "load_workload", refuse)
    monkeypatch.setattr(Session, "close", note)
    workload = built_in_workloads()["wine-shallow"]
    with Candidate(row_of(manifest(tmp_path, "none")), 100.0) as candidate:
        for tries in (1, 2):
            with pytest.raises(Unsupported, match="no float32"):
                candidate.session("train", workload, make_problem(workload, "float32"))
            assert len(closed) == tries


def test_the_output_of_a_killed_process_is_returned_though_a_descendant_holds_its_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit, "_PATIENCE", 0.2)
    number = tmp_path / "descendant"
    words = ["sh", "-c", f"setsid sleep 600 & echo written; echo $! >{number}; exec sleep 600"]
    with subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert until(lambda: number.exists() and number.read_text().endswith("\n"))
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0.2)
        kit._kill(process.pid)
        assert kit._rest_of(process) == b"written\n"
    os.kill(int(number.read_text()), signal.SIGKILL)


class WrongInTheSecondLayer(OracleModel):
    """A model whose gradient is wrong where a pre-activation of the second hidden layer is exactly 0."""

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        loss, gradient = super()._loss_and_gradient(first, count)
        Z = oracle.forward(self.network, self._current, self._x[first : first + count]).Z
        return loss, gradient if np.all(Z[1]) else gradient + 1


def test_the_explanation_is_of_a_trial_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one trial for each layer with a kink, and all have the same name."""
    explained = list[parity.Trial]()

    def note(_: object, trial: parity.Trial) -> str:
        explained.append(trial)
        return ""

    monkeypatch.setattr(mathematics, "explain", note)
    monkeypatch.setattr(
        mathematics, "ProcessModel", lambda _, network, theta: WrongInTheSecondLayer(network, theta, np.ndarray)
    )
    candidate = cast("Candidate", SimpleNamespace(worker=None, description=SimpleNamespace(deterministic=True)))
    with pytest.raises(Failed):
        mathematics._prove(candidate, [Network((5, 7, 4, 3), "relu", "squared_error", dtype="float64")], 5)
    (trial,) = explained
    assert trial.name == "kink"
    assert not np.any(oracle.forward(trial.network, trial.theta, trial.x).Z[1])
