"""The backend `c` with a spin of known length behind everything it times: a slowdown of 3 %, planted to be found.

What is done with it: `bench.experiments.proof`. In a module of its own, so that its process holds little else.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pyfnn.backend import Array, Description, Model, Operation
from pyfnn.backends.c import Library, LibraryModel
from pyfnn.ensemble import Ensemble, OneByOne
from pyfnn.errors import Unsupported
from pyfnn.manifest import Row
from pyfnn.network import Network

SHARE = 0.03  # of the CPU time that was worked, spun on top


def spun(
    work: Callable[[], float],
    share: float = SHARE,
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
    """`c`, slower by `SHARE` in whatever is timed; on one thread."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        said = super().description
        self._description = replace(said, flags=f"{said.flags}, slowed by {100 * SHARE:g} %", many=False)

    @property
    def description(self) -> Description:
        """What `c` says, and that it is slowed."""
        return self._description

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        if threads != 1:
            raise Unsupported(f"threads = {threads}: a spin of known length behind work on one thread is all it can")
        return SlowedModel(self._lib, network, theta, threads)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        return OneByOne(self._create, network, thetas, l2, threads)


class SlowedModel(LibraryModel):
    """A model of `c` that spins when it is done."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        work = super()._train
        return spun(lambda: work(first, count, batch_size, learning_rate))

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]:
        work, checksums = super()._time, list[float]()

        def timed() -> float:
            seconds, checksum = work(operation, first, count, repeats)
            checksums.append(checksum)
            return seconds

        return spun(timed), checksums[0]
