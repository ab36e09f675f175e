"""Many networks at once: K networks of one shape, each with its own θ, order, rate and λ, on shared data.

This file has the contract with its checks, and `OneByOne`, which trains K models of any backend one after the other.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pyfnn.errors import Diverged, InvalidInput
from pyfnn.loadable import Loadable, exclusive
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.validation import Array, Order, check_array, check_count, check_each, check_order, check_rate

_NAMED = 5  # diverged members that a message names


class Ensemble(Loadable):
    """K networks of one shape on one backend. A context manager: leaving it closes the ensemble.

    Each member trains independently of the others: it ends where a `Model` of the same θ, λ, order and rate ends.

    Parameters
    ----------
    network : Network
    thetas : ndarray, shape (K, n_parameters), C-contiguous, of the network's dtype
    l2 : ndarray of float64, shape (K,), optional
        λ of each member; by default the network's for all.
    threads : int
        Number of threads that the whole ensemble may use, at least 1.

    Attributes
    ----------
    network : Network
        Sizes, functions, loss and dtype of all members; its own λ is not used.
    members : int
        K.
    l2 : ndarray of float64, shape (K,)
        λ of each member.
    threads : int
        Number of threads that the whole ensemble uses.
    device_seconds : float or None
        Duration of the last `train` on the device's own clock; None where there is no such clock.
    cpu_seconds : float or None
        CPU time of the process that computes, all threads, in the last `train`; None where it is not read.
    reads_cpu_clock : bool
        As that of a `Model`.

    Raises
    ------
    InvalidInput
        An argument breaks its rule; the message names the field, the value and the rule.
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None = None, threads: int = 1
    ) -> None:
        super().__init__(network, threads)
        self.members = len(thetas) if isinstance(thetas, np.ndarray) and thetas.ndim == 2 else -1
        if self.members == 0:
            raise InvalidInput("thetas is empty: at least one member is needed")
        check_array("thetas", thetas, (self.members, network.n_parameters), network.dtype)
        if l2 is not None:
            check_each("l2", l2, self.members, "negative", "must not be negative")
        self.l2 = np.full(self.members, network.l2) if l2 is None else l2.copy()

    @exclusive
    def load(self, x: Array, y: Array, orders: Order) -> None:
        """Copy the data that all members share. Not timed.

        Parameters
        ----------
        x : ndarray, shape (rows, m_0), C-contiguous, of the network's dtype
        y : ndarray, shape (rows, m_L), C-contiguous, of the network's dtype
        orders : ndarray of int64, shape (K, n)
            For each member the row numbers that `train` uses, in order; they may repeat.

        Raises
        ------
        InvalidInput
            An argument breaks its rule; the message names the field, the value and the rule. The ensemble is unchanged.
        """
        self._check_open()
        rows = self._check_data(x, y)
        length = check_order("orders", orders, rows, self.members)
        self._load(x, y, orders)
        self._n_rows, self._n_order = rows, length

    @exclusive
    def train(self, first: int, count: int, batch_size: int, learning_rates: float | NDArray[np.float64]) -> float:
        """Train each member k over orders[k, first : first+count] at learning_rates[k], as `Model.train` does.

        Parameters
        ----------
        first, count : int
            Columns of the orders.
        batch_size : int
        learning_rates : float, or ndarray of float64, shape (K,)
            One number applies to all members.

        Returns
        -------
        float
            Seconds for all members together, on the implementation's own clock.

        Raises
        ------
        Diverged
            θ of some members is no longer finite; the message names them. All members were trained, and keep their θ
            until `reset`.
        InvalidInput
            An argument breaks its rule; nothing was trained.
        """
        first, count = self._check_range(first, count, self._n_order, "entries of each order")
        batch_size = check_count("batch_size", batch_size)
        rates = self._rates(learning_rates)
        seconds = self._timed(self._train, first, count, batch_size, rates)
        lost = np.flatnonzero(~np.isfinite(self._thetas()).all(axis=1)).tolist()
        if lost:
            named = ", ".join(f"{k} (learning_rate = {rates[k]})" for k in lost[:_NAMED])
            more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
            raise Diverged(f"theta is not finite after {-(-count // batch_size)} steps of member {named}{more}")
        return seconds

    @exclusive
    def train_with_loss(
        self, first: int, count: int, batch_size: int, learning_rates: float | NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        """Train as `train` does, to the same θ, and return the running loss of each member, (K,), too.

        It is that of `Model.train_with_loss`. A member whose θ is no longer finite raises no error: `thetas` shows it.

        Raises
        ------
        InvalidInput
            An argument breaks its rule; nothing was trained.
        Unsupported
            The implementation sums no losses: see `offers_running_loss`.
        """
        first, count = self._check_range(first, count, self._n_order, "entries of each order")
        batch_size = check_count("batch_size", batch_size)
        rates = self._rates(learning_rates)
        self._check_running_loss(batch_size)
        return self._timed(self._train_with_loss, first, count, batch_size, rates)

    def _rates(self, learning_rates: float | NDArray[np.float64]) -> NDArray[np.float64]:
        if isinstance(learning_rates, np.ndarray):
            check_each("learning_rates", learning_rates, self.members, "not positive", "must be above 0")
            return learning_rates
        check_rate("learning_rates", learning_rates)
        return np.full(self.members, float(learning_rates))

    @exclusive
    def thetas(self) -> Array:
        """Return a copy of the parameters: (K, n_parameters)."""
        self._check_open()
        return self._thetas()

    @exclusive
    def reset(self) -> None:
        """Restore the initial θ of each member."""
        self._check_open()
        self._reset()

    @abstractmethod
    def _load(self, x: Array, y: Array, orders: Order) -> None: ...

    @abstractmethod
    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float: ...

    def _train_with_loss(
        self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        """Train, and return seconds and the running losses, where they are offered."""
        del first, count, batch_size, learning_rates
        raise NotImplementedError

    @abstractmethod
    def _thetas(self) -> Array: ...

    @abstractmethod
    def _reset(self) -> None: ...


def summed(spans: Iterable[float | None]) -> float | None:
    """Return the sum of device times; None where one of them is None."""
    known = list(spans)
    return None if None in known else sum(span for span in known if span is not None)


class OneByOne(Ensemble):
    """An ensemble of one model per member, trained one after the other; seconds are sums over the models.

    Parameters
    ----------
    create : callable
        (network, theta, threads) -> Model.
    network, thetas, l2, threads
        As for any `Ensemble`.
    """

    def __init__(
        self,
        create: Callable[[Network, Array, int], Model],
        network: Network,
        thetas: Array,
        l2: NDArray[np.float64] | None,
        threads: int,
    ) -> None:
        super().__init__(network, thetas, l2, threads)
        with ExitStack() as opened:
            networks = (replace(network, l2=float(lam)) for lam in self.l2)
            pairs = zip(networks, thetas, strict=True)
            self._models = [opened.enter_context(create(own, theta, threads)) for own, theta in pairs]
            self._opened = opened.pop_all()
        self.threads = max(model.threads for model in self._models)

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        self._n_rows = self._n_order = 0  # where a member has no memory for its copy, the others have other data
        for model, order in zip(self._models, orders, strict=True):
            model.load(x, y, order)

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        # `_train`, not `train`, which would raise at the first member that diverges and leave the others untrained.
        pairs = zip(self._models, learning_rates.tolist(), strict=True)
        seconds = sum(model._train(first, count, batch_size, rate) for model, rate in pairs)
        self.device_seconds = summed(model.device_seconds for model in self._models)
        return seconds

    def _thetas(self) -> Array:
        return np.stack([model.theta() for model in self._models])

    def _reset(self) -> None:
        for model in self._models:
            model.reset()

    def _close(self) -> None:
        self._opened.close()
