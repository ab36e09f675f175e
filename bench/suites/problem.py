"""A problem: a workload made concrete as network, θ, data and order, the same on every machine; and its operations."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import description
from bench.suites.suite import CaseKey, Workload
from pyfnn import datasets
from pyfnn.datasets.teacher import teacher
from pyfnn.errors import InvalidInput
from pyfnn.network import Network, initialize

MIN_ORDER = 1 << 19  # entries of `order`: many times what a block of 10 ms uses
_MEMBER_EPOCHS = 4  # least epochs in a member's order: a device trains thousands of members in milliseconds
_MEMBER_ORDERS = 4  # times MIN_ORDER in all members' orders together: their backend may use several threads
_RATE_FACTOR, _L2_FACTOR = 2.0, 10.0  # largest factors, up or down, between a member's values and the workload's


@dataclass(frozen=True, eq=False)
class Members:
    """The values that differ between many networks. thetas: (K, n_parameters); l2, rates: (K,); orders: (K, n)."""

    thetas: NDArray[Any]
    l2: NDArray[np.float64]
    rates: NDArray[np.float64]
    orders: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values())


@dataclass(frozen=True, eq=False)
class Problem:
    """A workload made concrete. theta: (n_parameters,); x: (rows, m_0); y: (rows, m_L); order: (n,), whole epochs.

    Where there are `members`, theta is the first one's.
    """

    network: Network
    theta: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    order: NDArray[np.int64]
    members: Members | None = None

    @property
    def thetas(self) -> NDArray[Any]:
        """Starting parameters of every network. (K, n_parameters), with K = 1 for one network."""
        return self.theta[None] if self.members is None else self.members.thetas

    @property
    def orders(self) -> NDArray[np.int64]:
        """Order of every network. (K, n), with K = 1 for one network."""
        return self.order[None] if self.members is None else self.members.orders

    @property
    def n_order(self) -> int:
        """Entries of each network's order."""
        return int(self.orders.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        members = 0 if self.members is None else self.members.nbytes
        return members + sum(array.nbytes for array in (self.theta, self.x, self.y, self.order))


@lru_cache(maxsize=4)
def make_problem(workload: Workload, dtype: str) -> Problem:
    """Make the workload's network, starting θ, data and order, the same on every machine.

    Raises
    ------
    InvalidInput
        The named dataset has other shapes than the workload, or the machine has too little memory.
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
    shapes = ((workload.rows, network.sizes[0]), (workload.rows, network.sizes[-1]))
    if (x.shape, y.shape) != shapes:
        raise InvalidInput(f"workload {workload.name}: {workload.data} has shapes {x.shape}, {y.shape}, not {shapes}")
    rng = np.random.Generator(np.random.PCG64(workload.seed))
    order = _whole_epochs(workload.rows, MIN_ORDER, rng)
    members = _members(workload, network, rng) if workload.members > 1 else None
    return Problem(network, initialize(network, workload.seed), x, y, order, members)


def _whole_epochs(rows: int, least: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return an order of whole epochs, each shuffled, with at least `least` entries."""
    epochs = -(-least // rows)
    return np.concatenate([rng.permutation(rows) for _ in range(epochs)]).astype(np.int64)


def _members(workload: Workload, network: Network, rng: np.random.Generator) -> Members:
    """Draw the members' values: consecutive seeds, rates within a factor of 2, λ within a factor of 10, own orders."""
    K = workload.members
    least = max(workload.batch, _MEMBER_EPOCHS * workload.rows, -(-_MEMBER_ORDERS * MIN_ORDER // K))
    return Members(
        thetas=np.stack([initialize(network, workload.seed + k) for k in range(K)]),
        l2=workload.l2 * _L2_FACTOR ** rng.uniform(-1, 1, K),
        rates=workload.learning_rate * _RATE_FACTOR ** rng.uniform(-1, 1, K),
        orders=np.stack([_whole_epochs(workload.rows, least, rng) for _ in range(K)]),
    )


def flops(key: CaseKey, step_flops_per_row: int, forward_flops_per_row: int) -> int:
    """Return the operations in one step of a case, those of the matrix products only: the update is not counted."""
    return key.workload.batch * (forward_flops_per_row if key.operation == "forward" else step_flops_per_row)


def bytes_moved(key: CaseKey, network: Network) -> int:
    """Return the least memory traffic of a step with nothing cached, in bytes.

    A step reads θ and the rows of the batch, and writes θ or its gradient; a forward pass writes its outputs instead.
    The state of an optimizer is not counted.
    """
    theta = network.n_parameters * (1 if key.operation == "forward" else 2)
    rows = key.workload.batch * (network.sizes[0] + network.sizes[-1])
    return np.dtype(key.dtype).itemsize * (theta + rows)
