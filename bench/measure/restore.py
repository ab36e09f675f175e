"""Restores the arms of a case that goes on from its finished launches. Starts no process."""

from collections.abc import Sequence
from dataclasses import replace

from bench.measure.arm import Arm, Calibration
from bench.measure.errors import Disturbed
from bench.measure.record import NOT_BEGUN
from bench.results.events import ArmState
from bench.results.schema import BackendResult
from bench.results.so_far import CaseSoFar


def restored(arms: Sequence[Arm], before: CaseSoFar) -> list[Arm]:
    """Return the arms as they were at the end of the last finished launch, second instances included.

    Parameters
    ----------
    arms : sequence of Arm
        Those that the case begins with.
    before : CaseSoFar
    """
    case, states = before.case, before.ends[-1].arms
    results = {b.instance: b for b in (*case.backends, *([case.planted] if case.planted else []))}
    firsts = {arm.row.name: arm for arm in arms if arm.first}
    seconds = [Arm(firsts[b.name].row, b.instance) for b in case.backends if b.instance != b.name and b.name in firsts]
    return [_restored(arm, results.get(arm.instance), states.get(arm.instance)) for arm in (*arms, *seconds)]


def _restored(arm: Arm, result: BackendResult | None, state: ArmState | None) -> Arm:
    if result is None:
        return arm
    lost = result.status != "ok" and result.reason != NOT_BEGUN
    if state is None:
        return replace(arm, samples=list(result.samples), lost=lost)
    return replace(
        arm,
        samples=list(result.samples),
        lost=lost,
        opened=True,
        calibration=Calibration(state.steps, state.burst, state.step_seconds),
        judged=state.judged,
        disturbed=Disturbed(state.disturbed) if state.disturbed else None,
    )


def states_of(arms: Sequence[Arm]) -> dict[str, ArmState]:
    """Return what further launches of the live arms go on from, by instance."""
    return {
        arm.instance: ArmState(
            steps=arm.calibration.steps,
            burst=arm.calibration.burst,
            step_seconds=arm.calibration.step_seconds,
            judged=arm.judged,
            disturbed=str(arm.disturbed) if arm.disturbed else "",
        )
        for arm in arms
        if arm.calibration and not arm.lost
    }
