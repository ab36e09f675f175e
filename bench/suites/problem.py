"""A workload made concrete: network, θ, data and order, the same on every machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import description
from bench.suites.suite import CaseKey, Workload
from pyfnn import datasets
from pyfnn.datasets.teacher import teacher
from pyfnn.errors import InvalidInput
from pyfnn.network import Network, initialize


def forward_flops(sizes: Sequence[int]) -> int:
    return 2 * sum(m_in * m_out for m_in, m_out in pairwise(sizes))


def flops(key: CaseKey, step_flops_per_row: int, forward_flops_per_row: int) -> int:
    """Operations in one step: of the matrix products alone, nothing else counted."""
    return key.workload.batch * (forward_flops_per_row if key.operation == "forward" else step_flops_per_row)


def bytes_moved(key: CaseKey, network: Network) -> int:
    """What one step cannot do without, were nothing kept near: θ read, θ or its gradient written, the rows read."""
    theta = network.n_parameters * (1 if key.operation == "forward" else 2)
    rows = key.workload.batch * (network.sizes[0] + network.sizes[-1])  # forward: the outputs written
    return np.dtype(key.dtype).itemsize * (theta + rows)


MIN_ORDER = 1 << 20  # entries of `order`: enough that no block of 50 ms runs out of them
_MANY_EPOCHS = 4  # of each member at least: thousands at once on a device are done with one in milliseconds
_MANY_ORDERS = 4  # times that, of all members' orders together: theirs may run on several threads
_RATES, _L2 = 2.0, 10.0  # by how much members' own differ from the workload's, up or down, at most


@dataclass(frozen=True, eq=False)
class Members:
    """What each of many networks has of its own. thetas: (K, n_parameters); l2, rates: (K,); orders: (K, n)."""

    thetas: NDArray[Any]
    l2: NDArray[np.float64]
    rates: NDArray[np.float64]
    orders: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Problem:
    """A workload made concrete. theta: (n_parameters,); x: (rows, m_0); y: (rows, m_L); order: whole epochs.

    Where there are `members`, the first has this θ.
    """

    network: Network
    theta: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    order: NDArray[np.int64]
    members: Members | None = None

    @property
    def n_order(self) -> int:
        """Entries of the order, or of each member's."""
        return self.order.size if self.members is None else self.members.orders.shape[1]

    @property
    def nbytes(self) -> int:
        """Of all its arrays."""
        own = [] if self.members is None else vars(self.members).values()
        return sum(array.nbytes for array in (self.theta, self.x, self.y, self.order, *own))


@lru_cache(maxsize=4)
def make_problem(workload: Workload, dtype: str) -> Problem:
    """The workload's network, starting θ, data and order, the same on every machine.

    Raises
    ------
    InvalidInput
        The named dataset has other shapes than the workload says, or there is no memory for it.
    """
    network = workload.network(dtype)
    numbers = workload.members * network.n_parameters + workload.rows * (network.sizes[0] + network.sizes[-1])
    needed = np.dtype(dtype).itemsize * numbers
    free = description.available_memory()
    if needed > free:
        raise InvalidInput(
            f"workload {workload.name}: θ and data take {needed / 1e9:.3g} GB: {free / 1e9:.3g} are free"
        )
    if workload.data == "teacher":
        drawn = teacher(network, workload.rows, workload.seed)
        x, y = drawn.x, drawn.y
    else:
        real = datasets.load(workload.data, workload.seed, dtype).standardized()
        rows = real.train[: workload.rows]
        x, y = real.x[rows], real.y[rows]
    wanted = ((workload.rows, network.sizes[0]), (workload.rows, network.sizes[-1]))
    if (x.shape, y.shape) != wanted:
        raise InvalidInput(f"workload {workload.name}: {workload.data} has shapes {x.shape}, {y.shape}, not {wanted}")
    rng = np.random.Generator(np.random.PCG64(workload.seed))
    order = _whole_epochs(workload.rows, MIN_ORDER, rng)
    members = _members(workload, network, rng) if workload.members > 1 else None
    return Problem(network, initialize(network, workload.seed), x, y, order, members)


def _whole_epochs(rows: int, least: int, rng: np.random.Generator) -> NDArray[np.int64]:
    epochs = -(-least // rows)
    return np.concatenate([rng.permutation(rows) for _ in range(epochs)]).astype(np.int64)


def _members(workload: Workload, network: Network, rng: np.random.Generator) -> Members:
    """What each has of its own: the next seed, a rate up to twice or half the workload's, a λ up to ten times or a
    tenth.
    """
    K = workload.members
    least = max(workload.batch, _MANY_EPOCHS * workload.rows, -(-_MANY_ORDERS * MIN_ORDER // K))
    return Members(
        thetas=np.stack([initialize(network, workload.seed + k) for k in range(K)]),
        l2=workload.l2 * _L2 ** rng.uniform(-1, 1, K),
        rates=workload.learning_rate * _RATES ** rng.uniform(-1, 1, K),
        orders=np.stack([_whole_epochs(workload.rows, least, rng) for _ in range(K)]),
    )
