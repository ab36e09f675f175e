"""The parent: `Worker` starts a worker process, of any language, sends it commands and ends it.

The child of a Python backend, which answers these commands, is `pyfnn.worker`. The harness decides when a worker runs
and when it is stopped.
"""

import math
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from types import TracebackType

from pyfnn import compiled, launch
from pyfnn.errors import BackendUnavailable, NoRoom, ProtocolError, WorkerDied, WorkerError, WorkerTimeout
from pyfnn.process import protocol
from pyfnn.process.protocol import error_from, whole_field
from pyfnn.process.tree import Tree, end_marked
from pyfnn.scratch import Scratch, in_memory
from pyfnn.texts import cleaned, signal_name
from pyfnn.validation import Array

DEFAULT_TIMEOUT = 120.0  # seconds
_STDERR_KEPT = 64 * 1024  # bytes, from the end
_LONGEST_REPLY = 1024 * 1024  # bytes
_PATIENCE = 2.0  # seconds from `quit` until the process is killed
_ENDING = 2.0  # seconds until a process that has closed its output must have ended
_LEAST_ROOM = 4096  # bytes; a disk with fewer is full
_MARK = "PYFNN_WORKDIR"  # in the environment of a worker and its descendants
_LAST_WORDS = 2000  # characters of stderr in a message, at most


def _environment() -> dict[str, str]:
    """Return the environment of a worker: on Linux, `native/scatter` gives its heap a layout of its own.

    `pyfnn.worker.scattered_heap` has the reason. A host of Python scatters its heap by itself too, on every system.
    """
    if sys.platform != "linux":
        return dict(os.environ)
    try:
        scatter = compiled.folder("pyfnn_scatter") / "libpyfnn_scatter.so"
    except BackendUnavailable:  # a source tree without compiled parts, which every backend that needs one reports
        return dict(os.environ)
    preloaded = filter(None, (str(scatter), os.environ.get("LD_PRELOAD")))
    return {**os.environ, "LD_PRELOAD": ":".join(preloaded)}


