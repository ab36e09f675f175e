"""Who runs when: calibration, launches, rounds, turns, the training curve, and when to stop. One case at a time.

What happens goes to the journal at once; nothing is computed here from samples but the decision to stop.
"""

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from bench.measure import gate
from bench.measure.arm import Arm, Settings
from bench.measure.calibration import MOST_WARM_BLOCKS, SIGN_OF_LINEARITY, STEP_IN_FORWARDS, Warmup
from bench.measure.curve import CURVE_EPOCHS, CURVE_SHARE
from bench.measure.errors import Implausible, ParityFailed, TooSlow, status_of
from bench.measure.session import MANY_BLOCKS, Block, Session
from bench.measure.source_lines import lines_of_code
from bench.results.derive import reference_among
from bench.results.journal import Journal
from bench.results.schema import Sample
from bench.statistics import intervals
from bench.statistics.stopping import Stop, Stopping
from bench.suites.problem import Problem, bytes_moved, flops, forward_flops
from bench.suites.suite import CaseKey
from bench.terms import Status
from pyfnn import parity
from pyfnn.errors import BackendUnavailable, Diverged, PyfnnError
from pyfnn.manifest import Row
from pyfnn.process.model import ProcessModel


class Sensor(Protocol):
    """Who tells a device's clocks, power and temperature: see `bench.sensors`."""

    def read(self) -> dict[str, Any]:
        """The fields of a `bench.results.DeviceState`."""


class ProgressListener(Protocol):
    """Who is told how it goes. Called between turns only."""

    def progress(self, text: str, share: float) -> None:
        """`share` of the current case's least work is done."""

    def verdict(self, instance: str, status: Status, reason: str) -> None:
        """A backend's status became known."""


