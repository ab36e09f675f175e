"""Claims about `minimize`: SciPy's optimizers on the loss and gradient of any backend."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pyfnn
from pyfnn.errors import InvalidInput, PyfnnError, UnknownName
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.training import Epoch, minimize
from pyfnn.validation import Array

NETWORK = Network((2, 6, 1), "tanh", "squared_error", l2=1e-4, dtype="float64")


def rows(dtype: str = "float64") -> tuple[Array, Array]:
    x = np.random.default_rng(0).uniform(-1, 1, (60, 2)).astype(dtype)
    return x, x[:, :1] * x[:, 1:]


@pytest.fixture
def model() -> Iterator[Model]:
    with pyfnn.load_backend("numpy").create(NETWORK, initialize(NETWORK, 1)) as made:
        yield made


@pytest.mark.parametrize("method", ["L-BFGS-B", "CG", "BFGS", "TNC", "SLSQP", "trust-constr", "bfgs"])
def test_a_method_lowers_the_loss_to_a_small_gradient(model: Model, method: str) -> None:
    x, y = rows()
    options = {"maxfun": 5000} if method == "TNC" else {}  # its default is 250
    history = minimize(model, x, y, method=method, iterations=400, options=options)
    losses = history.table["loss"]
    assert losses[-1] < 0.02 * losses[0]
    assert history.stopped in ("converged", "epochs"), history.message
    np.testing.assert_array_equal(model.theta(), history.theta)
    assert model.loss(0, 60) == losses.min()
    assert (history.table["seconds"][1:] > 0).all()
    if history.stopped == "converged" and method in ("L-BFGS-B", "CG", "BFGS"):
        assert np.abs(model.loss_and_gradient(0, 60)[1]).max() < 1e-3


def test_newtons_method_lowers_the_loss_until_scipy_gives_up(model: Model) -> None:
    history = minimize(model, *rows(), method="Newton-CG", iterations=400)
    assert history.table["loss"][-1] < 0.5 * history.table["loss"][0]
    assert history.message or history.stopped == "epochs"


@pytest.mark.parametrize("name", ["numpy", "c", "cpp", "cpp-tuned"])
def test_a_float32_network_of_any_backend_is_minimized(name: str) -> None:
    network = Network((2, 6, 1), "tanh", "squared_error")
    x, y = rows("float32")
    with pyfnn.load_backend(name).create(network, initialize(network, 1)) as model:
        history = minimize(model, x, y, iterations=200)
        assert history.table["loss"][-1] < 0.05 * history.table["loss"][0]
        assert model.theta().dtype == np.float32


def test_the_iteration_limit_a_callback_and_patience_end_a_search(model: Model) -> None:
    x, y = rows()
    seen: list[Epoch] = []
    assert minimize(model, x, y, iterations=3).stopped == "epochs"
    assert len(minimize(model, x, y, iterations=3).table) == 4
    stopped = minimize(model, x, y, iterations=50, callbacks=[seen.append, lambda epoch: epoch.number == 2])
    assert (stopped.stopped, len(stopped.table), len(seen)) == ("callback", 3, 2)
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((20, 2)), rng.standard_normal((20, 1))
    history = minimize(model, *noise, iterations=500, validation=0.5, patience=4)
    losses = history.table["validation_loss"]
    assert history.stopped == "patience"
    assert len(losses) == history.best_epoch + 5
    assert model.loss(10, 10) == losses.min()


def test_options_reach_the_method(model: Model) -> None:
    x, y = rows()
    loose = minimize(model, x, y, method="CG", iterations=500, options={"gtol": 0.1})
    assert loose.stopped == "converged"
    assert len(loose.table) < len(minimize(model, x, y, method="CG", iterations=500).table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 0}, "iterations = 0"),
        ({"patience": 0}, "patience = 0"),
        ({"tolerance": "a"}, "tolerance = 'a'"),
        ({"seed": "a"}, "seed = 'a'"),
        ({"method": 5}, "unknown method 5"),
        ({"method": "L-BFGS"}, "unknown method 'L-BFGS'; did you mean 'L-BFGS-B'"),
        ({"method": "Nelder-Mead"}, "unknown method 'Nelder-Mead'"),
        ({"options": 5}, "options = 5"),
        ({"options": {5: 1}}, "options = {5: 1}"),
        ({"callbacks": 5}, "callbacks = 5"),
        ({"progress": "no"}, "progress = 'no'"),
    ],
)
def test_bad_settings_are_rejected_by_name(model: Model, change: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInput, UnknownName), match=message):
        minimize(model, *rows(), **{"iterations": 5, **change})


def test_without_scipy_the_error_names_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    with pytest.raises(PyfnnError, match="pip install scipy"):
        minimize(model, *rows(), iterations=5)


@pytest.mark.parametrize("iterations", [1, 2])
def test_the_start_is_no_iteration_of_any_method(model: Model, iterations: int) -> None:
    """SciPy's trust-constr calls back once before its first step."""
    history = minimize(model, *rows(), method="trust-constr", iterations=iterations)
    assert len(history.table["loss"]) == iterations + 1
    assert (history.last_theta != model.initial_theta()).any()
    assert history.table["loss"][1] != history.table["loss"][0]
