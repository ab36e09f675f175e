"""One case, from the proof of its backends to its end: launches, rounds, turns, and the decision to stop.

Every sample goes to the journal at once. The decision to stop is the only result computed here.
"""

import random
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any, Protocol

from bench.machine.cpus import choose_cpus, driver_apart, places_for
from bench.measure import gate
from bench.measure.arm import Arm
from bench.measure.block import least_block
from bench.measure.calibration import Calibrator, seconds_of_blocks, warm_up
from bench.measure.curve import affordable_rows, draw_curve
from bench.measure.errors import Implausible, TooSlow, reason_of, status_of
from bench.measure.networks import networks_of
from bench.measure.planted import planted_arm
from bench.measure.record import CaseRecord
from bench.measure.restore import restored, states_of
from bench.measure.session import Session
from bench.measure.settings import Settings
from bench.measure.starts import start_side_by_side
from bench.results.derive import on_clock, reference_among
from bench.results.journal import Journal
from bench.results.schema import Sample
from bench.results.so_far import INTERRUPTED, CaseSoFar
from bench.statistics import intervals, rounds
from bench.statistics.stopping import Stop, Stopping
from bench.suites.problem import Problem
from bench.suites.suite import CaseKey
from bench.terms import Clock, Status
from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row

_A_A_PAIRS = 2  # second instances in a launch


class Sensor(Protocol):
    """A reader of a device's clocks, power and temperature: see `bench.machine.sensors`."""

    def read(self) -> dict[str, Any]:
        """Return the fields of a `bench.results.schema.DeviceState`."""


class ProgressListener(Protocol):
    """A listener to the progress of a case. Called between turns only."""

    def progress(self, text: str, share: float, left: float | None = None) -> None:
        """Receive the share of the case's expected work that is done, and the seconds left to its end, if known."""

    def failed(self, instance: str, status: Status, reason: str) -> None:
        """Receive the status of a backend that failed."""


def clock_of(key: CaseKey, rows: Sequence[Row]) -> Clock:
    """Return the clock that gives a case's step times.

    One thread on a CPU is judged by CPU time, which other processes do not lengthen. Several threads wait for each
    other, and a process waits for its device: there wall time is what a user waits for.
    """
    alone = key.threads == 1 and all(row.device == "cpu" for row in rows)
    return "cpu" if alone and sys.platform.startswith("linux") else "wall"


def least_seconds(key: CaseKey, rows: Sequence[Row], settings: Settings) -> float:
    """Return the seconds that the blocks alone take in the least launches of a case, all backends together.

    Starts, proofs and curves come on top, and steps longer than a block.
    """
    block = least_block(settings.block_seconds, clock_of(key, rows), key.workload.members)
    arms = len(rows) + min(len(rows), _A_A_PAIRS) + settings.sensitivity
    return settings.min_launches * arms * seconds_of_blocks(settings, block)


