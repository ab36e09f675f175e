"""The command `bench.run` in a process of its own, which a test can kill, with workers in plain Python."""

import os
import subprocess
import sys
import time
from pathlib import Path

import misbehaving
import psutil

from support.processes import until

# Three short launches, no probes of peak rates, no figures: a run that ends by itself within seconds.
SHORT_RUN = """
import sys
from functools import partial
from bench import run, stages
from bench.report import figures
short = {"min_launches": 3, "launches": 3, "rounds": 2, "block_seconds": 0.004, "burst_seconds": 0.001}
stages.Settings = partial(stages.Settings, **short)
stages._probe = lambda *_: None
figures.draw = lambda *_: []
sys.exit(run.main())
"""


class Driver:
    """A run with a long budget and a precision that it never reaches; or, if `short`, one of three launches.

    Parameters
    ----------
    folder : Path
        Holds the manifest, the suite, the results in `out`, the temporary files in `tmp`, and the witness: a line for
        each training that a worker replied to, with its process id and seconds.
    options : sequence of str
        Options in place of those of a new run.
    """

    def __init__(self, folder: Path, *options: str, short: bool = False) -> None:
        self.folder, self.out, self.witness = folder, folder / "out", folder / "witness"
        self.tmp = folder / "tmp"
        self.tmp.mkdir(exist_ok=True)
        behaviours = {"steady": "witnessed train 1", "second": "witnessed train 1"}
        manifest = misbehaving.manifest(folder / "backend.toml", behaviours)
        suite = misbehaving.suite(folder / "tiny.toml", budget=600.0)
        precision = "1e30" if short else "1e-9"
        of_new = ["--suite", str(suite), "--backend", str(manifest), "--backends", "steady,second"]
        of_new += ["--reference", "steady", "--precision", precision, "--out", str(self.out)]
        command = ["-c", SHORT_RUN] if short else ["-m", "bench.run"]
        self.process = subprocess.Popen(
            [sys.executable, *command, *(options or of_new)],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(self.tmp), "WITNESS": str(self.witness)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for_samples(self, count: int) -> None:
        """Wait until the journal holds so many samples."""
        journal = self.out / "journal.jsonl"
        end = time.monotonic() + 120
        while not journal.exists() or journal.read_text().count('"event": "sample"') < count:
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.02)

    def workers(self) -> list[psutil.Process]:
        """Return the processes below the driver."""
        try:
            return list(psutil.Process(self.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def folders(self) -> list[Path]:
        """Return the temporary folders that are there."""
        return [path for path in self.tmp.rglob("*") if path.is_dir() and not path.name.startswith("pyfnn-")]

    def end(self) -> str:
        """Wait for the end; return what was printed."""
        printed: str = self.process.communicate(timeout=120)[0]
        return printed


def gone(processes: list[psutil.Process]) -> bool:
    """Return True where all processes end within a minute; a zombie counts as ended."""
    return until(lambda: not any(map(_alive, processes)))


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
