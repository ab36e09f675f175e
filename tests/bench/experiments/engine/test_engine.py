"""Claims about runs of experiments on the pool: nothing is computed twice or lost, and there is one file."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.cells import EXPERIMENT, begun
from support.drivers import gone
from support.json_schema import faults
from support.places import TESTS
from support.processes import until
from support.requirements import workers

from bench.experiments.engine import command, pool
from bench.experiments.engine.report import PAGE
from bench.experiments.engine.store import CELLS, Store, load
from bench.experiments.wine import data
from bench.results.experiment_report import REPORT, load_experiment_report
from bench.results.files import replace
from bench.results.json_schema import PUBLISHED_EXPERIMENT

ALL = dict.fromkeys(range(12), 1)  # the default number of seeds


@pytest.fixture(autouse=True)
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which workers leave a trace; the pool has two of them."""
    path = tmp_path / "witness"
    monkeypatch.setenv("WITNESS", str(path))
    monkeypatch.setattr(pool, "all_threads", lambda: 2)
    return path


def run(out: Path, *words: str) -> int:
    return command.main(EXPERIMENT, ["--out", str(out), *words])


def finished(out: Path) -> list[int]:
    lines = map(json.loads, (out / CELLS).read_text().splitlines()) if (out / CELLS).exists() else ()
    return [line["parameters"]["value"] for line in lines if line["status"] == "ok"]


