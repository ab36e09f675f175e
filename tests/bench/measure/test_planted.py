"""Claims about the planted slowdown of a case: which backend is copied, and that the copy is in no table."""

from pathlib import Path

import pytest
from support.json_schema import faults
from support.reports import summary_of
from support.runs import TINY, enter_folder
from support.sample_results import sample_results

from bench import run
from bench.measure.planted import planted_arm
from bench.report.views import case_view
from bench.results.build import build_results
from bench.results.derive import with_statistics
from bench.results.journal import read_journal
from bench.results.schema import Case, ResultsError
from bench.results.store import load_results, save_results
from bench.suites.load import built_in_workloads
from bench.suites.suite import CaseKey
from pyfnn import registry


@pytest.mark.parametrize(
    ("names", "reference", "copied"),
    [
        ("numpy,cpp,c", "numpy", "numpy"),
        ("numpy,cpp,c", "c", "c"),
        ("cpp,c", "cpp", "c"),
        ("cpp,rust", "cpp", None),
    ],
)
def test_the_copy_is_of_the_reference_or_else_of_the_first_backend_that_has_one(
    names: str, reference: str, copied: str | None
) -> None:
    key = CaseKey(built_in_workloads()["wine-deep"], "train", "float32", threads=1)
    arm = planted_arm(key, [registry.find(name) for name in names.split(",")], reference)
    assert (arm and arm.copy_of) == copied
    if arm:
        assert (arm.slowdown, arm.first, arm.row.division) == (0.03, False, "plain")


@pytest.mark.parametrize(("workload", "threads"), [("wine-deep", 2), ("ensemble", 1)])
def test_nothing_is_planted_beside_several_threads_or_many_networks(workload: str, threads: int) -> None:
    key = CaseKey(built_in_workloads()[workload], "train", "float32", threads)
    assert planted_arm(key, [registry.find("numpy")], "numpy") is None


def test_a_run_measures_the_copy_in_every_round_and_keeps_it_out_of_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = enter_folder(tmp_path, monkeypatch) / "out"
    assert run.main([*TINY, "--backends", "numpy", "--sensitivity", "--out", str(out)]) == 0
    results = load_results(out)
    (case,) = results.cases
    assert {b.instance for b in case.backends} == {"numpy", "numpy@2"}
    assert case.planted is not None
    assert (case.planted.status, case.planted.copy_of, case.planted.slowdown) == ("ok", "numpy", 0.03)
    assert {(s.launch, s.round) for s in case.planted.samples} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert all(sample.proven_steps for sample in case.planted.samples if sample.round == 1)
    assert case.sensitivity is not None
    assert (case.sensitivity.than, case.sensitivity.backend) == ("numpy", "numpy-spun-3")
    assert case.pairs == []
    assert build_results(read_journal(out / "journal.jsonl")) == results
    assert faults(out / "results.json") == []
    summary = (out / "summary.md").read_text(encoding="utf-8")
    assert "Sensitivity here: " in summary
    assert "numpy-spun-3" not in summary


def with_copy(slowdown: float) -> Case:
    """Return a case of numpy and cpp with a copy of numpy that is slower by `slowdown`, and another by 3 % in name."""
    (case,) = sample_results(("numpy", "cpp"), noise=0.001).cases
    original = next(b for b in case.backends if b.instance == "numpy@2")
    samples = [s.model_copy(update={"seconds": (1 + slowdown) * s.seconds}) for s in original.samples]
    name = {"name": "numpy-spun-3", "instance": "numpy-spun-3", "copy_of": "numpy", "slowdown": 0.03}
    copy = original.model_copy(update={**name, "samples": samples})
    return with_statistics(case.model_copy(update={"planted": copy}), "numpy")


def note(case: Case) -> str:
    return next(note for note in case_view(case, "numpy").notes if note.startswith("Sensitivity here: "))


def test_the_slowdown_is_found_where_the_copy_is_called_slower() -> None:
    assert note(with_copy(0.03)).startswith(
        "Sensitivity here: found; a copy of numpy, slowed by 3 %, is called slower (0.97"
    )
    assert "Sensitivity here: not found; a copy of numpy, slowed by 3 %, is called same (" in note(with_copy(0.0))


def test_the_copy_changes_no_statistic_of_the_backends() -> None:
    (plain,) = sample_results(("numpy", "cpp"), noise=0.001).cases
    beside = with_copy(0.5)
    assert beside.backends == plain.backends
    assert (beside.pairs, beside.a_a_pairs, beside.reference) == (plain.pairs, plain.a_a_pairs, plain.reference)
    results = sample_results(("numpy", "cpp"), noise=0.001)
    assert "numpy-spun-3" not in summary_of(results.model_copy(update={"cases": [beside]}))


def test_a_copy_without_times_leaves_the_sensitivity_unknown_with_the_reason() -> None:
    case = with_copy(0.03)
    assert case.planted is not None
    lost = case.planted.model_copy(update={"status": "disturbed"})
    again = with_statistics(case.model_copy(update={"planted": lost}), "numpy")
    assert again.sensitivity is None
    assert note(again) == "Sensitivity here: unknown; a copy of numpy, slowed by 3 %, has no times (disturbed)."
    first = [sample for sample in case.planted.samples if sample.launch == 0]
    single = with_statistics(
        case.model_copy(update={"planted": case.planted.model_copy(update={"samples": first})}), "numpy"
    )
    assert note(single).endswith("has no interval.")


def test_a_sensitivity_that_does_not_follow_from_the_samples_is_refused(tmp_path: Path) -> None:
    results = sample_results(("numpy", "cpp"), noise=0.001).model_copy(update={"cases": [with_copy(0.0)]})
    case = results.cases[0]
    assert case.sensitivity is not None
    forged = case.model_copy(update={"sensitivity": case.sensitivity.model_copy(update={"verdict": "slower"})})
    save_results(results.model_copy(update={"cases": [forged]}), tmp_path)
    with pytest.raises(ResultsError, match="sensitivity does not follow from the samples"):
        load_results(tmp_path)
