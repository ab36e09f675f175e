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
from support.strategies import HIDDEN, OWN_LAYOUT, targets

import pyfnn
from bench.experiments.calibrate_parity import random_case
from pyfnn import parity
from pyfnn.activations import TABLE, parse
from pyfnn.backend import Backend
from pyfnn.backends import numpy_functions
from pyfnn.backends.numpy_functions import Layout
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity.battery import Trial
from pyfnn.validation import Array

BACKENDS = ["numpy", "c", "cpp", "cpp-blas", "cpp-mkl", "cpp-xsmm", "cpp-tuned"]
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
    """Return the trials of a network whose layers all have this activation, the output layer included if it may."""
    output = None if parse(activation).row.hidden_only else activation
    network = Network((5, 7, 4, 3), activation, "squared_error", 0.01, output, dtype)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 5)).astype(dtype)
    return parity.battery(network, initialize(network, 2), x, targets(network, 100, rng), 4)


@cache
def random_batteries(dtype: str) -> list[list[Trial]]:
    """Return the trials of networks with a random activation in each layer."""

    def drawn() -> Iterator[list[Trial]]:
        for seed in count():
            try:
                yield random_case(seed, dtype, activations=HIDDEN).battery()
            except Unsupported:  # rounding errors grow at every rate, or too few rows are clear of kinks
                continue

    return list(islice(drawn(), RANDOM))


def accepts(backend: Backend, trials: list[Trial]) -> None:
    evidence = parity.examine(backend.create, trials)
    assert evidence.passed, f"{evidence.worst}; {trials[0].network}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", HIDDEN)
@pytest.mark.parametrize("name", BACKENDS)
def test_an_activation_agrees_with_the_oracle_at_its_kinks_too(name: str, activation: str, dtype: str) -> None:
    trials = battery(activation, dtype)
    layers = 2 if activation in OWN_LAYOUT else 3
    assert len(trials) == 2 + layers * len(parse(activation).kinks)
    accepts(load(name), trials)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BACKENDS)
def test_networks_with_another_activation_in_each_layer_agree_with_the_oracle(name: str, dtype: str) -> None:
    for trials in random_batteries(dtype):
        accepts(load(name), trials)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_declares_every_activation(name: str) -> None:
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


def no_slope_gradient(_G: Array, p: Layout) -> None:
    p.dslopes[:] = 0


def slope_gradient_of_positive_inputs(G: Array, p: Layout) -> None:
    p.dslopes[:] = (G * p.Z[0]).sum(axis=0)


def slope_gradient_of_the_mean(G: Array, p: Layout) -> None:
    p.dslopes[:] = (G * p.spare).mean(axis=0)


def slopes_of_the_neighbours(G: Array, p: Layout) -> None:
    p.dslopes[:] = np.roll((G * p.spare).sum(axis=0), 1)


SLOPE_BUGS: dict[str, Callable[[Array, Layout], None]] = {
    "no gradient": no_slope_gradient,
    "positive inputs in place of negative ones": slope_gradient_of_positive_inputs,
    "the mean over the rows in place of the sum": slope_gradient_of_the_mean,
    "the neighbour's": slopes_of_the_neighbours,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bug", [None, *SLOPE_BUGS])
def test_a_wrong_gradient_of_the_slopes_is_rejected_by_name(
    bug: str | None, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = numpy_functions.ACTIVATIONS["prelu"]

    def derivative(delta: Array, Z: Array, A: Array, p: Layout) -> None:
        G = delta.copy()
        right.derivative(delta, Z, A, p)
        if bug is not None:
            SLOPE_BUGS[bug](G, p)

    monkeypatch.setitem(numpy_functions.ACTIVATIONS, "prelu", right._replace(derivative=derivative))
    evidence = parity.examine(load("numpy").create, battery("prelu", dtype))
    assert evidence.passed == (bug is None)
    assert bug is None or evidence.worst.what.startswith("dS_2")


def next_piece(p: Layout) -> None:
    kept = p.delta[0].copy()
    for delta, other in zip(p.delta, [*p.delta[1:], kept], strict=True):
        delta[:] = other


def every_piece(p: Layout) -> None:
    total = np.sum(p.delta, axis=0)
    for delta in p.delta:
        delta[:] = total


def last_of_equal_pieces(p: Layout) -> None:
    total, largest = np.sum(p.delta, axis=0), np.max(p.Z, axis=0)
    for Z, delta in zip(p.Z[::-1], p.delta[::-1], strict=True):
        delta[:] = np.where(largest == Z, total, 0)
        total = total - delta


MAXOUT_BUGS: dict[str, Callable[[Layout], None]] = {
    "the gradient goes to another piece": next_piece,
    "the gradient goes to every piece": every_piece,
    "of equal pieces the last has the gradient": last_of_equal_pieces,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["maxout(2)", "maxout(3)"])
@pytest.mark.parametrize("bug", [None, *MAXOUT_BUGS])
def test_a_gradient_that_goes_to_the_wrong_piece_is_rejected(
    bug: str | None, activation: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = numpy_functions.ACTIVATIONS["maxout"]

    def derivative(G: Array, Z: Array, A: Array, p: Layout) -> None:
        right.derivative(G, Z, A, p)
        if bug is not None:
            MAXOUT_BUGS[bug](p)

    monkeypatch.setitem(numpy_functions.ACTIVATIONS, "maxout", right._replace(derivative=derivative))
    assert parity.examine(load("numpy").create, battery(activation, dtype)).passed == (bug is None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["prelu(0.3)", "maxout(3)"])
@pytest.mark.parametrize("name", BACKENDS)
def test_networks_trained_at_once_agree_with_the_oracle(name: str, activation: str, dtype: str) -> None:
    network, backend = Network((5, 7, 4, 3), activation, "squared_error", dtype=dtype), load(name)
    rng = np.random.default_rng(1)
    thetas = np.stack([initialize(network, seed) for seed in range(3)])
    x = rng.normal(size=(60, 5)).astype(dtype)
    trials = parity.many_battery(network, thetas, np.linspace(0, 0.1, 3), x, targets(network, 60, rng), 1)
    evidence = parity.examine_many(backend.create_many, trials)
    assert evidence.passed, evidence.worst
