"""Agreement of backends in float64: their distance from the oracle's trajectory over the first epochs."""

import math
from collections.abc import Mapping
from contextlib import ExitStack

from bench.experiments.wine.data import Split
from bench.experiments.wine.treatments import epoch_orders
from pyfnn.backend import Backend
from pyfnn.network import Network, initialize
from pyfnn.optimizers import DESCENT
from pyfnn.parity.rounding import norm, tensor_norms
from pyfnn.parity.trajectory import OracleTrajectory
from pyfnn.parity.updates import Point

BACKENDS = ("numpy", "cpp", "c", "cpp-tuned")
HIDDEN, ACTIVATION, RATE, L2 = (10,), "tanh", 0.01, 0.001
FOLLOWED = 2  # epochs
_PRECISION = "longdouble"  # of the oracle


def trajectories(
    backends: Mapping[str, Backend], net: Network, split: Split, seed: int, rate: float, epochs: int
) -> dict[str, dict[str, list[float]]]:
    """Return how far backends are from the oracle after each epoch of steps on single rows, and how far they may be.

    Parameters
    ----------
    backends : mapping of str to Backend
    net : Network
        With float64.
    split : Split
        Standardized.
    seed : int
        Seed of θ and of the orders.
    rate : float
    epochs : int

    Returns
    -------
    dict
        For each backend, lists with an entry for each epoch: ``distance``, ‖θ − oracle's θ‖ / ‖oracle's θ‖;
        ``allowed``, what rounding may make of it by `pyfnn.parity`; ``of_bound``, the largest ratio of a tensor's
        difference to its own bound. Above 1 the backend does not follow.
    """
    theta, rows = initialize(net, seed), len(split.x_train)
    order = epoch_orders(rows, seed, range(1, epochs + 1))
    oracle = OracleTrajectory(net, Point.of(DESCENT, theta.astype(_PRECISION)), rate, _PRECISION)
    found: dict[str, dict[str, list[float]]] = {
        name: {"distance": [], "allowed": [], "of_bound": []} for name in backends
    }
    with ExitStack() as opened:
        models = {name: opened.enter_context(backend.create(net, theta)) for name, backend in backends.items()}
        for model in models.values():
            model.load(split.x_train, split.y_train, order)
        for first in range(0, len(order), rows):
            for row in order[first : first + rows].tolist():
                oracle.step(split.x_train[row : row + 1], split.y_train[row : row + 1])
            expected = oracle.end(first + rows, 1)
            for name, model in models.items():
                model.train(first, rows, 1, rate)
                differences = tensor_norms(net, model.theta() - expected.theta)
                size = norm(expected.theta)
                found[name]["distance"].append(math.hypot(*differences.values()) / size)
                found[name]["allowed"].append(math.hypot(*expected.bound.values()) / size)
                found[name]["of_bound"].append(max(differences[each] / expected.bound[each] for each in differences))
    return found
