"""Claims about the command `bench.compare`: it compares like with like, in one line each, and refuses the rest."""

import json
import shutil
from pathlib import Path

import pytest
from support.sample_results import sample_results

from bench import compare, export, history
from bench.interruption import INTERRUPTED
from bench.results.changes import DEFINITION, UnlikeRuns, compare_runs
from bench.results.resumption import Resumption
from bench.results.rows import rows
from bench.results.schema import Results
from bench.results.store import load_results, save_results
from bench.terms import WorkloadFacts

SLOW = "cpp"


def slowed(results: Results, backend: str, factor: float) -> Results:
    """Return the results with a backend's blocks longer by a factor; loading computes the statistics."""
    cases = [
        case.model_copy(
            update={
                "backends": [
                    b.model_copy(
                        update={
                            "samples": [s.model_copy(update={"seconds": factor * s.seconds}) for s in b.samples]
                            if b.name == backend
                            else b.samples
                        }
                    )
                    for b in case.backends
                ]
            }
        )
        for case in results.cases
    ]
    return results.model_copy(update={"cases": cases, "statistics": 1})  # of an earlier version: computed again


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Runs by name: the same one three times, and one with a slowed backend three times."""
    base = sample_results(("numpy", "cpp", "c", "go", "java", "julia", "cpp-tuned"), ("wine-deep", "digits"))
    made = {}
    for name, factor in {"a": 1.0, "b": 1.001, "c": 0.999, "slow": 1.3, "slow2": 1.302, "slow3": 1.297}.items():
        made[name] = tmp_path / name
        made[name].mkdir()
        save_results(slowed(base, SLOW, factor), made[name])
    return made


def run(*words: object) -> int:
    return compare.main([str(word) for word in words])


def test_a_slower_backend_is_named_and_ends_with_status_1_where_asked(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folders["a"], folders["slow"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.split()[:1] == [SLOW]]
    assert rows
    assert all(row[-1] == "slower" for row in rows)
    assert run(folders["a"], folders["slow"], "--fail-over", "5%") == compare.SLOWER
    assert f"slower: {SLOW} on" in capsys.readouterr().out
    assert run(folders["a"], folders["slow"], "--fail-over", "50%") == 0
    assert run(folders["a"], folders["a"].parent / "b", "--fail-over", "0.0001") == 0


def test_two_short_runs_have_no_verdict_and_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, factor in (("one", 1.0), ("two", 2.0)):
        (tmp_path / name).mkdir()
        save_results(slowed(sample_results(), SLOW, factor), tmp_path / name)
    assert run(tmp_path / "one", tmp_path / "two", "--fail-over", "5%") == 0
    out = capsys.readouterr().out
    assert "Without verdicts" in out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith(SLOW)] == ["0.500"]


def test_three_runs_a_side_give_ratios_over_runs(folders: dict[str, Path], tmp_path: Path) -> None:
    words: list[object] = [folders["a"], folders["slow"]]
    for old, new in (("b", "slow2"), ("c", "slow3")):
        words += ["--old", folders[old], "--new", folders[new]]
    assert run(*words, "--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md") == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["old_runs"], found["new_runs"], found["judged"]) == (3, 3, True)
    slow = [entry for entry in found["entries"] if entry["backend"] == SLOW]
    assert all(entry["verdict"] == "slower" and entry["over_old"]["low"] <= entry["over_old"]["high"] for entry in slow)
    assert (tmp_path / "out.md").read_text().startswith("### wine-deep · train · float32 · 1 thread: ratios to numpy")


def test_combined_runs_show_a_ratio_over_them(folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folders["a"], folders["b"], folders["c"], "--combine") == 0
    assert "over 3 runs [95 %]" in capsys.readouterr().out
    assert run(folders["a"], folders["b"], "--combine") == 0
    assert "needs at least 3" in capsys.readouterr().out


def test_a_copy_of_a_run_is_refused_as_it_would_count_as_two(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("copy", "copy2"):
        shutil.copytree(folders["a"], tmp_path / name)
    for words in ((folders["a"], tmp_path / "copy"), (folders["a"], folders["b"], tmp_path / "copy2", "--combine")):
        assert run(*words) == 2
        assert f"has the same samples as {folders['a']}" in capsys.readouterr().err


def test_a_copy_is_refused_among_unlike_runs_too(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folders["a"], tmp_path / "copy")
    elsewhere = sample_results(("numpy", "cpp", "c", "go", "java", "julia", "cpp-tuned"), ("wine-deep", "digits"))
    (tmp_path / "elsewhere").mkdir()
    save_results(elsewhere.model_copy(update={"host": {**elsewhere.host, "cpu_model": "x"}}), tmp_path / "elsewhere")
    assert run(folders["a"], tmp_path / "elsewhere", "--old", tmp_path / "copy", "--force") == 2
    assert f"has the same samples as {folders['a']}" in capsys.readouterr().err


def test_another_workload_of_the_same_name_is_refused(tmp_path: Path) -> None:
    base = sample_results()
    facts = WorkloadFacts(
        name="wine-deep", sizes=(11, 5, 1), activation="tanh", loss="squared_error", rows=9, batch=1, learning_rate=0.1
    )
    others = {"old": facts, "same": facts.model_copy(update={"note": "in other words"}), "without": None}
    numbers = ("l2", "rows", "batch", "learning_rate", "seed", "members")
    others |= {field: facts.model_copy(update={field: 3 if field in numbers else "relu"}) for field in DEFINITION}
    others["sizes"] = facts.model_copy(update={"sizes": (11, 6, 1)})
    for number, (name, definition) in enumerate(others.items()):
        cases = [case.model_copy(update={"definition": definition}) for case in base.cases]
        created = f"2025-01-01T00:00:{number:02d}+00:00"
        (tmp_path / name).mkdir()
        save_results(base.model_copy(update={"cases": cases, "created": created}), tmp_path / name)
    for field in DEFINITION:
        with pytest.raises(UnlikeRuns, match=f"1 thread: {field}: "):
            compare_runs({"old": load_results(tmp_path / "old")}, {field: load_results(tmp_path / field)}, 0.02)
    assert run(tmp_path / "old", tmp_path / "same") == 0
    assert run(tmp_path / "old", tmp_path / "without") == 0  # a file from before it was kept


def test_a_run_continued_by_force_is_marked_in_every_comparison(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    forced = load_results(folders["b"]).model_copy(
        update={"resumptions": [Resumption(begun="", command=[], differences=["host.kernel: 1, now 2"])]}
    )
    save_results(forced, folders["b"])
    mark = "CONTINUED although something had changed (--force)"
    for main in (compare.main, history.main):
        assert main([str(folders["a"]), str(folders["b"])]) == 0
        assert mark in " ".join(capsys.readouterr().out.split())
    assert (
        {row.forced for row in rows(forced, "samples")} == {row.forced for row in rows(forced, "statistics")} == {True}
    )
    assert not any(row.forced for row in rows(load_results(folders["a"]), "samples"))


@pytest.mark.parametrize(("error", "status"), [(compare._Ended(143), 143), (KeyboardInterrupt(), INTERRUPTED)])
def test_an_interrupted_command_says_so_by_its_status(
    error: BaseException, status: int, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(compare, "_measured", ends)
    assert run("--against", "HEAD") == status
    if isinstance(error, KeyboardInterrupt):
        for module in (history, export):
            monkeypatch.setattr(module, "load_results", ends)
        assert history.main([str(folders["a"])]) == INTERRUPTED
        assert export.main([str(folders["a"]), "--to", "csv"]) == INTERRUPTED


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("host", {"cpu_model": "another"}, "host.cpu_model"),
        ("settings", {"block_seconds": 0.5}, "settings.block_seconds"),
    ],
)
def test_unlike_runs_are_refused_with_the_difference_and_marked_where_forced(
    field: str, value: dict[str, object], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = sample_results()
    other = base.model_copy(update={field: {**getattr(base, field), **value}})
    for name, results in (("one", base), ("two", other)):
        (tmp_path / name).mkdir()
        save_results(results, tmp_path / name)
    assert run(tmp_path / "one", tmp_path / "two") == 2
    err = capsys.readouterr().err
    assert named in err
    assert err.count("\n") == 1
    assert run(tmp_path / "one", tmp_path / "two", "--force") == 0
    assert "UNLIKE RUNS" in capsys.readouterr().out


def test_bad_input_is_one_line(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = folders["a"]
    for words in ([a], [a, a], [a, tmp_path / "absent"], [a, folders["b"], "--combine", "--new", folders["c"]]):
        assert run(*words) == 2
        err = capsys.readouterr().err
        assert err.startswith("bench.compare: ")
        assert err.count("\n") == 1
    for share in ("0", "-5%", "5 percent", "nan", "x"):
        with pytest.raises(SystemExit) as ended:
            run(a, folders["b"], f"--fail-over={share}")
        assert ended.value.code == 2


def test_results_of_the_first_version_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Path(__file__).parent / "results" / "schema1"
    shutil.copytree(kept, tmp_path / "again")
    file = tmp_path / "again" / "results.json"
    file.write_text(file.read_text().replace("T09:07:22", "T10:07:22"))  # as another run
    assert run(kept, tmp_path / "again") == 0
    assert "wine-shallow · train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"steps": ', '"steps": 1', "cases.0.backends.0."),
        ('"workload": "digits"', '"wrokload": "digits"', "cases.1."),
        ('"cases": [', '"cases": [[', "is cut short or altered: "),
    ],
)
def test_an_edited_file_is_refused_with_its_name_and_the_place(
    old: str, new: str, place: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_results(load_results(folders["a"]), tmp_path)
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "results.json").write_text(text.replace(old, new, 1), encoding="utf-8")
    assert run(folders["b"], tmp_path) == compare.CANNOT_COMPARE
    err = capsys.readouterr().err
    assert f"{tmp_path / 'results.json'}" in err
    assert place in err
    assert err.count("\n") == 1
