"""Segments: one to three steps of a training, judged from the implementation's own θ before them.

Battery and examination use networks and rows that parity chooses. A segment is part of a training that was timed: its
rows are those that the training used, kinks included.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pyfnn.activations import Array
from pyfnn.network import Network
from pyfnn.parity.evidence import Check
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, kink_allowance, tensor_norms
from pyfnn.parity.trajectory import OracleTrajectory, oracle_precision

LONGEST_SEGMENT = 3  # steps; rounding errors hardly grow within them, so the bound stays close to that of one step
_TRIAL = "timed"
_KINK_GROWTH = 2.0  # factor on the effect of kinks, for the steps after the one that has them


def segment_checks(
    where: str,
    network: Network,
    before: Array,
    after: Array,
    x: Array,
    y: Array,
    rows: NDArray[np.int64],
    batch_size: int,
    learning_rate: float,
) -> Iterator[Check]:
    """Check a segment of a training against the oracle, which starts from the implementation's θ before the segment.

    A row that lies within rounding of a kink may fall on either side of it. The bound allows for both, of these rows
    alone; see `pyfnn.parity.rounding.kink_allowance`.

    Parameters
    ----------
    where : str
        Name of the segment, such as "step 12".
    network : Network
    before, after : ndarray, shape (n_parameters,)
        The implementation's θ before and after the segment.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
        The loaded data.
    rows : ndarray of int64
        Row numbers of the segment's steps, in the order of use.
    batch_size : int
    learning_rate : float

    Yields
    ------
    Check
        One per tensor: the distance of `after` from the oracle's θ.
    """
    if not np.isfinite(after).all():
        yield Check(_TRIAL, f"theta after {where}: not finite", math.inf, 0.0)
        return
    precision = oracle_precision(network, batch_size)
    trajectory = OracleTrajectory(network, before.astype(precision), learning_rate, precision, perturbed=1)
    unit = C * UNIT_ROUNDOFF[network.dtype]
    on_kinks = np.zeros(network.n_parameters)
    for at in range(0, len(rows), batch_size):
        batch = rows[at : at + batch_size]
        drift = trajectory.drift if at else 0.0
        allowance = kink_allowance(network, trajectory.theta, x[batch], y[batch], unit, drift)
        on_kinks += _KINK_GROWTH * learning_rate * allowance
        trajectory.step(x[batch], y[batch])
    allowed = tensor_norms(network, on_kinks)
    bounds = trajectory.end(len(rows), batch_size).bound
    errors = tensor_norms(network, after.astype(precision) - trajectory.theta)
    for name, error in errors.items():
        yield Check(_TRIAL, f"displacement of {name} in {where}", error, bounds[name] + allowed[name])
