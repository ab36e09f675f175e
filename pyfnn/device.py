"""Selection of the CUDA device by PYFNN_CUDA_DEVICE, for all backends. Calls no driver and loads no library."""

import os

from pyfnn.errors import BackendUnavailable

VARIABLE = "PYFNN_CUDA_DEVICE"


def device_number() -> int:
    """Return the number in PYFNN_CUDA_DEVICE, in the CUDA runtime's order of devices; 0 where it is not set.

    Raises
    ------
    BackendUnavailable
        The value is not a whole number of at least 0.
    """
    text = os.environ.get(VARIABLE) or "0"
    if not (text.isascii() and text.isdecimal()):
        raise BackendUnavailable(f"{VARIABLE} = {text!r}: must be a whole number, at least 0", f"unset {VARIABLE}")
    return int(text)


def check_number(number: int, count: int) -> None:
    """Raise `BackendUnavailable` where there is no device of that number among `count`."""
    if number >= count:
        found = f"{count} CUDA device{'s' * (count != 1)}"
        raise BackendUnavailable(f"{VARIABLE} = {number}: there {'is' if count == 1 else 'are'} {found}")
