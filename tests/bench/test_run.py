"""Claims about the whole command, run in a temporary folder: what it leaves, what it refuses, and how it ends.

Its parts have tests of their own; here they work together, with backends that do all they can to spoil the run.
"""

import errno
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import misbehaving
import psutil
import pytest
from support.broken_library import BROKEN, library
from support.places import TESTS
from support.requirements import workers
from support.runs import SHORT

from bench import run
from bench.results.build import CUT_OFF, build_results
from bench.results.journal import read_journal
from bench.results.schema import BackendResult, Results
from bench.results.store import load_results
from bench.suites import load
from bench.suites.suite import CaseKey
from pyfnn import programs, registry
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row

FORESEEN = {  # name: (deed, status, words of the reason)
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
    "slow": ("slow train 1", "too_slow", "its first step took 2"),
    "greedy": ("greedy init 1", "threads_mismatch", "says it uses 64 threads"),
    "drifting": ("drifts train 1", "parity_failed", "the own network"),
    "vandal": ("vandal hello 1", "protocol_error", "takes no data"),
}
HOSTED = {
    "article": ("parity_failed", "dW_2 of the own network"),
    "broken-c": ("parity_failed", "db_2 of the own network"),
    "absent": ("unavailable", "no_such_module"),
}


class Ran(NamedTuple):
    """A run of the command: its exit status, where it wrote, what it printed."""

    status: int
    folder: Path
    said: str

    @property
    def results(self) -> Results:
        return load_results(self.folder)

    def backend(self, instance: str) -> BackendResult:
        return next(b for b in self.results.cases[0].backends if b.instance == instance)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """One run with NumPy and everyone who misbehaves."""
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
        patch.setattr(run, "Settings", SHORT)
        patch.setattr("bench.suites.problem.MIN_ORDER", 1 << 13)
        patch.setenv("PYTHONPATH", str(TESTS))
        patch.setenv("COLUMNS", "200")
        with (folder / "said.txt").open("w+") as said:
            patch.setattr(sys, "stdout", said)
            status = run.main([*command, "--backends", names, "--timeout", "6", "--precision", "1000"])
            said.seek(0)
            yield Ran(status, out, said.read())


def test_a_run_full_of_misbehaviour_ends_well(spoilt: Ran) -> None:
    assert spoilt.status == 0
    assert spoilt.results.finished is not None
    assert not workers()


@pytest.mark.parametrize("name", [*FORESEEN, *HOSTED])
def test_whatever_a_backend_does_costs_itself_and_is_named(name: str, spoilt: Ran) -> None:
    status, words = FORESEEN[name][1:] if name in FORESEEN else HOSTED[name]
    backend = spoilt.backend(name)
    assert (backend.status, backend.reason) == (status, backend.reason)
    assert words in backend.reason
    if status != "ok":
        assert backend.samples == []
        assert (backend.step_seconds, backend.ratio, backend.gflops) == (None, None, None)
        assert f"{name}: {status}" in spoilt.said


def test_who_behaves_is_timed_all_the_same(spoilt: Ran) -> None:
    for instance in ("numpy", "numpy@2", "steady"):
        backend = spoilt.backend(instance)
        assert (backend.status, backend.reason) == ("ok", "")
        assert [(s.launch, s.round) for s in backend.samples] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert backend.step_seconds is not None
        assert backend.parity["passed"] is True
    steady = spoilt.backend("steady")
    assert steady.ratio is not None
    assert steady.arithmetic == "float64"


def test_a_failed_proof_leaves_its_evidence(spoilt: Ran) -> None:
    proof = spoilt.backend("broken-c").parity
    assert proof["passed"] is False
    assert proof["worst"]["what"] == "db_2"
    assert spoilt.backend("absent").remedy == "write it"


def test_results_summary_and_figures_are_there_and_hold_no_nan(spoilt: Ran) -> None:
    names = {path.name for path in spoilt.folder.iterdir()}
    assert {"journal.jsonl", "results.json", "summary.md"} <= names
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


