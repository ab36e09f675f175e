"""Commands that end in time: one that takes too long is ended with all its descendants. Output goes to a file."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

POLL = 0.05  # seconds between two looks at a command
_LINGER = 5.0  # seconds that killed processes may take to end


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
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(environment), start_new_session=True
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
        """Kill the command and all its descendants, also those in sessions of their own."""
        family = [self._process.pid, *_descendants(self._process.pid)]
        for pid in family:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LINGER)

    def wait(self, end: float, grace: float = 0.0) -> bool:
        """Wait until the command ends, or until the monotonic clock shows `end`; then kill it.

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
        if not in_time:
            if grace:
                self.interrupt()
                self._wait(end)
            self.end()
        return in_time

    def _wait(self, end: float) -> bool:
        while self.status is None and time.monotonic() < end:
            time.sleep(POLL)
        return self.status is not None


def _descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants, by Linux's /proc; elsewhere none."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it ended meanwhile
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found, todo = list[int](), [pid]
    while todo:
        more = children.get(todo.pop(), [])
        found += more
        todo += more
    return found
