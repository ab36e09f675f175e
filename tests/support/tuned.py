"""cpp-tuned at each instruction-set level, with data; shared by its tests."""

import numpy as np
import pytest

from pyfnn import isa, registry
from pyfnn.backend import Backend
from pyfnn.backends.tuned import Tuned
from pyfnn.errors import BackendUnavailable
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.validation import Array
from support.requirements import require

SIZES = (3, 5, 2)
SMALL = Network(SIZES, "tanh", "squared_error")


def levels() -> tuple[str, ...]:
    """Return the levels that this build has and this CPU runs, or ("none",)."""
    try:
        return isa.levels()
    except BackendUnavailable:
        return ("none",)


def backend_at(level: str) -> Backend:
    """Return the backend at a level; skip the test if there is no level."""
    if level == "none":
        require("cpp-tuned", False, "this build and this CPU have no level in common")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(isa.VARIABLE, level)
        return Tuned(registry.find("cpp-tuned"))


def random_data(network: Network, rows: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Return x, y and an order with twice as many entries as rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    if network.loss == "softmax_cross_entropy":
        y = np.eye(network.sizes[-1])[rng.integers(network.sizes[-1], size=rows)]
    else:
        y = rng.random((rows, network.sizes[-1]))
    return x, y.astype(network.dtype), rng.integers(rows, size=2 * rows)


def loaded(backend: Backend, network: Network, rows: int = 40, threads: int = 1, theta: Array | None = None) -> Model:
    """Return a model with random data loaded."""
    model = backend.create(network, initialize(network, 1) if theta is None else theta, threads)
    model.load(*random_data(network, rows))
    return model
