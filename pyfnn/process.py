"""A Model or Ensemble whose other end is a process speaking the worker protocol; starting, asking and ending such one.

Scheduling (who runs when, who is stopped meanwhile) is the harness's business.
"""

import math
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import numpy as np
import psutil
from numpy.typing import NDArray

from pyfnn import launch, programs, protocol
from pyfnn.backend import Backend, Description, Model, Operation, check_support
from pyfnn.boundary import Array, Order
from pyfnn.ensemble import Ensemble, summed
from pyfnn.errors import (
    BackendUnavailable,
    BuildFailed,
    Diverged,
    InvalidInput,
    ProtocolError,
    PyfnnError,
    Unsupported,
    WorkerDied,
    WorkerError,
    WorkerTimeout,
)
from pyfnn.manifest import PACKAGE, Row
from pyfnn.network import Network

DEFAULT_TIMEOUT = 120.0  # seconds a reply may take where the caller knows no better
_LINUX = sys.platform.startswith("linux")
_STDERR_KEPT = 64 * 1024
_LONGEST_REPLY = 1024 * 1024
_PATIENCE = 2.0  # seconds between asking a worker to quit and making it


def command_of(row: Row) -> list[str]:
    """The command line, less its WORKDIR, that speaks the protocol for a row.

    Raises
    ------
    BackendUnavailable
        A program whose toolchain is absent, or that did not build.
    """
    if row.host is not None:
        return [sys.executable, "-c", _HOST, str(PACKAGE.parent), "--backend", str(row.manifest), row.name]
    built = programs.build(row)
    command = [programs.fill_in(word, row.folder, built.folder) for word in shlex.split(str(row.run))]
    if shutil.which(command[0]) is None:
        raise BackendUnavailable(f"{command[0]} is not on PATH", row.remedy)
    return command


# The worker must import the very pyfnn that we are, whatever folder it starts in.
_HOST = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pyfnn.worker import main; sys.exit(main())"


