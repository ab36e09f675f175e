"""Claims about the framework backends; each is skipped where its library is absent. Speed is not tested."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from support.ensembles import L2, RATES, THETAS, data, ensemble_battery
from support.ensembles import NETWORK as SHAPE
from support.logits import check_logits_of_a_thousand
from support.requirements import require
from support.strategies import HIDDEN, SPELLINGS

from bench.experiments.calibrate_parity import random_case
from pyfnn import oracle, parity, registry
from pyfnn.activations import parse
from pyfnn.backend import CORE_ACTIVATIONS, CORE_LOSSES, Backend
from pyfnn.errors import BackendUnavailable, Diverged, Unsupported
from pyfnn.model import Model
from pyfnn.network import DTYPES, Network, initialize

# Backends for a CUDA device are the same classes, here on the CPU, where torch-cuda equals torch. test_gpu.py has the
# claims that need a device.
NAMES = [row.name for row in registry.rows().values() if row.division == "framework" and row.name != "torch-cuda"]
CHEAP = ["torch", "torch-cuda-graph", "numba"]  # no compilation for a new shape
WIDE = 20  # one random network in so many is wide; see random_case
NETWORK = Network((5, 7, 3), "tanh", "squared_error", l2=0.01)


def load(name: str) -> Backend:
    try:
        return registry.load(replace(registry.find(name), device="cpu"))
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise


def loaded(name: str, network: Network = NETWORK, rows: int = 23) -> Model:
    model = load(name).create(network, initialize(network, 1))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    y = np.eye(network.sizes[-1], dtype=network.dtype)[rng.integers(network.sizes[-1], size=rows)]
    model.load(x, y, rng.permutation(rows).astype(np.int64))
    return model


def accepts(name: str, battery: list[parity.Trial]) -> None:
    evidence = parity.examine(load(name).create, battery)
    assert evidence.passed, f"{evidence.worst}; {battery[0].network}"


def battery(network: Network, batch: int) -> list[parity.Trial]:
    rng = np.random.default_rng(batch)
    x = rng.normal(size=(200, network.sizes[0])).astype(network.dtype)
    y = np.eye(network.sizes[-1], dtype=network.dtype)[rng.integers(network.sizes[-1], size=200)]
    return parity.battery(network, initialize(network, 5), x, y, batch)


def further(name: str) -> list[str]:
    """Return the spellings of the activations beyond the core that a backend declares."""
    declared = {*load(name).description.activations} - {*CORE_ACTIVATIONS}
    return [spelling for spelling in HIDDEN if parse(spelling).key in declared]


@cache
def random_batteries(dtype: str, count: int, activations: tuple[str, ...]) -> list[list[parity.Trial]]:
    found = []
    for seed in range(10 * count):
        try:
            found.append(random_case(seed, dtype, wide=seed % WIDE == 0, activations=activations).battery())
        except Unsupported:  # too few rows clear of kinks
            continue
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHEAP)
def test_a_backend_that_compiles_nothing_for_a_shape_passes_on_random_networks(name: str, dtype: str) -> None:
    for trials in random_batteries(dtype, 20, (*CORE_ACTIVATIONS, *further(name))):
        accepts(name, trials)


@pytest.mark.parametrize(("loss", "dtype"), list(zip(CORE_LOSSES, DTYPES * 2, strict=True)))
@pytest.mark.parametrize("name", ["jax", "jax-step", "jax-cuda"])
def test_jax_passes_with_each_loss(name: str, loss: str, dtype: str) -> None:
    accepts(name, battery(Network((6, 8, 3), "relu", loss, l2=0.01, dtype=dtype), 8))


MANY = [(name, loss, dtype) for name in ("torch", "torch-cuda-graph") for loss in CORE_LOSSES for dtype in DTYPES]
MANY += [("jax", "softmax_cross_entropy", "float32"), ("jax-cuda", "squared_error", "float64")]


@pytest.mark.parametrize(("name", "loss", "dtype"), MANY)
def test_many_networks_trained_by_one_call_end_where_each_would_alone(name: str, loss: str, dtype: str) -> None:
    backend = load(name)
    assert backend.description.many
    evidence = parity.examine_many(backend.create_many, ensemble_battery(dtype, "relu", loss))
    assert evidence.passed, evidence.worst


@pytest.mark.parametrize("name", ["jax", "torch", "torch-cuda-graph"])
def test_many_networks_cut_into_calls_end_at_the_same_bits(name: str) -> None:
    with load(name).create_many(SHAPE, THETAS, L2) as many:
        many.load(*data())
        ends = []
        for calls in ([(0, 12)], [(0, 4), (4, 8)]):
            many.reset()
            for first, count in calls:
                many.train(first, count, 4, RATES)
            ends.append(many.thetas().tobytes())
        many.reset()
        many.train(0, 12, 4, 2 * RATES)
        assert many.thetas().tobytes() not in ends, "the rates of the earlier call were used"
    assert ends[0] == ends[1]


def test_jax_compiles_once_for_all_members_of_an_ensemble() -> None:
    backend, network = load("jax"), replace(SHAPE, sizes=(3, 5, 2))
    from pyfnn.backends.jax_programs import programs

    for members in (2, 7):
        thetas = np.stack([initialize(network, seed) for seed in range(members)])
        with backend.create_many(network, thetas, np.linspace(0, 0.1, members)) as many:
            many.load(*data()[:2], np.zeros((members, 4), np.int64))
            many.train(0, 4, 2, 0.1)
    train: Any = programs(replace(network, l2=0.0), many=True).train
    assert train._cache_size() == 2  # one program for each number of members


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CORE_ACTIVATIONS)
@pytest.mark.parametrize("loss", CORE_LOSSES)
def test_sklearn_passes_where_it_can_express_the_network(loss: str, activation: str, dtype: str) -> None:
    accepts("sklearn", battery(Network((6, 8, 5, 3), activation, loss, l2=0.01, dtype=dtype), 8))
    accepts("sklearn", battery(Network((6, 3), (), loss, dtype=dtype), 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("targets", ["labels", "shares"])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_sklearn_passes_with_two_classes_several_labels_and_shares_as_targets(
    outputs: int, targets: str, dtype: str
) -> None:
    network = Network((6, 8, outputs), "tanh", "sigmoid_cross_entropy", l2=0.01, dtype=dtype)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, 6)).astype(dtype), rng.random((200, outputs)).astype(dtype)
    y = np.round(y) if targets == "labels" else y
    accepts("sklearn", parity.battery(network, initialize(network, 5), x, y, 8))


def test_sklearn_takes_shares_after_labels_and_labels_after_shares() -> None:
    network, rng = Network((6, 8, 2), "tanh", "sigmoid_cross_entropy", l2=0.01), np.random.default_rng(3)
    x, shares = rng.normal(size=(20, 6)).astype("f4"), rng.random((20, 2)).astype("f4")
    theta = initialize(network, 5)
    with load("sklearn").create(network, theta) as model, load("numpy").create(network, theta) as other:
        for y in (np.round(shares), shares, np.round(shares)):
            for each in (model, other):
                each.load(x, y, np.arange(20))
                each.train(0, 20, 8, 0.1)
            np.testing.assert_allclose(model.theta(), other.theta(), rtol=1e-4, atol=1e-6)


BEYOND_THE_CORE = [f for f in SPELLINGS if f not in CORE_ACTIVATIONS]


@pytest.mark.parametrize("first", range(0, len(BEYOND_THE_CORE), 3))
@pytest.mark.parametrize("name", ["jax", "torch", "numba"])
def test_activations_beyond_the_core_pass_too(name: str, first: int) -> None:
    hidden = tuple(BEYOND_THE_CORE[first : first + 3])  # in one network: JAX and Numba compile for each
    assert set(hidden) <= set(further(name))
    sizes = (6, *(8, 7, 5)[: len(hidden)], 3)
    accepts(name, battery(Network(sizes, hidden, "squared_error", dtype="float64"), 1))


@pytest.mark.parametrize("activation", ["prelu(-0.3)", "maxout(3)"])
@pytest.mark.parametrize("name", ["jax", "torch"])
def test_an_activation_with_a_layout_of_its_own_passes_too(name: str, activation: str) -> None:
    accepts(name, battery(Network((6, 8, 5, 3), activation, "squared_error", 0.01, "tanh", "float32"), 4))
    evidence = parity.examine_many(load(name).create_many, ensemble_battery("float64", activation))
    assert evidence.passed, evidence.worst


@pytest.mark.parametrize("activation", ["prelu", "maxout"])
@pytest.mark.parametrize("name", ["sklearn", "numba"])
def test_an_activation_with_a_layout_of_its_own_is_refused_by_name(name: str, activation: str) -> None:
    network = Network((5, 7, 3), activation, "squared_error")
    with pytest.raises(Unsupported, match=f"{name} has no activation '{activation}'"):
        load(name).create(network, initialize(network, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_dtype_is_kept(name: str, dtype: str) -> None:
    model = loaded(name, Network((5, 7, 3), "tanh", "squared_error", 0.1, dtype=dtype))
    model.train(0, 23, 4, 0.01)
    found = {model.theta().dtype, model.forward(0, 3).dtype, model.loss_and_gradient(0, 3)[1].dtype}
    assert found == {np.dtype(dtype)}


@pytest.mark.parametrize("name", NAMES)
def test_one_call_and_several_calls_give_the_same_bits(name: str) -> None:
    model = loaded(name)
    model.train(0, 23, 4, 0.01)
    whole = model.theta()
    model.reset()
    for first, count in ((0, 4), (4, 12), (16, 7)):
        model.train(first, count, 4, 0.01)
    assert model.theta().tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_results_are_copies(name: str) -> None:
    theta = initialize(NETWORK, 1)
    x, y = np.ones((23, 5), "f4"), np.ones((23, 3), "f4")
    order = np.arange(23)
    with load(name).create(NETWORK, theta) as model:
        model.load(x, y, order)
        results = [model.theta(), model.forward(0, 4), model.loss_and_gradient(0, 4)[1]]
        kept = [array.copy() for array in results]
        for array in (theta, x, y, order):
            array[:] = 0
        model.train(0, 23, 4, 0.01)
        model.forward(4, 4)
        for array, copy in zip(results, kept, strict=True):
            assert np.array_equal(array, copy)
        model.reset()
        assert np.array_equal(model.theta(), kept[0])
        assert np.array_equal(model.forward(0, 4), kept[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_divergence_is_reported_without_a_warning(name: str) -> None:
    model = loaded(name, Network((5, 4, 3), "relu", "squared_error"))
    with pytest.raises(Diverged):
        model.train(0, 23, 1, 1e20)
    model.reset()
    assert np.isfinite(model.theta()).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
@pytest.mark.parametrize("name", NAMES)
def test_logits_of_a_thousand_give_the_exact_loss(name: str, loss: str, dtype: str) -> None:
    if (name, loss) == ("sklearn", "softmax_cross_entropy"):
        pytest.skip("scikit-learn has no softmax of two classes, nor the loss of a probability that is 0")
    check_logits_of_a_thousand(load(name), loss, dtype)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Network((5, 4, 4, 3), ("tanh", "relu"), "squared_error"), "one activation for all hidden layers: tanh, relu"),
        (Network((5, 3), (), "squared_error", output_activation="tanh"), "no output activation 'tanh'"),
        (Network((5, 2), (), "softmax_cross_entropy"), "softmax for 3 classes or more: 2 asked for"),
        (Network((5, 4, 3), "elu", "squared_error"), "no activation 'elu'"),
    ],
)
def test_sklearn_rejects_by_name_what_it_cannot_express(network: Network, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        load("sklearn").create(network, initialize(network, 0))


def test_sklearn_rejects_targets_that_are_not_classes_and_keeps_its_data() -> None:
    model = loaded("sklearn", Network((5, 4, 3), "tanh", "softmax_cross_entropy"))
    before = model.forward(0, 4)
    for row in ([1 / 3, 1 / 3, 1 / 3], [1, 1e-6, 0]):
        with pytest.raises(Unsupported, match="each row of y must be 0 but for a single 1"):
            model.load(np.zeros((4, 5), "f4"), np.array([row] * 4, "f4"), np.arange(4))
    assert np.array_equal(model.forward(0, 4), before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loss_of_sklearn_counts_the_smallest_probabilities(dtype: str) -> None:
    network = Network((2, 3), (), "softmax_cross_entropy", dtype=dtype)
    logit = 2 * np.log(np.finfo(dtype).eps)
    theta = np.array([0, 0, logit, 0, 0, 0, 0, 0, 0], dtype)
    x, y = np.array([[1, 0], [0, 1]], dtype), np.eye(3, dtype=dtype)[[2, 0]]
    with load("sklearn").create(network, theta) as model:
        model.load(x, y, np.arange(2))
        found = model.loss_and_gradient(0, 2)[0]
    assert found == pytest.approx(oracle.loss(network, theta, x, y), rel=1e-6)
    assert found > -logit / 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loss_of_sklearn_is_exact_where_1_minus_p_is_rounded(dtype: str) -> None:
    network = Network((1, 2), (), "sigmoid_cross_entropy", dtype=dtype)
    theta = np.array([1, -1, 0, 0], dtype)
    x, eps = np.linspace(-40, 40, 81, dtype=dtype)[:, np.newaxis], float(np.finfo(dtype).eps)
    y = np.tile(np.array([[0, 1]], dtype), (81, 1))
    with load("sklearn").create(network, theta) as model:
        model.load(x, y, np.arange(81))
        for row in range(81):
            found, expected = model.loss_and_gradient(row, 1)[0], oracle.loss(network, theta, x[[row]], y[[row]])
            assert found == pytest.approx(expected, rel=20 * eps, abs=4 * eps)


def in_a_process(code: str) -> None:
    """Run code in a fresh process, since a process creates its thread pools once."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