class Worker:
    """A process that speaks the worker protocol, with its pipes and its WORKDIR. A context manager, which closes it.

    Create it in a thread that outlives it: on Linux, the kernel kills the process when that thread ends.

    Parameters
    ----------
    command : sequence of str
        The command line, without its WORKDIR.
    cpus : sequence of int, optional
        CPUs on which the process may run; by default all.
    threads : int
        Number of threads, set for every known thread pool before the program starts.
    timeout : float
        Seconds to wait for a reply.
    greets : bool
        Wait for the answer to `hello`. Otherwise `greet` must be called before anything else; meanwhile other processes
        can be started.

    Attributes
    ----------
    description : Description
        The worker's answer to `hello`.
    startup_seconds : float
        From the launch to that answer.
    wall_seconds : float
        Duration of the last call, measured by the driver.
    cpu_seconds : float
        CPU time of the process and all its descendants within the last call; NaN where nobody asked for it.
    owner : object
        The model or ensemble that was loaded last.

    Raises
    ------
    WorkerError
        The process cannot be started, ends, or does not answer `hello` as the protocol requires.
    NoRoom
        The folder of temporary files takes no WORKDIR.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cpus: Sequence[int] = (),
        threads: int = 1,
        timeout: float = DEFAULT_TIMEOUT,
        greets: bool = True,
    ) -> None:
        environment = _environment()
        self.timeout = timeout
        self.startup_seconds = self._answered = math.nan
        self.wall_seconds = self.cpu_seconds = math.nan
        self.owner: object = None
        try:
            self._folder = Scratch(in_memory())
        except OSError as error:
            raise NoRoom(f"no WORKDIR can be made: {error.strerror or error}") from None
        self.workdir = self._folder.path
        self._stderr = bytearray()
        self._pending = bytearray()
        self._ended = False  # stdout
        self._unanswered: str | None = None  # the command whose reply has not arrived
        self._begun = time.perf_counter()
        try:
            self._start(command, cpus, threads, {**environment, _MARK: str(self.workdir)})
        except OSError as error:
            self._folder.close()
            raise WorkerError(f"{command[0]} cannot be started: {error}") from None
        self._selector = selectors.DefaultSelector()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)
        try:
            self._send("hello")
            if greets:
                self.greet()
        except BaseException:
            self.close()
            raise

    def greet(self) -> None:
        """Wait for the answer to `hello`, and keep it.

        Raises
        ------
        WorkerError
            The worker ends, or does not answer as the protocol requires.
        """
        reply = self._receive("hello", self.greeting_deadline)
        answered = time.perf_counter() if math.isnan(self._answered) else self._answered
        self.startup_seconds = answered - self._begun
        self.description = protocol.parse_description(self._fields_of(reply))

    @property
    def greeting_deadline(self) -> float:
        """The `time.perf_counter()` until which the worker may take to answer `hello`."""
        return self._begun + self.timeout

    def fileno(self) -> int:
        """Return a descriptor that is readable when the worker has written, so that several can be waited for."""
        return self._selector.fileno()

    def has_greeted(self) -> bool:
        """Read what the worker has written, and return True where `greet` need not wait.

        That is where the answer has come, or cannot come any more: the worker has closed its output, has written too
        much, or is late.
        """
        self._drain(0.0)
        over = self._ended or len(self._pending) > _LONGEST_REPLY or time.perf_counter() >= self.greeting_deadline
        if not (over or b"\n" in self._pending):
            return False
        if math.isnan(self._answered):
            self._answered = time.perf_counter()
        return True

    def _start(self, command: Sequence[str], cpus: Sequence[int], threads: int, environment: Mapping[str, str]) -> None:
        """Start the process; on Linux below a supervisor, which reports the process id through a pipe: see `tree`."""
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*launch.command(cpus, threads, writing), *command, str(self.workdir)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                pass_fds=[writing] if launch.SUPERVISES else [],
                start_new_session=True,  # so that Ctrl-C reaches the driver alone
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._report = os.fdopen(reading, "rb")

    @cached_property
    def tree(self) -> Tree:
        """The process and its descendants. The first use waits until the supervisor has started the process."""
        pid = int(self._report.readline() or 0)  # 0 where the launcher ended before the report
        return Tree(pid, self._process.pid) if launch.SUPERVISES else Tree(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id; the process leads its own process group."""
        return self.tree.worker

    @property
    def stderr(self) -> str:
        """Last 64 KiB that the process wrote to stderr."""
        return self._stderr.decode("utf-8", errors="replace")

    def call(self, *words: object, timeout: float | None = None, accounts: bool = False) -> dict[str, str]:
        """Send one command, wait for its reply, and return the reply's fields.

        Parameters
        ----------
        words : object
            The command and its arguments.
        timeout : float, optional
            Seconds to wait; by default the worker's `timeout`.
        accounts : bool
            Set `cpu_seconds`. The driver then reads the clocks of all processes before and after the wall time, in
            65 µs each time (Xeon, one process of one thread), where the round trip of a call takes 20 µs.

        Raises
        ------
        Diverged, Unsupported, InvalidInput, BackendUnavailable, PyfnnError
            The worker answered `error`; its `kind` selects the exception.
        WorkerDied, WorkerTimeout, ProtocolError
            The worker ended, did not reply in time, or replied with something else. It cannot be used any more, since a
            late reply would be mistaken for the reply to another command.
        """
        line = " ".join(map(str, words))
        self._check_in_step(line)
        before = self.tree.cpu_time() if accounts else None
        start = time.perf_counter()
        self._send(line)
        reply = self._receive(line, start + (self.timeout if timeout is None else timeout))
        self.wall_seconds = time.perf_counter() - start
        self.cpu_seconds = math.nan if before is None else self.tree.cpu_time().since(before)
        return self._fields_of(reply)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._unanswered = line
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # no such process, a broken pipe, or a closed one
            raise self._died(line) from None

    def _receive(self, line: str, deadline: float) -> str:
        """Return the reply to a command."""
        reply = self._read_line(line, deadline)
        self._unanswered = None
        return reply

    def _fields_of(self, reply: str) -> dict[str, str]:
        """Return the fields of a reply; raise the exception that an error reply selects."""
        status, fields = protocol.parse_reply(reply)
        if status == "error":
            self._require_room()
            raise error_from(fields)
        return fields

    def _require_room(self) -> None:
        """Raise `NoRoom` where the disk of WORKDIR is full: an error of the worker is then the machine's."""
        with suppress(OSError):
            if shutil.disk_usage(self.workdir).free < _LEAST_ROOM:
                raise NoRoom(f"the disk of {self.workdir} is full: make room, or set TMPDIR to a folder that has some")

    def hand_over(self, command: str, setup: protocol.Setup, arrays: Mapping[str, Array]) -> int:
        """Write network.txt and the arrays into WORKDIR, and send the command that reads them.

        Parameters
        ----------
        command : {"init", "init_many"}
        setup : Setup
        arrays : dict of str to ndarray
            The arrays by file name.

        Returns
        -------
        int
            Number of threads that the worker will use.

        Raises
        ------
        WorkerError, NoRoom
            The files cannot be written; or as `call`.
        """
        try:
            (self.workdir / protocol.NETWORK).write_text(protocol.format_setup(setup), encoding="utf-8")
            for name, array in arrays.items():
                protocol.write_array(self.workdir / name, array)
        except OSError as error:
            raise protocol.cannot_write(self.workdir, error) from None
        return whole_field(self.call(command), "threads")

    def _check_in_step(self, command: str) -> None:
        """Raise an error unless the next line that the worker writes can only be the reply to this command."""
        if self._process.poll() is not None:
            raise self._died(command)
        if self._unanswered is not None:
            raise WorkerError(f"the worker still owes the reply to {self._unanswered!r}; {command!r} was not sent")
        self._drain(0)
        if self._pending:
            raise ProtocolError(f"unexpected output before {command!r}: {bytes(self._pending[:100])!r}")

    def _read_line(self, command: str, deadline: float) -> str:
        while (end := self._pending.find(b"\n")) < 0:
            if len(self._pending) > _LONGEST_REPLY:
                raise ProtocolError(f"no end of line in {_LONGEST_REPLY} bytes of reply to {command!r}")
            if self._ended:
                raise self._died(command)
            remaining = deadline - time.perf_counter()
            self._drain(max(0.0, remaining))  # a reply that came in time counts, though it is read late
            if remaining <= 0 and not self._ended and b"\n" not in self._pending:
                raise WorkerTimeout(f"no reply to {command!r} in time{self._last_words()}")
        line = self._pending[:end]
        del self._pending[: end + 1]
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError(f"the reply to {command!r} is not UTF-8: {bytes(line[:100])!r}") from None

    def _drain(self, timeout: float) -> None:
        """Wait for output and store it."""
        for key, _ in self._selector.select(timeout):
            data = os.read(key.fd, 65536)
            if not data:
                self._selector.unregister(key.fileobj)
                self._ended = self._ended or key.fileobj is self._process.stdout
            elif key.fileobj is self._process.stdout:
                self._pending += data
            else:
                self._stderr = (self._stderr + data)[-_STDERR_KEPT:]

    def _died(self, command: str) -> WorkerDied:
        try:
            code = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return WorkerDied(f"closed its output at {command!r} without ending{self._last_words()}")
        self._drain_rest()
        how = f"exit status {code}"
        if code < 0:
            how = f"signal {signal_name(-code)}"
            if -code == signal.SIGILL:
                how += ": an instruction this CPU does not have; was it compiled for another one?"
        return WorkerDied(f"ended at {command!r} with {how}{self._last_words()}")

    def _drain_rest(self) -> None:
        for _ in range(64):  # bounded, since a child of the worker may still run and write
            if self._selector.get_map():
                self._drain(0)

    def _last_words(self) -> str:
        lines = cleaned(self.stderr.strip()[-_LAST_WORDS:]).splitlines()
        return f"; its last words: {' | '.join(lines[-3:])}" if lines else ""

    def signal_tree(self, number: signal.Signals) -> None:
        """Send a signal to the process and all its descendants, in other groups too; do nothing where it has ended.

        After SIGSTOP, return when all have stopped.
        """
        if self._process.poll() is not None:  # its process id may belong to another process
            return
        if number == signal.SIGSTOP:
            self.tree.stop()
        else:
            self.tree.signal(number)

    def close(self) -> None:
        """End the process and all its descendants, and remove its WORKDIR. A second call does nothing.

        The process receives `quit` and is killed if it does not end within 2 s. One that is still starting is killed at
        once.
        """
        if self._process.poll() is None and not math.isnan(self.startup_seconds):
            self.signal_tree(signal.SIGCONT)
            self._ask_to_quit()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
        self._end_tree()
        self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr, self._report):
            if pipe is not None:
                with suppress(BrokenPipeError):  # an unread command is in the pipe
                    pipe.close()
        self._folder.close()

    def _end_tree(self) -> None:
        """Kill what is left of the descendants, since they would disturb the next measurement.

        A supervisor that has ended has left none, unless it was killed.
        """
        if launch.SUPERVISES:
            for number in (signal.SIGTERM, signal.SIGCONT):
                self._process.send_signal(number)  # nothing where it has ended
            if (self._process.returncode or 0) < 0:
                end_marked(f"{_MARK}={self.workdir}")
            return
        self.signal_tree(signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _ask_to_quit(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # the process has ended, or has closed its input
            self._process.stdin.write(b"quit\n")
            self._process.stdin.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
