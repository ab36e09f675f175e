"""The backend `c` with a spin of known length behind everything it times: a slowdown that is planted to be found.

A row's name ends in the percent that it spins, 0 included: what is compared then has the same code, the same modules
and names of the same length, and nothing but the spin tells them apart.
What is done with it: `bench.experiments.proof`. In a module of its own, so that its process holds little else.
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
from pyfnn.validation import Array


def spun(
    work: Callable[[], float],
    share: float,
    cpu: Callable[[], float] = time.thread_time,
    wall: Callable[[], float] = time.perf_counter,
) -> float:
    """Work, then spin for `share` of the CPU time that took; the seconds of both together.

    By CPU time, as more work would be: beside other load both are stretched alike, and the slowdown stays what it is. A
    spin by the wall's clock would be longer there, since a slice lost near its end is added whole.

    Parameters
    ----------
    work : callable
        Returns its own seconds, by a wall clock; computes in this thread alone.
    share : float
    cpu, wall : callable
        Clocks, in seconds.
    """
    begun = cpu()
    seconds = work()
    done = cpu()
    end, start = done + share * (done - begun), wall()
    while cpu() < end:
        pass
    return seconds + (wall() - start)


class Slowed(Library):
    """`c`, slower by the percent that its row's name ends in, in whatever is timed; on one thread."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        said = super().description
        percent = row.name.rpartition("-")[2]
        self._share = int(percent) / 100
        # Not `many`: then each network's model is one of ours, made one by one.
        self._description = replace(said, flags=f"{said.flags}, slowed by {percent} %", many=False)

    @property
    def description(self) -> Description:
        """What `c` says, and that it is slowed."""
        return self._description

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        if threads != 1:
            raise Unsupported(f"threads = {threads}: a spin of known length behind work on one thread is all it can")
        return SlowedModel(self._lib, network, theta, threads, self._share)


class SlowedModel(LibraryModel):
    """A model of `c` that spins when it is done, for `share` of the CPU time that it took."""

    def __init__(self, lib: Any, network: Network, theta: Array, threads: int, share: float) -> None:
        super().__init__(lib, network, theta, threads)
        self._share = share

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        work = super()._train
        return spun(lambda: work(first, count, batch_size, learning_rate), self._share)

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]:
        work, checksums = super()._time, list[float]()

        def timed() -> float:
            seconds, checksum = work(operation, first, count, repeats)
            checksums.append(checksum)
            return seconds

        return spun(timed, self._share), checksums[0]
