"""The backend `c` with a spin of known length after all timed work: a planted slowdown.

A row's name ends in the percent of the spin, 0 included. The compared backends then have the same code, the same
modules and names of the same length; only the spin differs. This module imports little else, because its process should
be like that of `c`.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pyfnn.backend import Description
from pyfnn.backends.c import Library, LibraryModel
from pyfnn.errors import Unsupported
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order


def spun(
    work: Callable[[], float],
    share: float,
    cpu: Callable[[], float] = time.thread_time,
    wall: Callable[[], float] = time.perf_counter,
) -> float:
    """Work, then spin for `share` of the work's CPU time.

    The spin counts CPU time, so that other load stretches it in the same proportion as the work. A spin by the wall
    clock would be too long under load, because a time slice lost near its end is added in full.

    Parameters
    ----------
    work : callable
        Returns its own seconds by a wall clock; computes in this thread alone.
    share : float
    cpu, wall : callable
        Clocks, in seconds.

    Returns
    -------
    float
        Seconds of work and spin together.
    """
    begun = cpu()
    seconds = work()
    done = cpu()
    end, start = done + share * (done - begun), wall()
    while cpu() < end:
        pass
    return seconds + (wall() - start)


class Slowed(Library):
    """The backend `c`, slower in all timed work by the percent at the end of its row's name; on one thread."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        plain = super().description
        percent = row.name.rpartition("-")[2]
        self._share = int(percent) / 100
        # many=False makes an ensemble of single models, each a SlowedModel.
        self._description = replace(plain, flags=f"{plain.flags}, slowed by {percent} %", many=False)

    @property
    def description(self) -> Description:
        """The description of `c`, with the slowdown among the flags."""
        return self._description

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        if threads != 1:
            raise Unsupported(f"threads = {threads}: the spin measures the CPU time of one thread only")
        return SlowedModel(self._lib, network, theta, threads, self._share)


class SlowedModel(LibraryModel):
    """A model of `c` that spins after its work, for `share` of the work's CPU time."""

    def __init__(self, lib: Any, network: Network, theta: Array, threads: int, share: float) -> None:
        super().__init__(lib, network, theta, threads)
        self._share = share

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        work = super()._train
        return spun(lambda: work(first, count, batch_size, learning_rate), self._share)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        work, checksums = super()._time, list[float]()

        def timed() -> float:
            seconds, checksum = work(operation, first, count, repeats, probes)
            checksums.append(checksum)
            return seconds

        return spun(timed, self._share), checksums[0]
