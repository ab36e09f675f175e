"""Claims about a whole run with misbehaving backends, about a sweep, and about how a run ends.

The parts have tests of their own; here they work together.
"""

import errno
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import misbehaving
import psutil
import pytest
from support.broken_library import BROKEN, library
from support.drivers import Driver, gone
from support.json_schema import faults
from support.places import TESTS
from support.requirements import workers
from support.runs import SHORT, TINY, enter_folder

from bench import plot, run, stages
from bench.measure.session import Session
from bench.measure.settings import Settings
from bench.results.build import CUT_OFF, build_results
from bench.results.journal import JOURNAL, read_journal
from bench.results.schema import BackendResult, Results
from bench.results.store import load_results
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem
from bench.suites.suite import CaseKey, Workload
from pyfnn import registry
from pyfnn.manifest import Row

FORESEEN = {  # name: (behaviour, status, words of the reason)
    "steady": (misbehaving.STEADY, "ok", ""),
    "crashing-at-start": ("exits hello 1", "crashed", "no more steps today"),
    "segfaulting": ("segfault train 3", "crashed", "SIGSEGV"),
    "killed-at-work": ("killed train 19", "crashed", "SIGKILL"),
    "hanging": ("hung train 19", "timed_out", "no reply to 'train"),
    "rubbish": ("rubbish gradient 2", "protocol_error", "step 1 of 20: loss 0.3"),
    "binary": ("binary hello 1", "protocol_error", "not UTF-8"),
    "endless": ("endless train 3", "protocol_error", "no end of line"),
    "chatty": ("chatty forward 2", "protocol_error", "almost there"),
    "too-fast": ("understates train 1", "implausible", "claims only"),
    "too-late": ("overstates train 1", "implausible", "by the driver's clock"),
    "instant": ("instant train 1", "implausible", "claims only 1e-09"),
    "slow": ("slow train 1", "too_slow", "a step took "),
    "greedy": ("greedy init 1", "threads_mismatch", "says it uses 64 threads"),
    "drifting": ("drifts train 1", "parity_failed", "the own network"),
    "vandal": ("vandal hello 1", "protocol_error", "takes no data"),
    "stopped": ("stopped train 3", "timed_out", "no reply to 'train"),
    "starving": ("starves train 3", "crashed", "MemoryError"),
    "flooding": ("floods init 1", "ok", ""),
    "piping": ("pipes theta 3", "protocol_error", "theta_out.bin: not a regular file"),
}


HOSTED = {
    "article": ("parity_failed", "dW_2 of the own network"),
    "broken-c": ("parity_failed", "db_2 of the own network"),
    "absent": ("unavailable", "no_such_module"),
}


class Ran(NamedTuple):
    """A run of the command: its exit status, its folder and its output."""

    status: int
    folder: Path
    printed: str

    @property
    def results(self) -> Results:
        return load_results(self.folder)

    def backend(self, instance: str) -> BackendResult:
        return next(b for b in self.results.cases[0].backends if b.instance == instance)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_folder(tmp_path, monkeypatch)


