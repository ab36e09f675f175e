"""Which CUDA device is meant, said in one place: PYFNN_CUDA_DEVICE. Talks to no driver and loads no library."""

import os

from pyfnn.errors import BackendUnavailable

VARIABLE = "PYFNN_CUDA_DEVICE"


def device_number() -> int:
    """The number in PYFNN_CUDA_DEVICE, as the CUDA runtime counts devices; 0 where it is not set.

    Raises
    ------
    BackendUnavailable
        It is no such number.
    """
    text = os.environ.get(VARIABLE) or "0"
    if not (text.isascii() and text.isdecimal()):
        raise BackendUnavailable(f"{VARIABLE} = {text!r}: must be a whole number, at least 0", f"unset {VARIABLE}")
    return int(text)


def check_number(number: int, count: int) -> None:
    """Raise `BackendUnavailable` where there are only so many devices."""
    if number >= count:
        found = f"{count} CUDA device{'s' * (count != 1)}"
        raise BackendUnavailable(f"{VARIABLE} = {number}: there {'is' if count == 1 else 'are'} {found}")
