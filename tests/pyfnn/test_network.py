"""Claims about the description of a network: rejected values, equality, layout of θ, initialization."""

import copy
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from support.strategies import SEEDS, networks

from pyfnn.errors import InvalidInput, UnknownName
from pyfnn.network import Network, initialize

WINE_DEEP = Network((11, 50, 30, 20, 10, 5, 1), "tanh", "squared_error")


def _network(**fields: Any) -> Network:
    return Network(**{"sizes": (2, 3, 1), "activation": "tanh", "loss": "squared_error", **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sizes": (3,)}, r"sizes = \(3,\): a network has at least two sizes"),
        ({"sizes": ()}, r"sizes = \(\): a network has at least two sizes"),
        ({"sizes": (3, 0, 1)}, r"sizes = \(3, 0, 1\): every size must be at least 1"),
        ({"sizes": (3, -4)}, r"sizes = \(3, -4\): every size must be at least 1"),
        ({"sizes": (3, 2.5)}, r"sizes = \(3, 2.5\): must be a sequence of whole numbers"),
        ({"sizes": (3, True)}, r"sizes = \(3, True\): must be a sequence of whole numbers"),
        ({"sizes": (3, math.inf)}, r"sizes = \(3, inf\): must be a sequence of whole numbers"),
        ({"sizes": (3, math.nan)}, r"sizes = \(3, nan\): must be a sequence of whole numbers"),
        ({"sizes": "31"}, r"sizes = '31': must be a sequence of whole numbers"),
        ({"sizes": 3}, r"sizes = 3: must be a sequence of whole numbers"),
        ({"l2": -0.1}, r"l2 = -0.1: must be finite and 0 or more"),
        ({"l2": math.nan}, r"l2 = nan: must be finite and 0 or more"),
        ({"l2": math.inf}, r"l2 = inf: must be finite and 0 or more"),
        ({"l2": "0.1"}, r"l2 = '0.1': must be finite and 0 or more"),
        ({"l2": True}, r"l2 = True: must be finite and 0 or more"),
        (
            {"activation": ("tanh", "relu")},
            r"\('tanh', 'relu'\): needs one name per hidden layer, of which there are 1",
        ),
        ({"activation": "leaky_relu(1e39)"}, r"activation leaky_relu\(1e\+39\): its parameter is beyond"),
        ({"activation": "prelu(-1e300)"}, "its parameter is beyond the largest float32"),
        ({"output_activation": "elu(1e39)"}, "its parameter is beyond the largest float32"),
        ({"activation": 3}, r"activation = 3: must be a name, or a sequence with one name per hidden layer"),
        ({"activation": None}, r"activation = None: must be a name, or a sequence with one name per hidden layer"),
        (
            {"loss": "softmax_cross_entropy", "output_activation": "tanh"},
            r"output_activation = 'tanh': softmax_cross_entropy fuses softmax",
        ),
    ],
)
def test_a_value_that_breaks_a_rule_is_rejected_with_its_field_and_the_rule(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        _network(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"activation": "thanh"}, r"unknown activation 'thanh'; did you mean 'tanh'\? known: elu, .*, tanh"),
        ({"activation": ["rellu"]}, r"unknown activation 'rellu'; did you mean 'relu'\?"),
        ({"output_activation": "softmax"}, r"unknown activation 'softmax'"),
        ({"loss": "squarederror"}, r"unknown loss 'squarederror'; did you mean 'squared_error'\? known: half_sq"),
        ({"dtype": "float23"}, r"unknown dtype 'float23'; did you mean 'float32'\? known: float32, float64"),
    ],
)
def test_an_unknown_name_gets_the_nearest_match_and_the_list(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownName, match=words):
        _network(**fields)


@pytest.mark.parametrize("field", ["loss", "dtype", "output_activation"])
@pytest.mark.parametrize("value", [3, ["tanh"], {"a": 1}])
def test_a_name_that_is_not_a_string_is_an_unknown_name(field: str, value: object) -> None:
    with pytest.raises(UnknownName, match="unknown"):
        _network(**{field: value})


def test_equal_descriptions_are_equal_and_hash_alike() -> None:
    spellings: list[Callable[[], Network]] = [
        lambda: _network(activation="leaky_relu", l2=1),
        lambda: _network(sizes=[2, 3, 1], activation="leaky_relu(0.01)", l2=1.0, output_activation="identity"),
        lambda: _network(sizes=np.array([2, 3, 1]), activation="leaky_relu(1e-2)", l2=1.0, dtype="float32"),
    ]
    assert len({spell() for spell in spellings}) == 1
    assert _network() != _network(dtype="float64")


