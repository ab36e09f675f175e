"""What a claim is, how it is tried, what comes of it; and the subject: a row of a manifest with processes of it.

The claims themselves are in the modules beside this one, a topic each.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.machine.cpus import choose_cpus
from bench.measure.session import Session
from bench.suites.problem import Problem
from bench.suites.suite import CaseKey, Workload
from bench.terms import Operation
from pyfnn import activations, losses, parity
from pyfnn.backend import Description
from pyfnn.errors import PyfnnError, Unsupported, WorkerError
from pyfnn.manifest import Row
from pyfnn.network import Network, initialize
from pyfnn.process import launch, protocol
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.validation import Array

Result = Literal["pass", "FAIL", "skipped"]
PREFERRED = ("tanh", "relu", "sigmoid", "identity")  # activations of the exercises, where the subject has them
_PATIENCE = 3.0  # seconds for what takes no time: refusing a command
_STARTS = 3.0  # and for a whole conversation, so many times what starting took


class Failed(Exception):
    """A claim does not hold.

    Parameters
    ----------
    seen : str
        What the subject did.
    wanted : str, optional
        What the contract asks for, where the claim's own words are not enough.
    mend : str, optional
        What to do about it, where that is known better than the claim's own advice.
    """

    def __init__(self, seen: str, wanted: str = "", mend: str = "") -> None:
        super().__init__(seen)
        self.seen, self.wanted, self.mend = seen, wanted, mend


class Skipped(Exception):
    """A claim that says nothing about this subject; why."""


@dataclass(frozen=True)
class Claim:
    """One thing that the contract asks for. `attempt` returns a note, raises `Failed` or `Skipped`.

    section: of docs/add-a-language.md, where it says so.
    """

    topic: str
    text: str
    mend: str
    section: str
    attempt: "Callable[[Candidate], str | None]" = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """What came of one claim. note: a figure, of a claim that passed; the reason, of one that was skipped."""

    topic: str
    claim: str
    result: Result
    note: str = ""
    seen: str = ""
    wanted: str = ""
    mend: str = ""
    section: str = ""


class Topic:
    """Claims that belong together, in the order in which they are tried.

    Parameters
    ----------
    name : str
    section : str
        Of docs/add-a-language.md, for claims that name none.
    """

    def __init__(self, name: str, section: str) -> None:
        self.name, self._section = name, section
        self.claims: list[Claim] = []

    def claim(
        self, text: str, mend: str, section: str = ""
    ) -> "Callable[[Callable[[Candidate], str | None]], Callable[[Candidate], str | None]]":
        """Put the decorated function on the list."""

        def put(attempt: "Callable[[Candidate], str | None]") -> "Callable[[Candidate], str | None]":
            self.claims.append(Claim(self.name, text, mend, section or self._section, attempt))
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
        """What lies in WORKDIR for `init`, by name."""
        setup = protocol.Setup(self.network, len(self.x), len(self.order), threads)
        little = {protocol.THETA: self.theta, protocol.X: self.x, protocol.Y: self.y, protocol.ORDER: self.order}
        arrays = {name: array.astype(array.dtype.newbyteorder("<")).tobytes() for name, array in little.items()}
        return {protocol.NETWORK: protocol.format_setup(setup).encode(), **arrays}


def exercise(network: Network, rows: int = 40, entries: int = 120, seed: int = 0) -> Exercise:
    """Data drawn for a network: inputs around 0, targets as its loss wants them, biases that are not zero."""
    rng = np.random.default_rng(seed)
    theta = initialize(network, seed)
    for _, b in network.layers(theta):
        b[:] = rng.normal(0, 0.5, b.shape)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    return Exercise(network, theta, x, parity.targets(network, rows, rng), rng.integers(rows, size=entries))


# The subject ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transcript:
    """A whole conversation. status: the exit status, None where it did not end in time."""

    lines: tuple[str, ...]
    status: int | None


class Candidate:
    """A row under examination. A context manager: leaving it ends its processes.

    One process serves claim after claim; where one dies of a claim or falls out of step, the next claim gets a new one.

    Parameters
    ----------
    row : Row
    timeout : float
        Seconds that a good command may take.

    Attributes
    ----------
    said : Description
        What it answered to `hello`.
    """

    def __init__(self, row: Row, timeout: float) -> None:
        self.row, self.timeout = row, timeout
        self.command = command_of(row)
        self._talks: dict[tuple[str, ...], Transcript] = {}
        self._seats: dict[Operation, Session] = {}
        self._worker: Worker | None = None
        worker = self.worker
        self.said: Description = worker.description
        self.startup_seconds = worker.startup_seconds

    @property
    def worker(self) -> Worker:
        """The process, as some earlier claim left it."""
        if self._worker is None:
            self._worker = self.start()
        return self._worker

    def start(self) -> Worker:
        """A process of one's own."""
        return Worker(self.command, cpus=choose_cpus(1), threads=1, timeout=self.timeout)

    def drop(self) -> None:
        """Do not ask these processes again."""
        for worker in (self._worker, *self._seats.values()):
            if worker is not None:
                worker.close()
        self._worker, self._seats = None, {}

    @property
    def patience(self) -> float:
        """Seconds for what takes no time."""
        return _PATIENCE + self.startup_seconds

    def talk(self, *commands: str) -> Transcript:
        """What a process of its own answers to these lines, and to the end of input after them; asked once only."""
        if commands not in self._talks:
            self._talks[commands] = self._converse("".join(f"{line}\n" for line in commands).encode())
        return self._talks[commands]

    def _converse(self, words: bytes) -> Transcript:
        with tempfile.TemporaryDirectory(prefix="pyfnn-", ignore_cleanup_errors=True) as folder:
            process = subprocess.Popen(
                [*launch.command(choose_cpus(1)), *self.command, folder],
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
                out, _ = process.communicate()
            _kill(process.pid)  # its children too
        return Transcript(tuple(out.decode("utf-8", errors="replace").splitlines()), status)

    # What it can be asked to compute ----------------------------------------------------------------------------------

    def activation(self) -> str:
        """A hidden activation that it has, tanh where it can be."""
        names = [name for name in (*PREFERRED, *activations.TABLE) if name in self.said.activations]
        if not names:
            raise Skipped("hello lists no activation that pyfnn knows")
        return names[0]

    def loss(self) -> str:
        """A loss that it has, the squared error where it can be."""
        names = [name for name in losses.TABLE if name in self.said.losses]
        if not names:
            raise Skipped("hello lists no loss that pyfnn knows")
        return names[0]

    def network(self, sizes: Sequence[int] = (5, 7, 3), dtype: str = "float32", l2: float = 0.01) -> Network:
        """One that it has the functions for; with another output activation where it lacks the usual one."""
        loss, hidden = self.loss(), self.activation()
        output = None if losses.TABLE[loss].fuses or "identity" in self.said.activations else hidden
        return Network(tuple(sizes), hidden, loss, l2, output, dtype)

    def exercise(self, sizes: Sequence[int] = (5, 7, 3), dtype: str = "float32", seed: int = 0) -> Exercise:
        """A small one that it has the functions for."""
        return exercise(self.network(sizes, dtype), seed=seed)

    def load(self, task: Exercise, worker: Worker | None = None) -> ProcessModel:
        """The model after an `init` with this exercise."""
        model = ProcessModel(worker or self.worker, task.network, task.theta)
        model.load(task.x, task.y, task.order)
        return model

    def lay(self, files: dict[str, bytes]) -> Path:
        """Put exactly these files into WORKDIR."""
        folder = self.worker.workdir
        for path in folder.iterdir():
            if path.is_file():
                path.unlink()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    def seat(self, operation: Operation, workload: Workload, problem: Problem) -> Session:
        """A process with a workload, as the harness measures one; kept for the next claim about this operation."""
        if operation not in self._seats:
            case = CaseKey(workload, operation, problem.network.dtype, 1)
            self._seats[operation] = seat = Session(self.row, case, problem, self.timeout)
            seat.load_workload()
        return self._seats[operation]

    def __enter__(self) -> "Candidate":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


# Questions that several topics ask ------------------------------------------------------------------------------------


def refused(subject: Candidate, lines: Iterable[str], wanted: str) -> None:
    """Each of these lines is answered with an error, in a process that lives on."""
    accepted = []
    for line in lines:
        try:
            subject.worker.call(line, timeout=subject.patience)
        except WorkerError as error:
            raise Failed(_shortened(str(error), 300), "an error, and life after it") from None
        except PyfnnError:
            continue
        accepted.append(f"'{_shortened(line, 60)}'")
    if accepted:
        raise Failed(f"ok, to {', '.join(accepted)}", wanted)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"


def same_bits(got: Array, wanted: Array) -> bool:
    """Whether two arrays are equal bit for bit."""
    return got.shape == wanted.shape and got.tobytes() == wanted.tobytes()


def close_to(got: Array, wanted: Array) -> bool:
    """Whether a result is the right one, rounding aside; what rounding may do is the battery's business."""
    difference = np.linalg.norm(got.astype(np.float64) - wanted.astype(np.float64))
    return bool(difference <= 1e-3 * np.linalg.norm(wanted.astype(np.float64)))


# The examination ------------------------------------------------------------------------------------------------------


def examine(subject: Candidate, claims: Iterable[Claim]) -> Iterator[Outcome]:
    """Try one claim after the other; whatever a subject does costs it that claim alone."""
    for claim in claims:
        yield _try(subject, claim)


@np.errstate(all="ignore")  # what a subject computes may be anything
def _try(subject: Candidate, claim: Claim) -> Outcome:
    try:
        note = claim.attempt(subject)
    except Skipped as reason:
        return Outcome(claim.topic, claim.text, "skipped", note=str(reason))
    except Unsupported as error:
        return Outcome(claim.topic, claim.text, "skipped", note=f"unsupported: {error}")
    except (Failed, PyfnnError, OSError, psutil.Error) as error:
        subject.drop()
        return _failed(claim, error if isinstance(error, Failed) else Failed(str(error)))
    return Outcome(claim.topic, claim.text, "pass", note=note or "")


def _failed(claim: Claim, failure: Failed) -> Outcome:
    mend = failure.mend or claim.mend
    return Outcome(
        claim.topic, claim.text, "FAIL", seen=failure.seen, wanted=failure.wanted, mend=mend, section=claim.section
    )
