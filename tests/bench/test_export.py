"""Claims about `bench.export`: other tools read what it writes, and find there the numbers of the run."""

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from support.json_schema import faults
from support.sample_results import sample_results

from bench import export
from bench.results import frame
from bench.results.json_schema import json_schema
from bench.results.schema import Results
from bench.results.store import load_results, save_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with a second instance, a failed backend and a case on the wall clock."""
    failures = {"julia": "parity_failed"}
    results = sample_results(("numpy", "cpp", "julia"), ("wine-deep", "digits"), failures)
    save_results(results, tmp_path)
    return tmp_path


def run(*words: object) -> int:
    return export.main([str(word) for word in words])


def samples_of(results: Results) -> list[float]:
    return [sample.seconds for case in results.cases for b in case.backends for sample in b.samples]


def test_csv_has_a_line_for_each_sample_and_for_each_instance(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--to", "csv", "--out", folder / "csv") == 0
    assert capsys.readouterr().out.split() == [
        str(folder / "csv" / f"{name}.csv") for name in ("samples", "statistics")
    ]
    results = load_results(folder)
    tables = {}
    for name in ("samples", "statistics"):
        with (folder / "csv" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert [float(row["seconds"]) for row in tables["samples"]] == samples_of(results)
    backends = [b for case in results.cases for b in case.backends]
    assert [row["instance"] for row in tables["statistics"]] == [b.instance for b in backends]
    for row, b in zip(tables["statistics"], backends, strict=True):
        assert row["ratio"] == ("" if b.ratio is None else repr(b.ratio.median))
        assert row["step_seconds_high"] == ("" if b.step_seconds is None else repr(b.step_seconds.high))
        assert (row["status"], row["verdict"] or None) == (b.status, b.verdict)


def test_parquet_keeps_the_type_of_each_column_also_where_every_value_is_absent(folder: Path) -> None:
    assert run(folder, "--to", "parquet") == 0
    samples = pyarrow.parquet.read_table(folder / "samples.parquet")
    assert samples.column("seconds").to_pylist() == samples_of(load_results(folder))
    assert samples.column("device_seconds").null_count == len(samples)
    kinds = {name: samples.schema.field(name).type for name in ("device_seconds", "launch", "outlier", "instance")}
    assert kinds == {
        "device_seconds": pyarrow.float64(), "launch": pyarrow.int64(), "outlier": pyarrow.bool_(),
        "instance": pyarrow.string(),
    }  # fmt: skip
    statistics = pyarrow.parquet.read_table(folder / "statistics.parquet")
    assert statistics.schema == frame(folder, "statistics").schema
    assert set(statistics.column("status").to_pylist()) == {"ok", "parity_failed"}


def test_a_frame_of_a_folder_is_that_of_its_results_and_frames_of_runs_can_be_joined(folder: Path) -> None:
    results = load_results(folder)
    one, other = frame(results), frame(str(folder))
    assert one.equals(other)
    both = pyarrow.concat_tables([one, other])
    step = both.group_by("instance").aggregate([("step_seconds", "mean")]).to_pylist()
    means = {row["instance"]: row["step_seconds_mean"] for row in step}
    own = [
        s.seconds / s.steps for case in results.cases for b in case.backends if b.instance == "cpp" for s in b.samples
    ]
    assert means["cpp"] == pytest.approx(fmean(own))


def pyperf(*words: object) -> str:
    command = [sys.executable, "-m", "pyperf", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pyperf_shows_and_compares_the_samples(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    later = tmp_path_factory.mktemp("later")
    slowed: Any = load_results(folder).model_dump(by_alias=True)
    for case in slowed["cases"]:
        for backend in case["backends"]:
            for sample in backend["samples"]:
                sample["seconds"] *= 1.5
    save_results(Results.model_validate({**slowed, "statistics": 1}), later)
    for place in (folder, later):
        assert run(place, "--to", "pyperf") == 0
    shown = pyperf("stats", folder / "pyperf.json")
    assert "wine-deep · train · float32 · 1 thread · cpp" in shown
    assert "cpp@2" not in shown
    assert "julia" not in shown
    assert shown.count("Total number of run: 5\n") == 4  # launches; two backends of two cases
    assert "1.50x slower" in pyperf("compare_to", folder / "pyperf.json", later / "pyperf.json")


def test_pyperf_runs_have_one_number_of_loops_where_blocks_became_longer(folder: Path) -> None:
    fields: Any = load_results(folder).model_dump(by_alias=True)
    for sample in fields["cases"][0]["backends"][0]["samples"]:
        if sample["round"] >= 2:
            sample.update(steps=3 * sample["steps"], seconds=3 * sample["seconds"])
    save_results(Results.model_validate({**fields, "statistics": 1}), folder)
    assert run(folder, "--to", "pyperf") == 0
    written = json.loads((folder / "pyperf.json").read_text(encoding="utf-8"))
    assert len(written["benchmarks"][0]["runs"]) == 2 * 5  # two for each of five launches
    pyperf("stats", folder / "pyperf.json")


def test_the_schema_is_printed_without_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--to", "schema") == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
    assert faults(folder / "results.json") == []


def test_bad_input_is_one_line_and_a_missing_package_is_named_with_its_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").touch()
    for words in (
        ("--to", "csv"),
        (folder / "absent", "--to", "csv"),
        (folder, "--to", "csv", "--out", folder / "file"),
    ):
        assert run(*words) == 2
        err = capsys.readouterr().err
        assert err.startswith("bench.export: ")
        assert err.count("\n") == 1

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

    monkeypatch.setattr(importlib, "import_module", absent)
    for kind in ("parquet", "pyperf"):
        assert run(folder, "--to", kind) == 2
        assert "pip install 'pyfnn[export]'" in capsys.readouterr().err