class Worker:
    """A process speaking the protocol: its pipes, its WORKDIR, its end. A context manager.

    Make it in a thread that outlives it: on Linux, it is killed when that thread ends.

    Parameters
    ----------
    command : sequence of str
        The command line, less its WORKDIR.
    cpus : sequence of int, optional
        The CPUs it may run on; all, if not given.
    threads : int
        Told to every thread pool before the program starts.
    timeout : float
        Seconds a reply may take.

    Attributes
    ----------
    description : Description
        What it answered to `hello`.
    startup_seconds : float
        From the launch to that answer.
    wall_seconds : float
        How long the last call took, as seen from here.
    cpu_seconds : float
        CPU time of the process, all its threads, within those; children do not count.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cpus: Sequence[int] = (),
        threads: int = 1,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.timeout = timeout
        self.wall_seconds = self.cpu_seconds = math.nan
        self.owner: object = None  # whose network it holds
        self._folder = tempfile.TemporaryDirectory(prefix="pyfnn-", ignore_cleanup_errors=True)
        self.workdir = Path(self._folder.name)
        self._stderr = bytearray()
        self._pending = bytearray()
        self._owed: str | None = None  # the command whose reply has not come yet
        launcher = [sys.executable, "-I", "-S", launch.__file__]
        setting = [str(os.getpid()), ",".join(map(str, cpus)), str(threads)]
        start = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                [*launcher, *setting, *command, str(self.workdir)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in a terminal is the driver's; and the group can be stopped as one
            )
        except OSError as error:
            self._folder.cleanup()
            raise WorkerError(f"{command[0]} cannot be started: {error}") from None
        self._selector = selectors.DefaultSelector()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)
        try:
            self.description = protocol.parse_description(self.call("hello"))
        except BaseException:
            self.close()
            raise
        self.startup_seconds = time.perf_counter() - start

    @property
    def pid(self) -> int:
        """Of the process, which leads its own process group."""
        return self._process.pid

    @property
    def stderr(self) -> str:
        """The end of what it wrote to stderr."""
        return self._stderr.decode("utf-8", errors="replace")

    def call(self, *words: object, timeout: float | None = None) -> dict[str, str]:
        """Send one command, wait for its reply, return the reply's fields.

        Raises
        ------
        Diverged, Unsupported, InvalidInput, BackendUnavailable, PyfnnError
            The worker answered `error`; which, by its `kind`.
        WorkerDied, WorkerTimeout, ProtocolError
            It ended, was silent for longer than the timeout, or answered something else. Of no use after that: a late
            reply would be taken for that to another command.
        """
        line = " ".join(map(str, words))
        assert self._process.stdin is not None
        self._check_in_step(line)
        self._owed = line
        try:
            start, cpu = time.perf_counter(), self._cpu_clock()
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # no such process; a broken pipe; a closed one
            raise self._died(line) from None
        reply = self._read_line(line, start + (self.timeout if timeout is None else timeout))
        self._owed = None
        self.cpu_seconds = self._cpu_clock() - cpu
        self.wall_seconds = time.perf_counter() - start
        status, fields = protocol.parse_reply(reply)
        if status == "error":
            raise _error(fields)
        return fields

    def hand_over(self, command: str, setup: protocol.Setup, arrays: Mapping[str, Array]) -> int:
        """Write network.txt and these files, and have `command` read them; how many threads it will use."""
        try:
            (self.workdir / protocol.NETWORK).write_text(protocol.format_setup(setup), encoding="utf-8")
            for name, array in arrays.items():
                protocol.write_array(self.workdir / name, array)
        except OSError as error:
            raise WorkerError(f"its WORKDIR {self.workdir} takes no data: {error.strerror}") from None
        return _whole(self.call(command), "threads")

    def _check_in_step(self, command: str) -> None:
        """The reply to read next must be the one to this command."""
        if self._process.poll() is not None:
            raise self._died(command)
        if self._owed is not None:
            raise WorkerError(f"the worker still owes the reply to {self._owed!r}; {command!r} was not sent")
        self._drain(0)
        if self._pending:
            raise ProtocolError(f"output that nobody asked for, before {command!r}: {bytes(self._pending[:100])!r}")

    def _cpu_clock(self) -> float:
        """CPU time of the process so far. On Linux by its own CPU clock, in ns; elsewhere in ticks."""
        if _LINUX:
            return time.clock_gettime(~self.pid << 3 | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error as error:
            raise WorkerDied(f"its CPU time cannot be read: {error}") from None
        return float(times.user + times.system)

    def _read_line(self, command: str, deadline: float) -> str:
        while (end := self._pending.find(b"\n")) < 0:
            if len(self._pending) > _LONGEST_REPLY:
                raise ProtocolError(f"no end of line in {_LONGEST_REPLY} bytes of reply to {command!r}")
            remaining = deadline - time.perf_counter()
            if remaining <= 0:
                raise WorkerTimeout(f"no reply to {command!r} in time{self._last_words()}")
            if not self._drain(remaining):
                raise self._died(command)
        line = self._pending[:end]
        del self._pending[: end + 1]
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError(f"the reply to {command!r} is not UTF-8: {bytes(line[:100])!r}") from None

    def _drain(self, timeout: float) -> bool:
        """Wait for output and take it in; False where stdout has ended."""
        going = True
        for key, _ in self._selector.select(timeout):
            data = os.read(key.fd, 65536)
            if not data:
                self._selector.unregister(key.fileobj)
                going = going and key.fileobj is not self._process.stdout
            elif key.fileobj is self._process.stdout:
                self._pending += data
            else:
                self._stderr = (self._stderr + data)[-_STDERR_KEPT:]
        return going

    def _died(self, command: str) -> WorkerDied:
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return WorkerDied(f"closed its output at {command!r} without ending{self._last_words()}")
        self._drain_rest()
        how = f"exit status {code}"
        if code < 0:
            how = f"signal {signal.Signals(-code).name}"
            if -code == signal.SIGILL:
                how += ": an instruction this CPU does not have; was it compiled for another one?"
        return WorkerDied(f"ended at {command!r} with {how}{self._last_words()}")

    def _drain_rest(self) -> None:
        for _ in range(64):  # a child of its own may live on and write on
            if self._selector.get_map():
                self._drain(0)

    def _last_words(self) -> str:
        lines = self.stderr.strip().splitlines()
        return f"; its last words: {' | '.join(lines[-3:])}" if lines else ""

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children; nothing where it has ended."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def close(self) -> None:
        """End the process, gently if it listens, and its children; remove its WORKDIR. Twice is fine."""
        if self._process.poll() is None:
            self.signal_group(signal.SIGCONT)
            self._ask_to_quit()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
        self.signal_group(signal.SIGKILL)  # children too, which would disturb whoever is measured next
        self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a command was still on its way to it
                    pipe.close()
        self._folder.cleanup()

    def _ask_to_quit(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # it has ended, or closed its input
            self._process.stdin.write(b"quit\n")
            self._process.stdin.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _error(fields: dict[str, str]) -> PyfnnError:
    message = fields.get("message", "an error without a message")
    kind = fields.get("kind")
    if kind == "unavailable":
        return BackendUnavailable(message, fields.get("remedy", ""))
    if kind == "build_failed":
        return BuildFailed(message, fields.get("remedy", ""))
    kinds: dict[str | None, type[PyfnnError]] = {
        "diverged": Diverged,
        "unsupported": Unsupported,
        "invalid": InvalidInput,
    }
    return kinds.get(kind, PyfnnError)(message)


class ProcessModel(Model):
    """A model at the other end of a `Worker`. The worker holds the model that was loaded last.

    Loading starts the worker over at the θ given here; once training has moved θ, `load` wants a `reset` before it.

    Parameters
    ----------
    worker : Worker
    network, theta, threads
        As for any `Model`.
    owns_worker : bool
        Whether closing the model ends the process.

    Attributes
    ----------
    call_wall_seconds, call_cpu_seconds : float
        What the last `train` or `time` took as seen from here: never less than what the worker may claim.
    """

    def __init__(
        self, worker: Worker, network: Network, theta: Array, threads: int = 1, *, owns_worker: bool = False
    ) -> None:
        super().__init__(network, theta, threads)
        check_support(worker.description, network)
        self._worker, self._owns_worker = worker, owns_worker
        self._asked = threads
        self._initial: Array = theta.copy()
        self._moved = False  # θ, from the one given
        self.call_wall_seconds = self.call_cpu_seconds = math.nan

    def _load(self, x: Array, y: Array, order: Order) -> None:
        if self._moved:
            raise PyfnnError("theta has moved, and loading would start the worker over: call reset first")
        setup = protocol.Setup(self.network, len(x), len(order), self._asked)
        arrays = {protocol.THETA: self._initial, protocol.X: x, protocol.Y: y, protocol.ORDER: order}
        self.threads = self._worker.hand_over("init", setup, arrays)
        self._worker.owner = self

    def _ask(self, *words: object) -> dict[str, str]:
        if self._worker.owner is not self:
            raise PyfnnError("this model's worker has been loaded with another model since")
        return self._worker.call(*words)

    def _result(self, name: str, shape: tuple[int, ...]) -> Array:
        return protocol.read_array(self._worker.workdir / name, shape, self.network.dtype)

    def _forward(self, first: int, count: int) -> Array:
        self._ask("forward", first, count)
        return self._result(protocol.OUTPUTS, (count, self.network.sizes[-1]))

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        reply = self._ask("gradient", first, count)
        return _number(reply, "loss"), self._result(protocol.GRADIENT, (self.network.n_parameters,))

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        self._moved = True
        reply = self._ask("train", first, count, batch_size, repr(learning_rate))
        self._note_cost(reply)
        return _seconds(reply)

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]:
        reply = self._ask("time", operation, first, count, repeats)
        self._note_cost(reply)
        return _seconds(reply), _number(reply, "checksum")

    def _note_cost(self, reply: dict[str, str]) -> None:
        self.device_seconds = _device_seconds(reply)
        self.call_wall_seconds, self.call_cpu_seconds = self._worker.wall_seconds, self._worker.cpu_seconds

    def _theta(self) -> Array:
        if self._n_rows == 0:
            return np.array(self._initial)
        self._ask("theta")
        return self._result(protocol.THETA_OUT, (self.network.n_parameters,))

    def _reset(self) -> None:
        if self._n_rows > 0:
            self._ask("reset")
        self._moved = False

    def _close(self) -> None:
        if self._owns_worker:
            self._worker.close()


class ProcessEnsemble(Ensemble):
    """Many networks at the other end of a `Worker`; as `ProcessModel`. Make it with `ensemble`.

    Attributes
    ----------
    call_wall_seconds, call_cpu_seconds : float
        What the last `train` took as seen from here.
    """

    rounds_between_calls: ClassVar[bool] = False
    """Whether θ is rounded to the network's dtype between calls, whatever the worker computes in."""

    def __init__(
        self,
        worker: Worker,
        network: Network,
        thetas: Array,
        l2: NDArray[np.float64] | None = None,
        threads: int = 1,
        *,
        owns_worker: bool = False,
    ) -> None:
        super().__init__(network, thetas, l2, threads)
        check_support(worker.description, network)
        self._worker, self._owns_worker = worker, owns_worker
        self._asked = threads
        self._initial: Array = thetas.copy()
        self._moved = False
        self.call_wall_seconds = self.call_cpu_seconds = math.nan

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        if self._moved:
            raise PyfnnError("theta has moved, and loading would start the worker over: call reset first")
        setup = protocol.Setup(self.network, len(x), orders.shape[1], self._asked, self.members)
        arrays = {protocol.THETA: self._initial, protocol.X: x, protocol.Y: y, protocol.ORDER: orders}
        self.threads = self._worker.hand_over("init_many", setup, {**arrays, protocol.L2: self.l2})
        self._worker.owner = self

    def _ask(self, *words: object) -> dict[str, str]:
        if self._worker.owner is not self:
            raise PyfnnError("this ensemble's worker has been loaded with another model since")
        return self._worker.call(*words)

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        self._moved = True
        protocol.write_array(self._worker.workdir / protocol.RATES, learning_rates)
        reply = self._ask("train_many", first, count, batch_size)
        self.device_seconds = _device_seconds(reply)
        self.call_wall_seconds, self.call_cpu_seconds = self._worker.wall_seconds, self._worker.cpu_seconds
        return _seconds(reply)

    def _thetas(self) -> Array:
        if self._n_rows == 0:
            return np.array(self._initial)
        self._ask("theta")
        return protocol.read_array(self._worker.workdir / protocol.THETA_OUT, self._initial.shape, self.network.dtype)

    def _reset(self) -> None:
        if self._n_rows > 0:
            self._ask("reset")
        self._moved = False

    def _close(self) -> None:
        if self._owns_worker:
            self._worker.close()


