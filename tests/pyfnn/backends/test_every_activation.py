"""Claims about every activation in each backend of our own: it agrees with the oracle, at its kinks too.

A backend is tested with the activations that it declares. cpp-tuned has further claims in test_tuned, the programs in
the conformance kit.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, islice

import numpy as np
import pytest
from support.requirements import require
from support.strategies import SPELLINGS, targets

import pyfnn
from bench.experiments.calibrate_parity import random_case
from pyfnn import parity
from pyfnn.activations import TABLE, parse
from pyfnn.backend import Backend
from pyfnn.backends import numpy_functions
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity.battery import Trial
from pyfnn.validation import Array

BACKENDS = ["numpy", "c", "cpp", "cpp-blas", "cpp-tuned"]
Derivative = Callable[[Array, float], Array]  # (Z, parameter) -> f'(Z)
BUGS: dict[str, tuple[str, Derivative]] = {
    "relu: 1 at 0": ("relu", lambda Z, _: Z >= 0),
    "leaky_relu: no slope": ("leaky_relu(0.3)", lambda Z, _: Z > 0),
    "leaky_relu: 1 at 0": ("leaky_relu(0.3)", lambda Z, p: np.where(Z >= 0, 1, p)),
    "leaky_relu: the sign of A": ("leaky_relu(-0.5)", lambda Z, p: np.where(Z != 0, 1, p)),
    "elu: slope off by one": ("elu(0.3)", lambda Z, p: np.where(Z > 0, 1, p * np.expm1(np.minimum(Z, 0)) + p + 1)),
    "elu: 1 at 0": ("elu(0.3)", lambda Z, p: np.where(Z >= 0, 1, p * np.exp(np.minimum(Z, 0)))),
    "elu: the sign of A": ("elu(-0.5)", lambda Z, p: np.where(Z != 0, 1, p)),
    "softplus: that of relu": ("softplus", lambda Z, _: Z > 0),
    "hard_sigmoid: no bounds": ("hard_sigmoid", lambda Z, _: np.full_like(Z, 0.25)),
    "hard_sigmoid: 1": ("hard_sigmoid", lambda Z, _: np.abs(Z) < 2),
    "hard_sigmoid: 1/4 at 2": ("hard_sigmoid", lambda Z, _: ((Z > -2) & (Z <= 2)) / 4),
    "hard_sigmoid: 1/4 at -2": ("hard_sigmoid", lambda Z, _: ((Z >= -2) & (Z < 2)) / 4),
    "hard_tanh: 1 at 1": ("hard_tanh", lambda Z, _: (Z > -1) & (Z <= 1)),
    "hard_tanh: 1 at -1": ("hard_tanh", lambda Z, _: (Z >= -1) & (Z < 1)),
}
RANDOM = 20  # random networks per dtype


def load(name: str) -> Backend:
    try:
        return pyfnn.load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise


@cache
def battery(activation: str, dtype: str) -> list[Trial]:
    """Return the trials of a network whose layers all have this activation, the output layer included."""
    network = Network((5, 7, 4, 3), activation, "squared_error", 0.01, activation, dtype)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 5)).astype(dtype)
    return parity.battery(network, initialize(network, 2), x, targets(network, 100, rng), 4)


@cache
def random_batteries(dtype: str) -> list[list[Trial]]:
    """Return the trials of networks with a random activation in each layer."""

    def drawn() -> Iterator[list[Trial]]:
        for seed in count():
            try:
                yield random_case(seed, dtype, activations=SPELLINGS).battery()
            except Unsupported:  # rounding errors grow at every rate, or too few rows are clear of kinks
                continue

    return list(islice(drawn(), RANDOM))


def accepts(backend: Backend, trials: list[Trial]) -> None:
    evidence = parity.examine(backend.create, trials)
    assert evidence.passed, f"{evidence.worst}; {trials[0].network}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", SPELLINGS)
@pytest.mark.parametrize("name", BACKENDS)
def test_an_activation_agrees_with_the_oracle_at_its_kinks_too(name: str, activation: str, dtype: str) -> None:
    trials = battery(activation, dtype)
    assert len(trials) == 2 + 3 * len(parse(activation).kinks)
    accepts(load(name), trials)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BACKENDS)
def test_networks_with_another_activation_in_each_layer_agree_with_the_oracle(name: str, dtype: str) -> None:
    for trials in random_batteries(dtype):
        accepts(load(name), trials)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_declares_every_activation_that_works_number_by_number(name: str) -> None:
    assert set(load(name).description.activations) == set(TABLE)


def plant(monkeypatch: pytest.MonkeyPatch, name: str, derivative: Derivative) -> None:
    """Give the NumPy backend the oracle's activation, with another derivative."""

    def value(Z: Array, A: Array, p: float) -> None:
        A[...] = TABLE[name].value(Z, p)

    def multiply(delta: Array, Z: Array, _A: Array, p: float) -> None:
        delta *= derivative(Z, p)

    row = numpy_functions.Activation(value, multiply, in_place=False)
    monkeypatch.setitem(numpy_functions.ACTIVATIONS, name, row)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bug", BUGS)
def test_a_wrong_derivative_is_rejected(bug: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    activation, wrong = BUGS[bug]
    backend, trials, row = load("numpy"), battery(activation, dtype), parse(activation)
    plant(monkeypatch, row.key, row.row.derivative)
    accepts(backend, trials)
    plant(monkeypatch, row.key, wrong)
    assert not parity.examine(backend.create, trials).passed
