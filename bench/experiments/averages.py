"""Means over seeds, with intervals, where some seeds may have no finite value. Pure functions."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from bench.statistics.intervals import CONFIDENCE, quantile

_HUGE = 1000.0  # from here on, an error is printed in powers of ten


class Mean(NamedTuple):
    """Mean of the finite values, half-width of its 95 % interval by Student's t (NaN for one value), and counts."""

    mean: float
    half: float
    finite: int
    given: int

    @property
    def text(self) -> str:
        """The mean with its half-width; NaN where there is no finite value, with the count where there are some."""
        if self.finite == 0:
            return "NaN" if self.given else ""
        digits = ".3g" if abs(self.mean) >= _HUGE else ".3f"
        text = format(self.mean, digits) + (f" ± {format(self.half, digits)}" if self.finite > 1 else "")
        return text if self.finite == self.given else f"{text} (NaN in {self.given - self.finite} of {self.given})"

    @property
    def excludes_zero(self) -> bool:
        """True where the interval does not hold 0."""
        return self.half < abs(self.mean)


def mean_of(values: Iterable[float | None], overlap: float = 0.0) -> Mean:
    """Return mean and interval of values of which some may be NaN, or None, as JSON has it.

    Parameters
    ----------
    values : iterable of float or None
        One of each seed.
    overlap : float
        0 for independent values. For values of random splits of the same rows, the number of test rows over that of the
        other rows: the variance of the mean is then s²(1/n + overlap), in place of s²/n (Nadeau and Bengio 2003,
        "Inference for the generalization error", eq. 8).
    """
    numbers = [math.nan if value is None else float(value) for value in values]
    finite = np.array([value for value in numbers if math.isfinite(value)])
    n = len(finite)
    mean = float(finite.mean()) if n else math.nan
    half = quantile(n - 1, CONFIDENCE) * float(finite.std(ddof=1)) * math.sqrt(1 / n + overlap) if n > 1 else math.nan
    return Mean(mean, half, n, len(numbers))