class MemberByMember(ProcessEnsemble):
    """Many networks at the other end of a `Worker` that knows of one only: one after the other, an `init` for each.

    θ is kept here between calls, and so in the network's dtype. Seconds, as those seen from here, are sums over the
    training alone.
    """

    rounds_between_calls: ClassVar[bool] = True

    def __init__(
        self,
        worker: Worker,
        network: Network,
        thetas: Array,
        l2: NDArray[np.float64] | None = None,
        threads: int = 1,
        *,
        owns_worker: bool = False,
    ) -> None:
        super().__init__(worker, network, thetas, l2, threads, owns_worker=owns_worker)
        self._now = thetas.copy()

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        self._data, self._orders = (x.copy(), y.copy()), orders.copy()
        self._start(0, 0, 1)

    def _start(self, member: int, first: int, count: int) -> None:
        """The worker holds this member, where it has come to, with this stretch of its order alone."""
        network = replace(self.network, l2=float(self.l2[member]))
        order, (x, y) = self._orders[member, first : first + count], self._data
        arrays = {protocol.THETA: self._now[member], protocol.X: x, protocol.Y: y, protocol.ORDER: order}
        self.threads = self._worker.hand_over("init", protocol.Setup(network, len(x), count, self._asked), arrays)
        self._worker.owner = self

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        seconds = wall = cpu = 0.0
        spans: list[float | None] = []
        for member, rate in enumerate(learning_rates.tolist()):
            if not np.isfinite(self._now[member]).all():
                continue  # it diverged before, and stays so
            self._start(member, first, count)
            try:
                reply = self._ask("train", 0, count, batch_size, repr(rate))
            except Diverged:  # which `train` says of all members at once, when the others have had their turn
                self._now[member] = np.nan
                continue
            seconds += _seconds(reply)
            spans.append(_device_seconds(reply))
            wall, cpu = wall + self._worker.wall_seconds, cpu + self._worker.cpu_seconds
            self._ask("theta")
            path = self._worker.workdir / protocol.THETA_OUT
            self._now[member] = protocol.read_array(path, self._now[member].shape, self.network.dtype)
        self.call_wall_seconds, self.call_cpu_seconds = wall, cpu
        self.device_seconds = summed(spans) if spans else None
        return seconds

    def _thetas(self) -> Array:
        return np.array(self._now)

    def _reset(self) -> None:
        self._now = self._initial.copy()


