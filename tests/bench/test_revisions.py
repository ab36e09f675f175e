"""Claims about comparing a working tree with a revision: both are built apart and take turns in one run."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.requirements import require
from support.revisions import copy_package, git, repository, slow_down, two_revisions
from support.runs import enter_folder

from bench import compare, revisions
from bench.results.store import load_results
from pyfnn.manifest import read_manifest


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose last commit trains NumPy more slowly."""
    require("git", shutil.which("git") is not None, "install git")
    return repository(tmp_path_factory.mktemp("origin") / "repository", share=1.0)


@pytest.fixture
def here(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository, which is the working folder; runs are short, and revisions copied instead of built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)  # a committer without a name
    monkeypatch.setattr(revisions, "install", copy_package)
    enter_folder(tmp_path, monkeypatch)
    monkeypatch.setattr("bench.measure.case._A_A_PAIRS", 0)
    monkeypatch.setattr("bench.report.write", lambda *_, **__: [])
    shutil.copytree(origin, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


def run(*words: object) -> int:
    return compare.main([str(word) for word in words])


def test_a_working_tree_and_a_revision_take_turns_in_one_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = here.parent / "out"
    options = ("--suite", "../tiny.toml", "--backends", "numpy", "--precision", "1000", "--out", out)
    files = ("--json", here.parent / "out.json", "--markdown", here.parent / "out.md")
    assert run("--against", "HEAD~1", *files, "--", *options) == 0
    new, old = (git(here, "rev-parse", "--short=7", name) for name in ("HEAD", "HEAD~1"))
    printed = capsys.readouterr().out
    assert f"building {new}" in printed
    assert f"building {old}" in printed
    (case,) = load_results(out).cases
    assert [(b.instance, b.status) for b in case.backends] == [(f"numpy@{new}", "ok"), (f"numpy@{old}", "ok")]
    turns = [{(s.launch, s.round) for s in b.samples} for b in case.backends]
    assert turns[0] == turns[1]
    slow, plain = (b.sources for b in case.backends)
    assert slow["numpy.py"] != plain["numpy.py"]
    found = json.loads((here.parent / "out.json").read_text())
    assert found["revisions"] == [old, new]
    assert (
        (here.parent / "out.md").read_text().startswith(f"### tiny · train · float32 · 1 thread: {new} against {old}")
    )
    (entry,) = found["entries"]
    assert (entry["backend"], entry["case"]) == ("numpy", "tiny · train · float32 · 1 thread")
    assert entry["change"]
    assert not git(here, "status", "--porcelain")


def test_a_revision_is_built_once_and_a_failed_build_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = revisions.find(here, "HEAD")
    assert not revisions.is_built(head)
    environment = revisions.build(here, head)
    assert revisions.is_built(head)
    python = [str(revisions.python_of(environment)), "-I", "-c", "import numpy, pyfnn; print(pyfnn.__file__)"]
    found = subprocess.run(python, check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()).is_relative_to(environment)

    def failing(source: Path, environment: Path) -> None:
        raise revisions.RevisionError(f"pip failed for {source.name} in {environment.name}")

    monkeypatch.setattr(revisions, "install", failing)
    assert revisions.build(here, head) == environment
    with pytest.raises(revisions.RevisionError, match="pip failed"):
        revisions.build(here, revisions.find(here, "HEAD~1"))
    assert list(environment.parent.iterdir()) == [environment]


def test_the_working_tree_is_a_commit_with_the_changes_of_tracked_files_and_changes_nothing(here: Path) -> None:
    head = revisions.find(here, "HEAD")
    assert revisions.working_tree(here) == head
    slow_down(here, 3.0)
    before = git(here, "status", "--porcelain")
    changed = revisions.working_tree(here)
    assert changed != head
    assert git(here, "diff", "--name-only", head.commit, changed.commit) == "pyfnn/backends/numpy.py"
    assert (git(here, "status", "--porcelain"), git(here, "stash", "list")) == (before, "")


def test_backends_of_a_revision_are_rows_that_its_own_files_make(tmp_path: Path) -> None:
    package = revisions.packages_folder(tmp_path) / "pyfnn"
    (package / "backends").mkdir(parents=True)
    (package / "native" / "go").mkdir(parents=True)
    hosted = 'name = "cpp"\nlanguage = "C++"\ndivision = "plain"\nhost = "pyfnn.backends.cpp:Plain"\n'
    (package / "backends" / "backend.toml").write_text(f'[[backend]]\n{hosted}sources = ["native/cpp/mlp.hpp"]\n')
    program = 'name = "go"\nlanguage = "Go"\ndivision = "plain"\nbuild = "go build {folder}"\nrun = "{build}/mlp"\n'
    (package / "native" / "go" / "backend.toml").write_text(f'[[backend]]\n{program}sources = ["mlp.go"]\n')
    (package / "native" / "go" / "mlp.go").touch()
    (package / "native" / "cpp").mkdir()
    (package / "native" / "cpp" / "mlp.hpp").touch()
    revision = revisions.Revision("1a2b3c4d5e", "1a2b3c4")
    written = revisions.write_manifests(revision, tmp_path, ["cpp", "go", "rust"])
    cpp, go = (row for path in written for row in read_manifest(path))
    assert (cpp.name, go.name) == ("cpp@1a2b3c4", "go@1a2b3c4")
    assert cpp.run == f"{revisions.python_of(tmp_path)} -I -m pyfnn.worker cpp"
    assert (go.run, go.build) == ("{build}/mlp", "go build {folder}")
    assert [path.resolve().relative_to(package.resolve()) for row in (cpp, go) for path in row.source_files()] == [
        Path("native/cpp/mlp.hpp"),
        Path("native/go/mlp.go"),
    ]


def test_bad_input_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for words, reason in (
        (["--against", "no-such-branch"], "no-such-branch"),
        (["--against", "HEAD"], "is the working tree itself"),
        (["--against", "HEAD~1", "one", "two"], "leave out the folders"),
        (["--against", "HEAD~1", "--", "--reference", "numpy"], "have no place"),
        (["--against", "HEAD~1", "--", "--backends", "nump"], "numpy"),
        (["one", "two", "--", "--suite", "quick"], "need --against"),
        ([here.parent], "No such file"),
        (["--combine"], "runs to combine"),
    ):
        assert run(*words) == compare.CANNOT_COMPARE, words
        err = capsys.readouterr().err
        assert err.startswith("bench.compare: ")
        assert reason in err
        assert err.count("\n") == 1
    monkeypatch.chdir(here.parent)
    assert run("--against", "HEAD") == compare.CANNOT_COMPARE
    assert "git repository" in capsys.readouterr().err


def test_a_slower_revision_ends_with_status_1_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = two_revisions(tmp_path / "run", change=1 / 1.2)
    assert run(folder) == 0
    assert run(folder, "--fail-over", "5%") == compare.SLOWER
    assert "slower: cpp on wine-deep · train · float32 · 1 thread" in capsys.readouterr().out
    assert run(folder, "--fail-over", "50%") == 0


def test_a_backend_that_the_new_revision_lost_ends_with_status_1_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_revisions(tmp_path / "run", failed="c")
    assert run(folder) == 0
    assert run(folder, "--fail-over", "5%") == compare.SLOWER
    assert "lost: c on digits" in capsys.readouterr().out


@pytest.mark.soak
def test_a_planted_slowdown_of_5_percent_is_found_in_nine_of_ten_runs_of_installed_revisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("git", shutil.which("git") is not None, "install git")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SKBUILD_WHEEL_CMAKE", "false")  # NumPy needs no compiled parts
    monkeypatch.chdir(repository(tmp_path / "repository", 0.05, "pyproject.toml", "README.md", "LICENSE", "bench"))
    options = ("--backends", "numpy", "--workloads", "wine-deep", "--budget", "120")
    found = [
        run("--against", "HEAD~1", "--fail-over", "1%", "--", *options, "--out", tmp_path / f"out{number}")
        for number in range(10)
    ]
    assert found.count(compare.SLOWER) >= 9
