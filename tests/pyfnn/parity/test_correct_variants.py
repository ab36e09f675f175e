"""Claims about correct implementations that round differently: the battery accepts every one of them."""

from itertools import islice

import numpy as np
import pytest
from support.batteries import CHUNKS, drawn, random_batteries

from bench.experiments.calibrate_parity import random_case
from bench.experiments.correct_variants import VARIANTS, VariantBackend
from pyfnn import parity
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity.battery import Trial
from pyfnn.validation import Array

EVERY = 6  # each random network is computed by every sixth variant; in the soak, by all
SOAK = 250  # networks per dtype, in the soak


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


def _accepts(variant: str, trials: list[Trial], case: str) -> None:
    evidence = parity.examine(VariantBackend(variant).create, trials)
    assert evidence.passed, f"{variant}, {case}: {evidence.worst}; {trials[0].network}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_variants_are_accepted_on_random_networks(dtype: str) -> None:
    for at, (seed, trials) in enumerate(random_batteries(0, dtype)):
        for variant in list(VARIANTS)[at % EVERY :: EVERY]:
            _accepts(variant, trials, f"random_case({seed}, {dtype!r})")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_correct_variant_is_accepted_on_many_random_networks(dtype: str) -> None:
    for seed, trials in islice(drawn(CHUNKS + 1, dtype), SOAK):
        for variant in VARIANTS:
            _accepts(variant, trials, f"random_case({seed}, {dtype!r})")


def _classes(rows: int, outputs: int, rng: np.random.Generator) -> Array:
    return np.asarray(np.eye(outputs)[rng.integers(outputs, size=rows)])


SIZES: dict[str, tuple[int, ...]] = {
    "fan-in 5000": (5000, 3),
    "30 layers": (6, *[5] * 29, 3),
    "layers of one unit": (1, 1, 1, 1),
    "one output of softmax": (6, 8, 1),
}
ROWS = {"fan-in 5000": (10, 4), "a single row": (1, 1), "a batch above the rows": (5, 64)}  # and the batch
EXTREMES = (
    *SIZES,
    "a single row",
    "a batch above the rows",
    "a large λ",
    "inputs of 0",
    "equal rows",
    "a single class",
)


def _extreme(case: str, dtype: str) -> list[Trial]:
    """Make the battery of an extreme case."""
    rng = np.random.default_rng(0)
    sizes, (rows, batch) = SIZES.get(case, (6, 8, 5, 3)), ROWS.get(case, (80, 8))
    activation, l2 = "tanh" if case == "30 layers" else "relu", 100.0 if case == "a large λ" else 0.01
    network = Network(sizes, activation, "softmax_cross_entropy", l2=l2, dtype=dtype)
    x, y = rng.normal(size=(rows, sizes[0])), _classes(rows, sizes[-1], rng)
    if case == "inputs of 0":
        x[:] = 0
    elif case == "equal rows":
        x[:], y[:] = x[0], y[0]
    elif case == "a single class":
        y[:] = y[0]
    return parity.battery(network, initialize(network, 2), x.astype(dtype), y.astype(dtype), batch)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", EXTREMES)
def test_correct_variants_are_accepted_in_extreme_cases(case: str, dtype: str) -> None:
    trials, at = _extreme(case, dtype), EXTREMES.index(case)
    for variant in list(VARIANTS)[at % EVERY :: EVERY]:
        _accepts(variant, trials, case)


@pytest.mark.soak
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", EXTREMES)
def test_every_correct_variant_is_accepted_in_extreme_cases(case: str, dtype: str) -> None:
    trials = _extreme(case, dtype)
    for variant in VARIANTS:
        _accepts(variant, trials, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels", ["1 level", "2 levels"])
def test_strassens_product_is_accepted_where_a_checksum_adds_small_entries(levels: str, dtype: str) -> None:
    network = Network((16, 8), "tanh", "squared_error", output_activation="identity", dtype=dtype)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 16)), rng.normal(size=(200, 8))
    theta = initialize(network, 0)
    layer = network.layers(theta)[0]
    layer.W[:, [0, -1]] *= 1e-4  # the outputs that the checksum adds
    _accepts(f"Strassen, {levels}", parity.battery(network, theta, x.astype(dtype), y.astype(dtype), 16), levels)


@pytest.mark.parametrize("levels", ["1 level", "2 levels"])
def test_strassens_product_is_accepted_where_its_error_in_one_output_is_largest(levels: str) -> None:
    _accepts(f"Strassen, {levels}", random_case(65, "float32").battery(), "random_case(65, 'float32')")
