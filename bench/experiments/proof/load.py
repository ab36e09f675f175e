"""A load beside the measurement: one process a CPU that is busy at random (burner.py), started and ended here."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psutil

from pyfnn import launch

_BURNER = Path(__file__).with_name("burner.py")
_PATIENCE = 5.0  # seconds, time limit for a killed process to end


class Load:
    """Load processes, running as long as the context. A context manager.

    On Linux the kernel kills them when the thread that entered the context ends, for any reason. On other systems they
    end themselves.

    Parameters
    ----------
    cpus : sequence of int
        CPUs with one process each; empty for one process on any CPU.
    seed : int
        Seed of the busy and idle times, which differ between CPUs.
    mean_seconds : float
        Mean of a busy time, and of an idle one.
    """

    def __init__(self, cpus: Sequence[int], seed: int, mean_seconds: float) -> None:
        self._places: list[list[int]] = [[cpu] for cpu in cpus] or [[]]
        self._seed, self._mean = seed, mean_seconds
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start = 0.0

    @property
    def pids(self) -> list[int]:
        """The identifiers of the running processes."""
        return [process.pid for process in self._processes]

    def taken(self) -> float | None:
        """Return the processes' CPU time divided by the time since the start; None if one of them has ended.

        A busy process counts half while it shares its CPU with another.
        """
        if any(process.poll() is not None for process in self._processes):
            return None
        try:
            seconds = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in self.pids]
        except psutil.Error:
            return None
        return float(sum(seconds)) / len(seconds) / (time.monotonic() - self._start)

    def __enter__(self) -> "Load":
        self._start = time.monotonic()
        parent = str(os.getpid())
        for place in self._places:
            seed = f"{self._seed} {place[0] if place else ''}"
            burner = [sys.executable, "-I", "-S", str(_BURNER), parent, seed, repr(self._mean)]
            try:
                self._processes.append(subprocess.Popen([*launch.command(place), *burner], start_new_session=True))
            except OSError:
                self._end()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(_PATIENCE)
