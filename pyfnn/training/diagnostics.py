"""Health of a network, layer by layer, from θ alone: norms, saturated and dead units, growth.

The oracle computes it, in float64, so that it is the same for every backend.
"""

from collections.abc import Container

import numpy as np

from pyfnn import oracle
from pyfnn.activations import Activation
from pyfnn.network import Network
from pyfnn.training.history import Epoch
from pyfnn.validation import Array

COLUMNS = np.dtype(
    [
        ("layer", "i8"),
        ("theta_norm", "f8"),
        ("growth", "f8"),
        ("gradient_norm", "f8"),
        ("activation_rms", "f8"),
        ("saturated", "f8"),
        ("dead", "f8"),
    ]
)
FLAT = 0.01  # share of the largest slope below which an activation counts as saturated
_GRID = np.linspace(-10, 10, 2001)[:, None]  # on which the largest slope is found; it contains 0


def diagnose(network: Network, theta: Array, x: Array, y: Array, initial: Array | None = None) -> Array:
    """Compute the health of each layer.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
        Rows on which the gradient and the activations are computed; some hundreds are enough.
    initial : ndarray, shape (n_parameters,), optional
        θ before training, for `growth`.

    Returns
    -------
    structured ndarray, shape (L,)
        One row a layer. ``layer``: from 1. ``theta_norm``: ‖(W_l, b_l)‖, with the slopes of ``prelu``. ``growth``: the
        same over its value in `initial`; NaN without. ``gradient_norm``: that of the mean loss's gradient.
        ``activation_rms``: root mean square of A_l. ``saturated``: share of the numbers of A_l at which the slope of
        f_l is below 1 % of its largest; for the relu family, that of inactive units; for ``maxout`` 0. ``dead``: share
        of units at which this holds for every row. Both are NaN where the loss fuses f_l.
    """
    theta = theta.astype(np.float64)
    with np.errstate(all="ignore"):
        run = oracle.forward(network, theta, x)
        gradient = oracle.loss_and_gradient(network, theta, x, y)[1]
        flat = [_flat(f, Z) for f, Z in zip(network.activations_at(theta), run.Z, strict=False)]
        table = np.zeros(network.n_layers, COLUMNS)
        table["layer"] = np.arange(1, network.n_layers + 1)
        table["theta_norm"] = _norms(network, theta)
        table["growth"] = np.nan if initial is None else table["theta_norm"] / _norms(network, initial)
        table["gradient_norm"] = _norms(network, gradient)
        table["activation_rms"] = [np.sqrt((A * A).mean()) for A in run.A[1:]]
    fused = [np.nan] * network.fused
    table["saturated"] = [where.mean() for where in flat] + fused
    table["dead"] = [where.all(axis=0).mean() for where in flat] + fused
    return table


def _flat(f: Activation, Z: Array) -> Array:
    """Return the units whose slope is almost 0: (rows, m_l)."""
    steepest = f.largest_piece(np.abs(f.derivative(f.of_each_piece(_GRID)))).max(axis=0)
    return np.asarray(f.largest_piece(np.abs(f.derivative(Z))) < FLAT * steepest)


def _norms(network: Network, vector: Array) -> list[float]:
    flat = vector.astype(np.float64)
    layers = zip(network.layers(flat), network.slopes(flat), strict=True)
    return [float(np.sqrt((W * W).sum() + (b * b).sum() + (S * S).sum())) for (W, b), S in layers]


class Diagnostics:
    """A callback of `fit` that runs `diagnose` at chosen epochs.

    Parameters
    ----------
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
        As for `diagnose`.
    epochs : container of int
        Numbers of the epochs, from 1: ``range(1, 1000, 50)``, ``{1, 10, 100}``.

    Attributes
    ----------
    tables : dict of int to structured ndarray
        The result of `diagnose` at each of these epochs.
    """

    def __init__(self, x: Array, y: Array, epochs: Container[int]) -> None:
        self._x, self._y, self._epochs = x, y, epochs
        self.tables: dict[int, Array] = {}

    def __call__(self, epoch: Epoch) -> None:
        """Diagnose the network, if this is one of the epochs."""
        if epoch.number in self._epochs:
            network, initial = epoch.model.network, epoch.model.initial_theta()
            self.tables[epoch.number] = diagnose(network, epoch.theta, self._x, self._y, initial)
