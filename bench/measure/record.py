"""The record of a case: turns what happens to its backends into events of the journal. Decides nothing."""

import math
from typing import Any

from bench.measure.arm import Arm
from bench.measure.block import Block
from bench.measure.calibration import Warmup
from bench.measure.errors import ParityFailed, reason_of
from bench.measure.session import Session
from bench.measure.sources import hashes, lines_of_code
from bench.results.events import (
    ArmState,
    BackendEvent,
    CaseAgainEvent,
    CaseEndEvent,
    CaseEvent,
    DeviceStateEvent,
    LaunchEndEvent,
    LaunchEvent,
    RoundsEvent,
    SampleEvent,
)
from bench.results.journal import Journal
from bench.results.schema import Curve, Sample
from bench.statistics.rounds import Spread
from bench.statistics.stopping import Stop
from bench.suites.problem import Problem, bytes_moved, flops
from bench.suites.suite import CaseKey
from bench.terms import Clock, Status, WorkloadFacts
from pyfnn import parity
from pyfnn.errors import BackendUnavailable, PyfnnError

NOT_BEGUN = "the run ended before its first launch did"  # the reason of a backend until its first process is proven


class CaseRecord:
    """Writes the events of one case.

    Parameters
    ----------
    journal : Journal
    number : int
        Number of the case in the journal.
    key : CaseKey
    clock : {"cpu", "wall"}
        The clock that gives the step times.
    """

    def __init__(self, journal: Journal, number: int, key: CaseKey, clock: Clock) -> None:
        self._journal, self._number, self._key, self._clock = journal, number, key, clock

    def begin(self, problem: Problem) -> None:
        """Write the start of the case."""
        key, workload, network = self._key, self._key.workload, problem.network
        rare: dict[str, Any] = {}
        if workload.members > 1:
            rare["members"] = workload.members
        if key.sweep:
            rare["sweep"] = key.sweep
        if key.work != key.operation:
            rare["optimizer"] = key.optimizer.text
        self._journal.write(
            CaseEvent(
                case=self._number,
                workload=workload.name,
                operation=key.work,
                dtype=key.dtype,
                threads=key.threads,
                clock=self._clock,
                batch=workload.batch,
                learning_rate=key.learning_rate,
                flops_per_step=flops(key, network.flops_per_row, network.forward_flops_per_row),
                bytes_per_step=bytes_moved(key, network),
                data=workload.note,
                definition=WorkloadFacts.model_validate(workload.model_dump()),
                **rare,
            )
        )

    def again(self, launches: int) -> None:
        """Write that the case goes on after so many finished launches."""
        self._journal.write(CaseAgainEvent(case=self._number, launches=launches))

    def end(self, stop: Stop, seconds: float) -> None:
        """Write the end of the case and the time that it took."""
        self._journal.write(
            CaseEndEvent(case=self._number, stopped=stop.why, launches_chosen=stop.chosen, measured_seconds=seconds)
        )

    def rounds(self, number: int, spread: Spread, launch_seconds: float, round_seconds: float) -> None:
        """Write the number of rounds of further launches, and what it was chosen from."""
        self._journal.write(
            RoundsEvent(
                case=self._number,
                rounds=number,
                within=math.sqrt(spread.within),
                between=math.sqrt(spread.between),
                launch_seconds=launch_seconds,
                round_seconds=round_seconds,
            )
        )

    def introduce(self, arm: Arm) -> None:
        """Write what is known about a backend before its first launch."""
        row = arm.row
        planted = {"copy_of": arm.copy_of, "slowdown": arm.slowdown} if arm.copy_of else {}
        self._write_backend(
            arm,
            **planted,
            name=row.name,
            language=row.language,
            division=row.division,
            device=row.device,
            source_lines=lines_of_code(row),
            sources=hashes(row),
            status="not_run",
            reason=NOT_BEGUN,
        )

    def opened(self, arm: Arm, session: Session, evidence: parity.Evidence) -> None:
        """Write what the first process of a backend reports, and the evidence that it passed the parity battery."""
        reported = session.worker.description
        self._write_backend(
            arm,
            arithmetic=reported.arithmetic,
            build={
                "compiler": reported.compiler,
                "flags": reported.flags,
                "clock": reported.clock,
                "deterministic": reported.deterministic,
            },
            parity=evidence.summary(),
            threads_seen=session.model.threads,
            cpus=list(session.cpus) or None,
            pools=session.pools(),
            build_seconds=session.build_seconds,
        )

    def launch(self, arm: Arm, session: Session, launch: int, first_step: float, warmup: Warmup) -> None:
        """Write the costs of a fresh process."""
        self._journal.write(
            LaunchEvent(
                case=self._number,
                instance=arm.instance,
                launch=launch,
                startup_seconds=session.worker.startup_seconds,
                first_step_seconds=first_step,
                warmup_seconds=warmup.seconds,
                warmup_blocks=warmup.blocks,
                settled=warmup.steady,
            )
        )

    def launch_end(
        self, launch: int, launch_seconds: float, round_seconds: float, spent: float, arms: dict[str, ArmState]
    ) -> None:
        """Write that a launch is finished, with what further launches go on from."""
        self._journal.write(
            LaunchEndEvent(
                case=self._number,
                launch=launch,
                launch_seconds=launch_seconds,
                round_seconds=round_seconds,
                spent_seconds=spent,
                arms=arms,
            )
        )

    def sample(self, arm: Arm, launch: int, number: int, block: Block) -> Sample:
        """Write a timed block and return its sample. Steps count those of every network."""
        sample = Sample(
            launch=launch,
            round=number,
            seconds=block.seconds,
            steps=block.steps * self._key.workload.members,
            cpu_seconds=block.cpu_seconds,
            work_cpu_seconds=block.work_cpu_seconds if self._clock == "cpu" else None,
            wall_seconds=block.wall_seconds,
            involuntary_switches=block.involuntary_switches,
            retries=block.retries,
            proven_steps=block.proven_steps,
            device_seconds=block.device_seconds or None,  # 0: below the resolution of the device's clock
        )
        self._journal.write(SampleEvent(case=self._number, instance=arm.instance, **sample.model_dump()))
        return sample

    def curve(self, arm: Arm, curve: Curve) -> None:
        """Write the training curve of a backend."""
        self._write_backend(arm, curve=curve)

    def passed(self, arm: Arm, peak_rss_bytes: int | None) -> None:
        """Write that a backend got through a launch, and its peak memory."""
        self._write_backend(arm, status="ok", reason="", peak_rss_bytes=peak_rss_bytes)

    def failed(self, arm: Arm, status: Status, error: PyfnnError) -> None:
        """Write that a backend failed, with the remedy where it is absent and the evidence where parity failed."""
        remedy = error.remedy if isinstance(error, BackendUnavailable) else ""
        evidence = error.evidence if isinstance(error, ParityFailed) else None
        proof = {"parity": evidence.summary()} if evidence else {}
        self._write_backend(arm, status=status, reason=reason_of(error), remedy=remedy, **proof)

    def device_state(self, launch: int, number: int, state: dict[str, Any]) -> None:
        """Write the sensor readings of a device after a round."""
        self._journal.write(DeviceStateEvent(case=self._number, launch=launch, round=number, **state))

    def _write_backend(self, arm: Arm, **facts: Any) -> None:
        self._journal.write(BackendEvent(case=self._number, instance=arm.instance, **facts))