def test_how_it_was_measured_is_in_the_results(spoilt: Ran) -> None:
    said = spoilt.results.settings
    assert said["reference"] == "numpy"
    assert said["timeout"] == 6
    assert isinstance(said["seed"], int)
    assert said["budget"] == 30
    assert spoilt.results.host["cpu_model"]


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, beside which lie a suite and a manifest; runs in it are short."""
    misbehaving.suite(tmp_path / "tiny.toml")
    deeds = {"steady": misbehaving.STEADY, "exiting": "exits hello 1"}
    misbehaving.manifest(tmp_path / "backend.toml", deeds)
    monkeypatch.setattr(run, "Settings", SHORT)
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 12)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


TINY = ["--suite", "../tiny.toml", "--backend", "../backend.toml", "--precision", "1000"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "quik"], ("unknown suite 'quik'", "did you mean 'quick'?", "known: ")),
        (["--workloads", "wine-depe"], ("unknown workload 'wine-depe'", "did you mean 'wine-deep'?", "mlp")),
        (["--backends", "numpy,nunpy"], ("unknown backend 'nunpy'", "did you mean 'numpy'?")),
        (["--reference", "numby"], ("unknown backend 'numby'", "did you mean 'numpy'?")),
        (["--operations", "trian"], ("unknown operation 'trian'", "did you mean 'train'?", "forward")),
        (["--dtype", "float23"], ("unknown dtype 'float23'", "did you mean 'float32'?")),
        (["--threads", "0"], ("threads = '0'", "at least 1, or all")),
        (["--threads", "1,many"], ("threads = 'many'", "at least 1, or all")),
        (["--threads", "4096"], ("threads = 4096", "this process may use")),
        (["--backends", ","], ("--backends ','", "names nothing")),
        (["--workloads", ""], ("--workloads ''", "names nothing")),
        (
            ["--suite", "batch", "--workloads", "digits"],
            ("--workloads digits", "suite batch sweeps wine-deep along batch", "has no others"),
        ),
        (["--suite", "threads", "--threads", "4096"], ("threads = 4096", "this process may use")),
        (["--backend", "nowhere.toml"], ("nowhere.toml", "No such file")),
        (["--suite", "nowhere.toml"], ("nowhere.toml", "No such file")),
    ],
)
def test_a_bad_name_is_answered_with_the_nearest_exits_2_and_writes_nothing(
    arguments: list[str], words: Sequence[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("pyfnn: ")
    for word in words:
        assert word in said
    assert list(folder.iterdir()) == []


def test_the_default_leaves_out_frameworks_and_devices_says_so_and_keeps_whom_the_user_brings(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = registry.rows()
    table = misbehaving.manifest(folder / "mine.toml", {"mine": misbehaving.STEADY})
    table.write_text(table.read_text(encoding="utf-8").replace("plain", "framework"), encoding="utf-8")
    measured: list[str] = []
    monkeypatch.setattr(run, "measure", lambda _, rows, *__: measured.extend(row.name for row in rows))
    monkeypatch.setattr(run, "_probe", lambda *_: None)
    assert run.main(["--backend", str(table), "--out", "out"]) == 1  # nothing was timed
    hosted = [row for row in rows.values() if row.host is not None]
    ours = (row.name for row in hosted if row.division != "framework" and row.device == "cpu")
    assert measured == [*ours, "mine"]
    said = capsys.readouterr().out
    others = "jax, jax-step, torch, torch-cuda, torch-cuda-graph, jax-cuda, sklearn, numba, cuda, cuda-blas"
    assert f"not in suite quick: {others}, " in said
    assert "(framework, on cuda, programs)" in said
    measured.clear()
    assert run.main(["--suite", "frameworks", "--out", "all"]) == 1
    assert measured == [row.name for row in hosted if row.device == "cpu"]
    assert "not in suite frameworks: torch-cuda, " in capsys.readouterr().out
    measured.clear()
    assert run.main(["--backends", "numpy,sklearn", "--out", "two"]) == 1
    assert measured == ["numpy", "sklearn"]
    assert "not in suite" not in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--budget", "--precision", "--timeout"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_a_number_that_cannot_be_is_refused_with_the_rule(
    option: str, value: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run.main([f"{option}={value}"])
    assert caught.value.code == 2
    assert f"argument {option}: '{value}': must be a finite number above 0" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_dataset_that_cannot_be_had_is_said_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = folder.parent / "tiny.toml"
    suite.write_text(suite.read_text() + 'data = "digit"\n')
    assert run.main(TINY) == 2
    assert "did you mean 'digits'?" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["journal.jsonl", "results.json"])
def test_a_folder_that_holds_a_run_is_not_written_to(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    (folder / "out" / name).write_text("precious")
    assert run.main([*TINY, "--out", "out"]) == 2
    assert "--out out: holds the results of a run already" in capsys.readouterr().err
    assert (folder / "out" / name).read_text() == "precious"


def compiled_manifest(folder: Path, build: str) -> tuple[list[str], Path]:
    """What asks for a program, `made`, whose build is noted in a file before `build` is run; and that file."""
    log = folder / "log" / "builds"  # not beside the sources: what changes there is built again
    log.parent.mkdir()
    worker = shlex.join([sys.executable, "-S", "-E", str(misbehaving.WORKER), *misbehaving.STEADY.split()])
    table = f'run = "{worker}"\nbuild = "echo built >> {log}; {build}"\nremedy = \'get it\''
    source = folder / "made"
    source.mkdir()
    manifest = misbehaving.manifest(source / "backend.toml", {"steady": misbehaving.STEADY}, {"made": table})
    who = ["--backend", str(manifest), "--backends", "steady,made", "--reference", "steady"]
    return [*who, "--suite", str(folder / "tiny.toml"), "--precision", "1000"], log


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")


@pytest.mark.usefixtures("own_cache")
def test_a_program_is_built_before_the_clock_once_and_again_on_request(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, log = compiled_manifest(folder.parent, "sleep 0.2")
    for out, more, builds in (("a", [], 1), ("b", [], 1), ("c", ["--rebuild"], 2)):
        assert run.main([*asked, "--out", out, *more]) == 0
        assert log.read_text().splitlines() == ["built"] * builds
        assert ("building made" in capsys.readouterr().out) == (out != "b")
        made = next(b for b in load_results(folder / out).cases[0].backends if b.instance == "made")
        assert made.build_seconds is not None
        assert 0.2 <= made.build_seconds < 20
        assert "build, s" in (folder / out / "summary.md").read_text()


@pytest.mark.usefixtures("own_cache")
def test_a_build_that_fails_is_tried_once_shows_the_compilers_words_and_costs_only_itself(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, log = compiled_manifest(folder.parent, "echo 'fnn.x:3: error: no such word' >&2; exit 1")
    assert run.main([*asked, "--dtype", "float32,float64", "--out", "a"]) == 0
    assert log.read_text().splitlines() == ["built"]
    said = capsys.readouterr().out
    assert "fnn.x:3: error: no such word" in said
    assert "remedy: get it" in said
    for case in load_results(folder / "a").cases:
        assert {b.name: b.status for b in case.backends} == {"steady": "ok", "made": "build_failed"}


@pytest.mark.usefixtures("own_cache")
def test_list_builds_nothing_and_says_what_would_be_built(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    asked, log = compiled_manifest(folder.parent, "true")
    assert run.main(["--list", *asked]) == 0
    assert "built at first use" in " ".join(capsys.readouterr().out.split())
    assert not log.exists()


def test_list_shows_suites_workloads_and_who_can_run_here_and_measures_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run.main(["--list", *TINY]) == 0
    said = capsys.readouterr().out
    for word in (*load.built_in_suites(), *load.built_in_workloads(), *registry.rows(), "tiny", "4-6-2 tanh"):
        assert word in said
    assert "digits along width, 16 to 512" in said
    assert "mlp along threads, 1 to all" in said
    steady, exiting = (next(line for line in said.splitlines() if name in line) for name in ("steady", "exiting"))
    assert "available" in steady
    assert "unavailable" in exiting
    assert list(folder.iterdir()) == []


def test_list_shows_a_remedy_to_its_last_bracket(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(row: Row) -> None:
        raise BackendUnavailable(f"no library of {row.name}", "pip install 'pyfnn[torch]'")

    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("bench.arguments._here", absent)
    assert run.main(["--list"]) == 0
    assert capsys.readouterr().out.count("pip install 'pyfnn[torch]'") == len(registry.rows())
    assert list(folder.iterdir()) == []


def test_an_empty_name_of_a_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run.main(["--out", ""])
    assert exit_.value.code == 2
    assert "argument --out: the empty name" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


# Sweeps --------------------------------------------------------------------------------------------------------------


def test_a_sweep_is_measured_told_and_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    table = '[suite]\nbudget = 1.0\n[suite.sweep]\nalong = "batch"\nworkload = "mine"\nvalues = [1, 12]\n'
    (folder.parent / "mine.toml").write_text(f"{table}[workload.mine]{misbehaving.WORKLOAD}")
    asked = ["--suite", "../mine.toml", "--backends", "numpy,c", "--budget", "30", "--precision", "1000"]
    assert run.main([*asked, "--out", "out"]) == 0
    cases = load_results(folder / "out").cases
    assert [(case.workload, case.batch) for case in cases] == [("mine@batch=1", 1), ("mine@batch=12", 12)]
    assert [case.sweep and case.sweep.value for case in cases] == [1, 12]
    assert all(b.status == "ok" for case in cases for b in case.backends)
    one, twelve = cases[0].flops_per_step, cases[1].flops_per_step
    assert twelve == 12 * one
    names = {path.name for path in (folder / "out").iterdir()}
    drawn = {f"sweep_batch_mine_train_float32_1t{suffix}" for suffix in (".png", ".svg")}
    assert names == {"journal.jsonl", "results.json", "summary.md", *drawn}
    summary = (folder / "out" / "summary.md").read_text(encoding="utf-8")
    for said in (capsys.readouterr().out, summary):
        assert "Who leads: mine along batch · train · float32 · 1 thread" in said
        assert "Where they cross: mine along batch" in said
        assert "mine@batch=12 · train" in said


@pytest.mark.usefixtures("folder")
def test_threads_of_a_sweep_along_them_are_those_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.suites.load.all_threads", lambda: 8)
    measured: list[CaseKey] = []
    monkeypatch.setattr(run, "measure", lambda keys, *_: measured.extend(keys))
    monkeypatch.setattr(run, "_probe", lambda *_: None)
    asked = ["--suite", "threads", "--backends", "numpy"]
    assert run.main([*asked, "--out", "all"]) == 1  # nothing was timed
    assert [key.threads for key in measured] == [1, 2, 4, 8]
    measured.clear()
    assert run.main([*asked, "--threads", "1,all", "--dtype", "float64", "--out", "some"]) == 1
    assert [(key.threads, key.sweep and key.sweep.value, key.dtype) for key in measured] == [
        (1, 1, "float64"),
        (8, 8, "float64"),
    ]
    assert capsys.readouterr().err == ""


# How a run ends ------------------------------------------------------------------------------------------------------


def test_the_reference_that_fails_has_a_stand_in_that_the_table_names(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status = run.main([*TINY, "--backends", "exiting,steady", "--reference", "exiting", "--out", "out"])
    assert status == 0
    case = load_results(folder / "out").cases[0]
    assert case.reference == "steady"
    assert {b.name for b in case.backends} == {"exiting", "steady"}
    said = "steady stands in for the reference, exiting (crashed)"
    assert said in capsys.readouterr().out
    assert said in (folder / "out" / "summary.md").read_text(encoding="utf-8")


def test_the_same_seed_is_kept_and_results_go_to_a_folder_named_by_the_time(folder: Path) -> None:
    assert run.main([*TINY, "--backends", "exiting", "--seed", "7"]) == run.NOTHING_TIMED
    (out,) = (folder / "results").iterdir()
    assert load_results(out).settings["seed"] == 7


def test_a_full_disk_is_said_and_what_was_written_can_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def fsync(_: int) -> None:
        nonlocal written
        written += 1
        if written > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    assert run.main([*TINY, "--backends", "steady", "--out", "out"]) == 1
    assert "pyfnn: cannot write results: [Errno 28] No space left on device" in capsys.readouterr().err
    assert load_results(folder / "out").cases[0].backends[0].samples
    assert not workers()


class Driver:
    """The command in a process of its own, with workers in plain Python that would run for long."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        manifest = misbehaving.manifest(
            folder / "backend.toml", {"steady": misbehaving.STEADY, "second": "steady init 1"}
        )
        suite = misbehaving.suite(folder / "tiny.toml", budget=600.0)
        options = [
            "--backends",
            "steady,second",
            "--reference",
            "steady",
            "--precision",
            "1e-9",
            "--out",
            str(self.out),
        ]
        command = [sys.executable, "-m", "bench.run", "--suite", str(suite), "--backend", str(manifest), *options]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait_for_samples(self, count: int) -> None:
        journal = self.out / "journal.jsonl"
        end = time.monotonic() + 120
        while not journal.exists() or journal.read_text().count('"event": "sample"') < count:
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.02)

    def workers(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    started = Driver(tmp_path)
    yield started
    started.process.kill()
    started.process.communicate()


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether they all end in time; a zombie that nobody waits for has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(alive(process) for process in processes):
            return True
        time.sleep(0.01)
    return False


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_ctrl_c_keeps_what_was_finished_and_leaves_no_worker(driver: Driver) -> None:
    driver.wait_for_samples(4)
    workers = driver.workers()
    assert workers
    driver.process.send_signal(signal.SIGINT)
    said, _ = driver.process.communicate(timeout=60)
    assert driver.process.returncode == 130, said
    assert gone(workers, 2.0)
    assert "interrupted: what was finished is kept" in said
    assert "Traceback" not in said
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
    assert gone(workers, 2.0)
    assert not (driver.out / "results.json").exists()
    found = load_results(driver.out)
    assert found.cases[0].stopped == CUT_OFF
    assert sum(len(b.samples) for b in found.cases[0].backends) >= 4
    drawn = subprocess.run(
        [sys.executable, "-m", "bench.plot", str(driver.out)],
        cwd=driver.out,
        capture_output=True,
        text=True,
        check=False,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert (driver.out / "summary.md").exists()


@linux
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_no_kill_at_any_time_leaves_a_worker_or_a_journal_that_cannot_be_read(tmp_path: Path) -> None:
    rng = random.Random(0)
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        driver = Driver(folder)
        time.sleep(rng.uniform(0.0, 8.0))
        workers = driver.workers()
        driver.process.kill()
        driver.process.communicate()
        assert gone(workers, 5.0), f"kill {number}"
        journal = driver.out / "journal.jsonl"
        if journal.exists() and journal.read_text().count("\n"):
            load_results(driver.out)
