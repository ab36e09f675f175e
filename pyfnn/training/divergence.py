"""The explanation of a training that diverged: the layer whose numbers overflowed, and the likely cause."""

from typing import NamedTuple

import numpy as np

from pyfnn import oracle
from pyfnn.errors import Diverged
from pyfnn.network import Network
from pyfnn.training.history import History
from pyfnn.validation import Array

LARGE = 100.0  # size of a number that standardized inputs and targets do not reach


class FitDiverged(Diverged):
    """θ became non-finite in `fit`. The model is left at the best θ.

    Attributes
    ----------
    history : History
        Record up to the end of the last epoch in which θ stayed finite.
    step : int or None
        Step, counted from 1 over all epochs, that made θ non-finite; None where a replay did not repeat it.
    layer : int or None
        Layer, from 1, in which that step first left the finite numbers; None where the oracle's step stays finite.
    cause : str
        The likely cause, with a remedy.
    """

    def __init__(self, message: str, history: History, step: int | None, layer: int | None, cause: str) -> None:
        super().__init__(message)
        self.history, self.step, self.layer, self.cause = history, step, layer, cause

    def __reduce__(self) -> tuple[type["FitDiverged"], tuple[str, History, int | None, int | None, str]]:
        return type(self), (str(self), self.history, self.step, self.layer, self.cause)


class Overflow(NamedTuple):
    """The first non-finite numbers of a step."""

    layer: int
    numbers: str


def find_overflow(network: Network, theta: Array, x: Array, y: Array, rate: float) -> Overflow | None:
    """Return where a gradient-descent step of the oracle first leaves the finite numbers of the network's dtype.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
        Parameters before the step, finite.
    x, y : ndarray, shapes (batch, m_0) and (batch, m_L)
    rate : float

    Returns
    -------
    Overflow or None
        In the order of computation: outputs of layers 1 to L, gradients of layers L to 1, parameters.
    """
    with np.errstate(all="ignore"):
        for layer, Z in enumerate(oracle.forward(network, theta, x).Z, start=1):
            if not np.isfinite(Z).all():
                return Overflow(layer, "outputs")
        gradient = oracle.loss_and_gradient(network, theta, x, y)[1]
        after = theta - theta.dtype.type(rate) * gradient
    for layer in reversed(range(1, network.n_layers + 1)):
        if not _finite(network, gradient, layer):
            return Overflow(layer, "gradient")
    for layer in range(1, network.n_layers + 1):
        if not _finite(network, after, layer):
            return Overflow(layer, "parameters")
    return None


def _finite(network: Network, vector: Array, layer: int) -> bool:
    arrays = (*network.layers(vector)[layer - 1], network.slopes(vector)[layer - 1])
    return all(bool(np.isfinite(array).all()) for array in arrays)


def likely_cause(initial: Array, theta: Array, x: Array, y: Array, rate: float) -> str:
    """Return the likely cause of a divergence, with a remedy.

    Parameters
    ----------
    initial, theta : ndarray, shape (n_parameters,)
        θ before the first step, and before the step that diverged.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
        All training rows.
    rate : float
    """
    inputs, targets = float(np.abs(x).max()), float(np.abs(y).max())
    if inputs > LARGE:
        return f"the inputs reach {inputs:.3g}: standardize them"
    if targets > LARGE:
        return f"the targets reach {targets:.3g}: standardize them"
    first, last = (float(np.linalg.norm(array.astype(np.float64))) for array in (initial, theta))
    grown = f", and θ grew from norm {first:.3g} to {last:.3g}" if last > 2 * first else ""
    return f"the learning rate {rate:.3g} is too large{grown}: try {rate / 10:.3g}"
