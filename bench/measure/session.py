"""One process at work: started, proven, stopped, continued for its turn, accounted for, ended.

What to run when is the schedule's business; what counts as proof is the gate's.
"""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import description
from bench.machine.cpus import choose_cpus
from bench.measure.errors import Implausible, NotEnoughMemory, ThreadsMismatch
from bench.suites.problem import Problem
from bench.suites.suite import CaseKey
from pyfnn import programs
from pyfnn.errors import ProtocolError, PyfnnError
from pyfnn.manifest import Row
from pyfnn.network import Network
from pyfnn.process.ensemble import ProcessEnsemble, open_ensemble
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.validation import Array

_LINUX = sys.platform.startswith("linux")
_CPU_SLACK = 1.1  # CPU seconds ÷ wall may exceed the thread count by so much: they are two clocks
_CPU_GRACE = 0.005  # seconds; one clock may have ticks
_HONEST_SHARE = 0.8  # of the driver's wall time, on blocks longer than _HONEST_BLOCK
_HONEST_BLOCK = 0.05  # seconds
MANY_BLOCKS = 4  # a block of many networks is so much longer: what is done once a member and call is not timed
_DEVICE_SLACK = 1.01  # device time ÷ the worker's may be so much: they are two clocks
_DEVICE_GRACE = 1e-4  # seconds; what starting and stopping them apart may cost
_FETCHED = 2e9  # bytes of θ a second: how it comes back from a device to be looked at, after the clock has stopped
_CALL_GRACE = 1e-3  # seconds on the way of each call, where a block is made of several
_ALLOWED_WORKDIR = 4  # copies of the data: in its files, in the worker, and on the way


@dataclass(frozen=True)
class Block:
    """One timed block: `steps` steps (or repeats) took `seconds` by the worker's clock, `wall_seconds` by ours.

    Of many networks at once, `steps` are those of each. `device_seconds` are by the device's clock, if it has one.
    """

    steps: int
    seconds: float
    wall_seconds: float
    cpu_seconds: float
    involuntary_switches: int | None
    checksum: float = 0.0  # of timed passes; 0 where the block is training
    retries: int = 0  # times that its turn was refused, and taken again, before
    calls: int = 1  # that it was made of
    device_seconds: float | None = None


