"""Calibration of block lengths and warm-up, judged by the data."""

from dataclasses import dataclass

SIGN_OF_LINEARITY = (1.6, 2.5)  # time of 2R ÷ time of R
STEP_IN_FORWARDS = 3  # a training step costs about three forward passes
MOST_WARM_BLOCKS = 50  # who has not settled by then is told to have not


@dataclass(frozen=True)
class Warmup:
    """What it took until successive blocks agreed, and whether they did."""

    seconds: float
    blocks: int
    fastest: float
    settled: bool