class CaseRun:
    """One case from proof to stop.

    Parameters
    ----------
    number : int
        Of the case, in the journal.
    key : CaseKey
    problem : Problem
    rows : sequence of Row
        The backends to measure.
    settings : Settings
    budget : float
        Seconds; the least number of launches is made even so, by whoever can afford it.
    journal : Journal
    watch : Watch
    sensor : Sensor, optional
        Of a device; read after each round, while every process is stopped.
    lost : mapping of str to PyfnnError, optional
        Whose program is known to be missing, by name, and why.
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
        watch: ProgressListener,
        sensor: Sensor | None = None,
        lost: Mapping[str, PyfnnError] | None = None,
    ) -> None:
        self._number, self._key, self._problem = number, key, problem
        self._settings, self._budget = settings, budget
        self._block_seconds = settings.block_seconds * (1 if problem.members is None else MANY_BLOCKS)
        self._journal, self._watch, self._sensor = journal, watch, sensor
        self._arms = [Arm(row, row.name) for row in rows]
        self._lost = lost or {}
        self._shuffle = random.Random(f"{settings.seed} {key.workload.name} {key.operation} {key.dtype} {key.threads}")
        self._battery: list[parity.Trial] = []
        self._many: list[parity.ManyTrial] = []

    def run(self) -> None:
        """Measure the case; whatever happens to a backend costs only that backend."""
        self._write_head()
        try:
            self._end(self._measure())
        except KeyboardInterrupt:
            self._end(Stop("interrupted"))
            raise

    def _measure(self) -> Stop:
        """Launch after launch; why there are no more."""
        start, settings = time.perf_counter(), self._settings
        stopping = Stopping(settings.precision, self._budget, settings.min_launches)
        for arm in self._arms:
            if arm.row.name in self._lost:
                self._lose(arm, {}, status_of(self._lost[arm.row.name]), self._lost[arm.row.name])
        try:
            self._battery = gate.trials(self._problem, self._key.workload.batch)
            self._many = gate.many_trials(self._problem, self._key.workload.batch)
        except PyfnnError as error:
            for arm in self._arms:
                self._lose(arm, {}, "not_run", error)
            return Stop("nothing can be proven here")
        made = 0
        while self._live():
            self._launch(made)
            made += 1
            live = self._live()
            if not live:
                break
            reference = self._reference(live)
            pairs = [intervals.log_ratios(reference.samples, arm.samples) for arm in live if arm is not reference]
            stop = stopping.after(made, time.perf_counter() - start, pairs, reference.row.name)
            if stop:
                return stop
        return Stop("no backend left")

    # What is written -------------------------------------------------------------------------------------------------

    def _write_head(self) -> None:
        workload, network = self._key.workload, self._problem.network
        self._journal.write(
            "case",
            case=self._number,
            workload=workload.name,
            operation=self._key.operation,
            dtype=self._key.dtype,
            threads=self._key.threads,
            batch=workload.batch,
            learning_rate=workload.learning_rate,
            flops_per_step=flops(self._key, network.flops_per_row, forward_flops(network.sizes)),
            bytes_per_step=bytes_moved(self._key, network),
            data=workload.note,
            **({"members": workload.members} if workload.members > 1 else {}),
            **({"sweep": self._key.sweep.model_dump()} if self._key.sweep else {}),
        )
        for arm in self._arms:
            self._introduce(arm)

    def _introduce(self, arm: Arm) -> None:
        row = arm.row
        self._tell(
            arm,
            name=row.name,
            language=row.language,
            division=row.division,
            device=row.device,
            source_lines=lines_of_code(row),
            status="not_run",
            reason="the run ended before its first launch did",
        )

    def _tell(self, arm: Arm, **fields: object) -> None:
        self._journal.write("backend", case=self._number, instance=arm.instance, **fields)

    def _end(self, stop: Stop) -> None:
        self._journal.write("case_end", case=self._number, stopped=stop.why, launches_chosen=stop.chosen)

    @contextmanager
    def _blame(self, arm: Arm, seats: dict[str, Session]) -> Iterator[None]:
        """Whatever goes wrong inside costs this backend, both its arms, and no other."""
        try:
            yield
        except PyfnnError as error:
            self._lose(arm, seats, status_of(error), error)

    def _lose(self, arm: Arm, seats: dict[str, Session], status: Status, error: PyfnnError) -> None:
        remedy = error.remedy if isinstance(error, BackendUnavailable) else ""
        reason = error.reason if isinstance(error, BackendUnavailable) else str(error)
        evidence = error.evidence.summary() if isinstance(error, ParityFailed) and error.evidence else None
        for other in self._arms:
            if other.row.name == arm.row.name and not other.lost:
                other.lost = True
                proof = {"parity": evidence} if evidence else {}
                self._tell(other, status=status, reason=reason, remedy=remedy, **proof)
                if other.instance in seats:
                    seats.pop(other.instance).close()
        self._watch.verdict(arm.row.name, status, reason)

    # Launches --------------------------------------------------------------------------------------------------------

    def _live(self) -> list[Arm]:
        return [arm for arm in self._arms if not arm.lost]

    def _launch(self, launch: int) -> None:
        seats: dict[str, Session] = {}
        try:
            for arm in self._in_turn():
                with self._blame(arm, seats):
                    self._open(arm, seats, launch)
            if launch == 0:
                for arm in self._add_second_arms():
                    with self._blame(arm, seats):
                        self._open(arm, seats, launch)
            for number in range(self._settings.rounds):
                self._report(launch, number)
                for arm in self._in_turn():
                    with self._blame(arm, seats):
                        self._turn(arm, seats[arm.instance], launch, number)
                self._sense(launch, number)
            if launch == 0 and self._key.operation == "train" and self._problem.members is None:
                self._draw_curves(seats)
            for arm in self._live():
                self._tell(arm, status="ok", reason="", peak_rss_bytes=seats[arm.instance].peak_rss_bytes())
        finally:
            for seat in seats.values():
                seat.close()

    def _sense(self, launch: int, number: int) -> None:
        """Note what the device's sensors say; the blocks of this round are over, those of the next not begun."""
        if self._sensor:
            state = self._sensor.read()
            self._journal.write("device_state", case=self._number, launch=launch, round=number, **state)

    def _report(self, launch: int, number: int) -> None:
        done = launch + number / self._settings.rounds
        live = ", ".join(arm.instance for arm in self._live())
        self._watch.progress(f"launch {launch + 1}, round {number + 1}: {live}", done / self._settings.min_launches)

    def _in_turn(self) -> Iterator[Arm]:
        """Live arms in a fresh shuffle; one that is lost with its second instance before its turn has none."""
        arms = self._live()
        return (arm for arm in self._shuffle.sample(arms, len(arms)) if not arm.lost)

    def _open(self, arm: Arm, seats: dict[str, Session], launch: int) -> None:
        """A fresh process: proven, loaded, calibrated if it is the first, warmed up, stopped."""
        seat = Session(arm.row, self._key, self._problem, self._settings.timeout)
        seats[arm.instance] = seat
        seat.sit_down()
        first_step = seat.first_step()
        if arm.steps == 0:  # the proof itself takes many steps
            step = seat.glimpse()
            self._refuse_if_too_slow(seat, step, self._proof_seconds(seat, step), "its first step took")
        start = time.perf_counter()
        evidence = gate.prove(seat, self._battery, self._many)
        proof_seconds = time.perf_counter() - start
        seat.sit_down()
        cold = arm.steps == 0
        if cold:
            self._calibrate(arm, seat, proof_seconds)
        warmup = self._warm_up(arm, seat)
        if cold and warmup.fastest < self._block_seconds:
            self._calibrate(arm, seat, proof_seconds)
        self._note_launch(arm, seat, launch, first_step, warmup)
        if launch == 0:
            said = seat.worker.description
            self._tell(
                arm,
                arithmetic=said.arithmetic,
                build={
                    "compiler": said.compiler,
                    "flags": said.flags,
                    "clock": said.clock,
                    "deterministic": said.deterministic,
                },
                parity=evidence.summary(),
                threads_seen=seat.model.threads,
                cpus=list(seat.cpus) or None,
                pools=seat.pools(),
                build_seconds=seat.build_seconds,
            )
        seat.stop()

    def _note_launch(self, arm: Arm, seat: Session, launch: int, first_step: float, warmup: Warmup) -> None:
        self._journal.write(
            "launch",
            case=self._number,
            instance=arm.instance,
            launch=launch,
            startup_seconds=seat.worker.startup_seconds,
            first_step_seconds=first_step,
            warmup_seconds=warmup.seconds,
            warmup_blocks=warmup.blocks,
            settled=warmup.settled,
        )

    def _proof_seconds(self, seat: Session, step_seconds: float) -> float:
        """What the proof will take, predicted from one step; of many networks, from a step of each."""
        if self._problem.members is not None:
            calls = parity.MANY_TIMES + 1  # and one to load
            return calls * step_seconds + parity.MANY_TIMES * parity.MANY_STEPS * seat.model.call_wall_seconds
        return parity.PROOF_STEPS * step_seconds * (STEP_IN_FORWARDS if self._key.operation == "forward" else 1)

    def _calibrate(self, arm: Arm, seat: Session, proof_seconds: float) -> None:
        """Fix how many steps make a block."""
        most = self._problem.n_order // self._key.workload.batch if self._key.operation == "train" else 2**40
        steps, target = 1, 1.2 * self._block_seconds
        while True:
            seconds = seat.turn(steps, steps).seconds
            per_step = max(seconds, 1e-9) / steps
            self._refuse_if_too_slow(seat, per_step, proof_seconds)
            if seconds >= self._block_seconds or steps >= most:
                break
            steps = min(most, max(2 * steps, min(100 * steps, math.ceil(target / per_step))))
        arm.step_seconds = per_step
        arm.steps = min(most, max(1, math.ceil(target / per_step)))
        arm.burst = min(arm.steps, max(1, math.ceil(1.2 * self._settings.burst_seconds / per_step)))
        if self._key.operation != "train":
            self._check_linearity(arm, seat)

    def _refuse_if_too_slow(
        self, seat: Session, step_seconds: float, proof_seconds: float, how: str = "a step takes"
    ) -> None:
        """Refuse what cannot fit the budget, with the prediction."""
        settings = self._settings
        block = max(step_seconds, self._block_seconds)
        turn = block + max(step_seconds, settings.burst_seconds)
        blocks = 4 * block + (settings.rounds + 1) * turn  # warm-up, rounds, replay
        predicted = settings.min_launches * (seat.worker.startup_seconds + proof_seconds + blocks)
        if predicted > self._budget:
            raise TooSlow(
                f"{how} {step_seconds:.3g} s (not proven); {settings.min_launches} launches, with their starts and "
                f"proofs, about {predicted:.0f} s: more than the {self._budget:.0f} s that this case has (--budget)"
            )

    def _check_linearity(self, arm: Arm, seat: Session) -> None:
        """`time` of 2R takes twice R, or the loop is not what it says; noise gets three tries."""
        low, high = SIGN_OF_LINEARITY
        seen = []
        for _ in range(3):
            once, twice = seat.run(arm.steps).seconds, seat.run(2 * arm.steps).seconds
            if once <= 0:
                raise Implausible(f"claims {once} s for {arm.steps} repeats")
            seen.append(twice / once)
            if low <= seen[-1] <= high:
                return
        tries = ", ".join(f"{ratio:.2f}" for ratio in seen)
        raise Implausible(f"twice the repeats took {tries} times as long")

    def _warm_up(self, arm: Arm, seat: Session) -> Warmup:
        """Run blocks until they have settled, by their own times."""
        start, blocks = time.perf_counter(), list[float]()
        while not intervals.steady_state(blocks) and len(blocks) < MOST_WARM_BLOCKS:
            seat.reset()
            blocks.append(seat.run(arm.steps).seconds)
        return Warmup(time.perf_counter() - start, len(blocks), min(blocks), intervals.steady_state(blocks))

    def _add_second_arms(self) -> list[Arm]:
        """The A/A pairs: a second instance of the reference and of the fastest backend."""
        live = [arm for arm in self._live() if arm.instance == arm.row.name]
        if not live:
            return []
        reference = self._reference(live)
        fastest = min(live, key=lambda arm: arm.step_seconds)
        seconds = []
        for first in {reference.instance: reference, fastest.instance: fastest}.values():
            second = Arm(first.row, f"{first.row.name}@2", first.steps, first.burst, first.step_seconds)
            self._introduce(second)
            seconds.append(second)
        self._arms.extend(seconds)
        return seconds

    def _turn(self, arm: Arm, seat: Session, launch: int, number: int) -> None:
        """Continue, take a turn, stop. In a launch's last round what was timed is replayed."""
        seat.resume()
        block = seat.turn(arm.burst, arm.steps)
        if block.seconds <= 0:
            raise Implausible(f"claims {block.seconds} s for {block.steps} steps")
        if number == self._settings.rounds - 1:
            gate.replay(seat, arm.burst, block)
        seat.stop()
        self._keep(arm, launch, number, block)

    def _keep(self, arm: Arm, launch: int, number: int, block: Block) -> None:
        sample = Sample(
            launch=launch,
            round=number,
            seconds=block.seconds,
            steps=block.steps * self._key.workload.members,
            cpu_seconds=block.cpu_seconds,
            wall_seconds=block.wall_seconds,
            involuntary_switches=block.involuntary_switches,
            retries=block.retries,
            device_seconds=block.device_seconds or None,  # 0: less than the device's clock can tell
        )
        self._journal.write("sample", case=self._number, instance=arm.instance, **sample.model_dump())
        arm.samples.append(sample)

    def _reference(self, live: Sequence[Arm]) -> Arm:
        """Who the tables' ratios will be to, by what is known now; where nobody can be, the first of all."""
        firsts = {arm.row.name: arm for arm in live if arm.instance == arm.row.name}
        divisions = {arm.row.name: arm.row.division for arm in live}
        return firsts[reference_among(divisions, self._settings.reference) or live[0].row.name]

    # The training curve ----------------------------------------------------------------------------------------------

    def _draw_curves(self, seats: dict[str, Session]) -> None:
        """Every backend trains the same epochs from the same θ; losses are taken at their ends, outside the clock."""
        workload = self._key.workload
        first = [arm for arm in self._live() if arm.instance == arm.row.name]
        steps = -(-workload.rows // workload.batch)
        epoch_seconds = sum(arm.step_seconds for arm in first) * steps * 1.5  # the loss costs about half a step more
        affordable = math.floor(CURVE_SHARE * self._budget / max(epoch_seconds, 1e-9))
        epochs = min(CURVE_EPOCHS, len(self._problem.order) // workload.rows, affordable)
        if epochs < 1:
            return
        for arm in first:
            with self._blame(arm, seats):
                self._draw_curve(arm, seats[arm.instance], epochs)

    def _draw_curve(self, arm: Arm, seat: Session, epochs: int) -> None:
        workload = self._key.workload
        model = seat.model
        assert isinstance(model, ProcessModel)
        seat.resume()
        seat.reset()
        seconds, losses = [0.0], [model.loss_and_gradient(0, workload.rows)[0]]
        for epoch in range(epochs):
            spent = model.train(epoch * workload.rows, workload.rows, workload.batch, workload.learning_rate)
            if spent <= 0:
                raise Implausible(f"claims {spent} s for an epoch of {workload.rows} rows")
            seconds.append(seconds[-1] + spent)
            losses.append(model.loss_and_gradient(0, workload.rows)[0])
        seat.stop()
        for epoch, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} after {epoch} epochs")
        self._tell(arm, curve={"epochs": list(range(epochs + 1)), "seconds": seconds, "losses": losses})