THREADS = """
import numpy as np, pyfnn, threadpoolctl
network = pyfnn.Network((300, 300), (), "squared_error")
from dataclasses import replace
from pyfnn import registry
backend = registry.load(replace(registry.find("{name}"), device="cpu"))
for threads in (2, 1):
    with backend.create(network, pyfnn.initialize(network, 0), threads) as model:
        assert model.threads == threads, (model.threads, threads)
"""


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("jax")])
def test_the_number_of_threads_is_obeyed_and_read_back(name: str) -> None:
    load(name)
    in_a_process(THREADS.format(name=name))


JAX_THREADS = """
import pyfnn
network = pyfnn.Network((3, 2), (), "squared_error")
backend, theta = pyfnn.load_backend("{name}"), pyfnn.initialize(network, 0)
assert backend.create(network, theta, 2).threads == 2
assert backend.create(network, theta, 3).threads == 2
try:
    backend.create(network, theta, 1)
except pyfnn.PyfnnError as error:
    assert str(error).startswith("threads = 1: JAX has started 2 in this process"), error
else:
    raise SystemExit("a pool of 2 was taken for 1 thread")
"""


@pytest.mark.parametrize("name", ["jax", "jax-step"])
def test_jax_keeps_its_first_number_of_threads_and_rejects_a_lower_one(name: str) -> None:
    load(name)
    in_a_process(JAX_THREADS.format(name=name))


