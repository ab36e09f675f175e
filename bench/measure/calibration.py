"""Calibration: the length of a block, the prediction whether a backend fits the budget, and the warm-up."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from bench.measure.arm import Calibration
from bench.measure.errors import Implausible, TooSlow
from bench.measure.session import Session
from bench.measure.settings import Settings
from bench.statistics import intervals
from bench.statistics.rounds import fitting_rounds

LINEAR_RATIOS = (1.6, 2.5)  # accepted ratios of the time of 2R repeats to that of R
_SHORT_RUN = 0.01  # seconds of the shorter run for that ratio
_LEAST_TRIES, _MOST_TRIES = 2, 100  # pairs of runs
_DOUBTFUL = 5.0  # seconds that they may take while the ratio is not accepted
MOST_WARM_BLOCKS = 50  # a backend that is not steady by then is measured and marked as not steady
_UNLIMITED = 2**40  # steps
_MARGIN = 1.2  # factor on a block's least length: later blocks may be faster
_GROWTH = 2.0  # greatest factor by which one short block lengthens the next
_ALWAYS_FIT = 30.0  # seconds of launches that no backend is refused for, however small the budget


@dataclass(frozen=True)
class Warmup:
    """The blocks run until the steady state: their total and least duration in seconds, and whether it was reached."""

    seconds: float
    blocks: int
    fastest: float
    steady: bool


@dataclass(frozen=True)
class Calibrator:
    """The limits within which the backends of a case are calibrated.

    Attributes
    ----------
    settings : Settings
    block_seconds : float
        Least duration of a timed block.
    budget : float
        Seconds that the case has.
    order_steps : int or None
        Longest block of training: half of the order, so that blocks start at different places; None for passes.
    """

    settings: Settings
    block_seconds: float
    budget: float
    order_steps: int | None

    def calibrate(self, session: Session, proof_seconds: float) -> Calibration:
        """Find the number of steps that fill a block, and those that fill a burst.

        Raises
        ------
        TooSlow
            The predicted time exceeds the budget.
        Implausible
            Time does not grow with the number of repeats.
        """
        most, target, steps = self._most_steps, _MARGIN * self.block_seconds, 1
        while True:
            seconds = session.turn(steps, steps).by(session.clock)
            per_step = max(seconds, 1e-9) / steps
            self.refuse_if_too_slow(session, per_step, proof_seconds)
            if seconds >= self.block_seconds or steps >= most:
                break
            steps = min(most, max(2 * steps, min(100 * steps, math.ceil(target / per_step))))
        steps = min(most, max(1, math.ceil(target / per_step)))
        burst = min(steps, max(1, math.ceil(_MARGIN * self.settings.burst_seconds / per_step)))
        if self.order_steps is None:
            _check_linearity(session, steps)
        return Calibration(steps, burst, per_step)

    def lengthened(self, calibration: Calibration, seconds: float) -> Calibration:
        """Return the calibration with longer blocks and bursts, where a block took only `seconds`; else as it is."""
        if seconds >= self.block_seconds:
            return calibration
        factor = min(_GROWTH, _MARGIN * self.block_seconds / seconds, self._most_steps / calibration.steps)
        steps, burst = (math.ceil(factor * number) for number in (calibration.steps, calibration.burst))
        return Calibration(steps, burst, seconds / calibration.steps)

    @property
    def _most_steps(self) -> int:
        return _UNLIMITED if self.order_steps is None else self.order_steps

    def refuse_by_first_steps(self, session: Session) -> None:
        """Refuse a backend whose step is too long. Where one is, a second one is timed: the machine may have paused.

        Raises
        ------
        TooSlow
            The shorter of the two is too long, or the first alone takes longer than there is time.
        """
        step = session.time_one_step()
        with suppress(TooSlow):
            return self._refuse_by_step(session, step)
        if step <= self._allowed:
            step = min(step, session.time_one_step())
        return self._refuse_by_step(session, step)

    def _refuse_by_step(self, session: Session, step: float) -> None:
        self.refuse_if_too_slow(session, step, session.networks.proof_seconds(step), "a step took")

    @property
    def _allowed(self) -> float:
        return max(self.budget, _ALWAYS_FIT)

    def refuse_if_too_slow(
        self, session: Session, step_seconds: float, proof_seconds: float, how: str = "a step takes"
    ) -> None:
        """Predict the time that the least number of launches takes, and compare it with the budget.

        Raises
        ------
        TooSlow
            With the prediction.
        """
        settings, allowed = self.settings, self._allowed
        blocks = seconds_of_blocks(settings, self.block_seconds, step_seconds)
        alone = settings.min_launches * (session.worker.startup_seconds + blocks)
        predicted = alone + settings.min_launches * proof_seconds
        if predicted > allowed:
            raise TooSlow(
                f"{how} {step_seconds:.3g} s (not proven); {settings.min_launches} launches, with their starts and "
                f"proofs, about {predicted:.0f} s: more than the {allowed:.0f} s that it may take here (--budget)",
                by_proof=alone <= allowed,
            )


def seconds_of_blocks(settings: Settings, block_seconds: float, step_seconds: float = 0.0) -> float:
    """Return the least seconds of all blocks of a process in a launch: warm-up, rounds and replay.

    Parameters
    ----------
    settings : Settings
    block_seconds : float
        Least duration of a timed block.
    step_seconds : float
        Duration of a step, which a block is never shorter than.
    """
    block = max(step_seconds, block_seconds)
    turn = block + max(step_seconds, settings.burst_seconds)
    rounds = fitting_rounds(settings.rounds, block_seconds, block)
    return 4 * block + (rounds + 1) * turn


def _check_linearity(session: Session, steps: int) -> None:
    """Check that twice the repeats take about twice the time.

    Raises
    ------
    Implausible
        The loop does not repeat its work.
    """

    def seconds_of(repeats: int) -> float:
        seconds = session.run(repeats).by(session.clock)
        if seconds <= 0:
            raise Implausible(f"claims {seconds} s for {repeats} repeats")
        return seconds

    ratio = doubling(seconds_of, steps)
    low, high = LINEAR_RATIOS
    if not low <= ratio <= high:
        raise Implausible(f"twice the repeats took {ratio:.2f} times as long, by the shortest of several runs of each")


def doubling(seconds_of: Callable[[int], float], steps: int) -> float:
    """Return how many times as long twice the steps take, to check that the work is done anew in each step.

    Other work on the machine only lengthens a run. Therefore the shortest runs of two tries are compared, and more
    tries follow while the ratio is outside `LINEAR_RATIOS`. The shorter the runs, the more of them are undisturbed.

    Parameters
    ----------
    seconds_of : callable
        Runs so many steps and returns their time in seconds, which is positive.
    steps : int
        The most steps of the shorter run. Where they take more than 10 ms, fewer are used, at least a tenth.
    """
    share = max(0.1, min(1.0, _SHORT_RUN / seconds_of(steps)))
    steps = math.ceil(share * steps)
    low, high = LINEAR_RATIOS
    once, twice, tries, most = math.inf, math.inf, 0, math.inf
    while tries < most:
        once, twice, tries = min(once, seconds_of(steps)), min(twice, seconds_of(2 * steps)), tries + 1
        most = min(_MOST_TRIES, max(_LEAST_TRIES + 1, _DOUBTFUL / (3 * once)))
        if tries >= _LEAST_TRIES and low <= twice / once <= high:
            break
    return twice / once


def warm_up(session: Session, steps: int) -> Warmup:
    """Run blocks until their own times show a steady state, at most `MOST_WARM_BLOCKS`."""
    start, blocks = time.perf_counter(), list[float]()
    while not intervals.steady_state(blocks) and len(blocks) < MOST_WARM_BLOCKS:
        session.reset()
        blocks.append(session.run(steps).by(session.clock))
    return Warmup(time.perf_counter() - start, len(blocks), min(blocks), intervals.steady_state(blocks))
