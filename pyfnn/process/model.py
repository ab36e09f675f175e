"""Model in a worker process: a `Model` that sends each call through the worker protocol."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pyfnn.backend import check_support
from pyfnn.errors import ProtocolError, PyfnnError
from pyfnn.loadable import Result
from pyfnn.model import Model, Operation, placeholder_targets
from pyfnn.network import Network
from pyfnn.optimizers import Named, State
from pyfnn.process import protocol
from pyfnn.process.protocol import number_field, optional_seconds_field, seconds_field
from pyfnn.process.worker import Worker
from pyfnn.validation import Array, Order


class ProcessModel(Model):
    """A model that a worker process computes. The worker holds the model that was loaded last.

    The worker starts over at every `load` and `set_theta`, from the θ that it is sent: the protocol has no command for
    either alone. `predict` starts it over twice: with the new rows, then with the data, which wait in WORKDIR. The
    state of an optimizer is fetched before, and sent again after it.

    Parameters
    ----------
    worker : Worker
    network, theta, threads
        As for any `Model`.
    owns_worker : bool
        Closing the model ends the process.

    Attributes
    ----------
    call_wall_seconds, call_cpu_seconds : float
        Wall and CPU seconds of the last `train` or `time`, measured by the driver; upper limits of the seconds that the
        worker reports. The CPU seconds are NaN where it was not accounted for.
    query_wall_seconds, query_cpu_seconds : float
        The same of the last query for θ: `train` ends with one. The first one after a call ends when the work of the
        call does, though the worker may have replied before.
    accounts : bool
        Read the CPU time of calls, which takes longer than a short call.
    """

    def __init__(
        self, worker: Worker, network: Network, theta: Array, threads: int = 1, *, owns_worker: bool = False
    ) -> None:
        super().__init__(network, theta, threads)
        check_support(worker.description, network)
        self._worker, self._owns_worker = worker, owns_worker
        self._threads_allowed = threads
        self._start = self._initial  # θ that the worker started from, or will
        self._moved = False  # training has changed θ
        self._kept: tuple[Named, State] | None = None  # the optimizer's state, while the worker has none
        self.implementation, self.optimizers = worker.description.name, worker.description.optimizers
        self.holds_exact_theta = worker.description.arithmetic == "native" or network.dtype == "float64"
        self.call_wall_seconds = self.call_cpu_seconds = math.nan
        self.query_wall_seconds = self.query_cpu_seconds = math.nan
        self.accounts = False

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._keep_state()
        if self._moved:
            self._start = self._theta()
        self._hand_over(self._start, x, y, order)
        self._moved = False
        self._send_state()

    def _hand_over(self, theta: Array, x: Array, y: Array, order: Order) -> None:
        setup = protocol.Setup(self.network, len(x), len(order), self._threads_allowed)
        arrays = {protocol.THETA: theta, protocol.X: x, protocol.Y: y, protocol.ORDER: order}
        self.threads = self._worker.hand_over("init", setup, arrays)
        self._worker.owner = self

    def _check_owner(self) -> None:
        if self._worker.owner is not self and (self._n_rows > 0 or self._worker.owner is not None):
            raise PyfnnError("this model's worker has been loaded with another model since")

    def _ask(self, *words: object) -> dict[str, str]:
        self._check_owner()
        return self._worker.call(*words, accounts=self.accounts)

    def _result(self, name: str, shape: tuple[int, ...]) -> Array:
        return protocol.read_array(self._worker.workdir / name, shape, self.network.dtype)

    def _forward(self, first: int, count: int) -> Array:
        self._ask("forward", first, count)
        return self._result(protocol.OUTPUTS, (count, self.network.sizes[-1]))

    def _predict(self, x: Array) -> Array:
        if not self.holds_exact_theta:
            return super()._predict(x)  # in a process of its own: starting this one over would round its θ
        theta, files = self._theta(), (protocol.NETWORK, protocol.X, protocol.Y, protocol.ORDER)
        loaded = self._n_rows > 0
        self._check_owner()
        self._keep_state()
        try:
            with self._set_aside(files if loaded else ()):
                self._hand_over(theta, x, placeholder_targets(self.network, len(x)), np.zeros(1, np.int64))
                return self._forward(0, len(x))
        finally:
            if loaded:
                self._set_theta(theta)

    @contextmanager
    def _set_aside(self, names: tuple[str, ...]) -> Iterator[None]:
        """Rename files of WORKDIR, and rename them back at the end."""
        kept = [(self._worker.workdir / name, self._worker.workdir / f"{name}.kept") for name in names]
        for path, aside in kept:
            path.rename(aside)
        try:
            yield
        finally:
            for path, aside in kept:
                aside.replace(path)

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        reply = self._ask("gradient", first, count)
        return number_field(reply, "loss"), self._result(protocol.GRADIENT, (self.network.n_parameters,))

    def _timed(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return work(*arguments)  # the worker's clocks count, not those of this process

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        self._moved = True
        reply = self._ask("train", first, count, batch_size, repr(learning_rate))
        self._note_cost(reply)
        return seconds_field(reply)

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        assert self._optimizer is not None
        self._moved = True
        optimizer = self._optimizer.text
        reply = self._ask("train_with", first, count, batch_size, repr(learning_rate), optimizer)
        self._note_cost(reply)
        return seconds_field(reply)

    def _optimizer_state(self, optimizer: Named) -> State:
        if self._kept:
            return _copy(self._kept[1])
        steps = number_field(self._ask("optimizer_state"), "steps")
        if not steps.is_integer():
            raise ProtocolError(f"steps={steps} of the optimizer's state: must be a whole number")
        if steps < 0:  # no training yet
            return optimizer.start(self._initial)
        vectors = self._result(protocol.STATE_OUT, (len(optimizer.vectors), self.network.n_parameters))
        return optimizer.unpack(int(steps), vectors)

    def _set_optimizer_state(self, optimizer: Named, state: State) -> None:
        self._kept = optimizer, _copy(state)
        if self._n_rows > 0:
            self._send_state()

    def _zero_optimizer_state(self, optimizer: Named) -> None:
        """Select an optimizer: the worker does so too, at the next training, where the last one had another."""
        if self._kept:
            self._set_optimizer_state(optimizer, optimizer.start(self._initial))

    def _keep_state(self) -> None:
        """Fetch the optimizer's state, before the worker starts over."""
        if self._optimizer and not self._kept and self._n_rows > 0:
            self._kept = self._optimizer, self._optimizer_state(self._optimizer)

    def _send_state(self) -> None:
        """Send the state that was kept."""
        if self._kept:
            optimizer, state = self._kept
            steps, vectors = optimizer.pack(state)
            protocol.write_array(self._worker.workdir / protocol.STATE, np.array(vectors))
            self._ask("set_optimizer", optimizer.text, steps)
            self._kept = None

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        protocol.write_array(self._worker.workdir / protocol.PROBES, probes)
        reply = self._ask("time", operation, first, count, repeats, len(probes))
        self._note_cost(reply)
        return seconds_field(reply), number_field(reply, "checksum")

    def _note_cost(self, reply: dict[str, str]) -> None:
        self.device_seconds = optional_seconds_field(reply, "device_seconds")
        self.cpu_seconds = optional_seconds_field(reply, "cpu_seconds")
        self.call_wall_seconds, self.call_cpu_seconds = self._worker.wall_seconds, self._worker.cpu_seconds

    def _theta(self) -> Array:
        if self._n_rows == 0:
            return np.array(self._start)
        self._ask("theta")
        self.query_wall_seconds, self.query_cpu_seconds = self._worker.wall_seconds, self._worker.cpu_seconds
        return self._result(protocol.THETA_OUT, (self.network.n_parameters,))

    def query_theta(self) -> None:
        """Ask the worker for θ again, for the time that the answer takes."""
        self._theta()

    def _set_theta(self, theta: Array) -> None:
        self._keep_state()
        self._restart(theta)
        if self._n_rows > 0:
            self._send_state()

    def _restart(self, theta: Array) -> None:
        """Let the worker start over from a θ, with the data that it has, and no state of an optimizer."""
        if self._n_rows > 0:
            self._check_owner()
            protocol.write_array(self._worker.workdir / protocol.THETA, theta)
            self._ask("init")
        self._start, self._moved = theta.copy(), False

    def _reset(self) -> None:
        if self._n_rows > 0 and self._start is self._initial:
            self._ask("reset")
            self._moved = False
        else:
            self._restart(self._initial)
            self._start = self._initial

    def _close(self) -> None:
        if self._owns_worker:
            self._worker.close()


def _copy(state: State) -> State:
    return {name: array.copy() for name, array in state.items()}