def test_a_network_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        _network().l2 = 0.5  # type: ignore[misc]


def test_a_network_without_hidden_layers_takes_any_activation() -> None:
    assert _network(sizes=(2, 1), activation="relu").hidden_activations == ()
    assert _network(sizes=(2, 1), activation=()).hidden_activations == ()


@given(network=networks())
def test_layers_and_slopes_are_views_that_cover_theta_once(network: Network) -> None:
    theta = np.zeros(network.n_parameters)
    for (W, b), slopes in zip(network.layers(theta), network.slopes(theta), strict=True):
        W += 1
        b += 1
        slopes += 1
    assert (theta == 1).all()
    for tensor in network.tensors(theta).values():
        tensor += 1
    assert (theta == 2).all()
    shapes = [(W.shape, b.shape) for W, b in network.layers(theta)]
    assert shapes == [((m_in, m), (m,)) for m_in, m in zip(network.sizes, network.columns, strict=False)]
    assert len(network.tensor_names()) == 2 * network.n_layers + sum(S.size > 0 for S in network.slopes(theta))


def test_slopes_follow_the_biases_and_pieces_of_a_unit_are_adjacent() -> None:
    network = Network((2, 3, 2, 1), ("prelu(0.5)", "maxout(2)"), "squared_error")
    assert network.columns == (3, 4, 1)
    assert network.n_parameters == (2 + 1) * 3 + 3 + (3 + 1) * 4 + (2 + 1) * 1
    tensors = network.tensors(np.arange(network.n_parameters))
    assert list(tensors) == network.tensor_names() == ["W_1", "b_1", "S_1", "W_2", "b_2", "W_3", "b_3"]
    assert tensors["S_1"].tolist() == [9, 10, 11]
    assert tensors["W_2"].tolist() == [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21, 22, 23]]
    assert network.places(np.array([8, 9, 12, 23, 24])) == [(1, 2), (2, 0), (3, 0), (3, 11), (4, 0)]
    assert network.flops_per_row == 2 * (2 * (2 * 3 + 3 * 4 + 2) + (3 * 4 + 2))
    assert network.forward_flops_per_row == 2 * (2 * 3 + 3 * 4 + 2)


@pytest.mark.parametrize(("activation", "name"), [("prelu(0.5)", "prelu"), ("maxout", "maxout")])
def test_an_output_layer_has_no_activation_with_a_layout_of_its_own(activation: str, name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"output_activation = '.*': {name} is for hidden layers"):
        _network(output_activation=activation)


def test_the_layout_is_row_major_weights_then_biases() -> None:
    network = _network()
    (W_1, b_1), (W_2, b_2) = network.layers(np.arange(13))
    assert W_1.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert b_1.tolist() == [6, 7, 8]
    assert W_2.tolist() == [[9], [10], [11]]
    assert b_2.tolist() == [12]
    assert network.tensor_names() == ["W_1", "b_1", "W_2", "b_2"]


def test_places_name_the_tensor_and_the_entry_of_each_parameter() -> None:
    network = Network((3, 4, 2), "tanh", "squared_error")
    entries = np.arange(network.n_parameters)
    tensors = [np.ravel(tensor) for layer in network.layers(entries) for tensor in layer]
    assert [int(tensors[tensor][at]) for tensor, at in network.places(entries)] == entries.tolist()
    assert network.places(np.array([15, 0, 12, 25])) == [(1, 3), (0, 0), (1, 0), (3, 1)]


def test_a_vector_of_another_length_is_rejected() -> None:
    for shape in ((12,), (13, 12), ()):
        for views in (_network().layers, _network().slopes, _network().tensors):
            with pytest.raises(InvalidInput, match=rf"theta has shape {re.escape(str(shape))}: .* needs \(13,\)"):
                views(np.zeros(shape))


def test_a_stack_has_views_in_layers_and_not_by_name() -> None:
    stack = np.arange(26.0).reshape(2, 13)
    for W, b in _network().layers(stack):
        assert len(W) == len(b) == 2
        b[:] = -1
    assert (stack == -1).sum() == 2 * sum(b.size for _, b in _network().layers(np.zeros(13)))
    with pytest.raises(InvalidInput, match=r"theta has shape \(2, 13\)"):
        _network().tensors(stack)


