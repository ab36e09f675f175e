"""Claims about the health of a network, layer by layer."""

from typing import Any

import numpy as np
import pytest

import pyfnn
from pyfnn import oracle
from pyfnn.errors import InvalidInput
from pyfnn.network import Network, initialize
from pyfnn.training import Diagnostics, diagnose, fit
from pyfnn.validation import Array


def rows(inputs: int, outputs: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, inputs)), rng.standard_normal((40, outputs))


def test_norms_are_those_of_theta_the_gradient_and_the_activations() -> None:
    network = Network((3, 6, 5, 2), ("tanh", "sigmoid"), "squared_error", l2=0.1, dtype="float64")
    theta, (x, y) = initialize(network, 1), rows(3, 2)
    table = diagnose(network, theta, x, y, initial=theta / 2)
    gradient = oracle.loss_and_gradient(network, theta, x, y)[1]
    A = oracle.forward(network, theta, x).A
    for at, (own, slope) in enumerate(zip(network.layers(theta), network.layers(gradient), strict=True)):
        assert table["layer"][at] == at + 1
        assert table["theta_norm"][at] == pytest.approx(np.linalg.norm(np.concatenate([own.W.ravel(), own.b])))
        assert table["growth"][at] == pytest.approx(2)
        assert table["gradient_norm"][at] == pytest.approx(np.linalg.norm(np.concatenate([slope.W.ravel(), slope.b])))
        assert table["activation_rms"][at] == pytest.approx(np.sqrt(np.mean(A[at + 1] ** 2)))
    assert np.isnan(diagnose(network, theta, x, y)["growth"]).all()


def test_saturated_and_dead_units_are_counted() -> None:
    network = Network((1, 4, 4, 1), ("tanh", "relu"), "squared_error", dtype="float64")
    theta = np.zeros(network.n_parameters)
    first, second, third = network.layers(theta)
    first.W[0] = [1, 1, 1, 1]
    first.b[:] = [0, 0, 20, -20]  # two units at ±1 for every row
    second.b[:] = [1, 1, 1, -1]  # one unit off for every row
    second.W[0, 0] = 2
    third.W[:] = 1
    x = np.array([[-1.0], [-0.5], [0.5], [1.0]])
    table = diagnose(network, theta, x, np.ones((4, 1)))
    np.testing.assert_allclose(table["saturated"], [0.5, (4 + 1) / 16, 0])
    np.testing.assert_allclose(table["dead"], [0.5, 0.25, 0])


def test_a_fused_output_has_no_share_of_saturated_units() -> None:
    network = Network((3, 6, 2), "relu", "softmax_cross_entropy")
    x, _ = rows(3, 2)
    table = diagnose(network, initialize(network, 1), x.astype("f4"), np.eye(2, dtype="f4")[[0, 1] * 20])
    assert np.isnan(table["saturated"]).tolist() == np.isnan(table["dead"]).tolist() == [False, True]


@pytest.mark.parametrize("name", ["numpy", "cpp-tuned"])
def test_chosen_epochs_of_a_fit_are_diagnosed(name: str) -> None:
    network = Network((3, 6, 2), "tanh", "squared_error", dtype="float64")
    x, y = rows(3, 2)
    watch = Diagnostics(x, y, epochs={1, 5})
    with pyfnn.load_backend(name).create(network, initialize(network, 1)) as model:
        history = fit(model, x, y, epochs=5, batch_size=10, learning_rate=0.05, seed=1, callbacks=[watch])
    assert list(watch.tables) == [1, 5]
    expected = diagnose(network, history.last_theta, x, y, initialize(network, 1))
    np.testing.assert_array_equal(watch.tables[5], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": 5}, "network = 5"),
        ({"theta": [0.0]}, "theta must be"),
        ({"theta": np.zeros(3)}, "theta must be a NumPy array of 32 floating-point numbers"),
        ({"initial": np.zeros(3)}, "initial must be"),
        ({"x": [[1.0, 2.0, 3.0]]}, "x must be a NumPy array"),
        ({"x": np.ones((40, 2))}, "x has 2 columns: the network needs 3"),
        ({"y": np.ones((40, 3))}, "y has 3 columns: the network needs 2"),
        ({"y": np.ones((39, 2))}, "x has 40 rows and y has 39"),
        ({"x": np.ones((0, 3)), "y": np.ones((0, 2))}, "x must be .* with at least one row"),
        ({"x": np.full((40, 3), np.nan)}, "x has values that are not finite"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    network = Network((3, 5, 2), "relu", "squared_error", dtype="float64")
    x, y = rows(3, 2)
    arguments = {"network": network, "theta": initialize(network, 1), "x": x, "y": y, "initial": None, **change}
    with pytest.raises(InvalidInput, match=message):
        diagnose(**arguments)


def test_diagnostics_need_rows_and_numbers_of_epochs() -> None:
    x, y = rows(3, 2)
    for epochs in (5, "1", range):
        with pytest.raises(InvalidInput, match="epochs = "):
            Diagnostics(x, y, epochs)  # type: ignore[arg-type]
    for wrong in ((x[:0], y[:0]), (x.tolist(), y), (x, y[:3])):
        with pytest.raises(InvalidInput, match=r"^x "):
            Diagnostics(*wrong, {1})


def test_the_default_leaky_relu_has_no_flat_units_and_elu_has_few() -> None:
    network = Network((3, 20, 20, 2), ("leaky_relu", "elu"), "squared_error", dtype="float64")
    table = diagnose(network, initialize(network, 1), *rows(3, 2))
    assert table["saturated"][0] == table["dead"][0] == 0
    assert 0 < table["saturated"][1] < 0.01


def test_slopes_count_in_the_norms_and_units_of_several_pieces_never_saturate() -> None:
    network = Network((3, 4, 4, 2), ("prelu", "maxout(3)"), "squared_error", dtype="float64")
    theta, (x, y) = initialize(network, 1), rows(3, 2)
    network.slopes(theta)[0][:] = [0.0, 0.005, -0.5, 2.0]
    table = diagnose(network, theta, x, y)
    (W, b), S = network.layers(theta)[0], network.slopes(theta)[0]
    assert table["theta_norm"][0] == pytest.approx(np.linalg.norm(np.concatenate([W.ravel(), b, S])))
    Z = oracle.forward(network, theta, x).Z[0]
    assert table["saturated"][0] == pytest.approx((Z[:, :2] <= 0).mean() / 2)  # slopes of 0 and of 0.5 %
    assert table["saturated"][1] == table["dead"][1] == 0
    assert table["activation_rms"].shape == (3,)
