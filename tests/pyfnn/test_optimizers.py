"""Claims about optimizers, inside a model and outside: their trajectories equal those of other implementations."""

from typing import Any

import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor
from support.requirements import require

import pyfnn
from pyfnn import oracle, registry
from pyfnn.errors import BackendUnavailable, InvalidInput, UnknownName, Unsupported
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.optimizers import SGD, Named, parse
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.training import Adam, Momentum, Optimizer, fit
from pyfnn.training.data import generator
from pyfnn.validation import Array

NETWORK = Network((4, 7, 5, 1), "relu", "half_squared_error", dtype="float64")
SETTINGS: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 0.02, "seed": 3}
SOLVERS: list[tuple[Optimizer, dict[str, Any]]] = [
    (Adam(), {"solver": "adam"}),
    (Adam(0.8, 0.99, 1e-3), {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}),
    (Momentum(), {"solver": "sgd"}),
    (Momentum(0.5, nesterov=False), {"solver": "sgd", "momentum": 0.5, "nesterovs_momentum": False}),
]


def rows() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((29, 4))
    return x, np.sin(x.sum(axis=1, keepdims=True))


def trained_by_sklearn(theta: Array, x: Array, y: Array, **settings: Any) -> Array:
    """Return θ after the steps of `SETTINGS`, each one call of `partial_fit`."""
    estimator = MLPRegressor(
        hidden_layer_sizes=(7, 5), alpha=0, learning_rate_init=SETTINGS["learning_rate"], batch_size=8, **settings
    )
    estimator.partial_fit(x[:8], y[:8, 0])
    for W, b, given in zip(estimator.coefs_, estimator.intercepts_, NETWORK.layers(theta), strict=True):
        W[:], b[:] = given
    del estimator._optimizer  # its moments are of the step above
    for epoch in range(1, SETTINGS["epochs"] + 1):
        order = generator(SETTINGS["seed"], epoch).permutation(len(x))
        for at in range(0, len(x), 8):
            batch = order[at : at + 8]
            estimator.batch_size = len(batch)
            estimator.partial_fit(x[batch], y[batch, 0])
    layers = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    return np.concatenate([np.ravel(tensor) for layer in layers for tensor in layer])


