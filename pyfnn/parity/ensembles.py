"""Battery and examination of ensembles: many networks trained at once.

Bounds come from `trajectory`; the trials of a single network are in `battery`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyfnn.activations import Array
from pyfnn.ensemble import Ensemble
from pyfnn.errors import Diverged
from pyfnn.network import Network
from pyfnn.parity.battery import SMALL_BATCH, SMALL_LAST_BATCH, small_network, small_theta, targets
from pyfnn.parity.evidence import Check, Evidence
from pyfnn.parity.examination import difference, identical_bits
from pyfnn.parity.rounding import tensor_norms
from pyfnn.parity.trajectory import Trajectory, full_rate, long_trajectory, oracle_precision

MANY_STEPS = 6  # of each member's trajectory in an ensemble
MANY_TIMES = 2  # trainings of an ensemble in an examination
_MANY_PERTURBED = 2  # perturbed trajectories per member; they take a tenth of the examination's time
_MANY_TRIED = 4  # batches from which a member's rate is chosen, since one of them may have almost no gradient
_MANY_SMALL = 5  # members of the small ensemble
_MANY_DISTINCT = 256  # distinct networks, each with its trajectory; each further member repeats one of them
_MANY_MARGIN = 3  # entries of each order before and after those that the trial uses


@dataclass(frozen=True)
class ManyTrial:
    """Networks of one shape, their data, and the oracle's trajectory with each of them.

    Attributes
    ----------
    name : str
        "own ensemble's" or "small ensemble's".
    network : Network
        Sizes, functions and dtype of all members.
    thetas : ndarray, shape (K, n_parameters)
    l2, rates : ndarray of float64, shape (K,)
        λ and learning rate of each member.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
    orders : ndarray of int64, shape (K, n)
        Row numbers; training uses the columns [first, first + trajectories[k].count).
    first : int
    trajectories : tuple of Trajectory
        One per member.
    """

    name: str
    network: Network
    thetas: Array
    l2: NDArray[np.float64]
    x: Array
    y: Array
    orders: NDArray[np.int64]
    first: int
    rates: NDArray[np.float64]
    trajectories: tuple[Trajectory, ...]


def many_battery(
    network: Network,
    thetas: Array,
    l2: NDArray[np.float64],
    x: Array,
    y: Array,
    batch_size: int,
    seed: int = 0,
) -> list[ManyTrial]:
    """Make the trials that a backend must pass, besides `battery`, before it is timed on many networks at once.

    The trials are the networks themselves, each with rows and a rate of its own, and a few small variants with λ from 0
    to 0.04 and a short last minibatch. Of more than 256 members, the first 256 are distinct, and each further one
    repeats a random one of these. Bounds are those of `battery`'s trajectories.

    Parameters
    ----------
    network : Network
    thetas : ndarray, shape (K, n_parameters)
    l2 : ndarray of float64, shape (K,)
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
        Data from which every member's rows are drawn.
    batch_size : int
    seed : int
        Seed of all draws.

    Raises
    ------
    Unsupported
        Parity cannot be judged on a member; see `battery`.
    """
    rng = np.random.default_rng(seed)
    small = small_network(network, rng)
    small_thetas = np.stack([small_theta(small, rng) for _ in range(_MANY_SMALL)])
    rows = 8 * SMALL_BATCH
    inputs = rng.normal(size=(rows, small.sizes[0])).astype(network.dtype)
    data = inputs, targets(small, rows, rng)
    lams = np.linspace(0.0, 0.04, _MANY_SMALL)
    return [
        _many_trial("own ensemble's", network, thetas, l2, (x, y), min(batch_size, len(x)), 0, rng),
        _many_trial("small ensemble's", small, small_thetas, lams, data, SMALL_BATCH, SMALL_LAST_BATCH, rng),
    ]


def _many_trial(
    name: str,
    network: Network,
    thetas: Array,
    l2: NDArray[np.float64],
    data: tuple[Array, Array],
    batch_size: int,
    short: int,
    rng: np.random.Generator,
) -> ManyTrial:
    members, distinct = len(thetas), min(len(thetas), _MANY_DISTINCT)
    # Members beyond the distinct ones repeat random ones: with a fixed stride, a mix-up of members could go unnoticed.
    which = np.concatenate([np.arange(distinct), rng.integers(distinct, size=members - distinct)]).astype(np.int64)
    precision = oracle_precision(network, batch_size * distinct)
    counts = [batch_size] * (MANY_STEPS - 1) + [short or batch_size]
    x, y = data
    orders, trajectories = [], []
    for theta, lam in zip(thetas[:distinct], l2[:distinct], strict=True):
        own, exact = replace(network, l2=float(lam)), theta.astype(precision)
        tried = (rng.permutation(len(x))[:batch_size] for _ in range(_MANY_TRIED))
        rate = min(full_rate(own, exact, x[rows], y[rows]) for rows in tried) / MANY_STEPS
        trajectory, rows = long_trajectory(own, exact, rate, precision, data, counts, rng, _MANY_PERTURBED)
        others = rng.integers(len(x), size=2 * _MANY_MARGIN)
        orders.append(np.concatenate([others[:_MANY_MARGIN], rows, others[_MANY_MARGIN:]]))
        trajectories.append(trajectory.end(sum(counts), batch_size))
    rates = np.array([trajectory.learning_rate for trajectory in trajectories])
    ends = tuple(trajectories[i] for i in which)
    return ManyTrial(
        name, network, thetas[which], l2[which], x, y, np.stack(orders)[which], _MANY_MARGIN, rates[which], ends
    )


ManyMaker = Callable[[Network, Array, NDArray[np.float64]], Ensemble]


@np.errstate(over="ignore", invalid="ignore")  # the difference of a member that diverged is inf or NaN, and fails
def examine_many(make: ManyMaker, trials: list[ManyTrial], *, deterministic: bool = True) -> Evidence:
    """Run an ensemble through a battery: each member must end where the oracle ends, within the bound.

    Parameters
    ----------
    make : callable
        (network, thetas, l2) -> Ensemble; each ensemble is closed again.
    trials : list of ManyTrial
    deterministic : bool
        The same call twice must give the same bits.

    Returns
    -------
    Evidence
    """
    checks: list[Check] = []
    for trial in trials:
        with make(trial.network, trial.thetas, trial.l2) as ensemble:
            # The second load must replace these data and orders.
            ensemble.load(trial.x[::-1].copy(), trial.y[::-1].copy(), trial.orders[::-1].copy())
            ensemble.load(trial.x, trial.y, trial.orders)
            ends = _many_ends(ensemble, trial)
            for member, (trajectory, end) in enumerate(zip(trial.trajectories, ends, strict=True)):
                errors = tensor_norms(trial.network, difference(end, trajectory.theta))
                for name, error in errors.items():
                    what = f"displacement of {name} after {trajectory.steps} steps of member {member}"
                    checks.append(Check(trial.name, what, error, trajectory.bound[name]))
            if deterministic:
                checks.append(identical_bits(trial.name, "the same call twice", _many_ends(ensemble, trial), ends))
            ensemble.reset()
            checks.append(identical_bits(trial.name, "theta after reset", ensemble.thetas(), trial.thetas))
    return Evidence(tuple(checks))


def _many_ends(ensemble: Ensemble, trial: ManyTrial) -> Array:
    ensemble.reset()
    with suppress(Diverged):  # the checks find which members diverged
        ensemble.train(trial.first, trial.trajectories[0].count, trial.trajectories[0].batch_size, trial.rates)
    return ensemble.thetas()
