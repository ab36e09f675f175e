"""The ceilings of a CUDA device: the best of several bursts of libfnn_cuda_probe.so (native/c_cuda/probe.h).

Runs in the process that bench/machine/ceilings.py starts.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cffi
import numpy as np
from numpy.typing import NDArray

from bench.machine.sweep_size import sweep_size
from pyfnn import compiled, device
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.manifest import native_folder

UNITS = {"float32": ("FNN_PROBE_FLOAT32",), "float64": ("FNN_PROBE_FLOAT64", "FNN_PROBE_MATRIX64")}
"""The units that multiply and add numbers of a dtype without rounding them to a lower one, as a library may."""
_BURST = 5e-3  # seconds; shorter bursts do not count
_CLOCKS = 1.01, 1e-4  # device time may exceed wall time by this factor plus these seconds: the clocks drift


class Burst(NamedTuple):
    """One burst of work on the device.

    Attributes
    ----------
    amount : float
        Floating-point operations, two for a multiply-add; or bytes read and written.
    device_seconds, wall_seconds : float
        Time by the device's events, and by the host's clock around them.
    chains, steps : int
        The number of chains of multiply-adds, and of multiply-adds in each.
    sum : float
        The sum of the final values of all chains.
    """

    amount: float
    device_seconds: float
    wall_seconds: float
    chains: int
    steps: int
    sum: float


class Probe:
    """The probe library on one device.

    Parameters
    ----------
    path : Path, optional
        The library's file; the one compiled with pyfnn by default.

    Attributes
    ----------
    about : dict
        The device's name, capability, multiprocessors, memory and cache in bytes, versions of driver and runtime.

    Raises
    ------
    BackendUnavailable
        The library was not built, or there is no such device.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._number = device.device_number()
        self._lib = _ffi().dlopen(str(path or compiled.folder("fnn_cuda_probe") / "libfnn_cuda_probe.so"))
        about = _ffi().new("fnn_probe_device *")
        self._check(self._lib.fnn_probe_about(self._number, about), about)
        names = ("major", "minor", "processors", "driver", "runtime", "memory", "free_memory", "cache")
        self.about: dict[str, Any] = {name: int(getattr(about, name)) for name in names}
        self.about["name"] = _ffi().string(about.name).decode("utf-8", "replace")

    def multiply_adds(
        self, unit: str, rounds: int, blocks: int = 0, factor: float = 0.5, addend: float = 0.5
    ) -> Burst | None:
        """Run chains of x ← x · factor + addend; return None if the device has no such unit (see probe.h)."""
        burst = _ffi().new("fnn_probe_burst *")
        code = getattr(self._lib, unit)
        status = self._lib.fnn_probe_multiply_adds(self._number, code, blocks, rounds, factor, addend, burst)
        if status == self._lib.FNN_PROBE_UNSUPPORTED:
            return None
        return self._burst(status, burst)

    def copy(
        self, size: int, passes: int, source: NDArray[Any] | None = None
    ) -> tuple[Burst, NDArray[np.uint8] | None]:
        """Copy `size` bytes from array to array, `passes` times.

        Returns
        -------
        Burst
        ndarray or None, shape (size,)
            The copy of `source`, if one was given.
        """
        burst, null = _ffi().new("fnn_probe_burst *"), _ffi().NULL
        arrived = None if source is None else np.zeros(size, np.uint8)
        given = null if source is None else _ffi().from_buffer(source)
        taken = null if arrived is None else _ffi().from_buffer(arrived)
        status = self._lib.fnn_probe_copy(self._number, size, passes, given, taken, burst)
        return self._burst(status, burst), arrived

    def _burst(self, status: int, burst: Any) -> Burst:
        self._check(status, burst)
        return Burst(*(getattr(burst, name) for name in Burst._fields))

    def _check(self, status: int, reply: Any) -> None:
        if status == self._lib.FNN_PROBE_OK:
            return
        message = _ffi().string(reply.message).decode("utf-8", "replace")
        if status == self._lib.FNN_PROBE_NO_DEVICE:
            raise BackendUnavailable(message, "an NVIDIA GPU and its driver")
        raise PyfnnError(message)


@cache
def _ffi() -> Any:
    """Return the declarations of probe.h, without the comments, guards and directives that cffi cannot parse."""
    text = (native_folder() / "c_cuda" / "probe.h").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/|#ifdef __cplusplus.*?#endif", "", text, flags=re.DOTALL)
    ffi = cffi.FFI()
    ffi.cdef(re.sub(r"^#(?!define \w+ \d+$).*$", "", text, flags=re.MULTILINE))
    return ffi


def answer(dtypes: list[str], seconds: float, path: Path | None = None) -> dict[str, Any]:
    """Measure the peaks of every unit that computes in one of the dtypes, and the bandwidth of copies.

    Parameters
    ----------
    dtypes : list of str
    seconds : float
        Duration of each probe.
    path : Path, optional
        The library's file; the one compiled with pyfnn by default.

    Returns
    -------
    dict
        ``peaks`` and ``bandwidths`` as in `bench.results.schema.Ceilings`, or ``absent`` with the reason.
    """
    try:
        probe = Probe(path)
        capability = f"sm_{probe.about['major']}{probe.about['minor']}"
        peaks = []
        for dtype in dtypes:
            for unit in UNITS[dtype]:
                rate = _best(lambda rounds, unit=unit: probe.multiply_adds(unit, rounds), seconds)
                level = f"{capability} matrix units" if "MATRIX" in unit else capability
                if rate is not None:
                    peaks.append({"device": "cuda", "level": level, "dtype": dtype, "threads": 1, "gflops": rate / 1e9})
        size = sweep_bytes(probe.about)
        moved = _best(lambda passes: probe.copy(size, passes)[0], seconds)
    except PyfnnError as error:
        return {"absent": str(error)}
    copies = {"device": "cuda", "traffic": "copy", "threads": 1, "bytes": 2 * size}
    return {"peaks": peaks, "bandwidths": [{**copies, "gigabytes_per_second": (moved or 0.0) / 1e9}]}


def sweep_bytes(about: dict[str, Any]) -> int:
    """Return the bytes of each of the two arrays, a multiple of 16."""
    return max(16, sweep_size(about["cache"], about["free_memory"]) // 16 * 16)


def _best(burst_of: Any, seconds: float) -> float | None:
    """Return the best rate by the device's clock of bursts within `seconds`; None if the device has no such unit."""
    length, best, spent = 1, 0.0, 0.0
    factor, grace = _CLOCKS
    while best == 0 or spent < seconds:
        burst = burst_of(length)
        if burst is None:
            return None
        if burst.device_seconds > burst.wall_seconds * factor + grace:
            times = f"{burst.device_seconds:.4g} s by the device's clock in {burst.wall_seconds:.4g} s"
            raise PyfnnError(f"the device's clock contradicts the host's: {times}")
        spent += burst.wall_seconds
        if burst.device_seconds >= _BURST:
            best = max(best, burst.amount / burst.device_seconds)
        else:
            length *= 2
    return best
