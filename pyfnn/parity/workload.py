"""Outputs, loss and gradient over all loaded rows: proof that a model was given, and holds, the whole workload.

The battery loads some rows of a workload. What a backend does with the rest of it, such as a file that it reads only in
part or a row number that it truncates, shows here.
"""

import math
from dataclasses import dataclass

import numpy as np

from pyfnn import oracle
from pyfnn.activations import Array
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.parity.battery import entries_of
from pyfnn.parity.evidence import Check, Evidence
from pyfnn.parity.rounding import loss_scale, scale
from pyfnn.parity.trajectory import least_error, sufficient_precision, sufficient_unit

_TRIAL = "whole workload's"


@dataclass(frozen=True, eq=False)
class Workload:
    """The oracle's results over all rows of a workload.

    Attributes
    ----------
    outputs : ndarray, shape (rows, m_L)
    output_bounds : ndarray of float64, shape (rows,)
        Allowed ‖difference‖ of each row of the outputs.
    loss, loss_bound : float
    gradient : ndarray, shape (n_parameters,)
    gradient_bounds : ndarray of float64, shape (n_parameters,)
        Allowed difference of each entry.
    """

    outputs: Array
    output_bounds: Array
    loss: float
    loss_bound: float
    gradient: Array
    gradient_bounds: Array


def whole_workload(network: Network, theta: Array, x: Array, y: Array) -> Workload:
    """Compute outputs, loss and gradient over all rows, with a bound on every difference.

    A row's bound is at least the root mean square of all rows' bounds: a product by blocks, such as Strassen's, spreads
    the rounding errors of large rows over small ones.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
    """
    precision = sufficient_precision(network, len(x))
    exact = theta.astype(precision)
    outputs = oracle.forward(network, exact, x).A[-1]
    loss, gradient = oracle.loss_and_gradient(network, exact, x, y)
    size = scale(network, theta, x, y)
    entries = entries_of(network, size)
    unit = sufficient_unit(network, precision)
    tiny = least_error(network)
    rows = np.linalg.norm(size.outputs, axis=1)
    bounds = unit * np.maximum(rows, math.sqrt(float((rows**2).mean()))) + tiny
    return Workload(outputs, bounds, float(loss), unit * size.loss + tiny, gradient, unit * entries.gradient + tiny)


def loss_check(what: str, network: Network, theta: Array, x: Array, y: Array, loss: float) -> Check:
    """Check a loss over all rows against the oracle's at the same θ.

    Parameters
    ----------
    what : str
        Name of the loss, for messages.
    network : Network
    theta : ndarray, shape (n_parameters,)
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
    loss : float
        The implementation's.
    """
    precision = sufficient_precision(network, len(x))
    exact = float(oracle.loss(network, theta.astype(precision), x, y))
    unit = sufficient_unit(network, precision)
    return Check(_TRIAL, what, abs(loss - exact), unit * loss_scale(network, theta, x, y))


def examine_workload(model: Model, workload: Workload) -> Evidence:
    """Compare outputs, loss and gradient of a loaded model over all its rows with the oracle's.

    Parameters
    ----------
    model : Model
        At the workload's θ, with all its rows loaded.
    workload : Workload
    """
    outputs = model.forward(0, len(workload.outputs))
    loss, gradient = model.loss_and_gradient(0, len(workload.outputs))
    errors = np.linalg.norm(outputs - workload.outputs, axis=1).astype(np.float64)
    worst = int(np.argmax(errors / workload.output_bounds))  # the first NaN, if there is one
    off = np.abs(gradient - workload.gradient).astype(np.float64)
    entry = int(np.argmax(off / workload.gradient_bounds))
    return Evidence(
        (
            Check(_TRIAL, f"outputs of row {worst}", float(errors[worst]), float(workload.output_bounds[worst])),
            Check(_TRIAL, "loss over all rows", abs(loss - workload.loss), workload.loss_bound),
            Check(_TRIAL, f"entry {entry} of the gradient", float(off[entry]), float(workload.gradient_bounds[entry])),
        )
    )
