"""Claims about the command `bench.plot`: it draws from results or journal, and reports bad input in one line."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.reports import environment
from support.sample_results import events, sample_results

from bench import plot
from bench.results.store import save_results


def _damaged(text: str) -> Iterable[tuple[str, str]]:
    yield "cut short", text[: len(text) // 2]
    yield "another schema", text.replace("pyfnn-results/1", "pyfnn-results/9")
    yield "no JSON", "hello"
    yield "a list", "[]"
    yield "a misspelt field", text.replace('"workload"', '"wrokload"', 1)
    yield "an unknown status", text.replace('"ok"', '"fine"', 1)
    yield "a time below zero", text.replace('"low": ', '"low": -', 1)
    yield "a curve of uneven lengths", text.replace('"epochs": [', '"epochs": [7,', 1)


def test_plot_redraws_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_results(sample_results(), tmp_path)
    assert plot.main([str(tmp_path), "--out", str(tmp_path / "again")]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert sorted(map(Path, listed)) == sorted((tmp_path / "again").iterdir())


def test_plot_draws_from_the_journal_of_a_killed_run(tmp_path: Path) -> None:
    lines = list(events(["numpy", "cpp"], ["wine-deep"], {}))
    kept = [json.dumps(event) for event in lines[:-2]]
    (tmp_path / "journal.jsonl").write_text("\n".join([*kept, '{"event": "sam']), encoding="utf-8")
    assert plot.main([str(tmp_path)]) == 0
    assert "**not finished**" in (tmp_path / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("what", [what for what, _ in _damaged("")])
def test_plot_reports_a_damaged_file_in_one_line(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_results(sample_results(), tmp_path)
    path.write_text(dict(_damaged(path.read_text(encoding="utf-8")))[what], encoding="utf-8")
    assert plot.main([str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bench.plot: ")
    assert err.count("\n") == 1
    assert "results.json" in err


def test_plot_reports_a_missing_folder_and_one_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plot.main([str(tmp_path / "nowhere")]) == 2
    assert "No such file" in capsys.readouterr().err
    save_results(sample_results(), tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert plot.main([str(tmp_path), "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_plot_is_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.plot", str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bench.plot: ")
    assert "Traceback" not in done.stderr
