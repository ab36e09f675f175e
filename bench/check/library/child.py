"""Child process of the kit that exercises a library: `serve` forks for each claim, so a crash ends only that claim.

It reads the number of a claim a line from stdin, and answers one line of JSON each.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.check.library.calls import Absent, Wrong, open_library
from bench.check.library.many import MANY
from bench.check.library.models import MODELS
from bench.check.library.refusals import REFUSALS
from pyfnn import registry
from pyfnn.backends.c import Library
from pyfnn.errors import PyfnnError

EXERCISES = (*REFUSALS, *MODELS, *MANY)


@dataclass(frozen=True)
class Task:
    """Configuration of the child: the backend, functions that it has, and time limits in seconds of one claim."""

    manifest: str
    name: str
    activation: str
    output: str
    loss: str
    wall_limit: float
    cpu_limit: float


@dataclass(frozen=True)
class Finding:
    """Outcome of one exercise.

    Attributes
    ----------
    note : str
    absent : str
        Optional functions that the library lacks; "" if it has them.
    wrong : str
        The fault; "" if there is none.
    call : str
        The last call that was made.
    printed : int
        Bytes that the library wrote to stdout and stderr.
    signal : int
        The signal that ended the process, or 0.
    status : int
        Its exit status.
    """

    note: str
    absent: str
    wrong: str
    call: str
    printed: int
    signal: int
    status: int


def _exercise(task: Task, number: int, report: int) -> None:
    """Run one exercise in this process, a fork, and write its outcome to `report`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, task.cpu_limit)  # SIGPROF and SIGALRM end the process inside native code, too
    signal.setitimer(signal.ITIMER_REAL, task.wall_limit)
    try:
        backend = registry.load(registry.find(task.name, [Path(task.manifest)]))
        assert isinstance(backend, Library)
        subject = open_library(backend, task.activation, task.output, task.loss, report)
        found = {"note": EXERCISES[number].attempt(subject) or ""}
    except Absent as error:
        found = {"absent": str(error)}
    except (Wrong, PyfnnError) as error:
        found = {"wrong": str(error)}
    except Exception as error:  # noqa: BLE001 - for instance text that is not UTF-8
        found = {"wrong": f"{type(error).__name__}: {error}"}
    ctypes.CDLL(None).fflush(None)
    os.write(report, f"end {json.dumps(found)}\n".encode())


def _attempt(task: Task, number: int) -> Finding:
    read, write = os.pipe()
    with tempfile.TemporaryFile() as output:
        process = os.fork()
        if process == 0:
            try:
                os.close(read)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                _exercise(task, number, write)
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as lines:
            written = lines.read().splitlines()
        _, ended = os.waitpid(process, 0)
        printed = os.fstat(output.fileno()).st_size
    calls = [line.removeprefix("call ") for line in written if line.startswith("call ")]
    ends = [json.loads(line.removeprefix("end ")) for line in written if line.startswith("end ")]
    found = ends[-1] if ends else {}
    number_of_signal = os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0
    status = os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 0
    if not ends and not number_of_signal:
        found = {"wrong": f"the library ended the process with exit status {status}"}
    note, absent, wrong = (found.get(name, "") for name in ("note", "absent", "wrong"))
    return Finding(note, absent, wrong, calls[-1] if calls else "", printed, number_of_signal, status)


def main() -> int:
    """Answer numbers of claims until the end of input; return the exit status."""
    task = Task(**json.loads(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(asdict(_attempt(task, int(line)))), flush=True)
    return 0
