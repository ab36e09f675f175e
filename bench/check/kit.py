"""The parts of every check: claims, topics, outcomes, and the candidate (a manifest's row and processes running it).

The claims themselves are in the modules beside this one, one module a topic or two.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.machine.cpus import choose_cpus
from bench.measure.session import Session
from bench.suites.problem import Problem
from bench.suites.suite import CaseKey, Workload
from bench.terms import CaseOperation
from pyfnn import activations, launch, losses, parity
from pyfnn.backend import Description
from pyfnn.errors import PyfnnError, Unsupported, WorkerError
from pyfnn.manifest import Row
from pyfnn.network import Network, initialize
from pyfnn.process import protocol
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.scratch import Scratch
from pyfnn.validation import Array

Result = Literal["pass", "FAIL", "skipped", "pyfnn"]
PREFERRED = ("tanh", "relu", "sigmoid", "identity")  # activations of the exercises, in order of preference
_PATIENCE = 3.0  # seconds for the reply to a command that needs no computation, such as a refused one
_ANSWERED = "answered by pyfnn's host, not by the library or class"
_STARTS = 3.0  # a whole transcript may take this many times the start-up time, on top of _PATIENCE


class Failed(Exception):
    """A claim does not hold.

    Parameters
    ----------
    seen : str
        The candidate's behaviour.
    expected : str, optional
        The behaviour that the contract asks for, if the claim's own text is not enough.
    fix : str, optional
        Advice on the fix, if it is more specific than the claim's own.
    """

    def __init__(self, seen: str, expected: str = "", fix: str = "") -> None:
        super().__init__(seen)
        self.seen, self.expected, self.fix = seen, expected, fix


class Skipped(Exception):
    """A claim does not apply to this candidate; the message gives the reason."""


@dataclass(frozen=True)
class Claim:
    """One requirement of the contract.

    Attributes
    ----------
    topic, text : str
    fix : str
        Advice on the fix, if the claim fails.
    section : str
        The section of docs/add-a-language.md that states the requirement.
    of_protocol : bool
        pyfnn's own host keeps the claim for every backend that it hosts: it parses commands, reads files, and checks
        arguments before it calls a library or a class.
    attempt : callable
        Checks the claim on a candidate. Returns a note or None; raises `Failed` or `Skipped`.
    """

    topic: str
    text: str
    fix: str
    section: str
    of_protocol: bool
    attempt: "Callable[[Candidate], str | None]" = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """The result of checking one claim.

    Attributes
    ----------
    topic, claim : str
    result : str
        ``pass``, ``FAIL`` or ``skipped``; ``pyfnn`` where the claim holds, but pyfnn's host has answered.
    note : str
        A figure, if the claim passed; the reason, if it was skipped.
    seen, expected, fix, section : str
        The behaviour seen and expected, advice on the fix and the section that states the claim, if it failed.
    """

    topic: str
    claim: str
    result: Result
    note: str = ""
    seen: str = ""
    expected: str = ""
    fix: str = ""
    section: str = ""


class Topic:
    """Claims that belong together, in the order in which they are checked.

    Parameters
    ----------
    name : str
    section : str
        The section of docs/add-a-language.md that states those claims that name no section of their own.
    applies : callable, optional
        Returns True for the rows that the topic is about; by default all.
    of_protocol : bool
        As for `Claim`, for all claims of the topic.
    """

    def __init__(
        self, name: str, section: str, applies: Callable[[Row], bool] = lambda _: True, of_protocol: bool = False
    ) -> None:
        self.name, self.applies, self._section, self._of_protocol = name, applies, section, of_protocol
        self.claims: list[Claim] = []

    def claim(
        self, text: str, fix: str, section: str = "", of_protocol: bool = False
    ) -> "Callable[[Callable[[Candidate], str | None]], Callable[[Candidate], str | None]]":
        """Add the decorated function to the topic's claims."""

        def put(attempt: "Callable[[Candidate], str | None]") -> "Callable[[Candidate], str | None]":
            self.claims.append(
                Claim(self.name, text, fix, section or self._section, of_protocol or self._of_protocol, attempt)
            )
            return attempt

        return put


# Exercises ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Exercise:
    """A network with its data. theta: (n_parameters,); x: (rows, m_0); y: (rows, m_L); order: (n,)."""

    network: Network
    theta: Array
    x: Array
    y: Array
    order: NDArray[np.int64]

    def files(self, threads: int = 1) -> dict[str, bytes]:
        """Return the contents of the files that `init` reads from WORKDIR, by name."""
        setup = protocol.Setup(self.network, len(self.x), len(self.order), threads)
        little = {protocol.THETA: self.theta, protocol.X: self.x, protocol.Y: self.y, protocol.ORDER: self.order}
        arrays = {name: array.astype(array.dtype.newbyteorder("<")).tobytes() for name, array in little.items()}
        return {protocol.NETWORK: protocol.format_setup(setup).encode(), **arrays}