class Session:
    """A backend's process in one launch of a case. A context manager.

    Starts the process and leaves it running, with the workload loaded; `stop` and `resume` are the schedule's.

    Attributes
    ----------
    worker : Worker
    model : ProcessModel or ProcessEnsemble
        Of the workload, after `sit_down`.
    cpus : tuple of int
        Those its threads may run on, read back; none where the system does not tell.
    build_seconds : float or None
        What building its program took, whenever that was; None for what is no program or needs no building.
    """

    def __init__(self, row: Row, case: CaseKey, problem: Problem, timeout: float) -> None:
        self._case, self._problem = case, problem
        self._fetch_seconds = 0.0 if row.device == "cpu" else case.workload.members * problem.theta.nbytes / _FETCHED
        self._cpus = choose_cpus(case.threads)
        self._hosted = row.host is not None
        self.cpus: tuple[int, ...] = ()
        _check_memory(problem)
        command = command_of(row)
        self.build_seconds = programs.build(row).seconds if row.host is None else None
        self._launched = time.perf_counter()
        self.worker = Worker(command, cpus=self._cpus, threads=case.threads, timeout=timeout)
        self.model: ProcessModel | ProcessEnsemble

    def make(self, network: Network, theta: Array) -> ProcessModel:
        """A model in this process: what the parity battery examines."""
        return ProcessModel(self.worker, network, theta, self._case.threads)

    def make_many(self, network: Network, thetas: Array, l2: NDArray[np.float64]) -> ProcessEnsemble:
        """Likewise, many networks at once."""
        return open_ensemble(self.worker, network, thetas, l2, self._case.threads)

    def sit_down(self) -> None:
        """Load the workload; read the threads back."""
        problem, own = self._problem, self._problem.members
        if own is None:
            self.model = self.make(problem.network, problem.theta)
            self.model.load(problem.x, problem.y, problem.order)
        else:
            self.model = self.make_many(problem.network, own.thetas, own.l2)
            self.model.load(problem.x, problem.y, own.orders)
        if self.model.threads > self._case.threads:
            raise ThreadsMismatch(f"says it uses {self.model.threads} threads: {self._case.threads} were asked for")
        self._check_affinity()

    def _check_affinity(self) -> None:
        """Every thread that the process has by now keeps to the CPUs of the case."""
        if not (_LINUX and self._cpus):
            return
        wanted, found = set(self._cpus), set[int]()
        for task in Path(f"/proc/{self.worker.pid}/task").iterdir():
            try:
                seen = os.sched_getaffinity(int(task.name))
            except ProcessLookupError:  # that thread has ended since
                continue
            if not seen <= wanted:
                raise ThreadsMismatch(f"thread {task.name} may run on CPUs {sorted(seen)}: {sorted(wanted)} were set")
            found |= seen
        self.cpus = tuple(sorted(found))

    def pools(self) -> list[dict[str, Any]] | None:
        """The fields of each `bench.results.Pool` in a process that Python hosts; None of any other.

        Raises
        ------
        ThreadsMismatch
            A pool that has more threads than the case: whoever calls it uses them all.
        """
        if not self._hosted:
            return None
        try:
            found: list[dict[str, Any]] = json.loads(self.worker.call("pools")["pools"])
        except (KeyError, ValueError):
            raise ProtocolError("the reply to pools is no list of them") from None
        for pool in found:
            if pool["threads"] > self._case.threads:
                told = f"{pool['library']} ({pool['file']}) has {pool['threads']} threads"
                raise ThreadsMismatch(f"{told}: {self._case.threads} were asked for")
        return found

    def stop(self) -> None:
        """Keep the process, spinning threads and collectors included, from running."""
        self.worker.signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run."""
        self.worker.signal_group(signal.SIGCONT)

    def reset(self) -> None:
        """Back to the workload's θ."""
        self.model.reset()

    def theta(self) -> Array:
        """The parameters: (n_parameters,), or (K, n_parameters) of many networks at once."""
        return self.model.thetas() if isinstance(self.model, ProcessEnsemble) else self.model.theta()

    @property
    def single(self) -> bool:
        """Whether the case has one network."""
        return self._problem.members is None

    @property
    def repeatable(self) -> bool:
        """Whether training has to end at the same bits, however it is cut into calls."""
        said = self.worker.description
        rounds = isinstance(self.model, ProcessEnsemble) and self.model.rounds_between_calls
        return said.deterministic and (said.arithmetic == "native" or not rounds)

    @property
    def trains(self) -> bool:
        """Whether the case's operation is training."""
        return self._case.operation == "train"

    def run(self, steps: int, skip: int = 0) -> Block:
        """`steps` steps of the case's operation, after the first `skip` of them; unchecked."""
        workload, model, own = self._case.workload, self.model, self._problem.members
        switches, checksum, calls = self._switches(), 0.0, 1
        first, count = skip * workload.batch, steps * workload.batch
        if isinstance(model, ProcessEnsemble):
            assert own is not None
            seconds = model.train(first, count, workload.batch, own.rates)
            calls = model.members if model.rounds_between_calls else 1
        elif self._case.operation == "train":
            seconds = model.train(first, count, workload.batch, workload.learning_rate)
        else:
            start = first % (workload.rows - workload.batch + 1)
            seconds = model.time(self._case.operation, start, workload.batch, steps)
            checksum = model.checksum
        return Block(
            steps=steps,
            seconds=seconds,
            wall_seconds=model.call_wall_seconds,
            cpu_seconds=model.call_cpu_seconds,
            checksum=checksum,
            involuntary_switches=_counted(switches, self._switches()),
            calls=calls,
            device_seconds=model.device_seconds,
        )

    def first_step(self) -> float:
        """Seconds from the launch of the process to the end of its first step, loading the workload included."""
        self.run(1)
        seconds = time.perf_counter() - self._launched
        self.reset()
        return seconds

    def glimpse(self) -> float:
        """About what a step takes, by the driver's clock: enough to tell what cannot be waited for. Judges nothing."""
        start = time.perf_counter()
        block = self.run(1)
        seconds = time.perf_counter() - start
        self.reset()
        return block.wall_seconds if self.single else seconds

    def turn(self, burst: int, steps: int) -> Block:
        """From the workload's θ: an untimed burst at the same sizes, then the timed block.

        The block is held against the driver's clock and the CPU time used; the turn is tried a second time before
        that is held against the backend. So are the CPUs of threads that were started on the way.

        Raises
        ------
        Implausible, ThreadsMismatch
        """
        for retries in range(2):
            self.reset()
            self.run(burst)
            block = replace(self.run(steps), retries=retries)
            self._check_affinity()
            objection = self._objection(block)
            if objection is None:
                return block
        assert objection is not None
        raise objection

    def _objection(self, block: Block) -> PyfnnError | None:
        threads, wall = self._case.threads, block.wall_seconds
        owed = wall - _CALL_GRACE * (block.calls - 1) - self._fetch_seconds
        honest_block = _HONEST_BLOCK * (1 if self.single else MANY_BLOCKS)
        if block.seconds > wall:
            return Implausible(f"claims {block.seconds:.4g} s for what took {wall:.4g} s by the driver's clock")
        if owed > honest_block and block.seconds < _HONEST_SHARE * owed:
            return Implausible(f"claims only {block.seconds:.4g} of the {wall:.4g} s that passed by the driver's clock")
        if (block.device_seconds or 0.0) > block.seconds * _DEVICE_SLACK + _DEVICE_GRACE:
            return Implausible(
                f"claims {block.seconds:.4g} s, and {block.device_seconds:.4g} s by its device's own clock"
            )
        if block.cpu_seconds > threads * wall * _CPU_SLACK + _CPU_GRACE:
            return ThreadsMismatch(f"used {block.cpu_seconds:.4g} CPU seconds in {wall:.4g} s on {threads} threads")
        return None

    def _switches(self) -> int | None:
        """Of all its threads so far; None where the system does not tell."""
        tasks = Path(f"/proc/{self.worker.pid}/task")
        try:
            return sum(int(_status_field(task / "status", "nonvoluntary_ctxt_switches:")) for task in tasks.iterdir())
        except (OSError, ValueError):
            return None

    def peak_rss_bytes(self) -> int | None:
        """The most memory the process has had resident; None where the system does not tell."""
        try:
            return 1024 * int(_status_field(Path(f"/proc/{self.worker.pid}/status"), "VmHWM:"))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """End the process."""
        self.worker.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _counted(before: int | None, after: int | None) -> int | None:
    """What was counted between the two; None where that is not known, as when a thread took its count with it."""
    return None if before is None or after is None or after < before else after - before


def _status_field(path: Path, key: str) -> str:
    """The value behind a key of a Linux status file; "" where there is no such line."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return next((line.split()[1] for line in lines if line.startswith(key)), "")


def _check_memory(problem: Problem) -> None:
    needed = _ALLOWED_WORKDIR * problem.nbytes
    free = description.available_memory()
    if needed > free:
        raise NotEnoughMemory(f"needs about {needed / 2**20:.0f} MiB: {free / 2**20:.0f} MiB are free")
