"""The contract of a model, one network with its parameters and data, and its checks at the public boundary.

What it shares with ensembles is in `loadable`. Nothing here computes a network.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, TypeVar

import numpy as np

from pyfnn.errors import Diverged, InvalidInput, PyfnnError, Unsupported, shown
from pyfnn.loadable import Loadable, exclusive
from pyfnn.network import Network
from pyfnn.optimizers import DESCENT, Named, State, check_offered
from pyfnn.validation import Array, Order, are_steps, check_array, check_count, check_entries, check_order, check_rate

Operation = Literal["forward", "gradient"]
OPERATIONS: tuple[Operation, ...] = ("forward", "gradient")
SelfModel = TypeVar("SelfModel", bound="Model")


def placeholder_targets(network: Network, rows: int) -> Array:
    """Return targets that every loss accepts, for rows without any: 1 in the first column, else 0; (rows, m_L)."""
    y = np.zeros((rows, network.sizes[-1]), network.dtype)
    y[:, 0] = 1
    return y


class Model(Loadable):
    """One network with its parameters and data, on one backend. A context manager: leaving it closes the model.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,), C-contiguous, of the network's dtype
        Initial parameters.
    threads : int
        Number of threads that the model may use, at least 1.

    Attributes
    ----------
    network : Network
    threads : int
        Number of threads that compute; at most the number given.
    device_seconds : float or None
        Duration of the last `train` or `time` on the device's own clock; None where there is no such clock.
    cpu_seconds : float or None
        CPU time of the process that computes, all threads, in the last `train` or `time`; None where it is not read.
    reads_cpu_clock : bool
        Read `cpu_seconds` in this process: see `Loadable`. False by default; a worker process reads it.
    holds_exact_theta : bool
        θ inside has the network's dtype. Otherwise `theta` rounds it, and `set_theta(theta())` changes it.
    implementation : str
        Name of what computes, for messages.
    optimizers : tuple of str
        Names of the optimizers that `train` takes.
    checksum : float
        Checksum of the last `time` call: the sum, over its repeats, of one probed output (``forward``), or of the loss
        and one probed entry of the gradient (``gradient``).

    Raises
    ------
    InvalidInput
        An argument breaks its rule; the message names the field, the value and the rule.
    """

    kind: ClassVar[str] = "model"
    holds_exact_theta = True
    implementation = "this implementation"
    optimizers: tuple[str, ...] = ("sgd",)

    def __init__(self, network: Network, theta: Array, threads: int = 1) -> None:
        super().__init__(network, threads)
        check_array("theta", theta, (network.n_parameters,), network.dtype)
        self._initial: Array = theta.copy()
        self._make: Maker | None = None
        self._second: Model | None = None
        self._optimizer: Named | None = None  # of the last training, where it has a state
        self.checksum = math.nan

    @exclusive
    def load(self, x: Array, y: Array, order: Order) -> None:
        """Copy the data; θ and the optimizer's state stay. Not timed.

        Parameters
        ----------
        x : ndarray, shape (rows, m_0), C-contiguous, of the network's dtype
        y : ndarray, shape (rows, m_L), C-contiguous, of the network's dtype
        order : ndarray of int64, shape (n,)
            Row numbers that `train` uses, in order; they may repeat.

        Raises
        ------
        InvalidInput
            An argument breaks its rule; the message names the field, the value and the rule. The model is unchanged.
        """
        self._check_open()
        rows = self._check_data(x, y)
        length = check_order("order", order, rows)
        self._load(x, y, order)
        self._n_rows, self._n_order = rows, length

    @exclusive
    def forward(self, first: int, count: int) -> Array:
        """Return the outputs of rows [first, first+count): (count, m_L); probabilities under a cross-entropy."""
        first, count = self._check_range(first, count, self._n_rows, "rows")
        return self._forward(first, count)

    @exclusive
    def predict(self, x: Array) -> Array:
        """Return the outputs for new rows. The loaded data stay; none need be loaded.

        Parameters
        ----------
        x : ndarray, shape (rows, m_0), C-contiguous, of the network's dtype

        Returns
        -------
        ndarray, shape (rows, m_L)
            As `forward` returns them: probabilities under a cross-entropy.

        Raises
        ------
        InvalidInput
            x has another shape, dtype or memory layout, no row, or a value that is not finite.
        """
        self._check_open()
        self._check_inputs(x)
        return self._predict(x)

    @exclusive
    def loss(self, first: int, count: int) -> float:
        """Return the mean loss of rows [first, first+count), l2 term included, by a forward pass where there is one."""
        first, count = self._check_range(first, count, self._n_rows, "rows")
        return self._forward_loss(first, count)

    @exclusive
    def loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        """Return the mean loss of rows [first, first+count), l2 term included, and its gradient, laid out as θ."""
        first, count = self._check_range(first, count, self._n_rows, "rows")
        return self._loss_and_gradient(first, count)

    @exclusive
    def train(
        self, first: int, count: int, batch_size: int, learning_rate: float, optimizer: Named | None = None
    ) -> float:
        """Train over order[first : first+count] in minibatches; the last may be shorter.

        Parameters
        ----------
        first, count : int
            Entries of the order.
        batch_size : int
        learning_rate : float
            Finite and above 0.
        optimizer : SGD, Momentum or Adam, optional
            `SGD()`, gradient descent, by default. Another one continues from its state at the end of the last training,
            or from 0 where that had another optimizer, and after `reset`.

        Returns
        -------
        float
            Seconds, on the implementation's own clock.

        Raises
        ------
        Diverged
            θ is no longer finite; it keeps its value until `reset`.
        InvalidInput
            An argument breaks its rule; nothing was trained.
        Unsupported
            The implementation lacks the optimizer; the message names both.
        """
        # A further call of Python takes a tenth of a small network's step: what nearly all calls need is decided here.
        if self._closed or not are_steps(first, count, self._n_order, batch_size, learning_rate):
            first, count, batch_size, learning_rate = self._check_steps(first, count, batch_size, learning_rate)
        usual = optimizer is None and self._optimizer is None and DESCENT.name in self.optimizers
        work = self._train if usual else self._training_by(DESCENT if optimizer is None else optimizer)
        seconds = self._timed(work, first, count, batch_size, learning_rate)
        if not self._is_finite():
            raise _diverged(count, batch_size, learning_rate)
        return seconds

    @exclusive
    def train_with_loss(
        self, first: int, count: int, batch_size: int, learning_rate: float, optimizer: Named | None = None
    ) -> tuple[float, float]:
        """Train as `train` does, to the same θ, and return the running loss, which takes no further pass.

        Parameters
        ----------
        first, count, batch_size, learning_rate, optimizer
            As for `train`.

        Returns
        -------
        seconds : float
        loss : float
            Mean over the rows of the mean loss of their step's rows, l2 term included, at θ before that step.

        Raises
        ------
        Diverged, InvalidInput
            As `train`.
        Unsupported
            The implementation lacks the optimizer, or sums no losses: see `offers_running_loss`.
        """
        if self._closed or not are_steps(first, count, self._n_order, batch_size, learning_rate):
            first, count, batch_size, learning_rate = self._check_steps(first, count, batch_size, learning_rate)
        self._check_running_loss(batch_size)
        self._training_by(DESCENT if optimizer is None else optimizer)
        seconds, loss = self._timed(self._train_with_loss, first, count, batch_size, learning_rate)
        if not self._is_finite():
            raise _diverged(count, batch_size, learning_rate)
        return seconds, loss

    def _check_steps(
        self, first: int, count: int, batch_size: int, learning_rate: float
    ) -> tuple[int, int, int, float]:
        first, count = self._check_range(first, count, self._n_order, "entries of order")
        check_rate("learning_rate", learning_rate)
        return first, count, check_count("batch_size", batch_size), float(learning_rate)

    def _training_by(self, optimizer: Named) -> Callable[[int, int, int, float], float]:
        """Return the hook that trains by an optimizer, at the state that it is to continue from."""
        check_offered(self.implementation, self.optimizers, optimizer)
        if optimizer != self._optimizer:
            self._select(optimizer)
        return self._train_with if self._optimizer else self._train

    def _select(self, optimizer: Named) -> None:
        """Select an optimizer, with a state of zeros."""
        self._optimizer = optimizer if optimizer.vectors else None
        if self._optimizer:
            self._zero_optimizer_state(optimizer)

    @exclusive
    def optimizer_state(self) -> State:
        """Return a copy of the state of the last training's optimizer, as `Named.start` lays it out; {} if it has none.

        With it and θ, `set_optimizer_state` and `set_theta` continue a training elsewhere.
        """
        self._check_open()
        return self._optimizer_state(self._optimizer) if self._optimizer else {}

    @exclusive
    def set_optimizer_state(self, optimizer: Named, state: State) -> None:
        """Let the next training by this optimizer continue from a state.

        Parameters
        ----------
        optimizer : SGD, Momentum or Adam
        state : dict of str to ndarray
            As `optimizer_state` returns it; copied.

        Raises
        ------
        Unsupported
            The implementation lacks the optimizer.
        InvalidInput
            The state is not one of this optimizer.
        """
        self._check_open()
        check_offered(self.implementation, self.optimizers, optimizer)
        optimizer.check_state(state, self.network.n_parameters, self.network.dtype)
        self._optimizer = optimizer if optimizer.vectors else None
        if self._optimizer:
            self._set_optimizer_state(optimizer, state)

    @exclusive
    def time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order | None = None) -> float:
        """Return the seconds of `repeats` passes of `count` rows each, on the implementation's own clock.

        Repeat r works on rows [s, s+count) with s = (first + r·count) mod (rows − count + 1), so that no compiler can
        move work out of the loop. It adds entry ``probes[r mod n]`` of what it computes to `checksum`. Random probes
        show, within the timed loop, that every pass computes all of its outputs or its whole gradient.

        Parameters
        ----------
        operation : {"forward", "gradient"}
        first, count : int
            Rows of the first pass.
        repeats : int
        probes : ndarray of int64, shape (n,), optional
            Entries of the outputs, (count, m_L) row by row, or of the gradient, laid out as θ. Without probes: the
            first and the last entry.

        Raises
        ------
        InvalidInput
            An argument breaks its rule.
        """
        if not isinstance(operation, str) or operation not in OPERATIONS:
            raise InvalidInput(f"operation = {shown(operation)}: must be one of {', '.join(OPERATIONS)}")
        first, count = self._check_range(first, count, self._n_rows, "rows")
        repeats = check_count("repeats", repeats)
        entries = count * self.network.sizes[-1] if operation == "forward" else self.network.n_parameters
        if probes is None:
            probes = np.array([0, entries - 1])
        check_entries("probes", probes, entries)
        seconds, self.checksum = self._timed(self._time, operation, first, count, repeats, probes)
        return seconds

    @exclusive
    def theta(self) -> Array:
        """Return a copy of the parameters: (n_parameters,)."""
        self._check_open()
        return self._theta()

    def initial_theta(self) -> Array:
        """Return a copy of the parameters that the model was made with, which `reset` restores: (n_parameters,)."""
        return np.array(self._initial)

    @exclusive
    def set_theta(self, theta: Array) -> None:
        """Replace the parameters; `reset` still restores those that the model was made with.

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,), C-contiguous, of the network's dtype
            Copied.

        Raises
        ------
        InvalidInput
            θ has another shape, dtype or memory layout, or a value that is not finite.
        Unsupported
            The implementation is a library that does not export ``fnn_set_theta``, or a class without `_set_theta`.
        """
        self._check_open()
        check_array("theta", theta, (self.network.n_parameters,), self.network.dtype)
        self._set_theta(theta)

    @exclusive
    def reset(self) -> None:
        """Restore the initial θ, and the optimizer's state before its first step."""
        self._check_open()
        self._reset()
        if self._optimizer:
            self._select(self._optimizer)

    def made_by(self: SelfModel, make: "Maker", implementation: str, optimizers: tuple[str, ...]) -> SelfModel:
        """Keep the function that made this model, by which `predict` makes another one for its rows; return self.

        Parameters
        ----------
        make : callable
        implementation, optimizers
            As the attributes.
        """
        self._make, self.implementation, self.optimizers = make, implementation, optimizers
        return self

    def _predict(self, x: Array) -> Array:
        other = self._second_model()
        other.load(x, placeholder_targets(self.network, len(x)), np.zeros(1, np.int64))
        return other.forward(0, len(x))

    def _second_model(self) -> "Model":
        """Return another model with this θ, for the rows of `predict`; it is made once if its θ can be set."""
        if self._second is not None:
            try:
                self._second.set_theta(self._theta())
            except Unsupported:
                self._second.close()
                self._second = None
        if self._second is None:
            if self._make is None:
                raise PyfnnError("this model cannot predict: no backend made it")
            self._second = self._make(self.network, self._theta(), self.threads)
        return self._second

    @exclusive
    def close(self) -> None:
        """Release all resources. A second call does nothing."""
        if self._second is not None:
            self._second.close()
        super().close()

    def _forward_loss(self, first: int, count: int) -> float:
        return self._loss_and_gradient(first, count)[0]

    def _reset(self) -> None:
        self._set_theta(self._initial)

    @abstractmethod
    def _load(self, x: Array, y: Array, order: Order) -> None: ...

    @abstractmethod
    def _forward(self, first: int, count: int) -> Array: ...

    @abstractmethod
    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]: ...

    @abstractmethod
    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float: ...

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        """Train by the optimizer that was selected last. Models of backends with more optimizers than SGD have this."""
        del first, count, batch_size, learning_rate
        raise NotImplementedError

    def _train_with_loss(self, first: int, count: int, batch_size: int, learning_rate: float) -> tuple[float, float]:
        """Train by the optimizer that was selected last; return seconds and the running loss, where it is offered."""
        del first, count, batch_size, learning_rate
        raise NotImplementedError

    def _optimizer_state(self, optimizer: Named) -> State:
        """Return a copy of the state of the selected optimizer, which is this one."""
        del optimizer
        raise NotImplementedError

    def _set_optimizer_state(self, optimizer: Named, state: State) -> None:
        """Select an optimizer, with a copy of this state."""
        del optimizer, state
        raise NotImplementedError

    def _zero_optimizer_state(self, optimizer: Named) -> None:
        """Select an optimizer, with its state before the first step."""
        self._set_optimizer_state(optimizer, optimizer.start(self._initial))

    @abstractmethod
    def _time(
        self, operation: Operation, first: int, count: int, repeats: int, probes: Order
    ) -> tuple[float, float]: ...

    @abstractmethod
    def _theta(self) -> Array: ...

    def _is_finite(self) -> bool:
        """Return True if every number of θ is finite. An implementation that can check θ in place overrides this."""
        return bool(np.isfinite(self._theta()).all())

    def _set_theta(self, theta: Array) -> None:
        del theta
        raise Unsupported(f"{type(self).__name__} takes no theta but its first: it has no _set_theta")


def _diverged(count: int, batch_size: int, learning_rate: float) -> Diverged:
    return Diverged(f"theta is not finite after {-(-count // batch_size)} steps at learning_rate = {learning_rate}")


Maker = Callable[[Network, Array, int], Model]  # (network, theta, threads) -> model
