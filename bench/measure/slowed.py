"""A copy of a hosted backend that spins after all timed work, for a share of it: a planted slowdown of known size.

A row's name is that of the copied backend, a word and the percent of the spin: ``numpy-spun-3``. This module imports
little, because the copy's process should be like that of the original.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pyfnn import registry
from pyfnn.backend import Backend, Description
from pyfnn.errors import Unsupported
from pyfnn.manifest import Row
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.validation import Array


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


class Slowed(Backend):
    """A backend of the registry, slower in all timed work by the percent at the end of this row's name; on one thread.

    Parameters
    ----------
    row : Row
    """

    def __init__(self, row: Row) -> None:
        name, _, percent = row.name.rsplit("-", 2)
        self._original, self._share = registry.load_backend(name), int(percent) / 100
        plain = self._original.description
        # many=False makes an ensemble of single models, each of them slowed.
        super().__init__(replace(plain, flags=f"{plain.flags}, slowed by {percent} %", many=False))

    @property
    def description(self) -> Description:
        """The description of the original, with the slowdown among the flags."""
        return self._description

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        if threads != 1:
            raise Unsupported(f"threads = {threads}: the spin measures the CPU time of one thread only")
        model = self._original.create(network, theta, threads)
        for name in ("_train", "_train_with", "_time"):
            setattr(model, name, partial(_slowed, model, getattr(model, name), self._share))
        return model


def _slowed(model: Model, work: Callable[..., Any], share: float, *arguments: Any) -> Any:
    """Call such a method of a model, spin, and add the spin to the seconds and the CPU seconds that it reports."""
    done: list[tuple[Any, float]] = []

    def timed() -> float:
        result = work(*arguments)
        done.append((result, time.process_time()))
        return float(result[0] if isinstance(result, tuple) else result)

    seconds = spun(timed, share)
    ((result, end_of_work),) = done
    if model.cpu_seconds is not None:  # else the caller measures it, spin included
        model.cpu_seconds += time.process_time() - end_of_work
    return (seconds, *result[1:]) if isinstance(result, tuple) else seconds
