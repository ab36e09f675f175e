"""Numbers and units as a reader sees them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

Interval = tuple[float, float]


@dataclass(frozen=True)
class Quantity:
    """A value, and its 95 % interval where there is one."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Unit:
    """An SI unit of time."""

    name: str
    seconds: float


UNITS = (Unit("s", 1.0), Unit("ms", 1e-3), Unit("µs", 1e-6), Unit("ns", 1e-9))


def unit_of(seconds: Iterable[float]) -> Unit:
    """The unit in which the geometric mean of these times is at least 1."""
    logs = [math.log(value) for value in seconds]
    centre = math.exp(fmean(logs)) if logs else 1e-6
    return next((unit for unit in UNITS if centre >= unit.seconds), UNITS[-1])


def number(value: float, significant: int = 3) -> str:
    """`value` to so many significant digits, never in powers of ten: 0.0412, 49.8, 207703."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, significant - 1 - math.floor(math.log10(abs(value))))}f}"


def rate_text(per_second: float) -> str:
    """Three digits and a prefix: ``840``, ``18.9 k``, ``1.10 M``, ``2.50 G``."""
    prefix, size = next(((p, s) for p, s in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if per_second >= s), ("", 1.0))
    return f"{number(per_second / size)} {prefix}".rstrip()


def with_interval(quantity: Quantity, scale: float = 1.0) -> str:
    """For instance ``49.8 [49.3, 50.3]``.

    As far as the interval's half-width bears: to its first digit, or its second where the first is 1; no fewer than two
    digits of the value, no more than five.
    """
    value = quantity.value / scale
    if quantity.interval is None:
        return number(value)
    low, high = (bound / scale for bound in quantity.interval)
    leading = -math.floor(math.log10(value))
    half = (high - low) / 2
    wanted = -math.floor(math.log10(half / 2)) if half > 0 else leading + 4
    digits = max(0, leading + 1, min(leading + 4, wanted))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def with_margin(quantity: Quantity) -> str:
    """For instance ``12.3 ±1.4 %``: the interval is from 12.3 ÷ 1.014 to 12.3 × 1.014, even on a log scale."""
    if quantity.interval is None:
        return number(quantity.value)
    low, high = quantity.interval
    return f"{number(quantity.value)} ±{number(100 * (math.sqrt(high / low) - 1), 2)} %"


def words(status: str) -> str:
    """A status as a reader sees it: ``parity failed``."""
    return status.replace("_", " ")
