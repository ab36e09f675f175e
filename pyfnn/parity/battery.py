"""What "agrees with the oracle" means: the battery of trials, the bound on each difference, the evidence it leaves.

A difference is judged against how far rounding alone can carry a correct implementation: ‖T − T̂‖ ≤ c·u·k·‖M‖ for each
tensor T that a step computes. u·k·M is `pyfnn.rounding`'s; c is one constant for everything, see `C`.

Nothing here knows a backend: it examines any `Model`, and any `Ensemble`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyfnn import oracle
from pyfnn.activations import Array
from pyfnn.model import OPERATIONS
from pyfnn.network import Network, initialize
from pyfnn.parity.rounding import UNIT_ROUNDOFF, elementwise, norm, scale, tensor_norms
from pyfnn.parity.trajectory import (
    STEPS,
    C,
    OracleTrajectory,
    Trajectory,
    full_rate,
    long_trajectory,
    oracle_precision,
    oracle_slack,
)

PROOF_STEPS = 50  # about how many steps of the workload's own it takes to examine a model: what a proof costs

SIBLING_BATCH = 7
SIBLING_SHORT = 3  # rows in its last, short minibatch
_SIBLING_WIDTHS = (5, 9, 3, 7, 11, 13)
TIMED_REPEATS = 3


@dataclass(frozen=True)
class Trial:
    """One network, its data, and all that the oracle says of it.

    The rows [first, first + count) are those of outputs, loss and gradient, and of the first step.
    """

    name: str
    network: Network
    theta: Array
    x: Array
    y: Array
    order: NDArray[np.int64]
    first: int
    count: int
    precision: str
    outputs: Array
    loss: float
    gradient: Array
    bounds: dict[str, float]
    checksums: dict[str, float]
    walks: tuple[Trajectory, ...] = ()


def battery(network: Network, theta: Array, x: Array, y: Array, batch_size: int, seed: int = 0) -> list[Trial]:
    """The trials that a backend must pass before it may be timed on this workload.

    The workload's own network and batch; a small sibling (odd widths, batch 7 with a short last minibatch, λ = 0.01,
    biases that are not zero: batch 1 hides a missing 1/B, zero biases hide λ on them); and, for each layer whose
    activation has a kink at 0, a row that lies exactly on it.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x, y : ndarray, shapes (rows, m_0), (rows, m_L)
        The workload's data, from which the own trial draws.
    batch_size : int
    seed : int
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    kinked = [at for at, f in enumerate(elementwise(network)) if 0.0 in f.kinks]
    return [
        _own(network, theta, x, y, batch_size, rng),
        small_variant(network, rng),
        *(_on_the_kink(network, at, rng) for at in kinked),
    ]


def _own(network: Network, theta: Array, x: Array, y: Array, batch_size: int, rng: np.random.Generator) -> Trial:
    batch_size = min(batch_size, len(x))
    return _trial("own", network, theta, x, y, batch_size, 0, rng)


def small_variant(network: Network, rng: np.random.Generator) -> Trial:
    """The small sibling: same depth and functions, odd widths, a short last minibatch, λ = 0.01, biases."""
    small = small_network(network, rng)
    theta = initialize(small, int(rng.integers(2**31)))
    for _, b in small.layers(theta):
        b[:] = rng.normal(0, 0.5, b.shape)
    x = rng.normal(size=(8 * SIBLING_BATCH, small.sizes[0])).astype(network.dtype)
    return _trial("sibling", small, theta, x, targets(small, len(x), rng), SIBLING_BATCH, SIBLING_SHORT, rng)


def small_network(network: Network, rng: np.random.Generator) -> Network:
    widths = rng.permutation(_SIBLING_WIDTHS)
    return replace(network, sizes=tuple(int(m) for m in np.resize(widths, len(network.sizes))), l2=0.01)


def _on_the_kink(network: Network, at: int, rng: np.random.Generator) -> Trial:
    """W and b of layer `at` are 0: its Z are exactly 0. In all others everything is positive: far from any kink at 0,
    which would hide this one. Their W are divided by the inputs, lest what comes above saturates.
    """
    small = small_network(network, rng)
    theta = np.abs(initialize(small, int(rng.integers(2**31))))
    for layer, (W, b) in enumerate(small.layers(theta)):
        W /= len(W)
        b[:] = rng.uniform(0.5, 1, b.shape)
        if layer == at:
            W[:], b[:] = 0, 0
    x = np.abs(rng.normal(size=(1, small.sizes[0]))).astype(small.dtype)
    return with_references("kink", small, theta, x, targets(small, 1, rng), np.zeros(1, np.int64), 0, 1)


