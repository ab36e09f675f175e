"""Battery of trials: networks, their data, and what the oracle computes with them, with a bound on every difference.

`examination` runs a model through the battery. Trials of many networks at once are in `ensembles`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses, oracle
from pyfnn.activations import Array
from pyfnn.model import OPERATIONS, Operation
from pyfnn.network import Network, initialize
from pyfnn.optimizers import DESCENT, SGD, Adam, Momentum, Named
from pyfnn.parity.rounding import SHARES, UNIT_ROUNDOFF, C, Scale, entry_scale, entry_scales, norm, scale, tensor_norms
from pyfnn.parity.trajectory import (
    STEPS,
    OracleTrajectory,
    Trajectory,
    full_rate,
    long_trajectory,
    oracle_precision,
    oracle_slack,
)
from pyfnn.parity.updates import Point

PROOF_STEPS = 50  # cost of examining one model, in steps of the workload, approximately
SMALL_BATCH = 7  # of the small variant
SMALL_LAST_BATCH = 3  # rows in the small variant's last, short minibatch
_SMALL_WIDTHS = (5, 9, 3, 7, 11, 13)
TIMED_PROBES = 3  # of a timed call in an examination, at least
_OTHER_SETTINGS: dict[str, Named] = {
    "sgd": SGD(),
    "momentum": Momentum(0.6, nesterov=False),
    "nesterov": Momentum(0.6),
    "adam": Adam(0.7, 0.95, 1e-3),
}
"""Optimizers of the small variant: settings that an implementation has by itself show, and so does the place of ε."""


@dataclass(frozen=True)
class Trial:
    """One network, its data, and the oracle's results with it.

    Attributes
    ----------
    name : str
        "own" (the workload's network), "small" or "kink".
    network : Network
    theta : ndarray, shape (n_parameters,)
        Initial parameters.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
    order : ndarray of int64
        Row numbers for training.
    first, count : int
        Rows [first, first + count) are those of outputs, loss and gradient, and of the first step.
    precision : {"longdouble", "float64"}
        The oracle's dtype.
    outputs : ndarray, shape (count, m_L)
    loss : float
    gradient : ndarray, shape (n_parameters,)
    bounds : dict of str to float
        Allowed difference of outputs, loss, gradient (by tensor) and checksums (by operation), in norm.
    entry_bounds : dict of str to ndarray
        Allowed difference of each entry: "outputs", (count, m_L), and "gradient", (n_parameters,).
    checksums : dict of str to float
        Checksum of a timed call, by operation.
    probes : dict of str to ndarray of int64
        Probes of a timed call, by operation. The call has one pass more than probes, so that it returns to the first.
    trajectories : tuple of Trajectory
        Trainings from theta: a long one, and one single step per length of a minibatch.
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
    entry_bounds: dict[str, Array]
    checksums: dict[str, float]
    probes: dict[Operation, NDArray[np.int64]]
    trajectories: tuple[Trajectory, ...] = ()


def battery(
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    batch_size: int,
    seed: int = 0,
    optimizer: Named = DESCENT,
) -> list[Trial]:
    """Make the trials that a backend must pass before it is timed on a workload.

    The trials are:

    - the workload's own network and batch size;
    - a small variant with odd widths, batches of 7 with a short last one, λ = 0.01 and biases other than zero (since a
      batch of 1 hides a missing 1/B, and zero biases hide a λ that acts on them), and other settings of the optimizer;
    - for each layer and each kink of its activation, a row that lies exactly on the kink.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
        The workload's data; the first trial uses rows of it.
    batch_size : int
    seed : int
        Seed of all draws.
    optimizer : SGD, Momentum or Adam
        The trials train by it.

    Raises
    ------
    Unsupported
        Parity cannot be judged on this network: too few rows are clear of its kinks, or rounding errors grow too fast.
    """
    rng = np.random.default_rng(seed)
    return [
        _own(network, theta, x, y, batch_size, rng, optimizer),
        small_variant(network, rng, optimizer),
        *(
            _on_the_kink(network, at, kink, rng)
            for at, f in enumerate(network.elementwise_activations)
            for kink in f.kinks
        ),
    ]


def _own(
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    batch_size: int,
    rng: np.random.Generator,
    optimizer: Named,
) -> Trial:
    batch_size = min(batch_size, len(x))
    return _trial("own", network, theta, x, y, batch_size, 0, rng, optimizer)


def small_variant(network: Network, rng: np.random.Generator, optimizer: Named = DESCENT) -> Trial:
    """Make the trial of a small network of the same depth and functions; see `battery`.

    Parameters
    ----------
    network : Network
    rng : numpy.random.Generator
    optimizer : SGD, Momentum or Adam
    """
    small = small_network(network, rng)
    theta = small_theta(small, rng)
    x = rng.normal(size=(8 * SMALL_BATCH, small.sizes[0])).astype(network.dtype)
    other = _OTHER_SETTINGS[optimizer.name]
    return _trial("small", small, theta, x, targets(small, len(x), rng), SMALL_BATCH, SMALL_LAST_BATCH, rng, other)


def small_theta(small: Network, rng: np.random.Generator) -> Array:
    """Draw parameters of a small network: its biases are not 0, and its slopes differ from unit to unit."""
    theta = initialize(small, int(rng.integers(2**31)))
    for _, b in small.layers(theta):
        b[:] = rng.normal(0, 0.5, b.shape)
    for slopes in small.slopes(theta):
        slopes += rng.normal(0, 0.3, slopes.shape).astype(small.dtype)
    return theta


def small_network(network: Network, rng: np.random.Generator) -> Network:
    """Return a network of the same depth and functions, with small odd widths in random order and λ = 0.01."""
    widths = rng.permutation(_SMALL_WIDTHS)
    return replace(network, sizes=tuple(int(m) for m in np.resize(widths, len(network.sizes))), l2=0.01)


def _on_the_kink(network: Network, at: int, kink: float, rng: np.random.Generator) -> Trial:
    """Make a trial in which W of layer `at` is 0 and its b is `kink`, so that all its Z lie exactly on the kink.

    In all other layers Z lies between 0 and 1, far from other kinks and from saturation, which would hide this kink:
    parameters and inputs are positive, and the columns of W add up to 1/4, to -1/4 above negative activations. The
    pieces of a unit, if it has several, all lie at the kink of this layer, and apart in others.
    """
    small = small_network(network, rng)
    theta = np.abs(initialize(small, int(rng.integers(2**31))))
    for layer, (W, b) in enumerate(small.layers(theta)):
        W /= 4 * W.sum(axis=0)
        b[:] = rng.uniform(0.1, 0.25, b.shape)
        if layer == at:
            W[:], b[:] = 0, kink
        elif layer == at + 1 and kink < 0:
            W *= -1
    x = np.abs(rng.normal(size=(1, small.sizes[0]))).astype(small.dtype)
    return _with_references("kink", small, theta, x, targets(small, 1, rng), np.zeros(1, np.int64), 0, 1, rng)


def targets(network: Network, rows: int, rng: np.random.Generator) -> Array:
    """Draw targets that suit the network's loss: (rows, m_L), of the network's dtype."""
    return losses.TABLE[network.loss].draw_targets((rows, network.sizes[-1]), rng).astype(network.dtype)


def _trial(
    name: str,
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    batch_size: int,
    short: int,
    rng: np.random.Generator,
    optimizer: Named,
) -> Trial:
    """Make a trial with rows of (x, y) that are clear of kinks along the oracle's trajectory.

    short: rows of the last minibatch, 0 for a full one.
    """
    precision = oracle_precision(network, batch_size)
    exact = theta.astype(precision)
    rate, full = (full_rate(network, exact, x[:batch_size], y[:batch_size], optimizer, n) for n in (STEPS, 1))
    counts = [batch_size] * (STEPS - 1) + [short or batch_size]
    trajectory, rows = long_trajectory(network, exact, rate, precision, (x, y), counts, rng, optimizer=optimizer)

    # Store the rows in an order other than that of their use, so that `order` matters; those of the first step form one
    # block, which is also that of outputs, loss and gradient.
    used, first_use = np.unique(rows, return_index=True)
    begin = set(rows[:batch_size].tolist())
    others = rng.permutation([row for row in used[np.argsort(first_use)].tolist() if row not in begin])
    block = rng.permutation(sorted(begin))
    first = len(others) // 2
    stored = np.concatenate([others[:first], block, others[first:]]).astype(np.int64)
    place = {int(row): at for at, row in enumerate(stored)}
    order = np.array([place[int(row)] for row in rows], np.int64)

    trajectories = [trajectory.end(sum(counts), batch_size)]
    for count in {batch_size, short or batch_size}:
        single = OracleTrajectory(network, Point.of(optimizer, exact), full, precision, optimizer=optimizer)
        single.step(x[rows[:count]], y[rows[:count]])
        trajectories.append(single.end(count, batch_size))
    return _with_references(
        name, network, theta, x[stored], y[stored], order, first, len(block), rng, tuple(trajectories)
    )


def _with_references(
    name: str,
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    order: NDArray[np.int64],
    first: int,
    count: int,
    rng: np.random.Generator,
    trajectories: tuple[Trajectory, ...] = (),
) -> Trial:
    """Complete a trial with the oracle's outputs, loss, gradient and checksums, and their bounds."""
    precision = oracle_precision(network, count)
    exact = theta.astype(precision)
    here = slice(first, first + count)
    outputs = oracle.forward(network, exact, x[here]).A[-1]
    loss, gradient = oracle.loss_and_gradient(network, exact, x[here], y[here])
    size = scale(network, theta, x[here], y[here])
    unit = C * UNIT_ROUNDOFF[network.dtype] * oracle_slack(precision)
    bounds = {"outputs": unit * norm(size.outputs), "loss": unit * size.loss}
    kinks = tensor_norms(network, size.kinks)
    bounds |= {f"d{name}": unit * (error + kinks[name]) for name, error in tensor_norms(network, size.gradient).items()}
    of_entries = entries_of(network, size)
    entry_bounds = {"outputs": unit * of_entries.outputs, "gradient": unit * of_entries.gradient}
    probes = _draw_probes(name, network, count, gradient, rng.spawn(1)[0])  # other draws of `rng` stay as they are
    sums: dict[Operation, Any] = {operation: exact.dtype.type(0) for operation in OPERATIONS}
    sizes: dict[Operation, float] = dict.fromkeys(OPERATIONS, 0.0)
    for rows, chosen in _timed_passes(len(x), first, count, probes):
        for operation, probe in chosen.items():
            value, size_of_value = probed(network, exact, x[rows], y[rows], operation, probe)
            sums[operation] += value
            sizes[operation] += size_of_value
    checksums: dict[str, float] = {operation: float(total) for operation, total in sums.items()}
    bounds |= {operation: unit * size for operation, size in sizes.items()}
    floor = float(np.finfo(network.dtype).tiny)  # subnormals, below it, have less relative precision
    floor *= math.sqrt(network.n_parameters)
    bounds = {what: bound + floor for what, bound in bounds.items()}
    entry_bounds = {what: bound + floor for what, bound in entry_bounds.items()}
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
        entry_bounds,
        checksums,
        probes,
        trajectories,
    )


