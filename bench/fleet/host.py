"""The part of the fleet that runs in the worker of a host: has `bench.run` measure there, alone, and returns its files.

The run ends with the worker, however that ends, and when nothing waits for its results any more.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.experiments.engine.work import check_origin
from bench.machine.child import ROOT
from pyfnn import launch
from pyfnn.scratch import Scratch

if sys.platform != "win32":
    import fcntl

CONSOLE = "console.txt"  # what the run printed
_LOCK = "pyfnn-fleet.lock"  # of the machine, for all fleets, whichever scheduler they use
_TICK = 0.5  # seconds between two looks at a run
_ENDS_WITHIN = 60.0  # seconds for a run to end by itself after SIGTERM

Report = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """A run of a suite, as it is sent to every host.

    Attributes
    ----------
    options : tuple of str
        Options of `bench.run`, but --out and, where `suite` is given, --suite.
    suite : str or None
        Content of a suite file.
    topic : str
        Of the events that report progress.
    module : str
        The module whose `main` measures.
    """

    options: tuple[str, ...]
    suite: str | None
    topic: str
    module: str = "bench.run"


@dataclass(frozen=True)
class Measured:
    """The end of a run: its exit status, its files by their paths relative to its folder, its duration."""

    status: int
    hostname: str
    seconds: float
    files: dict[str, bytes]


def measure(order: Order, place: str, name: str, origin: dict[str, str]) -> Measured:
    """Measure a suite on this host, once no other fleet does.

    Parameters
    ----------
    order : Order
    place : str
        The host as the cluster knows it; reports name it.
    name, origin
        Of the function that measures; raises `Skew` where it is another one here.
    """
    check_origin(name, origin, f"host {place}")
    report, cancelled = _reporter(order.topic, place), _cancellation()
    with Scratch() as scratch, _alone(report, cancelled):
        report(BEGUN)
        start = time.perf_counter()
        status = _run(_command(order, scratch.path), scratch.path / CONSOLE, report, cancelled)
        out = scratch.path / "out"
        files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        files[CONSOLE] = (scratch.path / CONSOLE).read_bytes()
        return Measured(status, platform.node(), time.perf_counter() - start, files)


BEGUN = "begins"


def _command(order: Order, folder: Path) -> list[str]:
    words = [*launch.command(threads=None), *launch.python(order.module, ROOT), "--out", str(folder / "out")]
    if order.suite is not None:
        file = folder / "suite.toml"
        file.write_text(order.suite, encoding="utf-8")
        words += ["--suite", str(file)]
    return [*words, *order.options]


def _run(command: list[str], console: Path, report: Report, cancelled: Callable[[], bool]) -> int:
    """Run a command, report each line that it prints, and return its exit status."""
    with console.open("w", encoding="utf-8") as printed, console.open(encoding="utf-8", errors="replace") as read:
        process = subprocess.Popen(
            command, cwd=console.parent, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_TICK)
                for line in read.read().splitlines():
                    report(line)
                if process.returncode is not None:
                    return process.returncode
                if cancelled():
                    process.terminate()
                    process.wait(_ENDS_WITHIN)
        finally:
            process.kill()
            process.wait()


@contextmanager
def _alone(report: Report, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Wait until no other fleet measures on this machine, and keep it so. Linux and macOS only."""
    if sys.platform == "win32":
        yield
        return
    lock = _open_shared(Path(tempfile.gettempdir(), _LOCK))
    try:
        waits = False
        while not _taken(lock):
            if not waits:
                report("another fleet measures here; waiting")
            waits = True
            if cancelled():
                raise RuntimeError("cancelled while another fleet measured")
            time.sleep(_TICK)
        yield
    finally:
        os.close(lock)


def _open_shared(path: Path) -> int:
    """Open a file that may belong to another user: for a lock, reading is enough."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _reporter(topic: str, place: str) -> Report:
    """Return a function that sends a line of text to the fleet's console."""
    from distributed import get_worker

    worker = get_worker()
    return lambda text: worker.log_event(topic, {"host": place, "text": text})


def _cancellation() -> Callable[[], bool]:
    """Return a function that is true once nothing waits for this task: it was cancelled, or its client has gone."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state != "executing"

    return cancelled
