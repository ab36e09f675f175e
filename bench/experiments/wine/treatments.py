"""The three treatments of a setting: as published, gradient corrected only, done right. Each trains on one split."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.experiments.wine.article import TRAIN, forward
from bench.experiments.wine.data import Split
from pyfnn.backend import Backend
from pyfnn.errors import Diverged
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.training.data import generator
from pyfnn.validation import Array, Order

FIRST_ROW = np.zeros(1, np.int64)  # an order for a model that does not train
_ENTRIES = 1 << 18  # entries of the orders that are loaded at once, for all members together: 2 MiB


def network(hidden: tuple[int, ...], activation: str, l2: float, dtype: str = "float64") -> Network:
    """Return the network of a setting: 11 inputs, 1 output, squared error."""
    return Network((11, *hidden, 1), activation, "squared_error", l2, dtype=dtype)


def mean_squared_error(outputs: Array, y: Array) -> float:
    """Return the mean squared error of outputs; both (rows, 1)."""
    return float(np.mean((outputs.astype(np.float64) - y) ** 2))


def spread(outputs: Array, y: Array) -> float:
    """Return the standard deviation of the outputs over that of y: 0 for a network that is a constant."""
    return float(outputs.std(dtype=np.float64) / y.std())


def epoch_orders(rows: int, seed: int, epochs: range) -> Order:
    """Return the orders of some epochs, counted from 1, one after the other, as `pyfnn.training.fit` draws them."""
    return np.concatenate([generator(seed, epoch).permutation(rows) for epoch in epochs])


@np.errstate(all="ignore")  # numbers beyond the largest are a result
def as_published(
    net: Network, split: Split, seed: int, rate: float, epochs: int, normalize: bool, implementation: str
) -> dict[str, Any]:
    """Train as the article does, on its raw inputs, from U(0, 1), with its gradient.

    Parameters
    ----------
    net : Network
        With float64 and the article's λ.
    split : Split
        Not standardized.
    seed : int
        Seed of θ and of the orders.
    rate : float
    epochs : int
    normalize : bool
        With its "batch normalization"; see `article.forward`.
    implementation : {"numpy", "c"}

    Returns
    -------
    dict
        ``test``: mean squared error of the test rows, NaN where training left the finite numbers; ``spread`` of the
        outputs there; ``steps`` of training.
    """
    theta = initialize(net, seed, "uniform01")
    order = epoch_orders(len(split.x_train), seed, range(1, epochs + 1))
    train = TRAIN[implementation]
    steps = train(net, theta, split.x_train, split.y_train, order, rate, normalize)
    outputs = forward(net, theta, split.x_test, normalize)[0][-1]
    if steps < len(order) or not np.isfinite(theta).all():
        outputs = np.full_like(outputs, np.nan)
    return {"test": mean_squared_error(outputs, split.y_test), "spread": spread(outputs, split.y_test), "steps": steps}


@np.errstate(all="ignore")
def corrected(backend: Backend, net: Network, split: Split, seed: int, rate: float, epochs: int) -> dict[str, Any]:
    """Train as `as_published`, with the true gradient: the backend's, with f(X) as its inputs.

    Parameters and result are those of `as_published`.
    """
    f, rows = net.hidden_activations[0], len(split.x_train)
    x, x_test = f(split.x_train), f(split.x_test)
    steps, outputs = 0, np.full(split.y_test.shape, np.nan)
    with backend.create(net, initialize(net, seed, "uniform01")) as model:
        try:
            for epoch in range(1, epochs + 1):
                model.load(x, split.y_train, epoch_orders(rows, seed, range(epoch, epoch + 1)))
                steps += rows
                model.train(0, rows, 1, rate)
            outputs = model.predict(x_test)
        except Diverged:
            pass
    return {"test": mean_squared_error(outputs, split.y_test), "spread": spread(outputs, split.y_test), "steps": steps}


@dataclass(eq=False)
class Member:
    """One network of an ensemble under early stopping.

    Attributes
    ----------
    l2 : float
        λ.
    theta : ndarray, shape (n_parameters,)
        After the last epoch.
    best : ndarray, shape (n_parameters,)
        After the epoch with the lowest validation error.
    validation : float
        That error; NaN where training left the finite numbers.
    epoch, last : int
        Its number, and that of the last epoch.
    """

    l2: float
    theta: Array
    best: Array
    validation: float = np.inf
    epoch: int = 0
    last: int = 0

    def take(self, theta: Array, error: float) -> None:
        """Record the end of an epoch."""
        self.theta, self.last = theta, self.last + 1
        if not np.isfinite(error):
            self.validation = np.nan
        elif error < self.validation:
            self.best, self.validation, self.epoch = theta, error, self.last

    def stops(self, epochs: int, patience: int) -> bool:
        """Return True where training is over."""
        return np.isnan(self.validation) or self.last >= epochs or self.last - self.epoch >= patience


def done_right(
    backend: Backend,
    net: Network,
    split: Split,
    seed: int,
    rate: float,
    l2: NDArray[np.float64],
    epochs: int,
    patience: int,
) -> dict[str, Any]:
    """Train one network for each λ by true gradients, from fan-in initialization, and stop each by its validation rows.

    Nothing but ``test`` and ``spread`` depends on the test rows.

    Parameters
    ----------
    backend : Backend
    net : Network
        Its own λ is not used.
    split : Split
        Standardized.
    seed : int
        Seed of θ, the same for each λ, and of the orders.
    rate : float
    l2 : ndarray, shape (K,)
        λ of each network.
    epochs, patience : int
        Most epochs, and those without an improvement after which a network stops.

    Returns
    -------
    dict
        Lists with an entry for each λ: ``validation`` and ``test``, the mean squared errors at the best epoch, NaN
        where training left the finite numbers; ``spread``; ``epoch``, the best one. And the ``steps`` of all networks.
    """
    start = initialize(net, seed)
    members = [Member(float(each), start, start) for each in l2]
    train_until_stopped(backend, net, members, split, seed, rate, epochs, patience)
    with backend.create(net, start) as model:
        outputs = [_outputs(model, member, split.x_test) for member in members]
    return {
        "validation": [member.validation for member in members],
        "test": [mean_squared_error(each, split.y_test) for each in outputs],
        "spread": [spread(each, split.y_test) for each in outputs],
        "epoch": [member.epoch for member in members],
        "steps": len(split.x_train) * sum(member.last for member in members),
    }


def _outputs(model: Model, member: Member, x: Array) -> Array:
    if np.isnan(member.validation):
        return np.full((len(x), 1), np.nan)
    model.set_theta(member.best)
    return model.predict(np.ascontiguousarray(x, model.network.dtype))


def train_until_stopped(
    backend: Backend,
    net: Network,
    members: list[Member],
    split: Split,
    seed: int,
    rate: float,
    epochs: int,
    patience: int,
) -> None:
    """Train members, each until it stops. Whenever one does, the others get an ensemble of their own."""
    x, y, x_validation, y_validation = (
        np.ascontiguousarray(array, net.dtype)
        for array in (split.x_train, split.y_train, split.x_validation, split.y_validation)
    )
    with backend.create(net, members[0].theta) as judge:
        judge.load(x_validation, y_validation, FIRST_ROW)
        while left := [member for member in members if not member.stops(epochs, patience)]:
            thetas = np.stack([member.theta for member in left])
            with backend.create_many(net, thetas, np.array([member.l2 for member in left])) as ensemble:
                loaded = range(0)
                while not any(member.stops(epochs, patience) for member in left):
                    epoch = left[0].last + 1
                    if epoch not in loaded:
                        loaded = range(epoch, min(epoch + max(1, _ENTRIES // (len(left) * len(x))), epochs + 1))
                        ensemble.load(x, y, np.tile(epoch_orders(len(x), seed, loaded), (len(left), 1)))
                    with suppress(Diverged):  # θ shows which
                        ensemble.train(loaded.index(epoch) * len(x), len(x), 1, rate)
                    for member, theta in zip(left, ensemble.thetas(), strict=True):
                        member.take(theta, _error(judge, theta, split.y_validation))


def _error(judge: Model, theta: Array, y: Array) -> float:
    """Return the mean squared error of the rows that are loaded."""
    if not np.isfinite(theta).all():
        return np.nan
    judge.set_theta(theta)
    with np.errstate(all="ignore"):
        return mean_squared_error(judge.forward(0, len(y)), y)