def exercise(network: Network, rows: int = 40, entries: int = 120, seed: int = 0) -> Exercise:
    """Draw random data for a network: inputs around 0, targets valid for its loss, biases other than 0."""
    rng = np.random.default_rng(seed)
    theta = initialize(network, seed)
    for _, b in network.layers(theta):
        b[:] = rng.normal(0, 0.5, b.shape)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    return Exercise(network, theta, x, parity.targets(network, rows, rng), rng.integers(rows, size=entries))


# The candidate --------------------------------------------------------------------------------------------------------


class Companion(Protocol):
    """A further process that exercises a candidate in its own way."""

    def attempt(self, number: int) -> str:
        """Check the claim of that number; return a note, or raise `Failed`."""

    def close(self) -> None:
        """End the process."""


@dataclass(frozen=True)
class Transcript:
    """All lines that one process printed. status: its exit status; None if it did not end in time."""

    lines: tuple[str, ...]
    status: int | None


class Candidate:
    """A manifest's row under examination. A context manager: leaving it ends its processes.

    One process serves claim after claim. After a failed claim the next claim gets a new process.

    Parameters
    ----------
    row : Row
    timeout : float
        Time limit of a valid command, in seconds.

    Attributes
    ----------
    description : Description
        Its answer to `hello`.
    """

    def __init__(self, row: Row, timeout: float) -> None:
        self.row, self.timeout = row, timeout
        self.command = command_of(row)
        self._transcripts: dict[tuple[str, ...], Transcript] = {}
        self._sessions: dict[CaseOperation, Session] = {}
        self._companions: dict[str, Companion] = {}
        self._worker: Worker | None = None
        worker = self.worker
        self.description: Description = worker.description
        self.startup_seconds = worker.startup_seconds

    @property
    def worker(self) -> Worker:
        """The shared process, in the state that earlier claims left it in."""
        if self._worker is None:
            self._worker = self.start()
        return self._worker

    def start(self) -> Worker:
        """Start another process; the caller closes it."""
        return Worker(self.command, cpus=choose_cpus(1), threads=1, timeout=self.timeout)

    def renew(self) -> None:
        """End the shared process; the next use of it starts a new one."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None

    def drop(self) -> None:
        """End all processes but the companions; the next claim starts new ones."""
        self.renew()
        for session in self._sessions.values():
            session.close()
        self._sessions = {}

    @property
    def patience(self) -> float:
        """Time limit of a command that needs no computation, in seconds."""
        return _PATIENCE + self.startup_seconds

    def transcript(self, *commands: str) -> Transcript:
        """Return the answers of a separate process to these lines and the end of input after them (cached)."""
        if commands not in self._transcripts:
            self._transcripts[commands] = self._record("".join(f"{line}\n" for line in commands).encode())
        return self._transcripts[commands]

    def _record(self, words: bytes) -> Transcript:
        with Scratch() as scratch:
            process = subprocess.Popen(
                [*launch.command(choose_cpus(1)), *self.command, str(scratch.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            status: int | None = None
            try:
                out, _ = process.communicate(words, timeout=_PATIENCE + _STARTS * self.startup_seconds)
                status = process.returncode
            except subprocess.TimeoutExpired:
                _kill(process.pid)
                out = _rest_of(process)
            _kill(process.pid)  # its children, too
        return Transcript(tuple(out.decode("utf-8", errors="replace").splitlines()), status)

    # Exercises with the candidate's own functions ---------------------------------------------------------------------

    def activation(self) -> str:
        """Return a hidden activation of the candidate, tanh if possible."""
        names = [name for name in (*PREFERRED, *activations.TABLE) if name in self.description.activations]
        if not names:
            raise Skipped("hello lists no activation that pyfnn knows")
        return names[0]

    def loss(self) -> str:
        """Return a loss of the candidate, the squared error if possible."""
        names = [name for name in losses.TABLE if name in self.description.losses]
        if not names:
            raise Skipped("hello lists no loss that pyfnn knows")
        return names[0]

    def network(self, sizes: Sequence[int] = (5, 7, 3), dtype: str = "float32", l2: float = 0.01) -> Network:
        """Return a network of the candidate's functions, if need be with an unusual output activation."""
        loss, hidden = self.loss(), self.activation()
        output = None if losses.TABLE[loss].fuses or "identity" in self.description.activations else hidden
        return Network(tuple(sizes), hidden, loss, l2, output, dtype)

    def exercise(self, sizes: Sequence[int] = (5, 7, 3), dtype: str = "float32", seed: int = 0) -> Exercise:
        """Return a small exercise with the candidate's functions."""
        return exercise(self.network(sizes, dtype), seed=seed)

    def load(self, task: Exercise, worker: Worker | None = None) -> ProcessModel:
        """Return the model after an `init` with this exercise."""
        model = ProcessModel(worker or self.worker, task.network, task.theta)
        model.load(task.x, task.y, task.order)
        return model

    def write_files(self, files: dict[str, bytes]) -> Path:
        """Write these files to WORKDIR and remove all others; return the folder."""
        folder = self.worker.workdir
        for path in folder.iterdir():
            if path.is_file():
                path.unlink()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    def session(self, operation: CaseOperation, workload: Workload, problem: Problem) -> Session:
        """Return a process with a workload loaded, as the harness measures it; cached by operation."""
        if operation not in self._sessions:
            case = CaseKey(workload, operation, problem.network.dtype, 1)
            session = Session(self.row, case, problem, self.timeout)
            try:
                session.load_workload()
            except BaseException:
                session.close()
                raise
            self._sessions[operation] = session
        return self._sessions[operation]

    def companion(self, name: str, make: "Callable[[], Companion]") -> "Companion":
        """Return the companion of that name, made at its first use; it lives as long as the candidate."""
        if name not in self._companions:
            self._companions[name] = make()
        return self._companions[name]

    def __enter__(self) -> "Candidate":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
        for companion in self._companions.values():
            companion.close()


