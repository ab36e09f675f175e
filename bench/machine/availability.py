"""Whether each backend can run here, tried side by side and within a time; and which runtimes its process holds.

Each is tried in a process of its own, forked from one that has imported what all need: python -m bench.availability
MANIFEST=NAME ... prints a line of JSON for each. Builds nothing, measures nothing.
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

from pyfnn import programs, registry
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.manifest import Row
from pyfnn.process import launch

Here = Literal["available", "available, built at first use", "unavailable", "not tried"]
_ROOT = str(Path(__file__).parents[2])
# It must be the one beside this file, whatever folder it starts in.
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bench.availability import main; main()"


@dataclass(frozen=True)
class Availability:
    """What came of a backend.

    Attributes
    ----------
    name : str
    here : str
        ``not tried`` where the time was up first.
    reason, remedy : str
        Of what is unavailable or was not tried.
    openmp : tuple of str
        The OpenMP runtimes in the process of a backend that Python hosts, by their files.
    """

    name: str
    here: Here
    reason: str = ""
    remedy: str = ""
    openmp: tuple[str, ...] = ()


def try_all(rows: Sequence[Row], seconds: float) -> list[Availability]:
    """Try every row; who has not answered after so many seconds is told as not tried. Whatever was started is ended."""
    if not rows:
        return []
    words = [f"{row.manifest}={row.name}" for row in sorted(rows, key=_cost)]
    # One thread each: a process that has threads should not fork. The affinity stays as it is.
    process = subprocess.Popen(
        [*launch.command(), sys.executable, "-c", _START, _ROOT, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    why = f"no answer within {seconds:g} s"
    try:
        said, complaint = process.communicate(timeout=seconds)
        if process.returncode:
            why = (complaint.strip().splitlines() or [f"its process ended with status {process.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        _end(process)
        said, _ = process.communicate()
    except BaseException:
        _end(process)
        process.communicate()
        raise
    answers = {tried.name: tried for tried in _answers(said)}
    return [answers.get(row.name, Availability(row.name, "not tried", why)) for row in rows]


def _cost(row: Row) -> int:
    """Who is tried first: what starts at once, then programs, then frameworks."""
    return 2 if row.division == "framework" else int(row.host is None)


def _end(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _answers(said: str) -> Iterator[Availability]:
    for line in said.splitlines():
        with suppress(ValueError, TypeError, KeyError):  # a library's stray words, or a line cut short
            fields = json.loads(line)
            yield Availability(**{**fields, "openmp": tuple(fields["openmp"])})


def attempt(row: Row) -> Availability:
    """Try one, in this process."""
    try:
        if row.host is None and not programs.is_built(row):
            return Availability(row.name, "available, built at first use")
        registry.load(row)
    except BackendUnavailable as error:
        return Availability(row.name, "unavailable", error.reason, error.remedy or row.remedy)
    except PyfnnError as error:
        return Availability(row.name, "unavailable", str(error), row.remedy)
    return Availability(row.name, "available", openmp=_openmp() if row.host is not None else ())


def _openmp() -> tuple[str, ...]:
    found = ThreadpoolController().select(user_api="openmp").lib_controllers
    return tuple(sorted({str(Path(lib.filepath).resolve()) for lib in found}))


def _serve(rows: Iterable[Row]) -> None:
    """Try each in a fork, a few at once; print what came of it as soon as it is known."""
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
                tried = ours.recv()
            except EOFError:
                reason = f"trying it ended its process with status {process.exitcode}"
                tried = Availability(row.name, "unavailable", reason, row.remedy)
            print(json.dumps(asdict(tried)), flush=True)


def _send(row: Row, to: Connection) -> None:
    os.dup2(2, 1)  # a library's stray words
    to.send(attempt(row))


def main() -> None:
    """Try those that the arguments name."""
    chosen = [word.rpartition("=") for word in sys.argv[1:]]
    _serve(registry.find(name, [Path(manifest)]) for manifest, _, name in chosen)


if __name__ == "__main__":
    main()