def targets(network: Network, rows: int, rng: np.random.Generator) -> Array:
    """(rows, m_L): classes, probabilities or numbers, as the loss wants them."""
    shape = (rows, network.sizes[-1])
    if network.loss == "softmax_cross_entropy":
        return np.eye(shape[1], dtype=network.dtype)[rng.integers(shape[1], size=rows)]
    if network.loss == "sigmoid_cross_entropy":
        return rng.random(shape).astype(network.dtype)
    return rng.normal(size=shape).astype(network.dtype)


def _trial(
    name: str,
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    batch_size: int,
    short: int,
    rng: np.random.Generator,
) -> Trial:
    """A trial whose rows are picked from (x, y) step by step, clear of kinks along the oracle's own trajectory."""
    precision = oracle_precision(network, batch_size)
    exact = theta.astype(precision)
    full = full_rate(network, exact, x[:batch_size], y[:batch_size])
    counts = [batch_size] * (STEPS - 1) + [short or batch_size]
    long_walk, rows = long_trajectory(network, exact, full / STEPS, precision, (x, y), counts, rng)

    # Store the rows in another order than that of their use, those of the first step in one block.
    used, first_use = np.unique(rows, return_index=True)
    begin = set(rows[:batch_size].tolist())
    others = rng.permutation([row for row in used[np.argsort(first_use)].tolist() if row not in begin])
    block = rng.permutation(sorted(begin))
    first = len(others) // 2
    stored = np.concatenate([others[:first], block, others[first:]]).astype(np.int64)
    place = {int(row): at for at, row in enumerate(stored)}
    order = np.array([place[int(row)] for row in rows], np.int64)

    walks = [long_walk.walk(sum(counts), batch_size)]
    for count in {batch_size, short or batch_size}:
        single = OracleTrajectory(network, exact, full, precision)
        single.step(x[rows[:count]], y[rows[:count]])
        walks.append(single.walk(count, batch_size))
    return with_references(name, network, theta, x[stored], y[stored], order, first, len(block), tuple(walks))


def with_references(
    name: str,
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    order: NDArray[np.int64],
    first: int,
    count: int,
    walks: tuple[Trajectory, ...] = (),
) -> Trial:
    """The trial with what the oracle says of its outputs, loss, gradient and timed passes."""
    precision = oracle_precision(network, count)
    exact = theta.astype(precision)
    here = slice(first, first + count)
    outputs = oracle.forward(network, exact, x[here]).A[-1]
    loss, gradient = oracle.loss_and_gradient(network, exact, x[here], y[here])
    size = scale(network, theta, x[here], y[here])
    unit = C * UNIT_ROUNDOFF[network.dtype] * oracle_slack(precision)
    bounds = {"outputs": unit * norm(size.outputs), "loss": unit * size.loss}
    bounds |= {f"d{tensor}": unit * error for tensor, error in tensor_norms(network, size.gradient).items()}
    sums, sizes = np.zeros(2, precision), np.zeros(2)
    for rows in _rotation(len(x), first, count):
        size = scale(network, theta, x[rows], y[rows])
        Y = oracle.forward(network, exact, x[rows]).A[-1]
        R, dtheta = oracle.loss_and_gradient(network, exact, x[rows], y[rows])
        terms = np.array([(Y[0, 0], Y[-1, -1]), (R, dtheta[0])])
        errors = [(size.outputs[0, 0], size.outputs[-1, -1]), (size.loss, size.gradient[0])]
        sums += terms.sum(1)
        sizes += np.sum(errors + abs(terms), 1).astype(np.float64)  # adding up is rounded too
    checksums: dict[str, float] = {operation: float(total) for operation, total in zip(OPERATIONS, sums, strict=True)}
    bounds |= {operation: float(unit * size) for operation, size in zip(OPERATIONS, sizes, strict=True)}
    floor = float(np.finfo(network.dtype).tiny)  # below it, numbers lose their relative precision
    bounds = {what: bound + floor * math.sqrt(network.n_parameters) for what, bound in bounds.items()}
    return Trial(
        name,
        network,
        theta,
        x,
        y,
        order,
        first,
        count,
        precision,
        outputs,
        float(loss),
        gradient,
        bounds,
        checksums,
        walks,
    )


def _rotation(rows: int, first: int, count: int) -> Iterator[slice]:
    """The row ranges that `Model.time` walks."""
    for repeat in range(TIMED_REPEATS):
        start = (first + repeat * count) % (rows - count + 1)
        yield slice(start, start + count)