def test_parameters_and_operations_of_wine_deep_agree_with_a_count_by_hand() -> None:
    products = [11 * 50, 50 * 30, 30 * 20, 20 * 10, 10 * 5, 5 * 1]  # 550 + 1500 + 600 + 200 + 50 + 5 = 2905
    assert WINE_DEEP.n_parameters == 2905 + (50 + 30 + 20 + 10 + 5 + 1) == 3021
    # forward and dW: one product per layer; delta: one for each layer but the first: 2 (2·2905 + 2355)
    assert WINE_DEEP.flops_per_row == 2 * (2 * sum(products) + sum(products[1:])) == 16330


def test_a_changed_copy_does_not_share_cached_properties() -> None:
    assert WINE_DEEP.n_parameters != replace(WINE_DEEP, sizes=(2, 3, 1), activation="tanh").n_parameters


@given(network=networks(), seed=SEEDS)
def test_initialization_depends_on_the_seed_alone(network: Network, seed: int) -> None:
    theta = initialize(network, seed)
    assert theta.shape == (network.n_parameters,)
    assert theta.dtype == network.dtype
    assert theta.tobytes() == initialize(network, seed).tobytes()
    assert theta.tobytes() != initialize(network, seed + 1).tobytes()
    assert not any(b.any() for _, b in network.layers(theta))


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        ("relu", 2 / 300),
        ("leaky_relu", 2 / 300),
        ("prelu", 2 / 300),
        ("maxout(3)", 2 / 300),
        ("tanh", 2 / 700),
        ("sigmoid", 2 / 700),
    ],
)
def test_weights_start_as_he_or_glorot_propose(activation: str, variance: float) -> None:
    W = (
        Network((300, 400, 1), activation, "squared_error")
        .layers(initialize(Network((300, 400, 1), activation, "squared_error"), 1))[0]
        .W
    )
    assert W.mean() == pytest.approx(0, abs=4 * math.sqrt(variance / W.size))
    assert W.var() == pytest.approx(variance, rel=0.02)
    if activation in ("tanh", "sigmoid"):
        assert np.abs(W).max() <= math.sqrt(6 / 700)


def test_slopes_start_at_the_parameter() -> None:
    network = Network((2, 3, 4, 1), ("prelu(0.5)", "prelu(-1)"), "squared_error")
    slopes = network.slopes(initialize(network, 1))
    assert [S.tolist() for S in slopes] == [[0.5] * 3, [-1.0] * 4, []]


def test_uniform01_draws_weights_and_biases_from_0_to_1() -> None:
    network = Network((300, 400, 1), "tanh", "squared_error")
    theta = initialize(network, 1, "uniform01")
    assert 0 <= theta.min() < 0.001
    assert 0.999 < theta.max() <= 1
    assert theta.mean() == pytest.approx(0.5, abs=0.005)
    assert theta.var() == pytest.approx(1 / 12, rel=0.02)
    assert network.layers(theta)[0].b.std() > 0.2


def test_an_unknown_scheme_gets_the_list() -> None:
    with pytest.raises(UnknownName, match=r"unknown initialization scheme 'fanin'; did you mean 'fan_in'\?"):
        initialize(WINE_DEEP, 0, "fanin")


@pytest.mark.parametrize("seed", [-1, 1.5, None, "1"])
def test_a_seed_that_is_negative_or_not_whole_is_rejected(seed: Any) -> None:
    with pytest.raises(InvalidInput, match=r"seed = .*: must be a whole number, 0 or more"):
        initialize(WINE_DEEP, seed)


@pytest.mark.parametrize("activation", ["tanh", ("leaky_relu(0.3)", "elu(0.5)"), ("prelu(0.3)", "maxout(3)")])
def test_a_network_can_be_pickled_and_copied_at_any_time(activation: Any) -> None:
    network = Network((3, 4, 5, 2), activation, "squared_error", l2=0.1, output_activation="tanh")
    for _ in range(2):
        for again in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
            assert again == network
            assert hash(again) == hash(network)
            np.testing.assert_array_equal(initialize(again, 1), initialize(network, 1))
        assert network.hidden_activations[0].name  # cached: holds functions, which cannot be pickled


@pytest.mark.parametrize("l2", [np.float32(0.5), np.float64(0.5), np.int64(2)])
def test_l2_may_be_a_number_of_numpy(l2: Any) -> None:
    network = Network((3, 2), "relu", "squared_error", l2=l2)
    assert network.l2 == float(l2)
    assert type(network.l2) is float
