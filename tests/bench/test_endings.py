"""Claims about the end of a run that something goes wrong with: signals, full disks, dead terminals, taken folders."""

import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest
from support.requirements import workers
from support.runs import TINY, enter_folder, hurry

from bench import run, stages
from bench.interruption import Interrupted, Interruptions
from bench.measure.case import CaseRun
from bench.report import summary
from bench.report.run_view import RunView
from bench.results.build import build_results
from bench.results.events import Event
from bench.results.journal import JOURNAL, Journal, read_journal
from bench.results.schema import Results
from bench.results.store import load_results
from pyfnn import scratch

OPTIONS = [*TINY, "--backends", "steady", "--reference", "steady", "--out", "out"]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_folder(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the folders for which figures were to be drawn."""
    return hurry(monkeypatch)


def at_second_round(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something between the rounds of the second launch."""
    before = CaseRun._sense

    def sense(case: CaseRun, launch: int, number: int) -> None:
        if (launch, number) == (1, 0):
            act()
        before(case, launch, number)

    monkeypatch.setattr(CaseRun, "_sense", sense)


@pytest.mark.parametrize("number", SIGNALS[:2], ids=lambda number: number.name)
def test_a_signal_ends_a_run_with_its_results_and_leaves_no_process_and_no_folder(
    number: signal.Signals,
    folder: Path,
    drawn: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handlers = [signal.getsignal(each) for each in SIGNALS]
    at_second_round(monkeypatch, lambda: signal.raise_signal(number))
    assert run.main(OPTIONS) == 128 + number
    printed = capsys.readouterr().out
    assert "interrupted: finished measurements are kept" in printed
    assert "--resume out continues this run" in printed
    case = load_results(folder / "out").cases[0]
    assert case.stopped == "interrupted"
    assert len(case.backends[0].samples) == 3
    assert (folder / "out" / "results.json").exists()
    assert (folder / "out" / "summary.md").exists()
    assert bool(drawn) is (number == signal.SIGINT)
    assert not workers()
    assert not [path for path in scratch_folders() if path.is_dir()]
    assert [signal.getsignal(each) for each in SIGNALS] == handlers


def test_a_second_signal_leaves_out_the_figures_alone(
    folder: Path, drawn: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_second_round(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))

    def build(events: Iterable[Event]) -> Results:
        signal.raise_signal(signal.SIGINT)
        return build_results(events)

    monkeypatch.setattr(stages, "build_results", build)
    monkeypatch.setattr(stages, "_check_run", lambda *_: None)
    assert run.main(OPTIONS) == 130
    assert load_results(folder / "out").cases[0].stopped == "interrupted"
    assert (folder / "out" / "results.json").exists()
    assert (folder / "out" / "summary.md").exists()
    assert not drawn


def test_a_signal_while_figures_are_drawn_keeps_results_and_summary(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "measure", lambda *_: None)
    monkeypatch.setattr("bench.report.figures.draw", lambda *_: signal.raise_signal(signal.SIGINT))
    assert run.main(OPTIONS) == 130
    assert load_results(folder / "out").finished
    assert (folder / "out" / "summary.md").exists()
    assert "python -m bench.plot out draws what there is" in capsys.readouterr().out


@pytest.fixture
def heard_hangup() -> Iterator[None]:
    """SIGHUP with its usual effect, which nohup takes away."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard_hangup")
def test_signals_wait_while_something_is_ended_and_the_third_does_not() -> None:
    with Interruptions() as signals:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGHUP)
        assert caught.value.status == 129
    with Interruptions() as signals:
        signals.wait()
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(Interrupted, match="SIGHUP"):
            signals.resume()


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptions():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_dead_terminal_costs_no_measurement(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert run.main(OPTIONS) == 0
        full.flush()  # as Python does at its end
    assert load_results(folder / "out").finished


# Folders -------------------------------------------------------------------------------------------------------------


def test_a_folder_that_another_run_writes_to_is_refused_before_anything_is_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "prepare", lambda *_: pytest.fail("a program is built"))
    with Journal(folder / "out"):
        assert run.main(OPTIONS) == 2
        assert run.main(["--resume", "out"]) == 2
    assert capsys.readouterr().err.count("out: another run is writing to it") == 2
    assert list(folder.iterdir()) == []


def test_runs_of_the_same_second_have_folders_of_their_own_even_if_the_clock_jumps_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        @staticmethod
        def now() -> datetime:
            return datetime(2025, 1, 1)

    monkeypatch.setattr(stages, "datetime", Clock)
    monkeypatch.setattr(stages, "measure", lambda *_: None)
    options = [*TINY, "--backends", "exiting"]
    assert [run.main(options) for _ in range(2)] == [stages.NOTHING_TIMED] * 2
    names = sorted(path.name for path in (folder / "results").iterdir())
    assert names == ["2025-01-01_00-00-00", "2025-01-01_00-00-00-2"]
    assert all(len(read_journal(folder / "results" / name / JOURNAL)) > 1 for name in names)


def test_a_run_that_was_killed_before_it_began_does_not_block_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "measure", lambda *_: None)
    (folder / "out").mkdir()
    (folder / "out" / JOURNAL).touch()
    assert run.main(OPTIONS) == stages.NOTHING_TIMED
    assert load_results(folder / "out").finished


# Full disks ----------------------------------------------------------------------------------------------------------


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_folder_of_temporary_files_is_not_the_backends_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", full)
    assert run.main(OPTIONS) == stages.NOTHING_TIMED
    backend = load_results(folder / "out").cases[0].backends[0]
    assert (backend.status, backend.reason) == ("not_run", "no WORKDIR can be made: No space left on device")


def test_a_disk_that_fills_while_arrays_are_handed_over_is_not_the_backends_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", full)
    assert run.main(OPTIONS) == stages.NOTHING_TIMED
    backend = load_results(folder / "out").cases[0].backends[0]
    assert backend.status == "not_run"
    assert "takes no data: No space left on device" in backend.reason


def test_a_folder_that_cannot_be_made_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").touch()
    assert run.main([*TINY, "--backends", "steady", "--out", "file/out"]) == 1
    assert "pyfnn: cannot write results: [Errno 20] Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["/proc/out", "/sys/out"])
def test_a_place_that_takes_no_folder_is_one_line(place: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder
    assert run.main([*TINY, "--backends", "steady", "--out", place]) == 1
    err = capsys.readouterr().err
    assert err.startswith("pyfnn: cannot write results: [Errno ")
    assert err.count("\n") == 1
    assert place in err


def test_a_disk_that_fills_while_figures_are_drawn_keeps_the_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "measure", lambda *_: None)
    monkeypatch.setattr("bench.report.figures.draw", full)
    assert run.main(OPTIONS) == 1
    assert "pyfnn: cannot write results: [Errno 28] No space left on device" in capsys.readouterr().err
    assert load_results(folder / "out").finished


def test_an_error_of_the_system_that_is_not_of_the_results_is_not_called_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_proc() -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/proc/stat")

    monkeypatch.setattr(stages, "describe_machine", no_proc)
    assert run.main(OPTIONS) == 1
    assert capsys.readouterr().err == "pyfnn: [Errno 2] No such file or directory: '/proc/stat'\n"
    assert list(folder.iterdir()) == []


def test_signals_while_figures_are_drawn_and_while_the_summary_is_written_keep_everything_but_the_figures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = summary.text

    def text(view: RunView, drawn: Sequence[Path]) -> str:
        signal.raise_signal(signal.SIGINT)
        return written(view, drawn)

    monkeypatch.setattr(stages, "measure", lambda *_: None)
    monkeypatch.setattr("bench.report.figures.draw", lambda *_: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(summary, "text", text)
    assert run.main(OPTIONS) == 130
    assert load_results(folder / "out").finished
    assert (folder / "out" / "summary.md").exists()


INTERRUPTED_IMPORT = """
import builtins, signal, sys
before = builtins.__import__
def interrupted(name, *words, **named):
    if name == "bench.arguments":
        signal.raise_signal(signal.SIGINT)
    return before(name, *words, **named)
builtins.__import__ = interrupted
sys.argv[0] = "-m"
import bench.run
"""


def test_ctrl_c_while_modules_are_imported_ends_the_command_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == "interrupted\n"


# A clock that jumps ---------------------------------------------------------------------------------------------------


def test_a_wall_clock_that_jumps_changes_no_duration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, jumps = time.time, itertools.cycle([0.0, 3600.0, -86400.0, 1e8, -3e8])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    start = time.monotonic()
    assert run.main([*TINY, "--backends", "steady", "--reference", "steady"]) == 0
    passed = time.monotonic() - start
    (out,) = (folder / "results").iterdir()
    case = load_results(out).cases[0]
    assert case.measured_seconds is not None
    assert 0 < case.measured_seconds < passed
    samples = case.backends[0].samples
    assert len(samples) > 1
    assert all(0 < sample.seconds <= sample.wall_seconds < passed for sample in samples)
    assert [path for path in scratch_folders() if path.is_dir()] == []


def scratch_folders() -> list[Path]:
    """Return what is in the folders of temporary files of this process."""
    return [path for _, home in scratch._homes.values() for path in home.iterdir()]
