"""The engine on this machine: a process on every CPU, each with one thread and one batch of cells at a time.

A process that dies loses its batch alone, because no two share a queue. All end with their parent, however it ends.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType

from bench.experiments.engine.deal import Deal
from bench.experiments.engine.origin import Origin
from bench.experiments.engine.work import Outcome, Task, work
from bench.machine.cpus import all_threads
from pyfnn import launch
from pyfnn.texts import signal_name

_ENDS_WITHIN = 5.0  # seconds; a process ends milliseconds after its connection


class Pool:
    """Processes on this machine. A context manager, whose end ends them.

    Parameters
    ----------
    name : str
        Of the function that computes a cell, as `name_of` returns it.
    origin : mapping
        Of that function.
    workers : int, optional
        Number of processes; by default that of the CPUs which this process may use.
    """

    tries = 3  # of a cell that is alone with its process, before the end of the process is the cell's failure

    def __init__(self, name: str, origin: Origin, workers: int | None = None) -> None:
        self._name, self._origin = name, origin
        self.workers = workers or all_threads()
        self._processes: list[_Process] = []

    @property
    def description(self) -> str:
        """The engine for readers."""
        return f"{self.workers} process{'es' * (self.workers != 1)} on this machine"

    def run(self, deal: Deal) -> Iterator[list[Outcome]]:
        """Compute all cells of a deal; yield their outcomes as they come, after new batches were handed out."""
        found = list[Outcome]()
        while True:
            for process in self._processes:
                if deal and not process.batch:
                    process.send(deal.take(self.workers))
            if found:
                yield found
            busy = [process for process in self._processes if process.batch]
            if not busy:
                return
            ready = wait([process.connection for process in busy])
            ended = [process for process in busy if process.connection in ready]
            found = [outcome for process in ended for outcome in self._collect(process, deal)]

    def _collect(self, process: "_Process", deal: Deal) -> list[Outcome]:
        """Return the outcomes of a process that has answered; put another in the place of one that has died."""
        batch, process.batch = process.batch, ()
        try:
            outcomes = process.receive()
        except EOFError:
            self._processes.remove(process)
            self._start()
            return deal.lost(batch, process.died())
        deal.done(outcomes)
        return outcomes

    def _start(self) -> None:
        with environment(dict.fromkeys(launch.THREAD_VARIABLES, "1")):
            self._processes.append(_Process(self._name, self._origin))

    def __enter__(self) -> "Pool":
        for _ in range(self.workers):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._processes:
            self._processes.pop().kill()


class _Process:
    """A process and its connection; `batch` is what it computes now."""

    def __init__(self, name: str, origin: Origin) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads and locks of libraries
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, os.getpid(), name, origin), daemon=True)
        self._process.start()
        theirs.close()
        self.batch: Sequence[Task] = ()

    def send(self, batch: Sequence[Task]) -> None:
        """Hand a batch to the process; where it is dead, `receive` says so."""
        self.batch = batch
        with suppress(OSError):
            self.connection.send(batch)

    def receive(self) -> list[Outcome]:
        """Return the outcomes of the batch.

        Raises
        ------
        EOFError
            The process has died.
        Skew
            It has other code than this process.
        """
        try:
            answer: list[Outcome] | Exception = self.connection.recv()
        except OSError as error:  # the connection was reset
            raise EOFError from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def died(self) -> str:
        """Return how a process ended whose connection has: the name of a signal, or the exit status."""
        self._process.join(_ENDS_WITHIN)
        code = self._process.exitcode
        self.kill()
        if code is None:
            return "it closed its connection"
        return signal_name(-code) if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self.connection.close()


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _serve(connection: Connection, parent: int, name: str, origin: Origin) -> None:
    """Compute batches until the connection or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which decides
    launch.die_with(parent, signal.SIGKILL)
    with suppress(EOFError, OSError):
        while True:
            batch = connection.recv()
            try:
                answer: list[Outcome] | Exception = work(name, origin, batch)
            except Exception as error:  # noqa: BLE001 (raised again in the parent)
                answer = error
            connection.send(answer)
