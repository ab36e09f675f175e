"""Data of any shape, drawn by a seeded network of that shape: for timing, and wherever real data is too small."""

from dataclasses import replace

import numpy as np

from pyfnn import oracle
from pyfnn.datasets.dataset import Array, Dataset, Task, one_hot, split
from pyfnn.errors import InvalidInput
from pyfnn.network import Network, initialize

CITATION = "Drawn by pyfnn; not real data."


def teacher(network: Network, rows: int, seed: int, noise: float = 0.1) -> Dataset:
    """Inputs from N(0, 1), and what a network of the same shape, with parameters of its own, makes of them.

    Parameters
    ----------
    network : Network
    rows : int
    seed : int
        Of the teacher's parameters, the inputs, the noise and the split.
    noise : float
        Standard deviation of what is added to the targets of a squared error. Classes have none: they are the
        teacher's most probable ones (of each output, for ``sigmoid_cross_entropy``).

    Returns
    -------
    Dataset
        Of the network's dtype; both dtypes are the same draws, rounded.
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise InvalidInput(f"rows = {rows!r}: must be a whole number, at least 1")
    if not 0 <= noise < np.inf:
        raise InvalidInput(f"noise = {noise!r}: must be finite and 0 or more")
    own_seed, draw_seed, split_seed = (int(word) for word in np.random.SeedSequence(seed).generate_state(3))
    exact = replace(network, dtype="float64")
    rng = np.random.Generator(np.random.PCG64(draw_seed))
    x = rng.standard_normal((rows, network.sizes[0]))
    outputs = oracle.forward(exact, initialize(exact, own_seed), x).A[-1]
    y = _classes(outputs, network.loss) if network.fused else outputs + noise * rng.standard_normal(outputs.shape)
    features = tuple(f"x{column}" for column in range(x.shape[1]))
    classes = tuple(str(column) for column in range(y.shape[1])) if network.fused else ()
    x, y = x.astype(network.dtype), y.astype(network.dtype)
    task: Task = "classification" if network.fused else "regression"
    return Dataset("teacher", x, y, task, features, classes, CITATION, *split(rows, split_seed))


def _classes(probabilities: Array, loss: str) -> Array:
    if loss == "sigmoid_cross_entropy":
        return (probabilities > 0.5).astype(np.float64)
    return one_hot(probabilities.argmax(axis=1), probabilities.shape[1])
