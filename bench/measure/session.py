"""A session: one backend's process in one launch of a case, from start to end, with its clocks and CPUs checked.

What to run when is the case's decision; what counts as proof is the gate's.
"""

import math
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from operator import attrgetter
from types import TracebackType

import numpy as np
import psutil
from pydantic import TypeAdapter

from bench.machine.cpus import choose_cpus
from bench.measure.block import Block, Place, difference
from bench.measure.clock import JUDGED, Reading, contradiction, work_cpu_seconds
from bench.measure.errors import Disturbed, Implausible, ThreadsMismatch
from bench.measure.memory import require_memory
from bench.measure.networks import Run, networks_of
from bench.results.schema import Pool
from bench.suites.problem import Problem
from bench.suites.suite import CaseKey
from bench.terms import Clock
from pyfnn import programs
from pyfnn.errors import ProtocolError, PyfnnError
from pyfnn.manifest import Row
from pyfnn.optimizers import check_offered
from pyfnn.process.ensemble import ProcessEnsemble
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.tree import read_proc, waited
from pyfnn.process.worker import Worker
from pyfnn.validation import Array

_LINUX = sys.platform.startswith("linux")
_FETCH_RATE = 2e9  # bytes of θ a second from a device to the host, after the clock has stopped
_TRIES = 5  # turns, until one is free of contradictions
_REMEMBERED = 1.25  # times a timed pass that one over rows new to the call may take: more shows that results are reused
_UNEVEN = 1e-4  # seconds allowed for cold caches in a call of many passes
_LEAST_PASSES = 4  # passes; with fewer, the cost of the call outweighs theirs
_CONSTANTS, _CONSTANT_TURNS = 4, 5  # runs with almost no work before the first turn; turns from one to the next
_LONGEST_PAUSE = 0.1  # seconds; by then the CPU's caches hold what others use
_MOST_MORE = 2e-3  # seconds that a run with almost no work may take more on a busy machine, beside waiting for a CPU
_UNCLAIMED = attrgetter("unclaimed_seconds")
_CALL_GRACE = 1e-3  # seconds of protocol for each call, where a block is made of several
_POOLS: TypeAdapter[list[Pool]] = TypeAdapter(list[Pool])


