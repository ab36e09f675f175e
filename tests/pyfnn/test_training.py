"""Claims about `fit`, with the NumPy backend. The parity tests check what backends compute."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pyfnn
from pyfnn import datasets
from pyfnn.errors import Diverged, InvalidInput
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.training import FitDiverged, fit
from pyfnn.validation import Array

MOONS = Network((2, 16, 16, 2), "tanh", "softmax_cross_entropy", dtype="float64")
Rows = tuple[Array, Array]


@pytest.fixture
def model() -> Iterator[Model]:
    with pyfnn.load_backend("numpy").create(MOONS, initialize(MOONS, 1)) as made:
        yield made


@pytest.fixture(scope="module")
def moons() -> tuple[Rows, Rows]:
    data = datasets.load("moons", seed=3, dtype="float64").standardized()
    return (data.x[data.train], data.y[data.train]), (data.x[data.validation], data.y[data.validation])


def quick(**changes: Any) -> dict[str, Any]:
    return {"epochs": 4, "batch_size": 32, "learning_rate": 0.1, "seed": 5, **changes}


def test_fit_learns_the_moons(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), validation = moons
    history = fit(model, x, y, **quick(epochs=150, learning_rate=0.3, batch_size=16), validation=validation)
    assert history.stopped == "epochs"
    assert len(history.losses) == len(history.validation_losses) == 151
    assert len(history.seconds) == 150
    assert min(history.seconds) > 0
    predicted = model.forward(len(x), len(validation[0])).argmax(axis=1)
    assert (predicted == validation[1].argmax(axis=1)).mean() > 0.95
    assert history.losses[-1] < 0.2 * history.losses[0]


def test_losses_equal_those_of_a_plain_loop_over_the_same_orders(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), validation = moons
    history = fit(model, x, y, **quick(), validation=validation)
    rng = np.random.Generator(np.random.PCG64(5))
    with pyfnn.load_backend("numpy").create(MOONS, initialize(MOONS, 1)) as other:
        for epoch in range(4):
            other.load(x, y, rng.permutation(len(x)).astype(np.int64))
            other.train(0, len(x), 32, 0.1)
            assert other.loss_and_gradient(0, len(x))[0] == history.losses[epoch + 1]
        np.testing.assert_array_equal(other.theta(), history.last_theta)
        other.load(*validation, np.zeros(1, np.int64))
        assert other.loss_and_gradient(0, len(validation[0]))[0] == history.validation_losses[-1]


def test_every_epoch_uses_every_row_once_in_a_new_order(
    model: Model, moons: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    (x, y), validation = moons
    loaded: list[Array] = []
    load = model.load

    def spy(x: Array, y: Array, order: Array) -> None:
        loaded.append(order)
        load(x, y, order)

    monkeypatch.setattr(model, "load", spy)
    fit(model, x, y, **quick(), validation=validation)
    epochs = loaded[0].reshape(4, len(x))
    assert (np.sort(epochs, axis=1) == np.arange(len(x))).all()
    assert (epochs[0] != epochs[1]).any()


def test_the_same_seed_gives_the_same_history_and_another_seed_another(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), validation = moons
    once, again, other = (fit(model, x, y, **quick(seed=seed), validation=validation) for seed in (5, 5, 6))
    assert once.losses == again.losses
    assert once.validation_losses == again.validation_losses
    np.testing.assert_array_equal(once.theta, again.theta)
    assert once.losses[0] == other.losses[0]
    assert once.losses[1:] != other.losses[1:]


def test_early_stopping_stops_patience_epochs_after_the_best_and_keeps_its_theta(model: Model) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 2))
    noise = np.eye(2)[rng.integers(0, 2, 48)]  # nothing to learn: a lower training loss means a higher validation loss
    validation = rng.standard_normal((24, 2)), noise[24:]
    settings = quick(batch_size=4, learning_rate=0.5)
    history = fit(model, x, noise[:24], **{**settings, "epochs": 500}, validation=validation, patience=7)
    assert history.stopped == "patience"
    assert len(history.seconds) == history.best_epoch + 7 < 500
    assert history.validation_losses[history.best_epoch] == min(history.validation_losses)
    np.testing.assert_array_equal(model.theta(), history.last_theta)
    with pyfnn.load_backend("numpy").create(MOONS, history.theta) as best:
        best.load(*validation, np.zeros(1, np.int64))
        assert best.loss_and_gradient(0, 24)[0] == history.validation_losses[history.best_epoch]


def test_a_fit_starts_from_the_initial_theta_after_any_earlier_training(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), _ = moons
    fresh = fit(model, x, y, **quick())
    model.train(0, len(x), 1, 0.1)
    assert fit(model, x, y, **quick()).losses == fresh.losses


def first_diverging_step(model: Model, x: Array, y: Array, rate: float) -> int:
    """Find the step with single steps of 8 rows, over the orders of seed 7."""
    order = np.random.Generator(np.random.PCG64(7))
    model.reset()
    step = 0
    while True:
        model.load(x, y, order.permutation(50))
        for at in range(0, 50, 8):
            step += 1
            try:
                model.train(at, min(8, 50 - at), 8, rate)
            except Diverged:
                return step


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
    network = Network(sizes, "relu", "squared_error")
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal((50, width)).astype(np.float32) for width in (3, 2))
    with pyfnn.load_backend("numpy").create(network, initialize(network, 4)) as model:
        with pytest.raises(FitDiverged) as caught:
            fit(model, x, y, epochs=30, batch_size=8, learning_rate=rate, seed=7)
        step = first_diverging_step(model, x, y, rate)
    history = caught.value.history
    assert caught.value.step == step
    assert f"at step {step}, in epoch {(step - 1) // 7 + 1}" in str(caught.value)
    assert history.stopped == "diverged"
    assert len(history.seconds) == (step - 1) // 7
    assert np.isfinite(history.last_theta).all()
    assert np.isfinite(history.theta).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"patience": 2}, "needs validation rows"),
        ({"patience": 0, "validation": (np.ones((1, 2)), np.ones((1, 2)))}, "patience = 0"),
        ({"validation": (np.ones((1, 3)), np.ones((1, 2)))}, r"validation x has rows of shape \(3,\), not \(2,\)"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_bad_settings_are_rejected_by_name(
    model: Model, moons: tuple[Rows, Rows], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        fit(model, *moons[0], **quick(**change))
