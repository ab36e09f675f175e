"""Health of a network, layer by layer, from θ alone: norms, saturated and dead units, growth.

The oracle computes it, in float64, so that it is the same for every backend.
"""

from collections.abc import Container
from typing import Any

import numpy as np

from pyfnn import oracle
from pyfnn.activations import Activation
from pyfnn.errors import InvalidInput, shown
from pyfnn.network import Network
from pyfnn.training.checks import check_rows
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
        Rows on which the gradient and the activations are computed, in any floating-point dtype; some hundreds are
        enough.
    initial : ndarray, shape (n_parameters,), optional
        θ before training, for `growth`.

    Returns
    -------
    structured ndarray, shape (L,)
        One row a layer. ``layer``: from 1. ``theta_norm``: ‖(W_l, b_l)‖, with the slopes of ``prelu``. ``growth``: the
        same over its value in `initial`; NaN without. ``gradient_norm``: that of the mean loss's gradient.
        ``activation_rms``: root mean square of A_l. ``saturated``: share of the numbers of A_l at which the slope of
        f_l is below 1 % of its largest: for ``relu``, those of inactive units; for ``leaky_relu`` none, unless its
        parameter is below 0.01; for ``maxout`` none. ``dead``: share of units at which this holds for every row. Both
        are NaN where the loss fuses f_l.

    Raises
    ------
    InvalidInput
        An argument is not an array of the network's shape, of finite floating-point numbers, or has no rows.
    """
    if not isinstance(network, Network):
        raise InvalidInput(f"network = {shown(network)}: must be a Network")
    _check_both(x, y, network.sizes[0], network.sizes[-1])
    for field, vector in (("theta", theta), ("initial", initial)):
        if field == "theta" or vector is not None:
            _check_vector(field, vector, network)
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


def _check_both(x: Any, y: Any, inputs: int | None = None, outputs: int | None = None) -> None:
    check_rows("x", x, inputs)
    check_rows("y", y, outputs)
    if len(x) != len(y):
        raise InvalidInput(f"x has {len(x)} rows and y has {len(y)}: they need as many")


def _check_vector(field: str, vector: Any, network: Network) -> None:
    if not isinstance(vector, np.ndarray) or vector.shape != (network.n_parameters,) or vector.dtype.kind != "f":
        raise InvalidInput(f"{field} must be a NumPy array of {network.n_parameters} floating-point numbers")


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

    Raises
    ------
    InvalidInput
        x and y are not arrays of as many rows, or `epochs` is not a container of numbers.

    Attributes
    ----------
    tables : dict of int to structured ndarray
        The result of `diagnose` at each of these epochs.
    """

    def __init__(self, x: Array, y: Array, epochs: Container[int]) -> None:
        _check_both(x, y)
        if not isinstance(epochs, Container) or isinstance(epochs, (type, str, bytes)):
            raise InvalidInput(f"epochs = {shown(epochs)}: must be a container of numbers, such as range(1, 100, 10)")
        self._x, self._y, self._epochs = x, y, epochs
        self.tables: dict[int, Array] = {}

    def __call__(self, epoch: Epoch) -> None:
        """Diagnose the network, if this is one of the epochs."""
        if epoch.number in self._epochs:
            network, initial = epoch.model.network, epoch.model.initial_theta()
            self.tables[epoch.number] = diagnose(network, epoch.theta, self._x, self._y, initial)