class ImpatientSession(Session):
    """A session that waits a few seconds for the replies of backends that hang, and for others as it is asked to."""

    def __init__(self, row: Row, case: CaseKey, problem: Problem, timeout: float, *more: Any) -> None:
        assert timeout == 60.0  # of --timeout
        super().__init__(row, case, problem, 6.0 if row.name in ("hanging", "stopped") else timeout, *more)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Run NumPy together with all misbehaving backends, once."""
    folder = tmp_path_factory.mktemp("spoilt")
    hosts = {
        "article": 'host = "misbehaving.hosted:Article"',
        "broken-c": library(folder, BROKEN),
        "absent": 'host = "no_such_module:Backend"\nremedy = "write it"',
    }
    manifest = misbehaving.manifest(folder / "backend.toml", {name: row[0] for name, row in FORESEEN.items()}, hosts)
    suite = misbehaving.suite(folder / "tiny.toml", budget=30.0)
    names = ",".join(["numpy", *FORESEEN, *hosts])
    out = folder / "out"
    command = ["--suite", str(suite), "--backend", str(manifest), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "Settings", SHORT)
        patch.setattr("bench.measure.case.Session", ImpatientSession)
        patch.setattr("bench.suites.problem.MIN_ORDER", 1 << 13)
        patch.setenv("PYTHONPATH", str(TESTS))
        patch.setenv("COLUMNS", "200")
        with (folder / "printed.txt").open("w+") as printed:
            patch.setattr(sys, "stdout", printed)
            status = run.main([*command, "--backends", names, "--timeout", "60", "--precision", "1e30"])
            printed.seek(0)
            yield Ran(status, out, printed.read())


def test_a_run_full_of_misbehaving_backends_ends_normally(spoilt: Ran) -> None:
    assert spoilt.status == 0
    assert spoilt.results.finished is not None
    assert not workers()


@pytest.mark.parametrize("name", [*FORESEEN, *HOSTED])
def test_a_misbehaving_backend_fails_alone_and_with_a_reason(name: str, spoilt: Ran) -> None:
    status, words = FORESEEN[name][1:] if name in FORESEEN else HOSTED[name]
    backend = spoilt.backend(name)
    assert (backend.status, backend.reason) == (status, backend.reason)
    assert words in backend.reason
    if status != "ok":
        assert backend.samples == []
        assert (backend.step_seconds, backend.ratio, backend.gflops) == (None, None, None)
        assert f"{name}: {status}" in spoilt.printed


def test_sound_backends_are_timed_beside_misbehaving_ones(spoilt: Ran) -> None:
    for instance in ("numpy", "steady"):
        backend = spoilt.backend(instance)
        assert (backend.status, backend.reason) == ("ok", "")
        assert [(s.launch, s.round) for s in backend.samples] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert backend.step_seconds is not None
        assert backend.parity["passed"] is True
    seconds = [b for b in spoilt.results.cases[0].backends if b.instance.endswith("@2") and b.status == "ok"]
    assert seconds
    for backend in seconds:  # in the launches that drew it
        drawn = sorted({s.launch for s in backend.samples})
        assert [(s.launch, s.round) for s in backend.samples] == [(launch, n) for launch in drawn for n in (0, 1)]
    steady = spoilt.backend("steady")
    assert steady.ratio is not None
    assert steady.arithmetic == "float64"


def test_a_failed_parity_check_leaves_its_evidence(spoilt: Ran) -> None:
    proof = spoilt.backend("broken-c").parity
    assert proof["passed"] is False
    assert proof["worst"]["what"] == "db_2"
    assert spoilt.backend("absent").remedy == "write it"


def test_results_summary_and_figures_are_there_and_hold_no_nan(spoilt: Ran) -> None:
    names = {path.name for path in spoilt.folder.iterdir()}
    assert {"journal.jsonl", "results.json", "report.html", "summary.md"} <= names
    figures = [path for path in spoilt.folder.iterdir() if path.suffix in (".png", ".svg")]
    assert len(figures) >= 2
    assert all(path.stat().st_size > 1000 for path in figures)
    assert not [name for name in names if "partial" in name]
    text = (spoilt.folder / "results.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in results.json"))
    summary = (spoilt.folder / "summary.md").read_text(encoding="utf-8")
    assert all(name in summary for name in ("numpy", *FORESEEN, *HOSTED))


def test_the_journal_alone_gives_the_same_results(spoilt: Ran) -> None:
    assert build_results(read_journal(spoilt.folder / "journal.jsonl")) == spoilt.results


def test_the_published_schema_accepts_the_results(spoilt: Ran) -> None:
    assert faults(spoilt.folder / "results.json") == []


def test_how_it_was_measured_is_in_the_results(spoilt: Ran) -> None:
    settings = spoilt.results.settings
    assert settings["reference"] == "numpy"
    assert settings["timeout"] == 60
    assert isinstance(settings["seed"], int)
    assert settings["budget"] == 30
    assert spoilt.results.host["cpu_model"]
    assert spoilt.results.packages["numpy"] == spoilt.results.host["numpy"]
    assert spoilt.results.command == sys.orig_argv
    assert spoilt.results.suite["operations"] == ["train"]


def test_a_workload_can_be_recovered_from_the_results_and_each_source_is_named_by_its_hash(spoilt: Ran) -> None:
    case = spoilt.results.cases[0]
    assert case.definition
    assert Workload.model_validate(case.definition.model_dump()).network(case.dtype).sizes == case.definition.sizes
    numpy = next(b for b in case.backends if b.name == "numpy")
    sources = {path.name: path.read_bytes() for path in registry.find("numpy").source_files()}
    assert numpy.sources == {name: hashlib.sha256(text).hexdigest() for name, text in sources.items()}
    assert "numpy.py" in numpy.sources
    text = (spoilt.folder / "summary.md").read_text(encoding="utf-8")
    assert f"Network {'-'.join(map(str, case.definition.sizes))}" in text
    assert "Proven: each process passed" in text


def test_a_sweep_is_measured_reported_and_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    table = '[suite]\nbudget = 1.0\n[suite.sweep]\nalong = "batch"\nworkload = "mine"\nvalues = [1, 12]\n'
    (folder.parent / "mine.toml").write_text(f"{table}[workload.mine]{misbehaving.WORKLOAD}")
    options = ["--suite", "../mine.toml", "--backends", "numpy,c", "--budget", "600", "--precision", "1000"]
    assert run.main([*options, "--out", "out"]) == 0
    cases = load_results(folder / "out").cases
    assert [(case.workload, case.batch) for case in cases] == [("mine@batch=1", 1), ("mine@batch=12", 12)]
    assert [case.sweep and case.sweep.value for case in cases] == [1, 12]
    assert all(b.status == "ok" for case in cases for b in case.backends)
    one, twelve = cases[0].flops_per_step, cases[1].flops_per_step
    assert twelve == 12 * one
    names = {path.name for path in (folder / "out").iterdir()}
    drawn = {f"sweep_batch_mine_train_float32_1t{suffix}" for suffix in (".png", ".svg")}
    assert names == {"journal.jsonl", "results.json", "report.html", "summary.md", *drawn}
    summary = (folder / "out" / "summary.md").read_text(encoding="utf-8")
    for text in (capsys.readouterr().out, summary):
        assert "Fastest: mine along batch · train · float32 · 1 thread" in text
        assert "Crossings: mine along batch" in text
        assert "mine@batch=12 · train" in text


def test_an_optimizer_is_a_case_of_its_own_and_a_backend_without_it_is_unsupported(folder: Path) -> None:
    options = ["--backends", "numpy,steady", "--reference", "numpy", "--optimizer", "sgd,adam", "--budget", "1"]
    assert run.main([*TINY, *options, "--out", "out"]) == 0
    plain, adam = load_results(folder / "out").cases
    assert plain.title == "tiny · train · float32 · 1 thread"
    assert adam.title == "tiny · train with adam · float32 · 1 thread"
    assert (plain.optimizer, adam.optimizer) == ("sgd", "adam(0.9,0.999,1e-08)")
    assert adam.learning_rate == 0.001
    assert adam.flops_per_step == plain.flops_per_step
    assert {b.name: b.status for b in plain.backends if b.name == b.instance} == {"numpy": "ok", "steady": "ok"}
    assert {b.name: b.status for b in adam.backends if b.name == b.instance} == {"numpy": "ok", "steady": "unsupported"}
    (lacking,) = (b for b in adam.backends if b.name == "steady" and b.instance == "steady")
    assert lacking.reason == "misbehaving has no optimizer 'adam': it has sgd"  # the name that it gives itself


@pytest.mark.parametrize(
    ("bounded", "budget", "words"),
    [
        (False, 900.0, "They are always made, and more of them within 15 min"),
        (True, 90.0, "--budget 90 is the bound: where they do not fit, fewer are made"),
        (True, 3.0, "--budget 3 is too little: fewer are made, but one in each case; one gives no interval"),
    ],
)
def test_the_expected_duration_is_given_with_what_it_is_based_on(bounded: bool, budget: float, words: str) -> None:
    suite, workloads = load_suite("quick")
    keys = cases_of(suite, workloads)[:1]
    text = stages.expectation(keys, [registry.find("numpy"), registry.find("c")], Settings(bounded=bounded), budget)
    least = "measuring 2 backends in 1 case: 5 launches of each take at least 5 s (timed blocks and warm-up alone; "
    assert text == f"{least}starts, proofs and slow steps come on top). {words}"


def test_a_budget_too_small_for_a_launch_still_gives_step_times_and_a_warning_with_the_budget_that_suffices(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([*TINY, "--backends", "steady", "--reference", "steady", "--budget", "0.01", "--out", "out"]) == 0
    results = load_results(folder / "out")
    assert results.settings["bounded"] is True
    assert len(results.cases[0].backends[0].samples) == 2  # one launch of two rounds
    (warning,) = (one for one in results.warnings if one.name == "budget")
    assert "fewer than 2 (tiny · train · float32 · 1 thread: 1)" in warning.message
    printed = capsys.readouterr().out
    assert printed.index("--budget 0.01 is too little") < printed.index("[1/1]") < printed.index("left out launches")
    assert "One launch: there is no interval" in " ".join(printed.split())


# How a run ends ------------------------------------------------------------------------------------------------------


def test_a_failed_reference_has_a_replacement_that_the_table_names(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status = run.main([*TINY, "--backends", "exiting,steady", "--reference", "exiting", "--out", "out"])
    assert status == 0
    case = load_results(folder / "out").cases[0]
    assert case.reference == "steady"
    assert {b.name for b in case.backends} == {"exiting", "steady"}
    note = "The reference exiting has no step time (crashed). The ratios are to steady instead."
    assert note in " ".join(capsys.readouterr().out.split())
    assert note in (folder / "out" / "summary.md").read_text(encoding="utf-8")


def test_the_same_seed_is_kept_and_results_go_to_a_folder_named_by_the_time(folder: Path) -> None:
    assert run.main([*TINY, "--backends", "exiting", "--seed", "7"]) == stages.NOTHING_TIMED
    (out,) = (folder / "results").iterdir()
    assert load_results(out).settings["seed"] == 7


def test_a_full_disk_is_reported_and_the_written_part_can_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = folder / "out" / JOURNAL

    def fsync(_: int) -> None:
        if journal.exists() and journal.read_text(encoding="utf-8").count('"event": "sample"') >= 2:  # one of each arm
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    assert run.main([*TINY, "--backends", "steady", "--out", "out"]) == 1
    assert "pyfnn: cannot write results: [Errno 28] No space left on device" in capsys.readouterr().err
    assert load_results(folder / "out").cases[0].backends[0].samples
    assert not workers()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    started = Driver(tmp_path)
    yield started
    started.process.kill()
    started.process.communicate()


def test_ctrl_c_keeps_finished_measurements_and_leaves_no_worker(driver: Driver) -> None:
    driver.wait_for_samples(4)
    workers = driver.workers()
    assert workers
    driver.process.send_signal(signal.SIGINT)
    printed, _ = driver.process.communicate(timeout=300)
    assert driver.process.returncode == 130, printed
    assert gone(workers)
    assert "interrupted: finished measurements are kept" in printed
    assert "Traceback" not in printed
    found = load_results(driver.out)
    assert (driver.out / "results.json").exists()
    assert found.finished is None
    assert found.cases[0].stopped == "interrupted"
    assert sum(len(b.samples) for b in found.cases[0].backends) >= 4


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a stopped worker ends when it is continued")


@linux
def test_kill_9_of_the_driver_ends_its_workers_stopped_or_not_and_the_journal_can_be_drawn(driver: Driver) -> None:
    driver.wait_for_samples(4)
    workers = driver.workers()
    assert any(worker.status() == psutil.STATUS_STOPPED for worker in workers)
    driver.process.kill()
    assert gone(workers)
    assert not (driver.out / "results.json").exists()
    found = load_results(driver.out)
    assert found.cases[0].stopped == CUT_OFF
    assert sum(len(b.samples) for b in found.cases[0].backends) >= 4
    assert plot.main([str(driver.out)]) == 0
    assert (driver.out / "summary.md").exists()
