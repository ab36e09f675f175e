"""Claims about a library, which the kit calls directly through fnn.h: pyfnn's own host refuses bad arguments itself.

The exercises run in a child process; a crash or a hang of the library fails the claim at hand, by the signal's name.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bench.check.kit import Candidate, Failed, Skipped, Topic
from bench.check.library.child import EXERCISES, Finding, Task
from bench.check.library.exercises import Exercise
from bench.machine.cpus import choose_cpus
from pyfnn import launch, losses
from pyfnn.manifest import Row
from pyfnn.texts import signal_name

_HOSTS = ("pyfnn.backends.c:", "pyfnn.backends.cuda:")
_CPU_SHARE = 0.1  # of the time limit of one reply: a claim's CPU time ends it within this
_ROOT = str(Path(__file__).parents[3])
_MAIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bench.check.library.child import main; sys.exit(main())"
_SILENT = "it prints nothing"


def is_library(row: Row) -> bool:
    """Return True if the row names a library behind fnn.h."""
    return row.library is not None or (row.host or "").startswith(_HOSTS)


LIBRARY = Topic("library", "A library", applies=is_library)


class Child:
    """The process that exercises a candidate's library. A context manager, which ends it."""

    def __init__(self, candidate: Candidate) -> None:
        loss = candidate.loss()
        output = losses.TABLE[loss].fuses or candidate.network().output_activation
        self._task = Task(
            str(candidate.row.manifest), candidate.row.name, candidate.activation(), str(output), loss,
            candidate.timeout, max(1.0, _CPU_SHARE * candidate.timeout),
        )  # fmt: skip
        self._process = subprocess.Popen(
            [*launch.command(choose_cpus(1)), sys.executable, "-c", _MAIN, _ROOT, json.dumps(asdict(self._task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def attempt(self, number: int) -> str:
        """Check the exercise of that number in the child; return its note, or raise `Failed`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Failed("the process that called the library ended")
        return self._judge(EXERCISES[number], Finding(**json.loads(line)))

    def _judge(self, exercise: Exercise, found: Finding) -> str:
        at = f" in {found.call}" if found.call else ""
        if found.signal == signal.SIGPROF:
            raise Failed(f"no end within {self._task.cpu_limit:g} s of CPU time{at}")
        if found.signal == signal.SIGALRM:
            raise Failed(f"no end within {self._task.wall_limit:g} s{at}")
        if found.signal:
            raise Failed(f"signal {signal_name(found.signal)}{at}", "a status, from a process that keeps running")
        if found.wrong:
            raise Failed(found.wrong)
        if found.absent:
            raise Skipped(found.absent)
        if exercise.text == _SILENT and found.printed:
            raise Failed(f"{found.printed} bytes on stdout or stderr")
        return found.note

    def close(self) -> None:
        """End the process."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def _attempt_of(number: int) -> Callable[[Candidate], str]:
    def attempt(candidate: Candidate) -> str:
        if not is_library(candidate.row):
            raise Skipped("no library behind fnn.h")
        return candidate.companion(LIBRARY.name, lambda: Child(candidate)).attempt(number)

    return attempt


for _number, _exercise in enumerate(EXERCISES):
    LIBRARY.claim(_exercise.text, _exercise.fix)(_attempt_of(_number))
