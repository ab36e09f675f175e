"""Claims about two revisions in one run: each backend is compared with itself, and what was not timed is named."""

from pathlib import Path

import pytest
from support.revisions import NEW, OLD, two_revisions
from support.sample_results import sample_results

from bench.report.changes import changes_markdown, changes_tables
from bench.results.revisions import compare_revisions, revisions_in
from bench.results.store import load_results
from pyfnn.errors import PyfnnError

MARGIN = 0.03


def test_the_change_of_each_backend_is_that_from_the_old_revision_to_the_new_one(tmp_path: Path) -> None:
    results = load_results(two_revisions(tmp_path / "run", change=1 / 1.2))
    assert revisions_in(results) == [OLD, NEW]
    found = compare_revisions(results, MARGIN)
    assert (found.revisions, found.judged, found.only, found.lost) == ([OLD, NEW], True, [], [])
    rows = {(entry.case.split()[0], entry.backend): entry for entry in found.entries}
    assert set(rows) == {(case, name) for case in ("wine-deep", "digits") for name in ("cpp", "c")}
    slow = rows.pop(("wine-deep", "cpp"))
    assert slow.verdict == "slower"
    assert slow.change
    assert slow.change.low < 1 / 1.2 < slow.change.high
    assert slow.old_step
    assert slow.new_step
    assert slow.new_step.median / slow.old_step.median == pytest.approx(1 / slow.change.median, rel=0.02)
    assert all(entry.verdict in ("same", "no change shown") for entry in rows.values())


def test_the_table_names_both_revisions_and_their_step_times(tmp_path: Path) -> None:
    text = changes_markdown(
        changes_tables(compare_revisions(load_results(two_revisions(tmp_path / "run", 1.3)), MARGIN))
    )
    assert f"### wine-deep · train · float32 · 1 thread: {NEW} against {OLD}" in text
    assert f"| backend | a step, {OLD} | a step, {NEW} | new ÷ old [95 %] | verdict |" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| cpp |") and "faster" in line)
    assert row.count(" ns |") == 2
    assert "took turns in one run" in text


def test_a_backend_without_times_at_the_new_revision_is_lost_and_named_with_its_status(tmp_path: Path) -> None:
    found = compare_revisions(load_results(two_revisions(tmp_path / "run", failed="c")), MARGIN)
    assert {entry.backend for entry in found.entries} == {"cpp"}
    assert found.lost == [f"c on {case} · train · float32 · 1 thread" for case in ("wine-deep", "digits")]
    assert all(f"at {NEW}: crashed, ended" in one for one in found.only)


def test_a_run_of_other_backends_has_no_revisions_to_compare() -> None:
    results = sample_results(("numpy", "cpp"))
    assert revisions_in(results) == []
    with pytest.raises(PyfnnError, match="did not measure two revisions"):
        compare_revisions(results, MARGIN)
