"""The battery and the examination of many networks at once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyfnn.activations import Array
from pyfnn.ensemble import Ensemble
from pyfnn.errors import Diverged
from pyfnn.network import Network, initialize
from pyfnn.parity.battery import SIBLING_BATCH, SIBLING_SHORT, small_network, targets
from pyfnn.parity.evidence import Check, Evidence
from pyfnn.parity.examination import difference, identical_bits
from pyfnn.parity.rounding import tensor_norms
from pyfnn.parity.trajectory import Trajectory, full_rate, long_trajectory, oracle_precision

MANY_STEPS = 6  # of each member's trajectory in an ensemble
MANY_TIMES = 2  # that an ensemble walks it in an examination
_MANY_SHADOWS = 2  # of each member: there are many, and a tenth of the proof's time is theirs
_MANY_TRIED = 4  # batches for a member's rate: one of them may have next to no gradient
_MANY_SIBLINGS = 5
_MANY_WALKED = 256  # unlike networks; where an ensemble has more members, each of those is one of these again
_MANY_MARGIN = 3  # entries of each order before and after those that are walked


# ---------------------------------------------------------------------------------------------------------------------
# Many networks at once
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ManyTrial:
    """Networks of one shape, and where the oracle ends with each of them.

    thetas: (K, n_parameters); l2, rates: (K,); orders: (K, n), of which [first, first + walk.count) are walked.
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
    walks: tuple[Trajectory, ...]


def many_battery(
    network: Network,
    thetas: Array,
    l2: NDArray[np.float64],
    x: Array,
    y: Array,
    batch_size: int,
    seed: int = 0,
) -> list[ManyTrial]:
    """The trials that a backend must pass, besides `battery`, before it may be timed on many networks at once.

    The networks themselves, each over rows of its own at a rate of its own (of thousands of members the first hundreds,
    in all places by a draw); and a few small siblings, with λ from 0 to
    0.04 and a short last minibatch. Bounds are those of `battery`'s trajectories.

    Parameters
    ----------
    network : Network
    thetas : ndarray, shape (K, n_parameters)
    l2 : ndarray of float64, shape (K,)
    x, y : ndarray, shapes (rows, m_0), (rows, m_L)
        From which every member's rows are drawn.
    batch_size : int
    seed : int
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    small = small_network(network, rng)
    siblings = np.stack([initialize(small, int(rng.integers(2**31))) for _ in range(_MANY_SIBLINGS)])
    for theta in siblings:
        for _, b in small.layers(theta):
            b[:] = rng.normal(0, 0.5, b.shape)
    rows = 8 * SIBLING_BATCH
    inputs = rng.normal(size=(rows, small.sizes[0])).astype(network.dtype)
    data = inputs, targets(small, rows, rng)
    lams = np.linspace(0.0, 0.04, _MANY_SIBLINGS)
    return [
        _many_trial("own ensemble's", network, thetas, l2, (x, y), min(batch_size, len(x)), 0, rng),
        _many_trial("sibling ensemble's", small, siblings, lams, data, SIBLING_BATCH, SIBLING_SHORT, rng),
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
    members, unlike = len(thetas), min(len(thetas), _MANY_WALKED)
    # Which network each member is: by the draw, so that no stride hides one member behind another.
    which = np.concatenate([np.arange(unlike), rng.integers(unlike, size=members - unlike)]).astype(np.int64)
    precision = oracle_precision(network, batch_size * unlike)
    counts = [batch_size] * (MANY_STEPS - 1) + [short or batch_size]
    x, y = data
    orders, walks = [], []
    for theta, lam in zip(thetas[:unlike], l2[:unlike], strict=True):
        own, exact = replace(network, l2=float(lam)), theta.astype(precision)
        tried = (rng.permutation(len(x))[:batch_size] for _ in range(_MANY_TRIED))
        rate = min(full_rate(own, exact, x[rows], y[rows]) for rows in tried) / MANY_STEPS
        walker, rows = long_trajectory(own, exact, rate, precision, data, counts, rng, _MANY_SHADOWS)
        others = rng.integers(len(x), size=2 * _MANY_MARGIN)
        orders.append(np.concatenate([others[:_MANY_MARGIN], rows, others[_MANY_MARGIN:]]))
        walks.append(walker.walk(sum(counts), batch_size))
    rates = np.array([walk.learning_rate for walk in walks])
    ends = tuple(walks[i] for i in which)
    return ManyTrial(
        name, network, thetas[which], l2[which], x, y, np.stack(orders)[which], _MANY_MARGIN, rates[which], ends
    )


ManyMaker = Callable[[Network, Array, NDArray[np.float64]], Ensemble]


@np.errstate(over="ignore", invalid="ignore")  # a member that diverged is as far off as can be
def examine_many(make: ManyMaker, trials: list[ManyTrial], *, deterministic: bool = True) -> Evidence:
    """Put what trains many networks at once through a battery: each member must end where the oracle does.

    Parameters
    ----------
    make : callable
        (network, thetas, l2) -> Ensemble; each is closed again.
    trials : list of ManyTrial
    deterministic : bool
        As for `examine`.
    """
    checks: list[Check] = []
    for trial in trials:
        with make(trial.network, trial.thetas, trial.l2) as ensemble:
            ensemble.load(trial.x[::-1].copy(), trial.y[::-1].copy(), trial.orders[::-1].copy())  # to be forgotten
            ensemble.load(trial.x, trial.y, trial.orders)
            ends = _many_ends(ensemble, trial)
            for member, (walk, end) in enumerate(zip(trial.walks, ends, strict=True)):
                errors = tensor_norms(trial.network, difference(end, walk.theta))
                for name, error in errors.items():
                    what = f"displacement of {name} after {walk.steps} steps of member {member}"
                    checks.append(Check(trial.name, what, error, walk.bound[name]))
            if deterministic:
                checks.append(identical_bits(trial.name, "the same call twice", _many_ends(ensemble, trial), ends))
            ensemble.reset()
            checks.append(identical_bits(trial.name, "theta after reset", ensemble.thetas(), trial.thetas))
    return Evidence(tuple(checks))


def _many_ends(ensemble: Ensemble, trial: ManyTrial) -> Array:
    ensemble.reset()
    with suppress(Diverged):  # the checks find out with which members
        ensemble.train(trial.first, trial.walks[0].count, trial.walks[0].batch_size, trial.rates)
    return ensemble.thetas()
