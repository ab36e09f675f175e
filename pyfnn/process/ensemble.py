"""Ensembles in a worker process: many networks at once, trained through the worker protocol."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pyfnn.backend import check_support
from pyfnn.ensemble import Ensemble, summed
from pyfnn.errors import Diverged, PyfnnError
from pyfnn.loadable import Result
from pyfnn.network import Network
from pyfnn.process import protocol
from pyfnn.process.protocol import optional_seconds_field, seconds_field
from pyfnn.process.worker import Worker
from pyfnn.validation import Array, Order


class ProcessEnsemble(Ensemble):
    """An ensemble that a worker process trains by one call; `open_ensemble` makes it. Loading is as in `ProcessModel`.

    Parameters
    ----------
    worker : Worker
    network, thetas, l2, threads
        As for any `Ensemble`.
    owns_worker : bool
        Closing the ensemble ends the process.

    Attributes
    ----------
    call_wall_seconds, call_cpu_seconds : float
        Wall and CPU seconds of the last `train`, measured by the driver.
    query_wall_seconds, query_cpu_seconds : float
        The same of the last query for θ; see `ProcessModel`.
    accounts : bool
        See `ProcessModel`.
    """

    stores_theta_between_calls: ClassVar[bool] = False
    """θ is rounded to the network's dtype between calls, even if the worker computes in a wider one."""

    def __init__(
        self,
        worker: Worker,
        network: Network,
        thetas: Array,
        l2: NDArray[np.float64] | None = None,
        threads: int = 1,
        *,
        owns_worker: bool = False,
    ) -> None:
        super().__init__(network, thetas, l2, threads)
        check_support(worker.description, network)
        self._worker, self._owns_worker = worker, owns_worker
        self._threads_allowed = threads
        self._initial: Array = thetas.copy()
        self._begun = self._initial  # θ that the worker started from, or will
        self._moved = False  # training has changed θ
        self._setup: protocol.Setup | None = None
        self.call_wall_seconds = self.call_cpu_seconds = math.nan
        self.query_wall_seconds = self.query_cpu_seconds = math.nan
        self.accounts = False

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        begun = self._thetas() if self._moved else self._begun
        setup = protocol.Setup(self.network, len(x), orders.shape[1], self._threads_allowed, self.members)
        arrays = {protocol.THETA: begun, protocol.X: x, protocol.Y: y, protocol.ORDER: orders}
        self.threads = self._worker.hand_over("init_many", setup, {**arrays, protocol.L2: self.l2})
        self._worker.owner = self
        self._begun, self._setup, self._moved = begun, setup, False

    def _ask(self, *words: object) -> dict[str, str]:
        self._check_owner()
        return self._worker.call(*words, accounts=self.accounts)

    def _check_owner(self) -> None:
        if self._worker.owner is not self:
            raise PyfnnError("this ensemble's worker has been loaded with another model since")

    def _timed(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return work(*arguments)  # the worker's clocks count, not those of this process

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        self._moved = True
        protocol.write_array(self._worker.workdir / protocol.RATES, learning_rates)
        reply = self._ask("train_many", first, count, batch_size)
        self.device_seconds = optional_seconds_field(reply, "device_seconds")
        self.cpu_seconds = optional_seconds_field(reply, "cpu_seconds")
        self.call_wall_seconds, self.call_cpu_seconds = self._worker.wall_seconds, self._worker.cpu_seconds
        return seconds_field(reply)

    def _thetas(self) -> Array:
        if self._n_rows == 0:
            return np.array(self._begun)
        self._ask("theta")
        self.query_wall_seconds, self.query_cpu_seconds = self._worker.wall_seconds, self._worker.cpu_seconds
        return protocol.read_array(self._worker.workdir / protocol.THETA_OUT, self._initial.shape, self.network.dtype)

    def query_theta(self) -> None:
        """Ask the worker for θ again, for the time that the answer takes."""
        self._thetas()

    def _reset(self) -> None:
        if self._n_rows > 0 and self._begun is self._initial:
            self._ask("reset")
        elif self._setup is not None:  # the data wait in WORKDIR
            self._check_owner()
            self._worker.hand_over("init_many", self._setup, {protocol.THETA: self._initial})
        self._begun, self._moved = self._initial, False

    def _close(self) -> None:
        if self._owns_worker:
            self._worker.close()


class MemberByMember(ProcessEnsemble):
    """An ensemble in a worker that holds one network at a time: each member is trained after an `init` of its own.

    The driver keeps θ between calls, in the network's dtype. All seconds are sums over the members' training alone.
    """

    stores_theta_between_calls: ClassVar[bool] = True

    @cached_property
    def _now(self) -> Array:
        """Present θ of each member: (K, n_parameters)."""
        return np.array(self._initial)

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        self._data, self._orders = (x.copy(), y.copy()), orders.copy()
        self._start(0, 0, 1)

    def _start(self, member: int, first: int, count: int) -> None:
        """Load a member into the worker with its present θ and the entries [first, first + count) of its order."""
        network = replace(self.network, l2=float(self.l2[member]))
        order, (x, y) = self._orders[member, first : first + count], self._data
        arrays = {protocol.THETA: self._now[member], protocol.X: x, protocol.Y: y, protocol.ORDER: order}
        self.threads = self._worker.hand_over(
            "init", protocol.Setup(network, len(x), count, self._threads_allowed), arrays
        )
        self._worker.owner = self

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        seconds = wall = cpu = query_wall = query_cpu = 0.0
        device_spans: list[float | None] = []
        cpu_spans: list[float | None] = []
        for member, rate in enumerate(learning_rates.tolist()):
            if not np.isfinite(self._now[member]).all():
                continue  # it diverged in an earlier call
            self._start(member, first, count)
            try:
                reply = self._ask("train", 0, count, batch_size, repr(rate))
            except Diverged:  # `train` reports all diverged members after the last one
                self._now[member] = np.nan
                continue
            seconds += seconds_field(reply)
            device_spans.append(optional_seconds_field(reply, "device_seconds"))
            cpu_spans.append(optional_seconds_field(reply, "cpu_seconds"))
            wall, cpu = wall + self._worker.wall_seconds, cpu + self._worker.cpu_seconds
            self._ask("theta")
            query_wall, query_cpu = query_wall + self._worker.wall_seconds, query_cpu + self._worker.cpu_seconds
            path = self._worker.workdir / protocol.THETA_OUT
            self._now[member] = protocol.read_array(path, self._now[member].shape, self.network.dtype)
        self.call_wall_seconds, self.call_cpu_seconds = wall, cpu
        self.query_wall_seconds, self.query_cpu_seconds = query_wall, query_cpu
        self.device_seconds = summed(device_spans) if device_spans else None
        self.cpu_seconds = summed(cpu_spans) if cpu_spans else None
        return seconds

    def query_theta(self) -> None:
        """Ask the worker for the last member's θ again, and count its time for every member."""
        self._ask("theta")
        self.query_wall_seconds = self.members * self._worker.wall_seconds
        self.query_cpu_seconds = self.members * self._worker.cpu_seconds

    def _thetas(self) -> Array:
        return np.array(self._now)

    def _reset(self) -> None:
        self._now = self._initial.copy()


def open_ensemble(
    worker: Worker,
    network: Network,
    thetas: Array,
    l2: NDArray[np.float64] | None = None,
    threads: int = 1,
    *,
    owns_worker: bool = False,
) -> ProcessEnsemble:
    """Make an ensemble in a worker, which trains it by one call if its description has `many`, else member by member.

    Parameters
    ----------
    worker : Worker
    network, thetas, l2, threads
        As for any `Ensemble`.
    owns_worker : bool
        Closing the ensemble ends the process.

    Returns
    -------
    ProcessEnsemble
    """
    cls = ProcessEnsemble if worker.description.many else MemberByMember
    return cls(worker, network, thetas, l2, threads, owns_worker=owns_worker)
