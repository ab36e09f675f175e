"""Ensembles that the oracle trains in the networks' dtype, correct or with one planted bug between their members.

`examine_many` must reject each bug. Bugs inside a network are in model.py.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planted.model import PlantedBackend
from pyfnn import oracle
from pyfnn.ensemble import Ensemble
from pyfnn.manifest import Row
from pyfnn.network import Network
from pyfnn.validation import Array, Order

BUGS = {
    "another_order": "each member is trained on its neighbour's order",
    "one_order": "all members are trained on the first one's order",
    "another_rate": "the rates are shifted by one member",
    "one_rate": "all members use the mean rate",
    "another_l2": "the λs are shifted by one member",
    "no_l2": "all members use the shared network's λ",
    "another_theta": "each member starts from its neighbour's θ",
    "only_first": "only the first member is trained",
    "last_left_out": "the loop over members ends one early",
    "leak": "a ten-thousandth of each step is added to the next member too",
    "passed_on": "each member starts where the member before it ended",
    "first_ignored": "training uses every order from its beginning",
    "stale_orders": "training uses the orders of an earlier load",
    "reset_first_only": "reset restores only the first member",
    "short_batch_dropped": "the last, short minibatch is skipped",
    "one_is_nan": "the last member's θ has a NaN",
    "nondeterministic": "the last bits depend on a hidden state",
}


class PlantedEnsemble(Ensemble):
    """An ensemble with at most one bug of `BUGS`."""

    def __init__(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int, bug: str | None = None
    ) -> None:
        super().__init__(network, thetas, l2, threads)
        assert bug is None or bug in BUGS
        self.bug, self.calls = bug, 0
        self._start = np.roll(thetas, 1, axis=0) if bug == "another_theta" else thetas.copy()
        self._now = self._start.copy()
        self._orders: Order | None = None

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        self._x, self._y = x.copy(), y.copy()
        if self.bug != "stale_orders" or self._orders is None:
            self._orders = orders.copy()

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        assert self._orders is not None
        orders, rates, lams = self._orders, learning_rates, self.l2
        if self.bug == "first_ignored":
            first = 0
        if self.bug == "short_batch_dropped" and count > batch_size:
            count -= count % batch_size
        orders = {"another_order": np.roll(orders, 1, axis=0), "one_order": orders[[0] * self.members]}.get(
            str(self.bug), orders
        )
        rates = {"another_rate": np.roll(rates, 1), "one_rate": np.full_like(rates, rates.mean())}.get(
            str(self.bug), rates
        )
        lams = {"another_l2": np.roll(lams, 1), "no_l2": np.full_like(lams, self.network.l2)}.get(str(self.bug), lams)
        trained = {"only_first": 1, "last_left_out": self.members - 1}.get(str(self.bug), self.members)
        for k in range(trained):
            own = replace(self.network, l2=float(lams[k]))
            before = self._now[k - 1 if self.bug == "passed_on" else k]
            order = orders[k, first : first + count]
            after = oracle.train(own, before, self._x, self._y, order, batch_size, float(rates[k]))
            if self.bug == "leak":
                self._now[(k + 1) % self.members] += self._now.dtype.type(1e-4) * (after - before)
            self._now[k] = after
        self.calls += 1
        if self.bug == "one_is_nan":
            self._now[-1, 0] = np.nan
        if self.bug == "nondeterministic":
            self._now[0] *= 1 + np.finfo(self._now.dtype).eps * (self.calls % 3)
        return 1e-3

    def _thetas(self) -> Array:
        return np.array(self._now)

    def _reset(self) -> None:
        if self.bug == "reset_first_only":
            self._now[0] = self._start[0]
        else:
            self._now = self._start.copy()

    def _close(self) -> None:
        return


class PlantedMany(PlantedBackend):
    """A backend that is correct for a single network and has the bug in ensembles."""

    def __init__(self, bug: str | None = None) -> None:
        super().__init__(None)
        self.many_bug = bug

    def _create_many(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int
    ) -> PlantedEnsemble:
        return PlantedEnsemble(network, thetas, l2, threads, self.many_bug)


class Neighbour(PlantedMany):
    """A backend for a backend.toml, which trains each member on its neighbour's order."""

    def __init__(self, row: Row) -> None:
        super().__init__("another_order")
        del row


class _LazyEnsemble(PlantedEnsemble):
    """An ensemble that makes a tenth of the steps of a long call."""

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        return super()._train(first, count // 10 if count > 50 else count, batch_size, learning_rates)


class Lazy(PlantedMany):
    """A backend for a backend.toml, correct in every call that is as short as those of a proof."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        del row

    def _create_many(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int
    ) -> PlantedEnsemble:
        return _LazyEnsemble(network, thetas, l2, threads)
