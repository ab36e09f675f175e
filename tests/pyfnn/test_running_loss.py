"""Claims about the running loss: the same steps as without it, the mean of the losses that they start from."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.tuned import backend_at, levels, loaded, random_data

import pyfnn
from pyfnn.backend import CORE_LOSSES, Backend
from pyfnn.errors import Diverged, InvalidInput, Unsupported
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.optimizers import SGD, Adam, Momentum, Named
from pyfnn.training import fit

NETWORK = Network((5, 37, 3), "tanh", "softmax_cross_entropy", l2=0.01)
WIDE = (70, 90, 17)  # its minibatches have one row per sample; those of NETWORK, one row per feature


@pytest.fixture(scope="module", params=levels())
def backend(request: pytest.FixtureRequest) -> Backend:
    """The backend at each level that this CPU runs."""
    return backend_at(request.param)


def stepwise(backend: Backend, network: Network, count: int, batch: int, rate: float, optimizer: Named) -> float:
    """Return the running loss of steps that are made one by one, with a gradient each."""
    x, y, order = random_data(network, 40)
    total = 0.0
    with loaded(backend, network) as model:
        theta = model.theta()
        state = optimizer.start(theta)
        for at in range(0, count, batch):
            here = order[at : min(at + batch, count)]
            model.load(x[here], y[here], np.zeros(1, np.int64))
            loss, gradient = model.loss_and_gradient(0, len(here))
            total += loss * len(here)
            optimizer.update(theta, gradient, rate, state)
            model.set_theta(theta)
    return total / count


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", CORE_LOSSES)
@pytest.mark.parametrize("sizes", [NETWORK.sizes, WIDE], ids=str)
@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=str)
def test_it_is_the_mean_of_the_losses_that_the_steps_start_from_and_changes_no_bit(
    backend: Backend, optimizer: Named, sizes: tuple[int, ...], loss: str, dtype: str
) -> None:
    network = Network(sizes, "tanh", loss, l2=0.01, dtype=dtype)
    with loaded(backend, network) as model, loaded(backend, network) as other:
        model.train(0, 60, 8, 0.02, optimizer)
        seconds, running = other.train_with_loss(0, 60, 8, 0.02, optimizer)
        np.testing.assert_array_equal(other.theta(), model.theta())
        for name, array in model.optimizer_state().items():
            np.testing.assert_array_equal(other.optimizer_state()[name], array)
    assert seconds > 0
    assert running == pytest.approx(stepwise(backend, network, 60, 8, 0.02, optimizer), rel=1e-5)


def test_the_members_of_an_ensemble_have_those_that_they_would_have_alone(backend: Backend) -> None:
    thetas = np.stack([initialize(NETWORK, seed) for seed in range(3)])
    x, y, order = random_data(NETWORK, 40)
    l2, rates = np.array([0.0, 0.01, 0.1]), np.array([0.1, 0.02, 0.05])
    with backend.create_many(NETWORK, thetas, l2, 2) as ensemble, backend.create_many(NETWORK, thetas, l2, 2) as plain:
        for each in (ensemble, plain):
            each.load(x, y, np.stack([order, order[::-1], order]))
        _, losses = ensemble.train_with_loss(0, 60, 8, rates)
        plain.train(0, 60, 8, rates)
        np.testing.assert_array_equal(ensemble.thetas(), plain.thetas())
    for k, own in enumerate((order, order[::-1].copy(), order)):
        with backend.create(replace(NETWORK, l2=l2[k]), thetas[k]) as alone:
            alone.load(x, y, own)
            assert alone.train_with_loss(0, 60, 8, rates[k])[1] == losses[k]


def test_a_model_that_sums_no_losses_refuses_before_the_first_step(backend: Backend) -> None:
    numpy_model = pyfnn.load_backend("numpy").create(NETWORK, initialize(NETWORK, 1))
    numpy_model.load(*random_data(NETWORK, 40))
    for model, batch in ((loaded(backend, NETWORK), 1), (numpy_model, 8)):
        with model:
            assert not model.offers_running_loss(batch)
            before = model.theta()
            with pytest.raises(Unsupported, match=f"sums no losses in steps on {batch} rows"):
                model.train_with_loss(0, 40, batch, 0.1)
            np.testing.assert_array_equal(model.theta(), before)
    thetas = initialize(NETWORK, 1)[np.newaxis]
    with pyfnn.load_backend("numpy").create_many(NETWORK, thetas) as ensemble:
        ensemble.load(*random_data(NETWORK, 40)[:2], np.zeros((1, 40), np.int64))
        with pytest.raises(Unsupported, match="this ensemble sums no losses"):
            ensemble.train_with_loss(0, 40, 8, 0.1)


def test_a_training_that_diverges_raises_as_without_it(backend: Backend) -> None:
    with loaded(backend, Network((5, 37, 3), "relu", "squared_error")) as model:
        with pytest.raises(Diverged, match="after 10 steps at learning_rate = 1e"):
            model.train_with_loss(0, 80, 8, 1e30)
        with pytest.raises(InvalidInput, match="learning_rate = 0"):
            model.train_with_loss(0, 80, 8, 0.0)


# In fit ---------------------------------------------------------------------------------------------------------------


def quick(**changes: Any) -> dict[str, Any]:
    return {"epochs": 3, "batch_size": 8, "learning_rate": 0.02, "seed": 5, "training_loss": "running", **changes}


@pytest.mark.parametrize("inside", [True, False])
def test_fit_records_it_in_place_of_the_loss_and_trains_the_same(inside: bool) -> None:
    x, y, _ = random_data(NETWORK, 40)
    with loaded(backend_at(levels()[-1]), NETWORK) as model:
        if not inside:
            model.optimizers = ("sgd",)  # then the steps are made outside
        running, whole = (fit(model, x, y, **quick(optimizer=Momentum(), training_loss=k)) for k in ("running", True))
    np.testing.assert_array_equal(running.last_theta, whole.last_theta)
    losses = running.table["loss"]
    assert np.isnan(losses[0])
    # Each lies between the losses of the epoch's two ends.
    assert (losses[1:] < whole.table["loss"][:-1]).all()
    assert (losses[1:] > whole.table["loss"][1:]).all()
    assert running.best_epoch == int(np.nanargmin(losses))


def test_fit_refuses_it_where_the_model_has_none_and_other_words() -> None:
    x, y, _ = random_data(NETWORK, 40)
    with pyfnn.load_backend("numpy").create(NETWORK, initialize(NETWORK, 1)) as model:
        with pytest.raises(Unsupported, match='training_loss = "running": numpy does not sum'):
            fit(model, x, y, **quick())
        with pytest.raises(InvalidInput, match="training_loss = 'often'"):
            fit(model, x, y, **quick(training_loss="often"))
