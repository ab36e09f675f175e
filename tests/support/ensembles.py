"""Four small networks of one shape with their data, and a battery for ensembles, shared by the tests of ensembles."""

import numpy as np

from pyfnn import parity
from pyfnn.network import Network, initialize
from pyfnn.validation import Array

NETWORK = Network((3, 4, 2), "tanh", "squared_error", l2=0.01)
K, ROWS, N = 4, 9, 15
THETAS = np.stack([initialize(NETWORK, seed) for seed in range(K)])
L2 = np.array([0.0, 0.1, 0.2, 0.01])
RATES = np.array([0.1, 0.05, 0.2, 0.02])


def data(network: Network = NETWORK) -> tuple[Array, Array, Array]:
    """Return x: (ROWS, m_0), y: (ROWS, m_L) and orders: (K, N)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, network.sizes[0])), rng.normal(size=(ROWS, network.sizes[-1]))
    return x.astype(network.dtype), y.astype(network.dtype), rng.integers(ROWS, size=(K, N))


def ensemble_battery(dtype: str, activation: str = "tanh", loss: str = "squared_error") -> list[parity.ManyTrial]:
    """Return the trials of six networks of one shape."""
    network, rng = Network((5, 7, 4, 3), activation, loss, dtype=dtype), np.random.default_rng(1)
    thetas = np.stack([initialize(network, seed) for seed in range(6)])
    x, y = rng.normal(size=(60, 5)).astype(dtype), np.eye(3, dtype=dtype)[rng.integers(3, size=60)]
    return parity.many_battery(network, thetas, 10.0 ** rng.uniform(-4, -2, 6), x, y, 4)
