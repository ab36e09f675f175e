"""Commands that end in time and leave no process behind. Output goes to a file.

The processes of a command are found by a variable in their environment, so also those whose parent has ended and those
in sessions of their own.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

POLL = 0.05  # seconds between two looks at a command
LINGER = 1.0  # seconds that killed processes may take to end
_MARK = "PYFNN_GPU_STEP"  # variable in the environment of each process of a command
_numbers = count()


class Command:
    """A running command.

    Parameters
    ----------
    words : sequence of str
    log : Path
        File for its stdout and stderr.
    environment : mapping of str to str
    """

    def __init__(self, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._mark = f"{_MARK}={os.getpid()}-{next(_numbers)}"
        marked = {**environment, _MARK: self._mark.partition("=")[2]}
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=marked, start_new_session=True
            )
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Ask the command to end, as Ctrl-C does. Its descendants are not asked."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def end(self) -> None:
        """Kill the command, all its descendants, and all that they have left behind."""
        until = time.monotonic() + LINGER
        while True:
            own = [self._process.pid] if self.status is None else []  # once it has ended, its number may be another's
            alive = {*own, *_living(own, self._mark)}
            for pid in alive:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not alive or time.monotonic() > until:
                return
            time.sleep(POLL)

    def wait(self, end: float, grace: float = 0.0) -> bool:
        """Wait until the command ends, or until the monotonic clock shows `end`; then kill what is left of it.

        Parameters
        ----------
        end : float
        grace : float
            Seconds before `end` at which the command is asked to end by itself.

        Returns
        -------
        bool
            True if the command ended without being asked.
        """
        in_time = self._wait(end - grace)
        if not in_time and grace:
            self.interrupt()
            self._wait(end)
        self.end()
        return in_time

    def _wait(self, end: float) -> bool:
        while self.status is None and time.monotonic() < end:
            time.sleep(POLL)
        return self.status is not None


def _living(parents: Sequence[int], mark: str) -> set[int]:
    """Return the process ids of all descendants, and of all with this mark, by Linux's /proc; elsewhere none."""
    children: dict[int, list[int]] = {}
    found, zombies = set[int](), set[int]()
    for entry in Path("/proc").glob("[0-9]*"):
        number = int(entry.name)
        with suppress(OSError, ValueError, IndexError):  # it ended meanwhile, or is another user's
            state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            children.setdefault(int(parent), []).append(number)
            if state in "ZX":
                zombies.add(number)
            elif mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.add(number)
    todo = [*parents]
    while todo:
        more = children.get(todo.pop(), [])
        found.update(more)
        todo += more
    return found - zombies