def probed(network: Network, theta: Array, x: Array, y: Array, operation: Operation, probe: int) -> tuple[Any, float]:
    """Return what one timed pass adds to the checksum, by the oracle, and its size in units of C·u.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,), of the oracle's dtype
    x, y : ndarray, shapes (batch, m_0) and (batch, m_L)
    operation, probe
        As for `Model.time`.
    """
    size = entries_of(network, scale(network, theta, x, y))
    if operation == "forward":
        terms = [oracle.forward(network, theta, x).A[-1].flat[probe]]
        errors = [size.outputs.flat[probe]]
    else:
        R, dtheta = oracle.loss_and_gradient(network, theta, x, y)
        terms, errors = [R, dtheta[probe]], [size.loss, size.gradient[probe]]
    return sum(terms), float(sum(errors) + sum(map(abs, terms)))  # adding up the checksum is rounded too


def entries_of(network: Network, size: Scale) -> Scale:
    """Return the sizes by which single entries are judged, kinks included."""
    gradient = entry_scales(network, size.gradient) + size.kinks
    return replace(size, outputs=entry_scale(size.outputs, SHARES["outputs"]), gradient=gradient)


def _draw_probes(
    name: str, network: Network, count: int, gradient: Array, rng: np.random.Generator
) -> dict[Operation, NDArray[np.int64]]:
    """Draw the probes of a trial's timed calls: outputs of different rows, entries of different dW, db and dS.

    The trial "small" probes every row and every tensor; the others `TIMED_PROBES` of each, since their oracle is slower
    ("own") or since there is one of them for each layer ("kink"). An entry of a tensor is drawn uniformly; in "small"
    a second one of each dW and dS in proportion to its size, since an entry near 0 does not show that dW is missing.
    """
    m_L = network.sizes[-1]
    named = network.tensors(np.arange(network.n_parameters))
    tensors = [np.ravel(tensor) for tensor in named.values()]
    sizes = abs(gradient).astype(np.float64)

    def chosen(number: int) -> NDArray[np.int64]:
        probes = max(number, TIMED_PROBES) if name == "small" else TIMED_PROBES
        return np.resize(rng.permutation(number), probes)

    rows = chosen(count)
    entries = [rng.choice(tensors[at]) for at in chosen(len(tensors))]
    if name == "small":
        large = [np.ravel(tensor) for name, tensor in named.items() if name[0] != "b" and sizes[tensor].any()]
        entries += [rng.choice(tensor, p=sizes[tensor] / sizes[tensor].sum()) for tensor in large]
    return {
        "forward": rows * m_L + rng.integers(m_L, size=len(rows)),
        "gradient": rng.permutation(entries),
    }


def _timed_passes(
    rows: int, first: int, count: int, probes: dict[Operation, NDArray[np.int64]]
) -> Iterator[tuple[slice, dict[Operation, int]]]:
    """Yield the row range of each pass of a timed call, and the pass's probe by operation."""
    for repeat in range(max(map(len, probes.values())) + 1):
        start = (first + repeat * count) % (rows - count + 1)
        probed = {name: int(p[repeat % len(p)]) for name, p in probes.items() if repeat <= len(p)}
        yield slice(start, start + count), probed
