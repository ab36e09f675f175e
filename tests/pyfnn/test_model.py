"""Claims about what every model offers its user beside training: predictions, another θ, the loss alone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.fnn_libraries import third_party
from support.requirements import require

import pyfnn
from pyfnn.errors import InvalidInput, PyfnnError, Unsupported
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.training import fit

IN_PROCESS = ["numpy", "cpp", "c", "cpp-tuned", "cpp-blas", "sklearn"]
NAMES = [*IN_PROCESS, "lua"]
LOSSES = {"squared_error": "float32", "softmax_cross_entropy": "float64", "half_squared_error": "float64"}
ROWS = 37


def open_model(name: str, loss: str) -> Model:
    try:
        backend = pyfnn.load_backend(name)
    except pyfnn.BackendUnavailable as error:
        require(name, False, str(error))
        raise
    network = Network((5, 17, 9, 3), "tanh", loss, l2=0.01, dtype=LOSSES[loss])
    return backend.create(network, initialize(network, 1))


@pytest.fixture(params=[(name, loss) for name in NAMES for loss in list(LOSSES)[: 3 if name != "lua" else 1]], ids=str)
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    with open_model(*request.param) as made:
        rng = np.random.default_rng(2)
        x = rng.normal(size=(ROWS, 5)).astype(made.network.dtype)
        made.load(x, np.eye(3, dtype=x.dtype)[rng.integers(3, size=ROWS)], rng.permutation(ROWS))
        yield made


def test_predictions_are_the_outputs_of_the_same_rows_loaded_and_leave_the_data_loaded(model: Model) -> None:
    model.train(0, ROWS, 4, 0.05)
    x = np.random.default_rng(3).normal(size=(11, 5)).astype(model.network.dtype)
    loaded = model.forward(0, ROWS)
    predicted = model.predict(x)
    np.testing.assert_array_equal(model.forward(0, ROWS), loaded)
    model.load(x, np.eye(3, dtype=x.dtype)[[0] * 11], np.arange(11))
    np.testing.assert_allclose(model.forward(0, 11), predicted, rtol=0 if model.holds_exact_theta else 1e-4)


def test_a_model_without_data_predicts(model: Model) -> None:
    x = np.random.default_rng(3).normal(size=(4, 5)).astype(model.network.dtype)
    with pyfnn.load_backend("numpy").create(model.network, model.initial_theta()) as fresh:
        np.testing.assert_allclose(fresh.predict(x), model.predict(x), rtol=1e-5)


def test_training_from_a_theta_that_was_set_equals_training_that_reached_it(model: Model) -> None:
    model.train(0, ROWS, 4, 0.05)
    middle = model.theta()
    for batch in (1, 8):
        model.set_theta(middle)
        np.testing.assert_array_equal(model.theta(), middle)
        model.train(0, ROWS, batch, 0.05)
        through, loss = model.theta(), model.loss(0, ROWS)
        model.reset()
        np.testing.assert_array_equal(model.theta(), model.initial_theta())
        model.set_theta(middle)
        model.train(0, ROWS, batch, 0.05)
        if model.holds_exact_theta:
            np.testing.assert_array_equal(model.theta(), through)
            assert model.loss(0, ROWS) == loss


def test_the_loss_alone_equals_that_of_loss_and_gradient(model: Model) -> None:
    for first, count in ((0, ROWS), (3, 1), (5, 16)):
        assert model.loss(first, count) == pytest.approx(model.loss_and_gradient(first, count)[0], rel=1e-14)


def test_a_theta_or_rows_that_break_a_rule_are_refused_and_change_nothing(model: Model) -> None:
    theta, dtype = model.theta(), model.network.dtype
    with pytest.raises(InvalidInput, match="theta is 3 of"):
        model.set_theta(np.zeros(3, dtype))
    with pytest.raises(InvalidInput, match=r"theta\[7\] = nan"):
        model.set_theta(np.where(np.arange(len(theta)) == 7, np.nan, theta).astype(dtype))
    with pytest.raises(InvalidInput, match="x is 2×4 of"):
        model.predict(np.zeros((2, 4), dtype))
    with pytest.raises(InvalidInput, match="x is empty"):
        model.predict(np.zeros((0, 5), dtype))
    np.testing.assert_array_equal(model.theta(), theta)


def test_a_closed_model_neither_predicts_nor_takes_a_theta() -> None:
    model = open_model("numpy", "squared_error")
    model.close()
    for call in (lambda: model.predict(np.zeros((1, 5), "f4")), lambda: model.set_theta(model.initial_theta())):
        with pytest.raises(PyfnnError, match="closed"):
            call()


def test_a_model_that_a_thread_uses_refuses_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Implementations release the GIL: `close` or `load` would free the memory that a training uses."""
    model = open_model("numpy", "squared_error")
    x, y, order = np.zeros((ROWS, 5), "f4"), np.zeros((ROWS, 3), "f4"), np.arange(ROWS)
    model.load(x, y, order)
    inside, leave = threading.Event(), threading.Event()

    def train(*_: object) -> float:
        inside.set()
        assert leave.wait(60)
        return 0.0

    monkeypatch.setattr(model, "_train", train)
    thread = threading.Thread(target=model.train, args=(0, ROWS, 4, 0.05))
    thread.start()
    assert inside.wait(60)
    for call in (model.close, model.theta, model.reset, lambda: model.load(x, y, order), lambda: model.predict(x)):
        with pytest.raises(PyfnnError, match="another thread uses this model"):
            call()
    leave.set()
    thread.join()
    model.load(x, y, order)
    model.close()


def test_a_library_without_the_optional_functions_predicts_and_refuses_a_theta_and_a_fit_by_name(
    tmp_path: Path,
) -> None:
    network = Network((3, 2), "tanh", "squared_error", dtype="float64")
    with third_party(tmp_path).create(network, initialize(network, 1)) as model:
        x = np.ones((2, 3))
        model.load(x, np.ones((2, 2)), np.arange(2))
        np.testing.assert_array_equal(model.predict(x), model.forward(0, 2))
        assert model.loss(0, 2) == model.loss_and_gradient(0, 2)[0]
        for call in (
            lambda: model.set_theta(model.theta()),
            lambda: fit(model, x, np.ones((2, 2)), epochs=1, batch_size=1, learning_rate=0.1, seed=0),
        ):
            with pytest.raises(Unsupported, match="fnn_set_theta"):
                call()
        np.testing.assert_array_equal(model.theta(), initialize(network, 1))
        model.reset()