class Session:
    """A backend's process in one launch of a case. A context manager, which ends the process.

    Parameters
    ----------
    row : Row
    case : CaseKey
    problem : Problem
    timeout : float
        Seconds the worker may take for one reply.
    seed : str
        Seed of `secrets`.
    clock : {"cpu", "wall"}
        The clock that gives the case's step times.
    cpus : tuple of int, optional
        CPUs to pin the process to; by default those that `choose_cpus` returns now.
    place : tuple of int, optional
        CPUs on which the process starts while others do elsewhere; `arrive` must then be called before all else.

    Attributes
    ----------
    secrets : random.Random
        Draws what the worker must not know before a call, such as the first row of a block.
    worker : Worker
    networks : Networks
        The workload's networks in the process.
    judged : bool
        The clocks of at least one turn were without contradiction.
    disturbed : Disturbed or None
        The last contradiction of which other processes may be the cause.
    cpus : tuple of int
        CPUs that the process's threads may run on, as the system reports them; empty where it does not.
    build_seconds : float or None
        Time to build the program, in this run or an earlier one; None where nothing is built.
    """

    def __init__(
        self,
        row: Row,
        case: CaseKey,
        problem: Problem,
        timeout: float,
        seed: str = "",
        clock: Clock = "wall",
        cpus: tuple[int, ...] | None = None,
        place: tuple[int, ...] | None = None,
    ) -> None:
        self._case, self._problem, self.clock = case, problem, clock
        self.secrets = random.Random(seed)
        self._fetch_seconds = 0.0 if row.device == "cpu" else problem.thetas.nbytes / _FETCH_RATE
        self._cpus = choose_cpus(case.threads) if cpus is None else cpus
        self._hosted = row.host is not None
        self.cpus: tuple[int, ...] = ()
        self.judged = False
        self._constants: list[Reading] = []  # of runs with almost no work
        self._turns = count()
        self._first_passes: Block | None = None  # passes before the last block, where that meets rows again
        self._first_meeting = self._timed_pass = math.inf  # seconds of a pass, at least
        self.disturbed: Disturbed | None = None
        command = command_of(row)
        self.build_seconds = programs.build(row).seconds
        self._began_loading = math.nan
        at = self._cpus if place is None else place
        self.worker = Worker(command, cpus=at, threads=case.threads, timeout=timeout, greets=place is None)
        self.networks = networks_of(problem)(self.worker, case, problem)

    @property
    def model(self) -> ProcessModel | ProcessEnsemble:
        """The loaded networks, after `load_workload`."""
        return self.networks.model

    def arrive(self) -> None:
        """Wait until the process has started, stop it until `resume`, and move it to the CPUs of the case.

        Raises
        ------
        WorkerError
        """
        self.worker.greet()
        self.stop()
        self.worker.tree.move(self._cpus)

    def load_workload(self) -> None:
        """Load the workload and check the optimizer, the number of threads and the CPUs that the process uses.

        Raises
        ------
        NotEnoughMemory, ThreadsMismatch, Unsupported
        """
        if math.isnan(self._began_loading):
            require_memory(self._problem)
        self._began_loading = time.perf_counter()
        reported = self.worker.description
        check_offered(reported.name, reported.optimizers, self._case.optimizer)
        self.networks.load()
        if self.model.threads > self._case.threads:
            raise ThreadsMismatch(f"says it uses {self.model.threads} threads: {self._case.threads} were asked for")
        self._check_affinity()

    def _check_affinity(self) -> None:
        """Check that every thread of the process and its descendants keeps to the CPUs of the case."""
        if not (_LINUX and self._cpus):
            return
        allowed, found = set(self._cpus), set[int]()
        for thread, seen in self.worker.tree.affinities().items():
            if not seen <= allowed:
                raise ThreadsMismatch(f"thread {thread} may run on CPUs {sorted(seen)}: {sorted(allowed)} were set")
            found |= seen
        self.cpus = tuple(sorted(found))

    def pools(self) -> list[Pool] | None:
        """Return the BLAS and thread pools of a process that Python hosts; None for any other process.

        Raises
        ------
        ThreadsMismatch
            A pool has more threads than the case: a caller of the pool uses all of them.
        """
        if not self._hosted:
            return None
        reply = self.worker.call("pools")
        try:
            found = _POOLS.validate_json(reply["pools"])
        except (KeyError, ValueError):
            raise ProtocolError("the reply to pools is no list of them") from None
        for pool in found:
            if pool.threads > self._case.threads:
                raise ThreadsMismatch(
                    f"{pool.library} ({pool.file}) has {pool.threads} threads: {self._case.threads} were asked for"
                )
        return found

    def stop(self) -> None:
        """Stop the process and its descendants until `resume`: also threads that spin, and garbage collectors."""
        self.worker.signal_tree(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process and its descendants run again."""
        self.worker.signal_tree(signal.SIGCONT)

    def reset(self) -> None:
        """Set θ back to the workload's."""
        self.model.reset()

    def theta(self) -> Array:
        """Return the parameters: (n_parameters,), or (members, n_parameters) of many networks."""
        return self.networks.theta()

    @property
    def repeatable(self) -> bool:
        """True where training must end at the same bits however it is cut into calls."""
        reported = self.worker.description
        return reported.deterministic and (
            reported.arithmetic == "native" or not self.networks.stores_theta_between_calls
        )

    @property
    def trains(self) -> bool:
        """True where the case's operation is training."""
        return self._case.operation == "train"

    @property
    def unit_roundoff(self) -> float:
        """Unit roundoff of the case's dtype."""
        return float(np.finfo(self._case.dtype).eps) / 2

    @property
    def batch(self) -> int:
        """Rows of a full minibatch."""
        return self._case.workload.batch

    def run(self, steps: int, skip: int = 0) -> Block:
        """Run `steps` steps of the case's operation after the first `skip`. The block's clocks are not judged."""
        return self._block(lambda: self.networks.run(steps, skip), steps)

    @contextmanager
    def _accounting(self) -> Iterator[None]:
        """Read the CPU time of the calls inside."""
        model = self.model
        before, model.accounts = model.accounts, True
        try:
            yield
        finally:
            model.accounts = before

    def _block(self, run: Callable[[], Run], steps: int) -> Block:
        with self._accounting():
            done = run()
        model = self.model
        return Block(
            steps=steps,
            seconds=done.seconds,
            wall_seconds=model.call_wall_seconds,
            cpu_seconds=model.call_cpu_seconds,
            checksum=done.checksum,
            calls=done.calls,
            device_seconds=model.device_seconds,
            claimed_cpu_seconds=model.cpu_seconds,
            work_cpu_seconds=model.call_cpu_seconds if model.cpu_seconds is None else model.cpu_seconds,
        )

    def _with_reading(self, run: Callable[[], Block]) -> tuple[Block, Reading]:
        """Run, ask twice for θ, and return the block and its clocks.

        The first answer depends on the work of the run. The second one shows what an answer takes without work.
        """
        before = self._waits()
        with self._accounting():
            block = run()
            late = self.networks.late()
        protocol = _CALL_GRACE * (block.calls - 1) + self._fetch_seconds
        reading = Reading(
            seconds=block.seconds,
            wall_seconds=block.wall_seconds,
            cpu_seconds=block.cpu_seconds,
            late_seconds=late.seconds,
            late_cpu_seconds=late.cpu_seconds,
            protocol_seconds=protocol,
            waited_seconds=waited(before, self._waits()),
            device_seconds=block.device_seconds,
            claimed_cpu_seconds=block.claimed_cpu_seconds,
        )
        return block, reading

    def first_step(self) -> float:
        """Return the seconds of starting the process, loading the workload and a step. Call right after loading."""
        self.run(1)
        seconds = self.worker.startup_seconds + time.perf_counter() - self._began_loading
        self.reset()
        return seconds

    def time_one_step(self) -> float:
        """Return the driver's seconds for one step. A rough value, to predict what does not fit the budget."""
        seconds = self.networks.time_one_step()
        self.reset()
        return seconds

    def turn(self, burst: int, steps: int) -> Block:
        """Run an untimed burst from the workload's θ, then the timed block, each at a secret place in the order.

        The block is judged by its clocks, its CPU time and the CPUs of its threads. A turn whose clocks contradict each
        other is taken again, up to five times in all, beside new runs with almost no work. Where other processes may be
        the cause, the last block counts, and the judgement is left to other turns: see `disturbed`.

        Raises
        ------
        Implausible, ThreadsMismatch
        """
        violation: PyfnnError | None = None
        disturbed: Disturbed | None = None
        pause: float | None = None
        for retries in range(_TRIES):
            burst_start = self.networks.draw_start(burst, self.secrets)
            place = Place(self.networks.draw_start(steps, self.secrets), steps, burst_start, burst)
            constant = self._least_work(place, pause)
            self.approach(place)
            block, reading = self._with_reading(partial(self._run_counted, steps, place.start))
            self._check_affinity()
            least = JUDGED * self.networks.block_factor
            counts_cpu = self.clock == "cpu"
            violation = contradiction(reading, constant, self._case.threads, least, counts_cpu=counts_cpu)
            work = work_cpu_seconds(reading, self._constants, self.networks.least_share(steps))
            block = replace(block, retries=retries, place=place, work_cpu_seconds=work)
            if violation is None:
                self.judged = self.judged or reading.until_result >= least
                self._compare_with_first_passes(block)
                return block
            pause = min(reading.wall_seconds, _LONGEST_PAUSE)
            if isinstance(violation, Disturbed):
                disturbed = violation
        if disturbed is None:
            assert violation is not None
            raise violation
        self.disturbed = disturbed
        return block

    def _run_counted(self, steps: int, skip: int) -> Block:
        """Run as `run`, and count the involuntary switches meanwhile."""
        before = self.worker.tree.switches()
        block = self.run(steps, skip)
        return replace(block, involuntary_switches=difference(before, self.worker.tree.switches()))

    def _compare_with_first_passes(self, block: Block) -> None:
        """Note the least time of a pass where the call meets each row once, and that in the timed block.

        What a call takes beside its passes is that of one pass or row; it is subtracted from those first passes.
        """
        if self._first_passes and self._first_passes.steps >= _LEAST_PASSES:
            call = min(_effort(reading) for reading in self._constants) + _UNEVEN
            first = (_effort(self._first_passes) - call) / self._first_passes.steps
            self._first_meeting = min(self._first_meeting, first)
            self._timed_pass = min(self._timed_pass, _effort(block) / block.steps)

    def require_no_reuse(self, burst: int, steps: int) -> None:
        """Require that passes over rows that a call meets for the first time do not take longer in every turn.

        Where they did so far, up to five more turns of this length are taken: a busy machine lengthens short calls.

        Raises
        ------
        Implausible
        """
        for _ in range(_TRIES):
            if not self._seems_to_reuse:
                return
            self.turn(burst, steps)
        if self._seems_to_reuse:
            raise Implausible(
                f"passes over rows that a call meets for the first time take "
                f"{self._first_meeting / self._timed_pass:.3g} times as long as the timed ones: results may be kept "
                f"from pass to pass"
            )

    @property
    def _seems_to_reuse(self) -> bool:
        return _REMEMBERED * self._timed_pass < self._first_meeting < math.inf

    def _least_work(self, place: Place, pause: float | None) -> Reading:
        """Return the least disturbed reading so far of runs with almost no work; every fifth turn adds one.

        It may be of a quieter time. With a pause, the middle one of three new readings, each after so many seconds, is
        returned instead, unless it is longer by far more than it waited for a CPU.
        """
        if self.networks.stores_theta_between_calls:  # each call loads all networks again
            return Reading(0.0, 0.0, 0.0)
        if pause is not None:
            new = [self._read_least_work(place, pause) for _ in range(3)]
            self._constants += new
            middle, least = sorted(new, key=_UNCLAIMED)[1], min(self._constants, key=_UNCLAIMED)
            more = middle.unclaimed_seconds - least.unclaimed_seconds - middle.waited_seconds
            return middle if more <= _MOST_MORE else least
        turn = next(self._turns)
        if turn % _CONSTANT_TURNS == 0:
            self._constants += [self._read_least_work(place) for _ in range(1 if turn else _CONSTANTS)]
        return min(self._constants, key=_UNCLAIMED)

    def _read_least_work(self, place: Place, pause: float = 0.0) -> Reading:
        """Return the reading of one run with almost no work, after a pause of so many seconds."""
        time.sleep(pause)
        self.reset()
        run = partial(self.networks.run_least, place.start, place.steps)
        return self._with_reading(partial(self._block, run, 0))[1]

    def approach(self, place: Place) -> None:
        """Bring the process to where a block begins: run the burst from the workload's θ.

        Before a block of passes that goes around the rows, one call meets each row once. θ is another one in each call,
        so that no result of an earlier call can be used again.
        """
        self.reset()
        self.networks.freshen(place.burst_start)
        self.networks.run(place.burst, place.burst_start)
        self.networks.freshen(place.start)
        passes = self.networks.first_passes(place.steps)
        self._first_passes = self.run(passes, place.start) if passes else None
        self.networks.freshen(place.start + 1)

    def _waits(self) -> dict[str, float]:
        """Return the seconds that each thread of the worker and the driver have waited for a CPU so far.

        The time that the machine's virtual CPUs waited for a real one is in it too. What the system does not report is
        left out.
        """
        if not _LINUX:
            return {}
        waits = {**self.worker.tree.run_delays(), "the machine": float(psutil.cpu_times().steal)}
        with suppress(OSError, ValueError, IndexError):  # a kernel without these statistics
            waits["the driver"] = int(read_proc("/proc/self/schedstat").split()[1]) / 1e9
        return waits

    def close(self) -> None:
        """End the process and its descendants."""
        self.worker.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _effort(run: Block | Reading) -> float:
    """Return the claimed seconds, without the time that the worker's CPU worked for others, where that is known."""
    known = run.claimed_cpu_seconds is not None and run.device_seconds is None
    return min(run.seconds, run.claimed_cpu_seconds or 0.0) if known else run.seconds
