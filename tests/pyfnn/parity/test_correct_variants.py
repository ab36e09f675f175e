"""Claims about correct implementations that round differently: the battery accepts every one of them."""

import numpy as np
import pytest

from bench.experiments.correct_variants import VariantBackend
from pyfnn import parity
from pyfnn.network import DTYPES, Network, initialize


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [10, 30, 100])
@pytest.mark.parametrize(
    ("activation", "derivative"),
    [
        ("tanh", "BLAS"),
        ("tanh", "tanh' = 1/cosh²"),
        ("tanh", "tanh' = (1-A)(1+A)"),
        ("sigmoid", "BLAS"),
        ("sigmoid", "sigmoid' = sigmoid(Z) sigmoid(-Z)"),
    ],
)
def test_every_form_of_a_derivative_is_accepted_below_saturated_layers(
    activation: str, derivative: str, bias: float, dtype: str
) -> None:
    network = Network((5, 7, 6, 3), activation, "squared_error", output_activation="identity", dtype=dtype)
    rng = np.random.default_rng(0)
    theta = initialize(network, 1)
    for layer in network.layers(theta)[:2]:
        layer.b[:] = bias * rng.choice([-1, 1], layer.b.shape)
    x, y = rng.normal(size=(60, 5)).astype(dtype), rng.normal(size=(60, 3)).astype(dtype)
    evidence = parity.examine(VariantBackend(derivative).create, parity.battery(network, theta, x, y, 4))
    assert evidence.passed, evidence.worst