@contextmanager
def signalled(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Send a signal to this process when it has stored the first cells."""
    add = Store.add

    def then_signal(store: Store, lines: Sequence[object]) -> None:
        add(store, lines)  # type: ignore[arg-type]
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", then_signal)
        yield


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_keeps_finished_cells_and_the_same_command_computes_the_others_alone(
    number: signal.Signals,
    witness: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with signalled(number, monkeypatch):
        assert run(out) == 128 + number
    assert "interrupted: finished cells are kept; the same command continues" in capsys.readouterr().out
    assert not workers()
    kept = finished(out)
    assert 0 < len(kept) < 12
    assert not (out / "results.json").exists()
    assert run(out) == 0
    assert f"12 cells, of which {len(kept)} are there" in capsys.readouterr().out
    assert all(begun(witness)[value] == 1 for value in kept)
    assert sorted(finished(out)) == list(range(12))


def test_a_finished_experiment_computes_nothing_again_and_more_seeds_compute_the_new_ones_alone(
    witness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run(out) == 0
    before = (out / "results.json").read_bytes()
    assert (out / "thirds.md").read_text().splitlines()[2] == "| 0 | 0 |"
    (out / "thirds.md").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(pool.Pool, "__enter__", lambda _: pytest.fail("a pool was started"))
        assert run(out) == 0
    assert (out / "thirds.md").exists()
    assert (out / "results.json").read_bytes() == before
    report = load_experiment_report(out)
    assert (report.question, report.settings["seeds"], report.facts["cells"]) == ("Thirds of numbers.", 12, 12)
    assert [(table.name, len(table.rows)) for table in report.tables] == [("thirds", 12)]
    assert "Thirds of numbers." in (out / "report.html").read_text(encoding="utf-8")
    assert run(out, "--seeds", "14") == 0
    assert begun(witness) == dict.fromkeys(range(14), 1)
    assert [cell.parameters["value"] for cell in load(out).cells] == list(range(14))


def test_failures_and_dead_workers_cost_their_cells_alone(
    witness: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    kinds = ["2=raises", "5=kills", "7=kills once"]
    assert run(out, "--kinds", *kinds) == 1
    results = load(out)
    reasons = {cell.parameters["value"]: cell.reason for cell in results.cells if cell.status == "error"}
    assert reasons == {
        2: "ArithmeticError: no value of 2",
        5: "WorkerDied: the worker of this cell died in each try (SIGKILL)",
    }
    ok = {cell.parameters["value"]: cell.values for cell in results.cells if cell.status == "ok"}
    assert ok == {
        value: {"third": value / 3, "worse": None, "parts": [value, value + 1]} for value in ALL if value not in (2, 5)
    }
    assert begun(witness)[5] in (3, 4)  # in a batch with others once, perhaps
    assert begun(witness)[7] == 2
    assert "2 cells failed" in capsys.readouterr().out
    assert [line.split(",")[0] for line in (out / "thirds.csv").read_text().split()[1:]] == [str(v) for v in ok]
    (finding,) = load_experiment_report(out).findings
    assert (finding.text, finding.kind) == ("2 of 12 cells failed; nothing here is of them.", "attention")


def test_where_no_cell_has_a_result_no_report_of_earlier_ones_is_left(tmp_path: Path) -> None:
    assert run(tmp_path, "--seeds", "1") == 0
    assert (tmp_path / REPORT).exists()
    assert run(tmp_path, "--seeds", "1", "--kinds", "0=raises") == 1
    assert not (tmp_path / REPORT).exists()
    assert not (tmp_path / PAGE).exists()


def test_a_failed_cell_is_tried_again_by_the_same_command_and_no_other(witness: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--seeds", "4", "--kinds", "1=raises"]
    assert run(out, *words) == 1
    before = (out / "results.json").read_bytes()
    assert run(out, *words) == 1
    assert begun(witness) == {0: 1, 1: 2, 2: 1, 3: 1}
    assert (out / "results.json").read_bytes() == before


def test_results_have_the_published_schema_and_no_trace_of_time_or_place(tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for out in runs:
        assert run(out, "--seeds", "3", "--kinds", "1=raises") == 1
        assert faults(out / "results.json", PUBLISHED_EXPERIMENT) == []
    assert (runs[0] / "results.json").read_bytes() == (runs[1] / "results.json").read_bytes()
    timing = json.loads((runs[0] / "timing.json").read_text())
    assert len(timing["cells"]) == 3
    assert timing["engine"] == "2 processes on this machine"


@pytest.mark.parametrize(
    ("old", "new"), [('"ok"', '"fine"'), ('"pyfnn-experiment/1"', '"pyfnn-experiment/9"'), ('"cells"', '"cell"')]
)
def test_the_schema_finds_a_fault(old: str, new: str, tmp_path: Path) -> None:
    text = json.dumps(
        {
            "schema": "pyfnn-experiment/1", "experiment": "one", "version": 1, "origin": {}, "settings": {},
            "cells": [{"key": "a", "parameters": {}, "status": "ok", "values": {}, "reason": None}],
        }
    )  # fmt: skip
    replace(tmp_path / "results.json", text)
    assert faults(tmp_path / "results.json", PUBLISHED_EXPERIMENT) == []
    replace(tmp_path / "results.json", text.replace(old, new))
    assert faults(tmp_path / "results.json", PUBLISHED_EXPERIMENT)


def test_two_runs_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path / "out", EXPERIMENT.name):
        assert run(tmp_path / "out") == 2
    assert "another run is writing to it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--seeds", "0"], "must be a whole number, at least 1"),
        (["--workers", "2", "--scheduler", "tcp://1.2.3.4:5"], "not allowed with"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "out", *words)
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker ends at the end of its cell")
def test_a_killed_run_leaves_no_process_and_its_cells_are_kept(witness: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); from support.cells import EXPERIMENT; "
        f"from bench.experiments.engine import command, pool; pool.all_threads = lambda: 2; "
        f"command.main(EXPERIMENT, ['--out', {str(out)!r}, '--seconds', '0.05'])"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
    assert until(lambda: len(finished(out)) >= 3, 60)
    processes = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    assert gone(processes)
    kept = finished(out)
    assert run(out, "--seconds", "0.05") == 0
    assert all(begun(witness)[value] == 1 for value in kept)
    assert sorted(finished(out)) == list(range(12))


@pytest.mark.soak
def test_100_killed_workers_of_the_pool_lose_nothing_and_duplicate_nothing(tmp_path: Path) -> None:
    kinds = [f"{value}=kills once" for value in range(0, 1000, 10)]
    assert run(tmp_path / "killed", "--seeds", "1000", "--kinds", *kinds) == 0
    assert sorted(finished(tmp_path / "killed")) == list(range(1000))


def test_a_wrong_backend_or_missing_data_is_an_error_before_the_first_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYFNN_DATA_DIR", str(tmp_path / "nowhere"))
    data.rows.cache_clear()
    wine, digits = (importlib.import_module(f"bench.experiments.{name}").EXPERIMENT for name in ("wine", "digits"))
    for experiment, words, reason in (
        (digits, ["--backend", "cpp-turned"], "did you mean 'cpp-tuned'?"),
        (wine, [], "PYFNN_DATA_DIR"),
    ):
        assert command.main(experiment, [*words, "--out", str(tmp_path / "out")]) == 2
        assert reason in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "option", "least"),
    [("moons", "--steps", 1), ("moons", "--iterations", 1), ("digits", "--repeats", 2), ("wine", "--epochs", 1)],
)
def test_an_option_below_its_least_value_is_refused(name: str, option: str, least: int) -> None:
    parser = command.parser(importlib.import_module(f"bench.experiments.{name}").EXPERIMENT)
    assert least in vars(parser.parse_args([option, str(least)])).values()
    for wrong in (str(least - 1), "-3", "2.5", "x"):
        with pytest.raises(SystemExit):
            parser.parse_args([option, wrong])