def ensemble(
    worker: Worker,
    network: Network,
    thetas: Array,
    l2: NDArray[np.float64] | None = None,
    threads: int = 1,
    *,
    owns_worker: bool = False,
) -> ProcessEnsemble:
    """Many networks at the other end of a worker: by one call where it says `many`, else one after the other."""
    cls = ProcessEnsemble if worker.description.many else MemberByMember
    return cls(worker, network, thetas, l2, threads, owns_worker=owns_worker)


def _number(fields: dict[str, str], key: str) -> float:
    try:
        return float(fields[key])
    except KeyError:
        raise ProtocolError(f"the reply lacks {key}") from None
    except ValueError:
        raise ProtocolError(f"{key}={fields[key]} is no number") from None


def _whole(fields: dict[str, str], key: str) -> int:
    value = _number(fields, key)
    if not value.is_integer() or value < 1:
        raise ProtocolError(f"{key}={fields[key]}: must be a whole number, at least 1")
    return int(value)


def _seconds(fields: dict[str, str], key: str = "seconds") -> float:
    value = _number(fields, key)
    if not 0 <= value < math.inf:
        raise ProtocolError(f"{key}={fields[key]}: must be finite and not negative")
    return value


def _device_seconds(fields: dict[str, str]) -> float | None:
    return _seconds(fields, "device_seconds") if "device_seconds" in fields else None


class ProgramBackend(Backend):
    """A backend that is a program: every model gets a process of its own.

    Parameters
    ----------
    row : Row
        With a `run` line.
    """

    def __init__(self, row: Row) -> None:
        self._command = command_of(row)
        with Worker(self._command) as worker:
            self._description = worker.description

    @property
    def description(self) -> Description:
        """What the program answers to `hello`."""
        return self._description

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        with _closed_if_it_fails(Worker(self._command, threads=threads)) as worker:
            return ProcessModel(worker, network, theta, threads, owns_worker=True)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        with _closed_if_it_fails(Worker(self._command, threads=threads)) as worker:
            return ensemble(worker, network, thetas, l2, threads, owns_worker=True)


@contextmanager
def _closed_if_it_fails(worker: Worker) -> Iterator[Worker]:
    try:
        yield worker
    except BaseException:
        worker.close()
        raise