class CaseRun:
    """The measurement of one case.

    Parameters
    ----------
    number : int
        Number of the case in the journal.
    key : CaseKey
    problem : Problem
    rows : sequence of Row
        The backends to measure.
    settings : Settings
    budget : float
        Seconds. The least number of launches is made in any case, of every backend that is predicted to fit; where the
        settings are `bounded`, one launch is.
    journal : Journal
    listener : ProgressListener
    sensor : Sensor, optional
        Sensor of a device, read after each round, while every process is stopped.
    lost : mapping of str to PyfnnError, optional
        Errors of backends that cannot be measured, by name: their programs could not be built.
    battery : Battery, optional
        The battery of `problem`, where it was made before; by default it is made in `run`.
    patience : float, optional
        Seconds for the least number of launches, above which a backend is refused as too slow; by default the budget.
    before : CaseSoFar, optional
        What an earlier, interrupted part of the run has measured of the case. The time that took is of the budget too.
    """

    def __init__(
        self,
        number: int,
        key: CaseKey,
        problem: Problem,
        rows: Sequence[Row],
        settings: Settings,
        budget: float,
        journal: Journal,
        listener: ProgressListener,
        sensor: Sensor | None = None,
        lost: Mapping[str, PyfnnError] | None = None,
        battery: gate.Battery | None = None,
        patience: float | None = None,
        before: CaseSoFar | None = None,
    ) -> None:
        self._key, self._problem, self._settings, self._budget = key, problem, settings, budget
        self._clock, self._cpus = clock_of(key, rows), choose_cpus(key.threads)
        self._places = places_for(self._cpus)
        self._record, self._listener, self._sensor = CaseRecord(journal, number, key, self._clock), listener, sensor
        self._networks = networks_of(problem)
        self._calibrator = Calibrator(
            settings,
            block_seconds=least_block(settings.block_seconds, self._clock, key.workload.members),
            budget=budget if patience is None else patience,
            order_steps=max(1, problem.n_order // key.workload.batch // 2) if key.operation == "train" else None,
        )
        self._planted = planted_arm(key, rows, settings.reference) if settings.sensitivity else None
        self._arms = [Arm(row, row.name) for row in rows] + ([self._planted] if self._planted else [])
        self._rounds = settings.rounds
        self._launch_seconds, self._round_seconds = list[float](), list[float]()  # of all backends together
        self._stopping = Stopping(
            settings.precision, budget, settings.min_launches, settings.launches, bounded=settings.bounded
        )
        self._begun = time.perf_counter()
        self._lost, self._battery = lost or {}, battery
        self._seed = f"{settings.seed} {key.workload.name} {key.work} {key.dtype} {key.threads}"
        self._current, self._shuffle = 0, random.Random(self._seed)
        self._rotation = self._shuffle.sample([row.name for row in rows], len(rows))
        self._before, self._made = before, 0
        if before and before.launches:
            self._restore(before)

    def _restore(self, before: CaseSoFar) -> None:
        """Go on from the finished launches of an earlier part of the run."""
        self._made = before.launches
        self._arms = restored(self._arms, before)
        self._planted = next((arm for arm in self._arms if arm.copy_of), None)
        self._launch_seconds = [end.launch_seconds for end in before.ends]
        self._round_seconds = [end.round_seconds for end in before.ends]
        self._rounds = before.rounds or 1 + max((s.round for arm in self._arms for s in arm.samples), default=0)
        self._begun -= before.spent_seconds

    def run(self) -> None:
        """Measure the case. An error of a backend costs that backend only."""
        if self._before is None:
            self._record.begin(self._problem)
        else:
            self._record.again(self._made)
        for arm in self._arms if self._made == 0 else ():
            self._record.introduce(arm)
        try:
            with driver_apart(self._cpus):
                stop = self._measure()
            self._refuse_unjudged()
            self._record.end(stop, self._spent())
        except KeyboardInterrupt:
            self._record.end(Stop(INTERRUPTED), self._spent())
            raise

    def _measure(self) -> Stop:
        """Make launches until the case ends, and return the reason."""
        for arm in self._arms:
            if arm.row.name in self._lost and not arm.lost:
                self._lose(arm, {}, status_of(self._lost[arm.row.name]), self._lost[arm.row.name])
        try:
            battery = self._battery or gate.battery(self._problem, self._key.workload.batch, self._key.optimizer)
        except PyfnnError as error:
            for arm in self._live():
                self._lose(arm, {}, "not_run", error)
            return Stop("nothing can be proven here")
        while live := self._firsts():
            stop = self._stop(live) if self._made else None
            if stop:
                return stop
            self._launch(self._made, battery)
            self._made += 1
        return Stop("no backend left")

    def _stop(self, live: Sequence[Arm]) -> Stop | None:
        """Decide whether the case ends after the launches so far."""
        reference = self._reference(live)
        timed = {arm.instance: on_clock(arm.samples, self._clock) for arm in live}
        base = timed.pop(reference.instance)
        pairs = [intervals.log_ratios(base, samples) for samples in timed.values()]
        if self._made == self._settings.min_launches:
            self._choose_rounds(base, timed.values())
        return self._stopping.after(self._made, self._spent(), pairs, reference.row.name, self._coming_seconds())

    def _choose_rounds(self, base: Sequence[Sample], others: Iterable[Sequence[Sample]]) -> None:
        """Set the rounds of further launches from the spread within and between the launches so far."""
        found = rounds.spread(intervals.log_ratios_of_rounds(base, other) for other in others)
        if found:
            costs = fmean(self._launch_seconds), fmean(self._round_seconds)
            self._rounds = min(rounds.best_rounds(found, *costs), self._most_rounds())
            self._record.rounds(self._rounds, found, *costs)

    def _spent(self) -> float:
        """Return the seconds of the case so far."""
        return time.perf_counter() - self._begun

    def _coming_seconds(self) -> float:
        """Return the seconds that another launch is expected to take, by those so far, without their curves."""
        return fmean(self._launch_seconds) + self._rounds * fmean(self._round_seconds)

    def _beyond_budget(self) -> bool:
        """Return True where the budget bounds the case and is spent: nothing is begun then that a table can lack."""
        return self._settings.bounded and self._spent() > self._budget

    def _most_rounds(self) -> int:
        """Return the most rounds of a launch: those that the settings allow time for, where blocks are long."""
        if self._settings.rounds < rounds.LEAST_ROUNDS:
            return self._settings.rounds
        longest = max(arm.calibration.block_seconds for arm in self._live() if arm.calibration)
        return rounds.fitting_rounds(rounds.MOST_ROUNDS, self._calibrator.block_seconds, longest)

    def _refuse_unjudged(self) -> None:
        """Take out the backends whose clocks could be judged in no turn, because the machine was too busy."""
        for arm in self._live():
            if not arm.lost and not arm.judged and arm.disturbed:
                self._lose(arm, {}, status_of(arm.disturbed), arm.disturbed)

    def _live(self) -> list[Arm]:
        return [arm for arm in self._arms if not arm.lost]

    def _firsts(self) -> list[Arm]:
        return [arm for arm in self._live() if arm.first]

    def _in_turn(self, arms: Sequence[Arm]) -> Iterator[Arm]:
        """Yield the arms in a fresh shuffle, without those that are lost before their turn."""
        return (arm for arm in self._shuffle.sample(arms, len(arms)) if not arm.lost)

    def _reference(self, live: Sequence[Arm]) -> Arm:
        """Return the arm that the tables' ratios will be to, as far as known now; the first arm where none can be."""
        firsts = {arm.row.name: arm for arm in live if arm.first}
        divisions = {arm.row.name: arm.row.division for arm in live}
        return firsts[reference_among(divisions, self._settings.reference) or live[0].row.name]

    @contextmanager
    def _blame(self, arm: Arm, sessions: dict[str, Session]) -> Iterator[None]:
        """Turn an error inside into the loss of this backend, both its arms, and of no other."""
        try:
            yield
        except PyfnnError as error:
            self._lose(arm, sessions, status_of(error), error)

    def _lose(self, arm: Arm, sessions: dict[str, Session], status: Status, error: PyfnnError) -> None:
        """Take all arms of a backend out of the case, and end their processes."""
        for other in self._arms:
            if other.row.name == arm.row.name and not other.lost:
                other.lost = True
                self._record.failed(other, status, error)
                if other.instance in sessions:
                    sessions.pop(other.instance).close()
        self._listener.failed(arm.row.name, status, reason_of(error))

    def _launch(self, launch: int, battery: gate.Battery) -> None:
        """Start a fresh process of every live arm, and take all rounds with them.

        The shuffles of a launch follow from its number, so that they are the same where an earlier run is continued.
        """
        sessions: dict[str, Session] = {}
        self._current, self._shuffle = launch, random.Random(f"{self._seed} {launch}")
        begin, spent, drawn = time.perf_counter(), 0.0, 0.0
        try:
            for arm in self._started(self._firsts(), sessions):
                with self._blame(arm, sessions):
                    self._open_again_if_slow(arm, sessions, battery)
            for arm in self._started([*self._second_arms(), *self._planted_arms()], sessions):
                with self._blame(arm, sessions):
                    self._open(arm, sessions[arm.instance], battery)
            if launch == 0:
                self._rounds = min(self._rounds, self._first_rounds())
            start = time.perf_counter()
            for number in range(self._rounds):
                self._report(launch, number, sessions)
                for arm in self._in_turn([arm for arm in self._arms if arm.instance in sessions]):
                    with self._blame(arm, sessions):
                        self._turn(arm, sessions[arm.instance], launch, number)
                self._sense(launch, number)
            spent = time.perf_counter() - start
            if launch == 0 and self._key.operation == "train":
                start = time.perf_counter()
                self._draw_curves(sessions)
                drawn = time.perf_counter() - start
            for arm in self._live():
                if arm.instance in sessions:
                    self._record.passed(arm, sessions[arm.instance].worker.tree.peak_bytes())
        finally:
            _close(sessions.values())
        self._round_seconds.append(spent / self._rounds)
        self._launch_seconds.append(time.perf_counter() - begin - spent - drawn)
        costs = self._launch_seconds[-1], self._round_seconds[-1]
        self._record.launch_end(launch, *costs, self._spent(), states_of(self._arms))

    def _first_rounds(self) -> int:
        """Return the rounds of the first launches."""
        longest = max((arm.calibration.block_seconds for arm in self._live() if arm.calibration), default=0.0)
        return rounds.fitting_rounds(self._settings.rounds, self._calibrator.block_seconds, longest)

    def _started(self, arms: Sequence[Arm], sessions: dict[str, Session]) -> Iterator[Arm]:
        """Start a process of each arm, several side by side, and yield the arms in a fresh shuffle."""
        order = self._shuffle.sample(arms, len(arms))
        start_side_by_side(order, self._places, partial(self._start, sessions), partial(self._blame, sessions=sessions))
        return (arm for arm in order if not arm.lost)

    def _start(self, sessions: dict[str, Session], arm: Arm, place: tuple[int, ...]) -> Session:
        """Begin to start a process of an arm."""
        seed = f"{self._seed} {arm.instance} {self._current}"
        sessions[arm.instance] = session = Session(
            arm.row, self._key, self._problem, self._settings.timeout, seed, self._clock, self._cpus, place
        )
        return session

    def _open_again_if_slow(self, arm: Arm, sessions: dict[str, Session], battery: gate.Battery) -> None:
        """Open a session; once more where its proof alone took too long: what is compiled now is kept on disk."""
        try:
            self._open(arm, sessions[arm.instance], battery)
        except TooSlow as error:
            if not error.by_proof:
                raise
            sessions.pop(arm.instance).close()
            again = self._start(sessions, arm, self._cpus)
            again.arrive()
            self._open(arm, again, battery)

    def _open(self, arm: Arm, session: Session, battery: gate.Battery) -> None:
        """Prove a process that has started, load the workload, calibrate the backend's first one, warm up, stop it."""
        session.resume()
        session.load_workload()
        first_step = session.first_step()
        if arm.calibration is None:  # the proof itself takes many steps
            self._calibrator.refuse_by_first_steps(session)
        start = time.perf_counter()
        evidence = gate.prove(session, battery)
        proof_seconds = time.perf_counter() - start
        session.load_workload()
        gate.prove_workload(session, battery)
        calibration = arm.calibration or self._calibrator.calibrate(session, proof_seconds)
        warmup = warm_up(session, calibration.steps)
        if arm.calibration is None and warmup.fastest < self._calibrator.block_seconds:
            calibration = self._calibrator.calibrate(session, proof_seconds)
        arm.calibration = calibration
        self._record.launch(arm, session, self._current, first_step, warmup)
        if not arm.opened:
            self._record.opened(arm, session, evidence)
            arm.opened = True
        session.stop()

    def _second_arms(self) -> list[Arm]:
        """Return the second instances of this launch, for A/A pairs: of two backends, of others in the next launch."""
        if self._beyond_budget():
            return []
        firsts = {arm.row.name: arm for arm in self._firsts()}
        names = [name for name in self._rotation if name in firsts]
        pairs = min(len(names), _A_A_PAIRS)
        return [self._second_of(firsts[names[(pairs * self._current + n) % len(names)]]) for n in range(pairs)]

    def _planted_arms(self) -> list[Arm]:
        """Return the slowed copy, as long as it and its original take turns."""
        arm, names = self._planted, [first.row.name for first in self._firsts()]
        return [arm] if arm and not arm.lost and arm.copy_of in names and not self._beyond_budget() else []

    def _second_of(self, first: Arm) -> Arm:
        instance = f"{first.row.name}@2"
        known = next((arm for arm in self._arms if arm.instance == instance), None)
        if known is None:
            known = Arm(first.row, instance, first.calibration)
            self._record.introduce(known)
            self._arms.append(known)
        return known

    def _turn(self, arm: Arm, session: Session, launch: int, number: int) -> None:
        """Resume the process, take a turn, and stop it. The last round of a launch ends with the replay."""
        calibration = arm.calibration
        assert calibration is not None
        session.resume()
        block = session.turn(calibration.burst, calibration.steps)
        if min(block.seconds, block.by(self._clock)) <= 0:
            raise Implausible(f"claims {block.by(self._clock)} s for {block.steps} steps")
        if number == self._rounds - 1:
            block = replace(block, proven_steps=gate.replay(session, block).steps)  # before any other turn
            session.require_no_reuse(calibration.burst, calibration.steps)
            arm.judged = arm.judged or session.judged
            arm.disturbed = session.disturbed or arm.disturbed
        session.stop()
        arm.calibration = self._calibrator.lengthened(calibration, block.by(self._clock))
        arm.samples.append(self._record.sample(arm, launch, number, block))

    def _sense(self, launch: int, number: int) -> None:
        """Record the device's sensors, between the blocks of two rounds."""
        if self._sensor:
            self._record.device_state(launch, number, self._sensor.read())

    def _report(self, launch: int, number: int, sessions: Collection[str]) -> None:
        """Report the work done to the listener, and the time that the rest of the case is expected to take."""
        text = f"launch {launch + 1}, round {number + 1}: {', '.join(sorted(sessions))}"
        if not self._launch_seconds:
            self._listener.progress(text, number / self._rounds / self._settings.min_launches)
            return
        coming, rest = self._coming_seconds(), (self._rounds - number) * fmean(self._round_seconds)
        made = launch + 1
        left = rest + coming * (self._stopping.expected(made, self._spent() + rest, coming) - made)
        self._listener.progress(text, self._spent() / (self._spent() + left), left)

    def _draw_curves(self, sessions: dict[str, Session]) -> None:
        """Draw the training curve of every backend over the same rows."""
        firsts = self._firsts()
        workload = self._key.workload
        if self._beyond_budget():
            return
        step_seconds = [arm.step_seconds for arm in firsts]
        most = self._networks.curve_epochs
        after = affordable_rows(workload, self._problem.n_order, step_seconds, self._budget, most)
        if not after:
            return
        for arm in firsts:
            with self._blame(arm, sessions):
                self._record.curve(arm, draw_curve(sessions[arm.instance], workload, self._problem, after))


def _close(sessions: Iterable[Session]) -> None:
    """End all processes, each at the second attempt where a signal ends the first."""
    with ExitStack() as closing:
        for session in sessions:
            closing.callback(session.close)
            closing.callback(session.close)