def _rest_of(process: "subprocess.Popen[bytes]") -> bytes:
    """Return the output of a process that was killed; a descendant in another group may hold its pipes open."""
    try:
        return process.communicate(timeout=_PATIENCE)[0]
    except subprocess.TimeoutExpired as error:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        return error.output or b""


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


# Checks that several topics use ---------------------------------------------------------------------------------------


def refused(candidate: Candidate, lines: Iterable[str], expected: str) -> None:
    """Send each of these lines; raise `Failed` if one is accepted or ends the process."""
    accepted = []
    for line in lines:
        try:
            candidate.worker.call(line, timeout=candidate.patience)
        except WorkerError as error:
            raise Failed(_shortened(str(error), 300), "an error, from a process that keeps running") from None
        except PyfnnError:
            continue
        accepted.append(f"'{_shortened(line, 60)}'")
    if accepted:
        raise Failed(f"ok, in reply to {', '.join(accepted)}", expected)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"


def same_bits(got: Array, expected: Array) -> bool:
    """Return True if two arrays are equal bit for bit."""
    return got.shape == expected.shape and got.tobytes() == expected.tobytes()


def close_to(got: Array, expected: Array) -> bool:
    """Return True if a result is within 1e-3 of the expected one in norm; the battery has the strict bounds."""
    difference = np.linalg.norm(got.astype(np.float64) - expected.astype(np.float64))
    return bool(difference <= 1e-3 * np.linalg.norm(expected.astype(np.float64)))


# The examination ------------------------------------------------------------------------------------------------------


def examine(candidate: Candidate, claims: Iterable[Claim]) -> Iterator[Outcome]:
    """Check one claim after the other; a crash or a hang fails only the claim at hand."""
    for claim in claims:
        yield _check(candidate, claim)


@np.errstate(all="ignore")  # a faulty candidate may return any numbers
def _check(candidate: Candidate, claim: Claim) -> Outcome:
    try:
        note = claim.attempt(candidate)
    except Skipped as reason:
        return Outcome(claim.topic, claim.text, "skipped", note=str(reason))
    except Unsupported as error:
        return Outcome(claim.topic, claim.text, "skipped", note=f"unsupported: {error}")
    except (Failed, PyfnnError, OSError, psutil.Error) as error:
        candidate.drop()
        return _failed(claim, error if isinstance(error, Failed) else Failed(str(error)))
    if claim.of_protocol and candidate.row.host is not None:
        return Outcome(claim.topic, claim.text, "pyfnn", note=_ANSWERED)
    return Outcome(claim.topic, claim.text, "pass", note=note or "")


def _failed(claim: Claim, failure: Failed) -> Outcome:
    fix = failure.fix or claim.fix
    return Outcome(
        claim.topic, claim.text, "FAIL", seen=failure.seen, expected=failure.expected, fix=fix, section=claim.section
    )
