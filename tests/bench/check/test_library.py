"""Claims about the kit's direct calls of a library: each missing check fails the claim that is about it."""

from pathlib import Path

import pytest
from support import faulty_library
from support.fnn_libraries import load_c
from support.topics import PATIENCE, passes

from bench.check import kit
from bench.check.__main__ import TOPICS
from bench.check.commands import COMMANDS
from bench.check.kit import Candidate, Outcome, examine
from bench.check.library.claims import LIBRARY, is_library
from pyfnn import registry
from pyfnn.backends.c import argument_names
from pyfnn.manifest import Row

TIMEOUT = 100.0  # seconds; a tenth of it is the CPU time of one claim
_ENDLESS = 10.0  # of a fault that never ends


def outcomes_of(row: Row, *words: str, timeout: float = TIMEOUT) -> dict[str, Outcome]:
    """Return the outcomes of the claims about a library by text; those with these words in them, or all."""
    claims = [claim for claim in LIBRARY.claims if not words or any(word in claim.text for word in words)]
    with Candidate(row, timeout) as candidate:
        return {outcome.claim: outcome for outcome in examine(candidate, claims)}


def failed(outcomes: dict[str, Outcome]) -> list[str]:
    return [text for text, outcome in outcomes.items() if outcome.result == "FAIL"]


def test_a_library_without_argument_checks_fails_the_claims_about_arguments(tmp_path: Path) -> None:
    outcomes = outcomes_of(faulty_library.build(tmp_path, faulty_library.without_checks))
    assert failed(outcomes) == [
        "NULL for a model or an array is refused",
        "ranges outside the data are refused",
        "rows, n_order, counts, batch_size and repeats below 1 are refused",
        "fnn_train refuses a rate that is not finite and above 0",
        "entries of order outside the rows are refused",
        "fnn_time refuses an unknown operation and probes that are out of range",
        "work before fnn_load is refused",
        "fnn_create refuses invalid networks and NULL",
        "fnn_create refuses functions, dtypes and sizes that it does not have",
        "every function refuses a handle whose fnn_create failed",
        "refused calls change nothing",
        'fnn_last_error explains a failure, and is "" after a success',
        "fnn_destroy does nothing for NULL, and frees the handle of a failed fnn_create",
        "fnn_load replaces the data, also by fewer or more rows",
    ]
    assert "signal SIGSEGV in fnn_load(model=NULL)" in outcomes["NULL for a model or an array is refused"].seen


@pytest.mark.parametrize(("words", "seen"), faulty_library.FAULTS)
def test_a_fault_of_a_library_fails_the_claim_that_is_about_it(words: str, seen: str, tmp_path: Path) -> None:
    row = faulty_library.build(tmp_path, faulty_library.replacing(faulty_library.FAULTS[words, seen]))
    outcomes = outcomes_of(row, words, timeout=_ENDLESS if "no end" in seen else TIMEOUT)
    outcome, *_ = outcomes.values()  # the others are about many networks, which it has not
    assert outcome.result == "FAIL"
    assert seen in outcome.seen
    assert outcome.fix


@pytest.mark.parametrize(("words", "seen"), faulty_library.FAULTS_OF_MANY)
def test_a_fault_of_many_networks_fails_the_claim_that_is_about_it(words: str, seen: str, tmp_path: Path) -> None:
    fault = faulty_library.replacing(faulty_library.FAULTS_OF_MANY[words, seen])
    row = faulty_library.build(tmp_path, lambda source: fault(faulty_library.with_many(source)))
    ((_, outcome),) = outcomes_of(row, words).items()
    assert outcome.result == "FAIL"
    assert seen in outcome.seen
    assert outcome.fix


def test_many_networks_without_argument_checks_fail_the_claims_about_arguments(tmp_path: Path) -> None:
    row = faulty_library.build(tmp_path, lambda source: faulty_library.without_checks(faulty_library.with_many(source)))
    outcomes = outcomes_of(row, "many networks: ")
    kept = [text for text, outcome in outcomes.items() if outcome.result == "pass"]
    assert kept == [
        "many networks: each ends where a model of its own would, and fnn_reset brings all of them back",
        "many networks: models created and destroyed leave no memory behind",
    ]
    assert len(failed(outcomes)) == len(outcomes) - len(kept)


def test_many_networks_that_are_correct_keep_every_claim(tmp_path: Path) -> None:
    outcomes = outcomes_of(faulty_library.build(tmp_path, faulty_library.with_many), "many networks: ")
    assert {outcome.result for outcome in outcomes.values()} == {"pass"}


def test_a_library_without_many_networks_has_none_of_their_claims_checked() -> None:
    load_c()
    outcomes = outcomes_of(registry.find("c"), "many networks: ")
    assert {(outcome.result, outcome.note) for outcome in outcomes.values()} == {
        ("skipped", "the library has no fnn_create_many")
    }


def test_the_c_library_keeps_every_claim_about_a_library() -> None:
    load_c()
    assert failed(outcomes_of(registry.find("c"))) == []


def test_the_argument_names_follow_the_header() -> None:
    assert argument_names("fnn_forward") == ("model", "first", "count", "outputs")
    assert argument_names("fnn_version") == ()
    assert argument_names("fnn_nothing") == ()


# Claims that pyfnn answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c", "numpy"])
def test_claims_about_commands_are_not_credited_to_a_hosted_backend(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "_PATIENCE", PATIENCE)
    with Candidate(registry.find(name), TIMEOUT) as candidate:
        outcomes = list(examine(candidate, COMMANDS.claims))
    assert {outcome.result for outcome in outcomes} == {"pyfnn"}
    assert {outcome.note for outcome in outcomes} == {"answered by pyfnn's host, not by the library or class"}


def test_the_summary_counts_them_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert passes("commands,library", "--backends", "numpy")
    printed = capsys.readouterr().out
    assert f"numpy: 0 passed, 0 failed, 0 skipped, {len(COMMANDS.claims)} answered by pyfnn" in printed
    assert "fnn_create" not in printed, "claims about libraries do not apply to numpy"


def test_the_compiled_libraries_and_no_other_backends_are_called_directly() -> None:
    libraries = {name for name, row in registry.rows().items() if is_library(row)}
    assert libraries == {"c", "c-textbook", "c-libmvec", "cuda", "cuda-blas"}
    assert LIBRARY in TOPICS
