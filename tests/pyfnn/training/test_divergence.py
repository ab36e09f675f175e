"""Claims about trainings that diverge: the step, the layer and the cause that the error names."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyfnn
from pyfnn.errors import Diverged
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.optimizers import SGD, Momentum, Named
from pyfnn.training import Adam, FitDiverged, fit
from pyfnn.training.data import generator
from pyfnn.training.divergence import find_overflow
from pyfnn.validation import Array


def rows(inputs: float = 1.0, targets: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal((50, width)).astype(np.float32) for width in (3, 2))
    return x * np.float32(inputs), y * np.float32(targets)


def first_diverging_step(model: Model, x: Array, y: Array, rate: float) -> int:
    """Find the step with single steps of 8 rows, over the orders of seed 7."""
    model.reset()
    step = epoch = 0
    while True:
        epoch += 1
        model.load(x, y, generator(7, epoch).permutation(50))
        for at in range(0, 50, 8):
            step += 1
            try:
                model.train(at, min(8, 50 - at), 8, rate)
            except Diverged:
                return step


def diverged(network: Network, x: Array, y: Array, rate: float, **settings: Any) -> tuple[FitDiverged, int]:
    with pyfnn.load_backend("numpy").create(network, initialize(network, 4)) as model:
        with pytest.raises(FitDiverged) as caught:
            fit(model, x, y, epochs=30, batch_size=8, learning_rate=rate, seed=7, **settings)
        np.testing.assert_array_equal(model.theta(), caught.value.history.theta)
        return caught.value, first_diverging_step(model, x, y, rate) if not settings else 0


@pytest.mark.parametrize(
    ("sizes", "rate"),
    [
        ((3, 5, 2), 1e6),
        ((3, 5, 2), 0.9),
        ((3, 5, 2), 0.6),
        ((3, 2), 2.0),
    ],  # all within one epoch, except the single layer, which takes several
)
def test_divergence_reports_the_step_that_a_step_by_step_run_finds(sizes: tuple[int, ...], rate: float) -> None:
    error, step = diverged(Network(sizes, "relu", "squared_error"), *rows(), rate)
    assert error.step == step
    assert f"at step {step}, in epoch {(step - 1) // 7 + 1}" in str(error)
    assert error.history.stopped == "diverged"
    assert len(error.history.table) - 1 == (step - 1) // 7
    assert np.isfinite(error.history.last_theta).all()
    assert np.isfinite(error.history.theta).all()
    assert error.layer is not None
    assert f"of layer {error.layer} overflowed" in str(error)
    assert error.cause in str(error)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (rows(), "the learning rate 0.9 is too large, and θ grew from norm"),
        (rows(inputs=1e4), "the inputs reach .*: standardize them"),
        (rows(targets=1e4), "the targets reach .*: standardize them"),
    ],
    ids=["rate", "inputs", "targets"],
)
def test_divergence_names_the_likely_cause(data: tuple[Array, Array], cause: str) -> None:
    error, _ = diverged(Network((3, 5, 2), "relu", "squared_error"), *data, 0.9)
    assert re.search(cause, str(error)), str(error)


@pytest.mark.parametrize("optimizer", [SGD(), Momentum(0.9), Adam()], ids=repr)
@pytest.mark.parametrize("epoch", [3, 8, 12])
def test_divergence_in_a_later_epoch_is_replayed_with_the_optimizers_state(optimizer: Named, epoch: int) -> None:
    """The orders of epochs 1 to 8 are loaded at once, then those of 9 to 16; a replay repeats them from there."""
    network, (x, y) = Network((3, 5, 2), "relu", "squared_error"), rows()
    theta = initialize(network, 4)

    def rate(at: int) -> float:
        return 0.01 if at < epoch - 1 else 1e36 if at == epoch - 1 else np.nan

    with pyfnn.load_backend("numpy").create(network, theta) as model:
        step = 0
        for at in range(epoch):
            model.load(x, y, generator(7, at + 1).permutation(50))
            for first in range(0, 50, 8):
                step += 1
                before = model.theta()
                try:
                    model.train(first, min(8, 50 - first), 8, rate(at), optimizer)
                except Diverged:
                    break
        with pytest.raises(FitDiverged) as caught:
            fit(model, x, y, epochs=30, batch_size=8, learning_rate=rate, seed=7, optimizer=optimizer)
    grown = np.linalg.norm(before.astype(np.float64))
    assert caught.value.step == step
    assert len(caught.value.history.table) == epoch
    assert f"{grown:.3g}" in str(caught.value) or grown < 2 * np.linalg.norm(theta)


def test_an_optimizer_in_python_diverges_at_a_named_step_too() -> None:
    network = Network((3, 5, 2), "relu", "squared_error")
    error, _ = diverged(network, *rows(), 1e38, optimizer=Adam())
    assert error.step is not None
    assert f"at step {error.step}, in epoch 1" in str(error)


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda layers: layers[1].W.fill(3e38), (2, "outputs")),
        (lambda layers: layers[0].W.fill(3e38), (1, "outputs")),
        (lambda layers: layers[2].b.fill(3e38), (3, "gradient")),
        (lambda layers: layers[2].b.fill(1e30), (2, "gradient")),
        (lambda _: None, None),
    ],
    ids=["second layer", "first layer", "last bias", "last bias, smaller", "sound"],
)
def test_the_first_numbers_that_overflow_are_found(
    spoil: Callable[[Any], object], where: tuple[int, str] | None
) -> None:
    network = Network((3, 4, 5, 2), "identity", "squared_error")
    theta = np.full(network.n_parameters, 0.5, np.float32)
    network.layers(theta)[2].W[:] = 1e10
    spoil(network.layers(theta))
    x, y = np.ones((4, 3), "f4"), np.ones((4, 2), "f4")
    assert find_overflow(network, theta, x, y, 0.1) == where


def test_an_overflow_of_the_update_alone_is_found() -> None:
    network = Network((3, 2), "identity", "squared_error")
    theta = np.ones(network.n_parameters, np.float32)
    assert find_overflow(network, theta, np.full((1, 3), 10, "f4"), np.ones((1, 2), "f4"), 1e37) == (1, "parameters")
