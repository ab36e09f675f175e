"""Many networks at once by the oracle in their own dtype, correct or with one planted bug: what `examine_many` is for.

Each bug lies between the members; those inside a network are model.py's.
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
    "another_order": "each walks its neighbour's order",
    "one_order": "all walk the first one's order",
    "another_rate": "the rates are turned by one",
    "one_rate": "all go at the mean rate",
    "another_l2": "the λs are turned by one",
    "no_l2": "every λ is the shared network's",
    "another_theta": "each starts from its neighbour's θ",
    "only_first": "only the first is trained",
    "last_left_out": "the loop over members ends one early",
    "leak": "a ten-thousandth of each step goes to the next member too",
    "passed_on": "each starts where the one before it ended",
    "first_ignored": "every order is walked from its beginning",
    "stale_orders": "the orders of an earlier load are walked",
    "reset_first_only": "reset restores the first alone",
    "short_batch_dropped": "the last, short minibatch is left out",
    "one_is_nan": "the last member's θ has a NaN",
    "nondeterministic": "the last bits hang on a hidden state",
}


class PlantedEnsemble(Ensemble):
    """An ensemble with at most one bug."""

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
    """Correct for a single network; ensembles have the bug."""

    def __init__(self, bug: str | None = None) -> None:
        super().__init__(None)
        self.many_bug = bug

    def _create_many(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int
    ) -> PlantedEnsemble:
        return PlantedEnsemble(network, thetas, l2, threads, self.many_bug)


class Neighbour(PlantedMany):
    """For a backend.toml: every member walks another's order."""

    def __init__(self, row: Row) -> None:
        super().__init__("another_order")
        del row


class _LazyEnsemble(PlantedEnsemble):
    """Does a tenth of what a long call asks for."""

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        return super()._train(first, count // 10 if count > 50 else count, batch_size, learning_rates)


class Lazy(PlantedMany):
    """For a backend.toml: correct in every call as short as a proof's."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        del row

    def _create_many(
        self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int
    ) -> PlantedEnsemble:
        return _LazyEnsemble(network, thetas, l2, threads)
