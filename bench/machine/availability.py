"""The availability of backends on this machine, tried in parallel within a time limit, and their OpenMP runtimes.

Each backend is tried in its own process, forked from one that has imported the common modules: python -m
bench.machine.availability MANIFEST=NAME ... prints a line of JSON a backend. Builds nothing, measures nothing.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Literal

from threadpoolctl import ThreadpoolController

from bench.machine import child
from pyfnn import programs, registry
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.manifest import Row

Here = Literal["available", "available, built at first use", "unavailable", "not tried"]


@dataclass(frozen=True)
class Availability:
    """The availability of one backend.

    Attributes
    ----------
    name : str
    here : str
        ``not tried`` if the time limit came first.
    reason, remedy : str
        Empty unless the backend is unavailable or was not tried.
    openmp : tuple of str
        The files of the OpenMP runtimes in the process of a backend that Python hosts.
    """

    name: str
    here: Here
    reason: str = ""
    remedy: str = ""
    openmp: tuple[str, ...] = ()


def try_all(rows: Sequence[Row], seconds: float) -> list[Availability]:
    """Try every row within a time limit in seconds; end all processes started.

    Returns
    -------
    list of Availability
        In the order of `rows`; ``not tried`` for backends without an answer at the time limit.
    """
    if not rows:
        return []
    words = [f"{row.manifest}={row.name}" for row in sorted(rows, key=_cost)]
    # One thread each: a process that has threads should not fork. The affinity stays as it is.
    process = subprocess.Popen(
        [*child.command("bench.machine.availability"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    why = f"no answer within {seconds:g} s"
    try:
        output, errors = process.communicate(timeout=seconds)
        if process.returncode:
            why = (errors.strip().splitlines() or [f"its process ended with status {process.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        _end(process)
        output, _ = process.communicate()
    except BaseException:
        _end(process)
        process.communicate()
        raise
    answers = {found.name: found for found in _answers(output)}
    return [answers.get(row.name, Availability(row.name, "not tried", why)) for row in rows]


def _cost(row: Row) -> int:
    """Return a row's rank in the order of trying: hosted backends first, then programs, then frameworks."""
    return 2 if row.division == "framework" else int(row.host is None)


def _end(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _answers(output: str) -> Iterator[Availability]:
    for line in output.splitlines():
        with suppress(ValueError, TypeError, KeyError):  # output of a library, or a truncated line
            fields = json.loads(line)
            yield Availability(**{**fields, "openmp": tuple(fields["openmp"])})


def attempt(row: Row) -> Availability:
    """Try one backend in this process."""
    try:
        here = availability_of(row)
    except BackendUnavailable as error:
        return Availability(row.name, "unavailable", error.reason, error.remedy or row.remedy)
    except PyfnnError as error:
        return Availability(row.name, "unavailable", str(error), row.remedy)
    return Availability(row.name, here, openmp=_openmp() if row.host is not None else ())


def availability_of(row: Row) -> Here:
    """Load a backend in this process and return its availability; what is not built yet is not loaded.

    Raises
    ------
    PyfnnError
        The backend is unavailable; the message has the reason.
    """
    if not programs.is_built(row):
        return "available, built at first use"
    registry.load(row)
    return "available"


def _openmp() -> tuple[str, ...]:
    found = ThreadpoolController().select(user_api="openmp").lib_controllers
    return tuple(sorted({str(Path(lib.filepath).resolve()) for lib in found}))


def _serve(rows: Iterable[Row]) -> None:
    """Try each row in a fork, one a CPU at a time (at least two); print each result as soon as it is known."""
    fork = multiprocessing.get_context("fork")
    waiting = deque(rows)
    running: dict[int, tuple[ForkProcess, Connection, Row]] = {}
    at_once = max(2, multiprocessing.cpu_count())
    while waiting or running:
        while waiting and len(running) < at_once:
            row = waiting.popleft()
            ours, theirs = fork.Pipe(duplex=False)
            process = fork.Process(target=_send, args=(row, theirs))
            process.start()
            theirs.close()
            running[process.sentinel] = (process, ours, row)
        for sentinel in wait(list(running)):
            assert isinstance(sentinel, int)
            process, ours, row = running.pop(sentinel)
            process.join()
            try:
                found = ours.recv()
            except EOFError:
                reason = f"trying it ended its process with status {process.exitcode}"
                found = Availability(row.name, "unavailable", reason, row.remedy)
            print(json.dumps(asdict(found)), flush=True)


def _send(row: Row, to: Connection) -> None:
    os.dup2(2, 1)  # a library's output on stdout would mix with the answers
    to.send(attempt(row))


def main() -> None:
    """Try the backends that the arguments name as MANIFEST=NAME."""
    chosen = [word.rpartition("=") for word in sys.argv[1:]]
    _serve(registry.find(name, [Path(manifest)]) for manifest, _, name in chosen)


if __name__ == "__main__":
    main()
