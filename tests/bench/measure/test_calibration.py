"""Claims about the warm-up and about the prediction from a first step, with made-up times in place of a process."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from bench.measure.calibration import MOST_WARM_BLOCKS, Calibrator, doubling, warm_up
from bench.measure.errors import TooSlow
from bench.measure.settings import Settings


class Timed:
    """A session whose runs and steps take the given seconds, one after the other. It has no process."""

    clock = "wall"
    worker = SimpleNamespace(startup_seconds=0.1)

    def __init__(self, seconds: Iterable[float]) -> None:
        self._seconds, self.resets = iter(seconds), 0
        self.networks = SimpleNamespace(proof_seconds=lambda step: 100 * step)

    def reset(self) -> None:
        self.resets += 1

    def run(self, steps: int) -> Any:
        assert steps == 7
        seconds = next(self._seconds)
        return SimpleNamespace(by=lambda _: seconds)

    def time_one_step(self) -> float:
        return next(self._seconds)

    @property
    def left(self) -> list[float]:
        return list(self._seconds)


def session(seconds: Iterable[float]) -> Any:
    return Timed(seconds)


@pytest.mark.parametrize(
    ("seconds", "blocks"),
    [
        ([1.0, 1.0, 1.0, 1.0], 4),
        ([1.0, 1.4, 1.2, 0.99], 4),  # others lengthen a block, and 1 % is no gain
        ([5.0] * 3 + [3.0] * 3 + [1.0] * 4, 10),  # two compilations
    ],
)
def test_the_warm_up_ends_once_three_blocks_are_no_faster_than_those_before(seconds: list[float], blocks: int) -> None:
    timed = session([*seconds, 0.1])
    warmup = warm_up(timed, 7)
    assert (warmup.blocks, warmup.fastest, warmup.steady) == (blocks, min(seconds), True)
    assert timed.left == [0.1]
    assert timed.resets == blocks  # each block begins at the workload's θ


def test_the_warm_up_of_a_backend_that_keeps_getting_faster_ends_without_a_steady_state() -> None:
    warmup = warm_up(session(0.9**block for block in range(99)), 7)
    assert (warmup.blocks, warmup.steady) == (MOST_WARM_BLOCKS, False)
    assert warmup.seconds >= 0


@pytest.mark.parametrize(
    ("seconds", "refused", "left"),
    [
        ([0.01, 0.01], False, [0.01]),
        ([3.0, 0.01], False, []),  # the machine paused in the first one
        ([3.0, 4.0], True, []),
        ([31.0, 0.01], True, [0.01]),  # longer than all the time that there is: no pause
    ],
)
def test_a_backend_is_too_slow_only_if_two_steps_in_a_row_are(
    seconds: list[float], refused: bool, left: list[float]
) -> None:
    calibrator = Calibrator(Settings(), block_seconds=0.01, budget=1.0, order_steps=None)
    timed = session(seconds)
    if refused:
        with pytest.raises(TooSlow, match=rf"a step took {seconds[0]:.3g} s .*more than the 30 s"):
            calibrator.refuse_by_first_steps(timed)
    else:
        calibrator.refuse_by_first_steps(timed)
    assert timed.left == left


@pytest.mark.parametrize(
    ("unit", "pairs", "ratio"),
    [
        (0.01, [(1, 2), (1, 2.1)], 2.0),
        (0.01, [(5, 2), (1, 9)], 2.0),  # each disturbed once
        (0.01, [(3, 2), (2, 8), (1, 2.5)], 2.0),
        (0.005, [(2, 2)] * 98 + [(1, 2)], 2.0),
        (0.005, [(1, 2), (0.5, 0.5)] + [(0.6, 0.6)] * 98, 1.0),  # the first pair alone would do for a loop of one pass
        (0.005, [(1, 3)] * 100, 3.0),
        (0.4, [(1, 1)] * 5, 1.0),
        (9.0, [(1, 1)] * 3, 1.0),  # runs too long for more tries
    ],
)
def test_twice_the_work_is_compared_by_the_shortest_runs(
    unit: float, pairs: list[tuple[float, float]], ratio: float
) -> None:
    seconds = [0.04] + [unit * units for pair in pairs for units in pair]
    asked = []

    def seconds_of(steps: int) -> float:
        asked.append(steps)
        return seconds.pop(0)

    assert doubling(seconds_of, 20) == pytest.approx(ratio)
    assert not seconds
    assert asked == [20] + [5, 10] * len(pairs)  # of 40 ms, 10 ms are enough
