"""Segments: a few steps of a training, judged from the implementation's own θ before them.

Battery and examination use networks and rows that parity chooses. A segment is part of a training that was timed: its
rows are those that the training used, kinks included.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pyfnn.activations import Array
from pyfnn.model import Operation
from pyfnn.network import Network
from pyfnn.optimizers import DESCENT, Named, State
from pyfnn.parity.battery import probed
from pyfnn.parity.evidence import Check
from pyfnn.parity.rounding import tensor_norms
from pyfnn.parity.trajectory import OracleTrajectory, least_error, sufficient_precision, sufficient_unit
from pyfnn.parity.updates import Point

LONGEST_SEGMENT = 3  # steps; rounding errors hardly grow within them, so the bound stays close to that of one step
_TRIAL = "timed"


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
    optimizer: Named = DESCENT,
    states: tuple[State, State] = ({}, {}),
) -> Iterator[Check]:
    """Check a segment of a training against the oracle, which starts from the implementation's θ before the segment.

    The rows may be near kinks; the bound allows for either side. See `pyfnn.parity.rounding.kink_allowance`. A segment
    longer than `LONGEST_SEGMENT` in which rounding errors grow is not judged.

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
    optimizer : SGD, Momentum or Adam
    states : pair of dict
        The state of the implementation's optimizer before and after the segment.

    Yields
    ------
    Check
        One per tensor: the distance of `after` from the oracle's θ; then those of the state after the segment.
    """
    if not np.isfinite(after).all():
        yield Check(_TRIAL, f"theta after {where}: not finite", math.inf, 0.0)
        return
    precision = sufficient_precision(network, batch_size)
    steps = -(-len(rows) // batch_size)
    long = steps > LONGEST_SEGMENT
    perturbed = None if long else int(steps > 1)  # errors of a single step cannot grow
    start = Point.of(optimizer, before.astype(precision), states[0])
    trajectory = OracleTrajectory(network, start, learning_rate, precision, perturbed, optimizer)
    for at in range(0, len(rows), batch_size):
        batch = rows[at : at + batch_size]
        trajectory.step(x[batch], y[batch])
        if long and not trajectory.steady:
            return
    unit = sufficient_unit(network, precision)
    rounding = trajectory.errors
    errors = tensor_norms(network, after.astype(precision) - trajectory.theta)
    for name, error in errors.items():
        yield Check(_TRIAL, f"displacement of {name} in {where}", error, unit * rounding[name])
    if optimizer.counts:
        made = abs(int(states[1]["steps"][0]) - trajectory.at.steps)
        yield Check(_TRIAL, f"number of steps after {where}", float(made), 0.0)
    for vector, of_vector in trajectory.state_errors.items():
        expected = trajectory.at.vectors[optimizer.vectors.index(vector)]
        for name, error in tensor_norms(network, states[1][vector].astype(precision) - expected).items():
            bound = unit * of_vector[name] + least_error(network)
            yield Check(_TRIAL, f"{vector} of {name} after {where}", error, bound)


def pass_check(
    where: str,
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    operation: Operation,
    first: int,
    count: int,
    probes: NDArray[np.int64],
    checksum: float,
) -> Check:
    """Check the checksum of timed passes against the oracle.

    Parameters
    ----------
    where : str
        Name of the passes, for messages.
    network : Network
    theta : ndarray, shape (n_parameters,)
        The implementation's θ.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
        The loaded data.
    operation, first, count, probes
        As for `Model.time`, with as many repeats as probes.
    checksum : float
        The implementation's.
    """
    precision = sufficient_precision(network, count)
    exact = theta.astype(precision)
    total, size = 0.0, 0.0
    for repeat, probe in enumerate(probes.tolist()):
        start = (first + repeat * count) % (len(x) - count + 1)
        X, T = x[start : start + count], y[start : start + count]
        value, error = probed(network, exact, X, T, operation, probe)
        total, size = total + value, size + error
    unit = sufficient_unit(network, precision)
    what = f"checksum of {where}"
    return Check(_TRIAL, what, abs(checksum - total), unit * size + least_error(network))
