"""Claims about `bench.history`: runs in order of time, changes at their runs, unlike runs apart."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.sample_results import sample_results

from bench import history
from bench.results.schema import Results
from bench.results.store import save_results

RUNS = 16
CHANGED = 9  # the run from which on cpp is faster


def saved(folder: Path, number: int, **update: Any) -> Path:
    """Save run `number`, made on that day, in which cpp is 1.2 times as fast from `CHANGED` on."""
    results = sample_results(("numpy", "cpp", "c"), launches=3, rounds=2, seed=number)
    cases = [
        case.model_copy(
            update={
                "backends": [
                    b.model_copy(
                        update={"samples": [s.model_copy(update={"seconds": s.seconds / 1.2}) for s in b.samples]}
                    )
                    if b.name == "cpp" and number >= CHANGED
                    else b
                    for b in case.backends
                ]
            }
        )
        for case in results.cases
    ]
    created = f"2025-03-{number + 1:02d}T08:00:00+00:00"
    place = folder / f"run{number}"
    place.mkdir()
    save_results(results.model_copy(update={"cases": cases, "statistics": 1, "created": created, **update}), place)
    return place


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [saved(folder, number) for number in range(RUNS)]


def run(folders: Sequence[Path], *words: object) -> int:
    return history.main([*map(str, folders), *map(str, words)])


def test_a_change_is_named_with_its_run_and_its_size(
    runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert run([*runs[5:], *runs[:5]], "--out", tmp_path) == 0  # in any order
    printed = capsys.readouterr().out
    (row,) = (line for line in printed.splitlines() if line.split()[:1] == ["cpp"])
    assert f"2025-03-{CHANGED + 1:02d}, {runs[CHANGED]}: 1.2" in row
    (other,) = (line for line in printed.splitlines() if line.split()[:1] == ["c"])
    assert other.rstrip().endswith("none shown")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"history{s}" for s in (".md", ".csv", ".json", ".png", ".svg")
    }
    assert "### wine-deep · train · float32 · 1 thread: ratios to numpy" in (tmp_path / "history.md").read_text()
    with (tmp_path / "history.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * RUNS
    changed = [line for line in lines if line["change"]]
    assert [(line["backend"], line["run"]) for line in changed] == [("cpp", str(runs[CHANGED]))]
    assert float(changed[0]["change_low"]) < 1.2 < float(changed[0]["change_high"])
    stored = json.loads((tmp_path / "history.json").read_text())
    assert [entry["name"] for entry in stored["runs"]] == list(map(str, runs))
    figure = (tmp_path / "history.svg").read_text()
    assert figure.count('id="change"') == 1


def test_a_backend_that_some_runs_lack_has_the_others(runs: list[Path], tmp_path: Path) -> None:
    without = saved(tmp_path, 20)
    fields: Any = json.loads((without / "results.json").read_text())
    fields["cases"][0]["backends"] = [b for b in fields["cases"][0]["backends"] if b["name"] != "c"]
    (without / "results.json").write_text(json.dumps(fields))
    assert run([*runs[:3], without], "--out", tmp_path / "out") == 0
    series = json.loads((tmp_path / "out" / "history.json").read_text())["series"]
    assert {one["backend"]: len(one["points"]) for one in series} == {"cpp": 4, "c": 3}


def test_too_few_runs_for_any_change_are_called_so(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(runs[:2]) == 0
    assert "a change can be found in at least 10 runs; this history has 2" in " ".join(capsys.readouterr().out.split())


def test_runs_of_another_machine_have_a_history_of_their_own_and_are_marked_where_forced(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = saved(tmp_path, 3, host={"cpu_model": "another"})
    assert run([*runs[:3], other], "--out", tmp_path / "out") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 runs from 2025-03-01 to 2025-03-03" in printed
    assert "1 run from 2025-03-04 to 2025-03-04 on another" in printed
    assert (tmp_path / "out" / "history_2.md").exists()
    assert run([*runs[:3], other], "--force") == 0
    assert "UNLIKE RUNS" in capsys.readouterr().out


def test_other_work_under_one_name_and_bad_input_are_refused_in_one_line(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = saved(tmp_path, 4)
    text = (other / "results.json").read_text()
    (other / "results.json").write_text(text.replace('"batch": 1,', '"batch": 2,'))
    for folders, words in (
        ([runs[0], other], "batch: 1 in"),
        ([runs[0], runs[0]], "named twice"),
        ([tmp_path / "absent"], "No such file"),
    ):
        assert run(folders) == 2
        err = capsys.readouterr().err
        assert err.startswith("bench.history: ")
        assert words in err
        assert err.count("\n") == 1


def test_ratios_over_a_page_of_panels_go_on_to_the_next(tmp_path: Path) -> None:
    place = tmp_path / "many"
    place.mkdir()
    base = sample_results(("numpy", "cpp"), ("wine-deep", "wine-batch", "digits", "mlp"), dtypes=("float32", "float64"))
    save_results(base, place)
    again: Results = base.model_copy(update={"created": "2025-02-01T00:00:00+00:00"})
    (tmp_path / "again").mkdir()
    save_results(again, tmp_path / "again")
    assert run([place, tmp_path / "again"], "--out", tmp_path / "out") == 0
    pages = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pages == ["history.png", "history_page_2.png"]