@pytest.mark.parametrize(("optimizer", "settings"), SOLVERS, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("inside", [True, False])
def test_the_trajectory_is_that_of_scikit_learn(inside: bool, optimizer: Optimizer, settings: dict[str, Any]) -> None:
    (x, y), theta = rows(), initialize(NETWORK, 2)
    with pyfnn.load_backend("numpy").create(NETWORK, theta) as model:
        if not inside:
            model.optimizers = ("sgd",)  # then the steps are made outside
        history = fit(model, x, y, **SETTINGS, optimizer=optimizer)
    expected = trained_by_sklearn(theta, x, y, **settings)
    assert np.abs(expected - theta).max() > 0.1
    np.testing.assert_allclose(history.last_theta, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["cpp", "c", "cpp-tuned"])
def test_adam_on_every_backend_follows_the_papers_algorithm(name: str) -> None:
    (x, y), theta = rows(), initialize(NETWORK, 2)
    with pyfnn.load_backend(name).create(NETWORK, theta) as model:
        history = fit(model, x, y, **SETTINGS, optimizer=Adam())
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    for epoch in range(1, 4):
        order = generator(3, epoch).permutation(29)
        for at in range(0, 29, 8):
            batch, t = order[at : at + 8], t + 1
            gradient = oracle.loss_and_gradient(NETWORK, theta, x[batch], y[batch])[1]
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            corrected_m, corrected_v = m / (1 - 0.9**t), v / (1 - 0.999**t)
            epsilon = 1e-8 / np.sqrt(1 - 0.999**t)  # the paper's faster order of computation moves ε
            theta = theta - 0.02 * corrected_m / (np.sqrt(corrected_v) + epsilon)
    np.testing.assert_allclose(history.last_theta, theta, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adam(beta_1=1.0), "beta_1 = 1.0"),
        (lambda: Adam(beta_2=-0.1), "beta_2 = -0.1"),
        (lambda: Adam(epsilon=0.0), "epsilon = 0.0"),
        (lambda: Momentum(1.5), "momentum = 1.5"),
    ],
)
def test_a_setting_out_of_range_is_rejected_by_name(make: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()


# Inside the step -----------------------------------------------------------------------------------------------------

INSIDE = ["numpy", "c", "cpp", "cpp-tuned", "cpp-blas", "cpp-xsmm"]
STATEFUL: list[Named] = [Momentum(0.8, nesterov=False), Momentum(), Adam()]


def loaded(name: str, network: Network = NETWORK) -> Model:
    """Return a model with 29 rows, and an order of 64 entries."""
    try:
        model = pyfnn.load_backend(name).create(network, initialize(network, 2))
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise
    x, y = (array.astype(network.dtype) for array in rows())
    model.load(x, y, np.random.default_rng(4).integers(29, size=64))
    return model


@pytest.mark.parametrize("batch", [1, 5, 29])
@pytest.mark.parametrize("optimizer", STATEFUL, ids=str)
@pytest.mark.parametrize("name", INSIDE)
def test_training_inside_a_model_is_that_of_its_gradients_and_numpy(name: str, optimizer: Named, batch: int) -> None:
    with loaded(name) as model, loaded(name) as plain:
        model.train(0, 58, batch, 0.02, optimizer)
        theta = plain.theta()
        x, y, order = *rows(), np.random.default_rng(4).integers(29, size=64)[:58]
        state = optimizer.start(theta)
        for at in range(0, 58, batch):
            here = order[at : at + batch]
            plain.load(x[here], y[here], np.zeros(1, np.int64))
            optimizer.update(theta, plain.loss_and_gradient(0, len(here))[1], 0.02, state)
            plain.set_theta(theta)
        np.testing.assert_allclose(model.theta(), theta, rtol=1e-9, atol=1e-12)
        for vector, expected in state.items():
            np.testing.assert_allclose(model.optimizer_state()[vector], expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("batch", "dtype"), [(1, "float32"), (8, "float32"), (8, "float64")])
@pytest.mark.parametrize("optimizer", STATEFUL, ids=str)
@pytest.mark.parametrize("name", INSIDE)
def test_two_calls_a_load_and_a_model_that_continues_end_at_the_same_bits(
    name: str, optimizer: Named, batch: int, dtype: str
) -> None:
    network = Network(NETWORK.sizes, "tanh", "squared_error", l2=0.01, dtype=dtype)
    with loaded(name, network) as whole, loaded(name, network) as first, loaded(name, network) as second:
        whole.train(0, 64, batch, 0.01, optimizer)
        first.train(0, 24, batch, 0.01, optimizer)
        second.set_theta(first.theta())
        second.set_optimizer_state(optimizer, first.optimizer_state())
        x, y = (array.astype(dtype) for array in rows())
        for model in (first, second):
            model.load(x, y, np.random.default_rng(4).integers(29, size=64))
            model.train(24, 40, batch, 0.01, optimizer)
            np.testing.assert_array_equal(model.theta(), whole.theta())
            for vector, expected in whole.optimizer_state().items():
                np.testing.assert_array_equal(model.optimizer_state()[vector], expected)


@pytest.mark.parametrize("name", INSIDE)
def test_reset_and_another_optimizer_start_from_a_state_of_zeros(name: str) -> None:
    with loaded(name) as model, loaded(name) as fresh:
        fresh.train(0, 32, 8, 0.01, Adam())
        model.train(0, 64, 8, 0.01, Adam())
        model.reset()
        assert not any(array.any() for array in model.optimizer_state().values())
        model.train(0, 32, 8, 0.01, Adam())
        np.testing.assert_array_equal(model.theta(), fresh.theta())
        for other in (Adam(0.8), Momentum(), SGD()):
            model.train(0, 8, 8, 0.01, other)
            model.set_theta(initialize(NETWORK, 2))
            model.train(0, 32, 8, 0.01, Adam())
            np.testing.assert_array_equal(model.theta(), fresh.theta())


@pytest.mark.parametrize("name", INSIDE)
def test_gradient_descent_has_no_state_and_the_same_bits_after_other_training(name: str) -> None:
    with loaded(name) as model, loaded(name) as other:
        other.train(0, 64, 8, 0.01, Adam())
        other.reset()
        for each, optimizer in ((model, None), (other, SGD())):
            each.train(0, 64, 1, 0.01, optimizer)
            assert each.optimizer_state() == {}
        np.testing.assert_array_equal(model.theta(), other.theta())


def test_a_model_in_a_process_keeps_the_state_over_load_and_set_theta_as_one_in_this_process() -> None:
    optimizer = Adam()
    x, y = rows()
    with Worker(command_of(registry.find("numpy"))) as worker, loaded("numpy") as here:
        there = ProcessModel(worker, NETWORK, initialize(NETWORK, 2))
        there.set_optimizer_state(optimizer, optimizer.start(there.theta()))
        there.load(x, y, np.random.default_rng(4).integers(29, size=64))
        for model in (here, there):
            model.train(0, 24, 8, 0.01, optimizer)
            model.load(x, y, np.random.default_rng(5).integers(29, size=64))
            model.train(0, 24, 8, 0.01, optimizer)
            model.set_theta(initialize(NETWORK, 3))
            model.predict(x)
            model.train(24, 24, 8, 0.01, optimizer)
        np.testing.assert_array_equal(there.theta(), here.theta())
        for vector, expected in here.optimizer_state().items():
            np.testing.assert_array_equal(there.optimizer_state()[vector], expected)
        for model in (here, there):
            model.reset()
            model.train(0, 24, 8, 0.01, optimizer)
        np.testing.assert_array_equal(there.theta(), here.theta())


def test_a_backend_without_an_optimizer_says_so_by_name_and_trains_nothing() -> None:
    with loaded("cpp") as model:
        model.optimizers = ("sgd",)
        with pytest.raises(Unsupported, match=r"cpp has no optimizer 'adam': it has sgd"):
            model.train(0, 8, 8, 0.01, Adam())
        with pytest.raises(Unsupported, match="cpp has no optimizer 'nesterov'"):
            model.set_optimizer_state(Momentum(), Momentum().start(model.theta()))
        np.testing.assert_array_equal(model.theta(), initialize(NETWORK, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": None}, "arrays m, v, steps"),
        ({"v": np.zeros(3)}, r"state\['v'\] is 3 of float64"),
        ({"m": np.full(81, np.nan)}, r"state\['m'\]\[0\] = nan"),
        ({"steps": np.array([-1])}, r"state\['steps'\] = -1"),
    ],
)
def test_a_state_of_another_optimizer_or_network_is_rejected_by_name(change: dict[str, Any], message: str) -> None:
    with loaded("numpy") as model:
        state = {**Adam().start(model.theta()), **change}
        with pytest.raises(InvalidInput, match=message):
            model.set_optimizer_state(Adam(), {name: array for name, array in state.items() if array is not None})
        assert model.optimizer_state() == {}


@pytest.mark.parametrize("optimizer", [SGD(), Momentum(0.7), Momentum(0.7, nesterov=False), Adam(0.8, 0.9, 1e-4)])
def test_the_text_of_an_optimizer_names_it_with_all_its_settings(optimizer: Named) -> None:
    assert parse(optimizer.text) == optimizer
    assert parse(optimizer.name).label == optimizer.name


@pytest.mark.parametrize(
    "text", ["adam(0.9,,1)", "adam(x)", "sgd(0.1)", "momentum(0.9,0.9)", "adam(1,0.9)", "momentum(2)"]
)
def test_settings_that_are_malformed_or_out_of_range_are_rejected(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


def test_an_unknown_optimizer_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="unknown optimizer 'nadam'; did you mean 'adam'"):
        parse("nadam")


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", ["numpy", "c", "cpp", "cpp-tuned"])
def test_an_epsilon_that_is_0_in_float32_makes_no_theta_nan(name: str, batch: int) -> None:
    """There is no gradient in padding, nor here of the weights of the first input."""
    network = Network((5, 7, 3), "tanh", "squared_error")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5)).astype("f4"), rng.normal(size=(8, 3)).astype("f4")
    x[:, 0] = 0
    ends = []
    for epsilon in (1e-46, 1e-30):
        with registry.load_backend(name).create(network, initialize(network, 0)) as model:
            model.load(x, y, np.arange(8))
            model.train(0, 8, batch, 0.01, Adam(epsilon=epsilon))
            assert np.isfinite(model.loss_and_gradient(0, 8)[0])
            ends.append(model.theta())
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5)
