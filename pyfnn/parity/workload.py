"""Outputs and loss over all loaded rows: proof that a model was given, and holds, the whole workload.

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
from pyfnn.parity.evidence import Check, Evidence
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, scale
from pyfnn.parity.trajectory import sufficient_precision, sufficient_slack

_CHUNK = 2048  # rows that the oracle computes at a time
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
    """

    outputs: Array
    output_bounds: Array
    loss: float
    loss_bound: float


def whole_workload(network: Network, theta: Array, x: Array, y: Array) -> Workload:
    """Compute outputs and loss over all rows, with a bound on every difference.

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
    outputs, sizes, loss, loss_size = [], [], 0.0, 0.0
    chunks = range(0, len(x), _CHUNK)
    for at in chunks:
        X, T = x[at : at + _CHUNK], y[at : at + _CHUNK]
        share = len(X) / len(x)
        outputs.append(oracle.forward(network, exact, X).A[-1])
        loss += share * float(oracle.loss(network, exact, X, T))
        size = scale(network, theta, X, T)
        sizes.append(np.linalg.norm(size.outputs, axis=1))
        loss_size += share * size.loss * math.sqrt(len(chunks))  # k grows with the number of rows that are added up
    unit = C * UNIT_ROUNDOFF[network.dtype] * sufficient_slack(network, precision)
    tiny = float(np.finfo(network.dtype).tiny)
    rows = np.concatenate(sizes)
    bounds = unit * np.maximum(rows, math.sqrt(float((rows**2).mean()))) + tiny * math.sqrt(network.sizes[-1])
    return Workload(np.concatenate(outputs), bounds, loss, unit * loss_size + tiny)


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
    exact = whole_workload(network, theta, x, y)
    return Check(_TRIAL, what, abs(loss - exact.loss), exact.loss_bound)


def examine_workload(model: Model, workload: Workload) -> Evidence:
    """Compare outputs and loss of a loaded model over all its rows with the oracle's.

    Parameters
    ----------
    model : Model
        At the workload's θ, with all its rows loaded.
    workload : Workload
    """
    outputs = model.forward(0, len(workload.outputs))
    loss, _ = model.loss_and_gradient(0, len(workload.outputs))
    errors = np.linalg.norm(outputs - workload.outputs, axis=1).astype(np.float64)
    worst = int(np.argmax(errors / workload.output_bounds))  # the first NaN, if there is one
    return Evidence(
        (
            Check(_TRIAL, f"outputs of row {worst}", float(errors[worst]), float(workload.output_bounds[worst])),
            Check(_TRIAL, "loss over all rows", abs(loss - workload.loss), workload.loss_bound),
        )
    )
