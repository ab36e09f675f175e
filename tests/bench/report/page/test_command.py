"""Claims about the command `bench.report`, and about the page that every report has."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.reports import environment
from support.sample_results import sample_results

from bench import report
from bench.report.__main__ import main
from bench.results.store import save_results


def run_folder(folder: Path, seed: int = 0) -> Path:
    folder.mkdir()
    save_results(sample_results(seed=seed), folder)
    return folder


def test_the_page_of_a_run_is_written_beside_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(tmp_path / "a")
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert "</html>" in (folder / "report.html").read_text(encoding="utf-8")


def test_several_runs_are_one_page_which_names_their_folders(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name, seed) for seed, name in enumerate("ab")]
    assert main([*map(str, folders), "--out", str(tmp_path / "new" / "page.html")]) == 0
    text = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert all(str(folder) in text for folder in folders)
    assert not (folders[0] / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["nowhere"], "No such file"), (["a", "a"], "a run is named twice"), (["a", "a/../a"], "twice")],
)
def test_what_cannot_be_read_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    run_folder(tmp_path / "a")
    assert main([str(tmp_path / word) for word in words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("bench.report: ")
    assert message in err
    assert err.count("\n") == 1


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.report", str(run_folder(tmp_path / "a"))]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_report_has_the_page_with_and_without_figures_and_the_summary_links_it(tmp_path: Path) -> None:
    view = report.run_view(sample_results())
    names = [path.name for path in report.write(view, tmp_path, drawing=False)]
    assert names == ["summary.md", "report.html"]
    assert "](report.html)" in (tmp_path / "summary.md").read_text(encoding="utf-8")