@pytest.mark.parametrize("name", NAMES)
def test_the_library_is_not_imported_before_the_backend_is_loaded(name: str) -> None:
    library = name.partition("-")[0]
    in_a_process(f"import sys, pyfnn.registry; pyfnn.registry.rows(); assert '{library}' not in sys.modules")


@pytest.mark.parametrize("name", NAMES)
def test_the_description_names_the_versions(name: str) -> None:
    description = load(name).description
    assert description.name == name
    assert "CPython 3." in description.compiler
    assert len(description.compiler.split(",")) >= 2
    assert description.flags


@pytest.mark.parametrize("name", NAMES)
def test_a_theta_that_was_set_and_predictions_of_new_rows(name: str) -> None:
    with loaded(name) as model:
        model.train(0, 23, 5, 0.1)
        moved, outputs = model.theta(), model.forward(0, 23)
        x = np.random.default_rng(0).normal(size=(23, 5)).astype(np.float32)  # the rows that are loaded
        model.reset()
        np.testing.assert_array_equal(model.theta(), model.initial_theta())
        model.set_theta(moved)
        np.testing.assert_array_equal(model.theta(), moved)
        np.testing.assert_allclose(model.predict(x), outputs, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(model.forward(0, 23), outputs)
        assert model.loss(3, 7) == model.loss_and_gradient(3, 7)[0]


def test_torch_is_refused_on_a_device_where_the_environment_forces_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    load("torch")
    import torch

    from pyfnn.backends import torch as backend

    backend._require_no_tf32()
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    with pytest.raises(BackendUnavailable, match="TF32"):
        backend._require_no_tf32()
