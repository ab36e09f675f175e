"""Numbers, units, estimates and status words as text for readers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time the import would load SciPy, which the doctor has no time for
    from bench.statistics.intervals import Estimate


@dataclass(frozen=True)
class Unit:
    """An SI unit of time."""

    name: str
    seconds: float


ABSENT = "–"  # an entry of a table that is not there; in CSV an empty cell
ENTRY_DIGITS = 4  # of a float in a table of an experiment
LEAST_PLAIN, MOST_PLAIN = 1e-5, 1e7  # between these, such a float is written without a power of ten
MOST_DIGITS = 9  # after the decimal point, of a ratio near 1
UNITS = (Unit("s", 1.0), Unit("ms", 1e-3), Unit("µs", 1e-6), Unit("ns", 1e-9))


def unit_of(seconds: Iterable[float]) -> Unit:
    """Return the largest unit in which the geometric mean of these times is at least 1."""
    logs = [math.log(value) for value in seconds]
    centre = math.exp(fmean(logs)) if logs else 1e-6
    return next((unit for unit in UNITS if centre >= unit.seconds), UNITS[-1])


def number(value: float, significant: int = 3) -> str:
    """Format `value` with this number of significant digits, never in powers of ten: 0.0412, 49.8, 207703."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, significant - 1 - math.floor(math.log10(abs(value))))}f}"


def rate_text(per_second: float) -> str:
    """Format a rate with three digits and an SI prefix: ``840``, ``18.9 k``, ``1.10 M``, ``2.50 G``."""
    prefix, size = next(((p, s) for p, s in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if per_second >= s), ("", 1.0))
    return f"{number(per_second / size)} {prefix}".rstrip()


def duration_text(seconds: float) -> str:
    """Format a rough duration with two digits: ``4 s``, ``75 s``, ``3.2 min``, ``12 min``, ``2.5 h``."""
    name, size = next(((n, s) for n, s in (("h", 3600.0), ("min", 60.0)) if seconds >= 2 * s), ("s", 1.0))
    value = seconds / size
    return f"{value:.{int(size > 1 and value < 9.95)}f} {name}"


def threads_text(threads: int) -> str:
    """Format a thread count: ``1 thread``, ``2 threads``."""
    return f"{threads} thread{'s' * (threads != 1)}"


def centre_of(value: "Estimate | float") -> float:
    """Return the centre of an estimate; a plain number is its own centre."""
    return value if isinstance(value, int | float) else value.median


def interval_of(value: "Estimate | float") -> tuple[float, float] | None:
    """Return the interval of an estimate; None for a plain number."""
    return None if isinstance(value, int | float) else (value.low, value.high)


def bounds_of(value: "Estimate | float") -> tuple[float, ...]:
    """Return the bounds of an estimate; a plain number is its own bound."""
    return interval_of(value) or (centre_of(value),)


def with_interval(value: "Estimate | float", scale: float = 1.0) -> str:
    """Format a value over `scale` with its interval, if it has one, for example ``49.8 [49.3, 50.3]``.

    The digits reach to the first digit of the interval's half-width, or to its second digit where the first is 1. The
    value has at least two and at most five digits, or more where fewer would show a bound on the wrong side of 1: a
    ratio that is decided must not look undecided.
    """
    centre, interval = centre_of(value) / scale, interval_of(value)
    if interval is None:
        return number(centre)
    low, high = (bound / scale for bound in interval)
    digits = _digits(centre, low, high)
    while digits < MOST_DIGITS and any(_side(bound) != _side(float(f"{bound:.{digits}f}")) for bound in (low, high)):
        digits += 1
    return f"{centre:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _digits(centre: float, low: float, high: float) -> int:
    """Return the number of decimals that an interval justifies."""
    leading = -math.floor(math.log10(centre))
    half = (high - low) / 2
    needed = -math.floor(math.log10(half / 2)) if half > 0 else leading + 4
    return max(0, leading + 1, min(leading + 4, needed))


def _side(value: float) -> int:
    """Return on which side of 1 a value lies: -1 below, 1 above, 0 at 1."""
    return (value > 1) - (value < 1)


def centre_text(value: "Estimate | float", scale: float = 1.0) -> str:
    """Format a value over `scale` with the digits that its interval justifies, without the interval: ``49.8``."""
    centre, interval = centre_of(value) / scale, interval_of(value)
    if interval is None:
        return number(centre)
    low, high = (bound / scale for bound in interval)
    return f"{centre:.{_digits(centre, low, high)}f}"


def with_margin(estimate: "Estimate") -> str:
    """Format an estimate with a factor in percent: ``12.3 ±1.4 %`` has the interval 12.3 ÷ 1.014 to 12.3 × 1.014."""
    return f"{number(estimate.median)} ±{number(100 * (math.sqrt(estimate.high / estimate.low) - 1), 2)} %"


def entry_text(value: object) -> str:
    """Format an entry of a table of an experiment: a float with four digits, None as a dash, anything else as it is."""
    if value is None:
        return ABSENT
    if not isinstance(value, float):
        return str(value)
    plain = value == 0 or LEAST_PLAIN <= abs(value) < MOST_PLAIN
    return number(value, ENTRY_DIGITS) if plain else f"{value:.{ENTRY_DIGITS - 1}e}"


def words(status: str) -> str:
    """Format a status for readers: ``parity failed``."""
    return status.replace("_", " ")
