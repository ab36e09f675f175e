"""What is cpp-tuned's alone: every instruction-set level against the oracle, its ways of training against each
other, its threads, the binding. The errors of its vector mathematics are test_vector_math's.
"""

import importlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, islice
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
from support import native_code
from support.requirements import require

import pyfnn
from pyfnn import compiled, isa, parity, registry
from pyfnn.backend import CORE_LOSSES, Backend
from pyfnn.backends.tuned import Tuned
from pyfnn.errors import BackendUnavailable, Diverged, Unsupported
from pyfnn.model import Model
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity.battery import Trial
from pyfnn.validation import Array

NETWORKS = 40  # a dtype, in the suite
SOAK = 500  # and in the long run
WIDEST, LARGEST_BATCH = 300, 70
ACTIVATIONS = (
    *("identity", "sigmoid", "tanh", "relu", "softplus", "hard_sigmoid", "hard_tanh"),
    *("leaky_relu", "leaky_relu(0.0)", "leaky_relu(0.3)", "leaky_relu(1.0)", "elu", "elu(0.3)", "elu(2.0)"),
)
SIZES = (3, 5, 2)
FUNCTIONS = [("tanh", 0.0), ("identity", 0.0)]
SMALL = Network(SIZES, "tanh", "squared_error")
# Wide enough that products are shared between threads; the first layer of the second is worked through in blocks.
SHARED = ((97, 301, 203, 31), (1100, 301, 33))
# So narrow that small minibatches are laid out feature-major; of large ones the sums are taken in blocks, and the
# products shared. The first layer of the other is too deep for the one, whatever the minibatch.
NARROW, DEEP = (37, 53, 17, 5), (1000, 4, 3)
LAYOUTS = (*((sizes, 65) for sizes in SHARED), *((NARROW, batch) for batch in (64, 272, 273, 1100)), (DEEP, 160))
Call = Callable[[Model], object]


def _levels() -> tuple[str, ...]:
    try:
        return isa.levels()
    except BackendUnavailable:
        return ("none",)


def _backend(level: str) -> Backend:
    if level == "none":
        require("cpp-tuned", False, "this build and this CPU have no level in common")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(isa.VARIABLE, level)
        return Tuned(registry.find("cpp-tuned"))


@pytest.fixture(scope="module", params=_levels())
def backend(request: pytest.FixtureRequest) -> Backend:
    """At each level that this CPU runs."""
    return _backend(request.param)


@pytest.fixture(scope="module")
def best() -> Backend:
    return _backend(_levels()[-1])


@pytest.fixture(scope="module")
def native(best: Backend) -> ModuleType:
    """The binding itself, without the checks of pyfnn/backend.py before it."""
    del best
    return importlib.import_module(f"pyfnn.backends._tuned_{_levels()[-1]}")


def _data(network: Network, rows: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """x, y and an order twice as long as there are rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    if network.loss == "softmax_cross_entropy":
        y = np.eye(network.sizes[-1])[rng.integers(network.sizes[-1], size=rows)]
    else:
        y = rng.random((rows, network.sizes[-1]))
    return x, y.astype(network.dtype), rng.integers(rows, size=2 * rows)


def _loaded(backend: Backend, network: Network, rows: int = 40, threads: int = 1, theta: Array | None = None) -> Model:
    model = backend.create(network, initialize(network, 1) if theta is None else theta, threads)
    model.load(*_data(network, rows))
    return model


def _bits(value: object) -> bytes:
    """Of whatever a call returns: an array, a number, a loss with a gradient."""
    parts = value if isinstance(value, tuple) else (value,)
    return b"".join(np.asarray(part).tobytes() for part in parts)


# Agreement with the oracle --------------------------------------------------------------------------------------------


def _random_case(seed: int, dtype: str) -> tuple[Network, Array, Array, Array, int]:
    """network, theta, x, y, batch: one to five layers of up to 300, mostly odd, of every activation and loss."""
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(1, 6))
    widths = [int(math.exp(rng.uniform(0, math.log(WIDEST + 1)))) for _ in range(depth + 1)]
    sizes = tuple(m - 1 if m % 2 == 0 and rng.random() < 0.8 else m for m in widths)
    batch = int(math.exp(rng.uniform(0, math.log(LARGEST_BATCH + 1))))
    loss = str(rng.choice(CORE_LOSSES))
    network = Network(
        sizes=sizes,
        activation=tuple(map(str, rng.choice(ACTIVATIONS, depth - 1))),
        loss=loss,
        l2=float(rng.choice([0.0, 0.0, 0.001, 0.1])),
        output_activation=None if loss.endswith("cross_entropy") else str(rng.choice(ACTIVATIONS)),
        dtype=dtype,
    )
    theta = initialize(network, seed)
    for _, b in network.layers(theta):
        b += (0.3 * rng.normal(size=b.shape)).astype(dtype)
    x, y, _ = _data(network, 8 * batch + 20, seed)
    return network, theta, x, y, batch


def _drawn(first: int, dtype: str) -> Iterator[tuple[int, list[Trial]]]:
    """Random networks that can be judged, each with its seed: without end."""
    for seed in count(first):
        try:
            yield seed, parity.battery(*_random_case(seed, dtype), seed=seed)
        except Unsupported:  # too few rows clear of kinks, or rounding errors grow
            continue


@cache
def _batteries(dtype: str) -> list[tuple[int, list[Trial]]]:
    return list(islice(_drawn(0, dtype), NETWORKS))


def _agrees(backend: Backend, seed: int, battery: list[Trial]) -> None:
    threads = 1 + seed % 2
    evidence = parity.examine(lambda network, theta: backend.create(network, theta, threads), battery)
    assert evidence.passed, f"seed {seed}, {backend.description.flags}: {evidence.worst}; {battery[0].network}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_networks_agree_with_the_oracle(backend: Backend, dtype: str) -> None:
    for seed, battery in _batteries(dtype):
        _agrees(backend, seed, battery)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_more_random_networks_agree_too_at_every_level(dtype: str) -> None:
    backends = [_backend(level) for level in _levels()]
    for seed, battery in islice(_drawn(100_000, dtype), SOAK):
        for each in backends:
            _agrees(each, seed, battery)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_random_networks_have_every_activation_and_loss_odd_widths_and_both_kinds_of_batch(dtype: str) -> None:
    own = [battery[0] for _, battery in _batteries(dtype)]
    names = {str(f) for trial in own for f in (*trial.network.activation, trial.network.output_activation)}
    assert names >= {name.split("(")[0] for name in ACTIVATIONS} - {"leaky_relu", "elu"}
    assert {trial.network.loss for trial in own} == set(CORE_LOSSES)
    sizes = [size for trial in own for size in trial.network.sizes]
    assert np.mean([size % 2 for size in sizes]) > 0.7
    assert (min(sizes), max(sizes) > 200) == (1, True)
    assert any(trial.count == 1 for trial in own)
    assert any(trial.count > 32 for trial in own)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_logits_of_a_thousand_give_the_exact_loss(backend: Backend, loss: str, dtype: str) -> None:
    network = Network((2, 2), (), loss, dtype=dtype)
    theta = np.array([1, 0, 0, 1, 0, 0], dtype)  # W = 1, b = 0: Z is x
    x = np.array([[1000, -1000], [-1000, 1000]], dtype)
    y = np.array([[0, 1], [0, 1]], dtype)  # the first row is as wrong as can be, the second right
    with backend.create(network, theta) as model:
        model.load(x, y, np.zeros(1, np.int64))
        value, gradient = model.loss_and_gradient(0, 2)
        assert value == 1000  # softmax: (2000 + 0) / 2; sigmoid: (1000 + 1000 + 0 + 0) / 2
        assert np.isfinite(gradient).all()
        assert np.array_equal(model.forward(0, 2), [[1, 0], [0, 1]])


# The same bits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "batch"), LAYOUTS)
def test_the_number_of_threads_does_not_show_in_the_bits(
    backend: Backend, sizes: tuple[int, ...], batch: int, dtype: str
) -> None:
    network = Network(sizes, ("tanh", "sigmoid", "relu")[: len(sizes) - 2], "half_squared_error", l2=0.01, dtype=dtype)

    def everything(threads: int) -> list[bytes]:
        with _loaded(backend, network, batch + 5, threads) as model:
            before = [_bits(model.forward(0, batch + 4)), _bits(model.loss_and_gradient(1, batch))]
            model.train(0, 2 * batch + 7, batch, 0.01)
            return [*before, _bits(model.theta()), _bits(model.forward(3, 40))]

    one = everything(1)
    assert everything(2) == one
    assert everything(3) == one


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("l2", [0.0, 0.01])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "elu"])
def test_steps_in_one_call_or_in_several_end_at_the_same_bits(
    backend: Backend, activation: str, l2: float, batch: int, dtype: str
) -> None:
    network = Network((11, 50, 23, 17, 3), activation, "softmax_cross_entropy", l2=l2, dtype=dtype)
    with _loaded(backend, network) as once, _loaded(backend, network) as cut:
        once.train(0, 14 * batch, batch, 0.05)
        for first, steps in ((0, 1), (1, 1), (2, 7), (9, 5)):
            cut.train(first * batch, steps * batch, batch, 0.05)
        assert cut.theta().tobytes() == once.theta().tobytes()


MIXED: tuple[Call, ...] = (
    lambda m: m.train(0, 9, 1, 0.05),
    lambda m: m.train(3, 60, 32, 0.05),
    lambda m: m.forward(0, 40),
    lambda m: m.loss_and_gradient(2, 37),
    lambda m: m.train(0, 9, 1, 0.05),
    lambda m: m.time("gradient", 0, 3, 2),
    lambda m: m.train(9, 9, 1, 0.05),
    lambda m: m.train(5, 1, 7, 0.05),
    lambda m: m.train(0, 11, 1, 0.05),
    lambda m: m.load(*_data(m.network, 31, seed=2)),
    lambda m: m.train(0, 5, 1, 0.05),
    lambda m: m.loss_and_gradient(0, 1),
    lambda m: m.train(7, 30, 6, 0.05),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
def test_whatever_was_called_before_the_next_call_does_as_it_would_in_a_fresh_model(
    backend: Backend, loss: str, dtype: str
) -> None:
    network = Network((7, 33, 9, 4), ("softplus", "tanh"), loss, l2=0.01, dtype=dtype)
    data = _data(network, 40)
    with _loaded(backend, network) as used:
        for at, call in enumerate(MIXED):
            with backend.create(network, used.theta()) as fresh:
                fresh.load(*data)
                results = [call(used), call(fresh)]
                assert used.theta().tobytes() == fresh.theta().tobytes(), f"theta after call {at}"
                if results[0] is None:  # new data
                    data = _data(network, 31, seed=2)
                elif not isinstance(results[0], float):  # those are seconds
                    assert _bits(results[0]) == _bits(results[1]), f"result of call {at}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus"])
def test_after_a_divergence_reset_leaves_no_trace_of_it(
    backend: Backend, activation: str, batch: int, dtype: str
) -> None:
    network = Network((5, 21, 9, 3), activation, "squared_error", l2=0.01, dtype=dtype)

    def everything(model: Model) -> list[bytes]:
        ends = []
        for size in (1, 7):
            model.reset()
            model.train(0, 30, size, 0.01)
            ends.append(model.theta().tobytes())
        model.reset()
        return [*ends, _bits(model.forward(0, 40)), _bits(model.loss_and_gradient(0, 40))]

    with _loaded(backend, network) as fresh, _loaded(backend, network) as diverged:
        with pytest.raises(Diverged):
            diverged.train(0, 60, batch, 1e30 if dtype == "float32" else 1e200)
        assert not np.isfinite(diverged.theta()).all()
        diverged.forward(0, 40)
        diverged.loss_and_gradient(0, 40)
        assert everything(diverged) == everything(fresh)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 5])
def test_each_member_of_an_ensemble_ends_where_a_model_of_its_own_would_bit_for_bit(
    backend: Backend, batch: int, threads: int, dtype: str
) -> None:
    network = Network((11, 33, 5, 3), "tanh", "half_squared_error", dtype=dtype)
    members, rng = 7, np.random.default_rng(0)
    x, y, _ = _data(network, 40)
    thetas = np.stack([initialize(network, seed) for seed in range(members)])
    orders = rng.integers(40, size=(members, 50))
    l2, rates = np.linspace(0.0, 0.1, members), np.linspace(0.01, 0.1, members)
    with backend.create_many(network, thetas, l2, threads) as many:
        assert many.threads == threads
        many.load(x, y, orders)
        for first, steps in ((3, 22), (25, 23)):
            assert many.train(first, steps, batch, rates) > 0
        ends = many.thetas()
        many.reset()
        assert many.thetas().tobytes() == thetas.tobytes()
    for k, end in enumerate(ends):
        with backend.create(replace(network, l2=float(l2[k])), thetas[k]) as model:
            model.load(x, y, orders[k])
            model.train(3, 22, batch, float(rates[k]))
            model.train(25, 23, batch, float(rates[k]))
            assert end.tobytes() == model.theta().tobytes(), f"member {k}"


# Threads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_what_was_asked_for_and_end_with_the_model(best: Backend, threads: int) -> None:
    process = psutil.Process()
    before = process.num_threads()
    with _loaded(best, SMALL, threads=threads) as model:
        assert model.threads == threads
        assert process.num_threads() == before + threads - 1
        model.train(0, 40, 4, 0.1)
    assert process.num_threads() == before


def test_every_thread_takes_its_part_of_a_large_product(best: Backend) -> None:
    network = Network((512, 512, 512), "tanh", "squared_error")
    process = psutil.Process()
    others = {thread.id for thread in process.threads()}
    with _loaded(best, network, 256, threads=3) as model:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            model.train(0, 512, 256, 1e-6)
            helpers = [thread.user_time for thread in process.threads() if thread.id not in others]
            if min(helpers) > 0.05:
                break
    assert len(helpers) == 2
    assert min(helpers) > 0.05, f"seconds that the helpers worked: {helpers}"


@pytest.mark.parametrize("call", ["train", "many"])
def test_no_thread_is_busy_a_moment_after_a_call(best: Backend, call: str) -> None:
    network = Network((300, 300, 300), "tanh", "squared_error")

    def idle_seconds() -> float:
        time.sleep(0.002)
        before = time.process_time()
        time.sleep(0.3)
        return time.process_time() - before

    with _loaded(best, network, 64, threads=3) as model:
        for _ in range(3):
            model.train(0, 128, 64, 1e-6)
            assert idle_seconds() < 0.02
    if call == "many":
        thetas = np.stack([initialize(network, seed) for seed in range(4)])
        x, y, _ = _data(network, 64)
        with best.create_many(network, thetas, None, 3) as many:
            many.load(x, y, np.zeros((4, 64), np.int64))
            many.train(0, 64, 16, 1e-6)
            assert idle_seconds() < 0.02


WITHOUT_MEMORY = """
import resource
import pyfnn
from pyfnn.network import Network, initialize

network = Network((3, 5, 2), "tanh", "squared_error")
backend = pyfnn.load_backend("cpp-tuned")
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
try:
    backend.create(network, initialize(network, 0), threads=10_000)
except RuntimeError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere address space has no limit")
@pytest.mark.usefixtures("best")
def test_more_threads_than_the_system_gives_are_an_error_and_no_crash() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_MEMORY], capture_output=True, text=True, timeout=20)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("refused:")


# Levels ---------------------------------------------------------------------------------------------------------------


def test_the_description_names_the_flags_of_the_level_in_use() -> None:
    for level in _levels():
        description = _backend(level).description
        assert description.flags == compiled.build_info().LEVELS[level]
        assert description.compiler == compiled.build_info().CXX_COMPILER
        assert "fast-math" not in description.flags


@pytest.mark.usefixtures("best")
@pytest.mark.parametrize("level", _levels())
def test_a_process_obeys_pyfnn_isa_and_loads_that_level_alone(level: str) -> None:
    code = (
        "import sys, pyfnn; backend = pyfnn.load_backend('cpp-tuned');"
        "print(*(name for name in sys.modules if '_tuned_' in name))"
    )
    environment = {**os.environ, isa.VARIABLE: level}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [f"pyfnn.backends._tuned_{level}"]


@pytest.mark.usefixtures("best")
def test_a_level_that_is_not_to_be_had_is_refused_naming_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isa.VARIABLE, "v9")
    with pytest.raises(BackendUnavailable, match=", ".join(isa.levels())) as caught:
        pyfnn.load_backend("cpp-tuned")
    assert "PYFNN_ISA=v9" in caught.value.reason
    assert caught.value.remedy == "unset PYFNN_ISA"


# The binding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["leaky_relu(-0.5)", "elu(-1.0)"])
@pytest.mark.parametrize("where", ["hidden", "output"])
def test_a_negative_slope_is_refused_by_name(best: Backend, activation: str, where: str) -> None:
    hidden, output = (activation, None) if where == "hidden" else ("tanh", activation)
    network = Network(SIZES, hidden, "squared_error", output_activation=output)
    theta = initialize(network, 0)
    for make in (lambda: best.create(network, theta), lambda: best.create_many(network, theta[None].copy())):
        with pytest.raises(Unsupported, match=activation.split("(")[0]):
            make()


@dataclass(frozen=True)
class Bound:
    """What the binding makes, and arrays that it takes."""

    made: Any
    arrays: dict[str, Array]


def _model(native: ModuleType, dtype: str = "f4", name: str = "Mlp32") -> Bound:
    made = getattr(native, name)(SIZES, FUNCTIONS, "squared_error", 0.0, np.zeros(SMALL.n_parameters, dtype), 1)
    return Bound(made, {"x": np.zeros((4, 3), "f4"), "y": np.zeros((4, 2), "f4"), "order": np.zeros(4, np.int64)})


def _ensemble(native: ModuleType, dtype: str = "f4", name: str = "Ensemble32") -> Bound:
    thetas = np.zeros((3, SMALL.n_parameters), dtype)
    made = getattr(native, name)(SIZES, FUNCTIONS, "squared_error", np.zeros(3), thetas, 1)
    return Bound(made, {"x": np.zeros((4, 3), "f4"), "y": np.zeros((4, 2), "f4"), "orders": np.zeros((3, 4), np.int64)})


@pytest.mark.parametrize(("bits", "wrong"), [("32", "f8"), ("64", "f4"), ("32", "i4")])
@pytest.mark.parametrize("make", [_model, _ensemble])
def test_the_binding_refuses_a_theta_of_another_dtype(
    native: ModuleType, make: Callable[[ModuleType, str, str], Bound], bits: str, wrong: str
) -> None:
    kind = "Mlp" if make is _model else "Ensemble"
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        make(native, wrong, kind + bits)


@pytest.mark.parametrize("how", ["dtype", "layout"])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("make", [_model, _ensemble])
def test_the_binding_refuses_data_it_would_have_to_copy(
    native: ModuleType, make: Callable[[ModuleType], Bound], which: int, how: str
) -> None:
    bound = make(native)
    bound.made.load(**bound.arrays)
    name, array = list(bound.arrays.items())[which]
    wrong = array.astype("i4" if name.startswith("order") else "f8") if how == "dtype" else np.repeat(array, 2, 0)[::2]
    with pytest.raises(TypeError, match="incompatible function arguments"):
        bound.made.load(**bound.arrays | {name: wrong})


def test_the_binding_refuses_rates_and_l2_of_another_dtype(native: ModuleType) -> None:
    bound = _ensemble(native)
    bound.made.load(**bound.arrays)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        bound.made.train(0, 4, 2, np.full(3, 0.1, "f4"))
    thetas = np.zeros((3, SMALL.n_parameters), "f4")
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        native.Ensemble32(SIZES, FUNCTIONS, "squared_error", np.zeros(3, "f4"), thetas, 1)


def test_an_unknown_name_stops_at_the_binding_as_a_python_error(native: ModuleType) -> None:
    theta = np.zeros(SMALL.n_parameters, "f4")
    with pytest.raises(ValueError, match="swish"):
        native.Mlp32(SIZES, [("swish", 0.0), ("identity", 0.0)], "squared_error", 0.0, theta, 1)


def test_what_a_model_returns_is_a_copy(best: Backend) -> None:
    start = initialize(SMALL, 1)
    with _loaded(best, SMALL) as model:
        model.theta()[:] = 7
        model.forward(0, 4)[:] = 7
        assert np.array_equal(model.theta(), start)


@pytest.mark.parametrize("call", ["forward", "loss_and_gradient", "train", "train one by one", "time", "many"])
def test_another_thread_advances_in_the_middle_of(best: Backend, call: str) -> None:
    network = Network((200, 400, 200), "tanh", "squared_error")
    rows = 8000
    x = np.zeros((rows, 200), np.float32)
    order = np.zeros(4 * rows, np.int64)
    theta = initialize(network, 0)
    with best.create(network, theta) as model, best.create_many(network, np.stack([theta] * 3)) as many:
        model.load(x, x, order)
        many.load(x, x, np.stack([order] * 3))
        work: Callable[[], object] = {
            "forward": lambda: model._forward(0, rows),
            "loss_and_gradient": lambda: model._loss_and_gradient(0, rows),
            "train": lambda: model._train(0, 4 * rows, 32, 1e-3),
            "train one by one": lambda: model._train(0, rows, 1, 1e-3),
            "time": lambda: model._time("forward", 0, rows, 4),
            "many": lambda: many._train(0, 2 * rows, 32, np.full(3, 1e-3)),
        }[call]
        work()  # the memory that it works in is there
        assert native_code.lets_others_run(work)


ALLOCATIONS = """
#include "tuned/network.hpp"
extern "C" void *aligned_alloc(std::size_t alignment, std::size_t size) {
  ++allocations;
  void *memory = nullptr;
  return posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}

template <class Call> void count(Call call) {
  const long before = allocations;
  call();
  std::printf("%ld ", allocations - before);
}

int main() {
  using namespace fnn::tuned;
  const std::vector<std::size_t> sizes{300, 200, 3};
  const std::vector<LayerFunction> functions{{"tanh", 0}, {"softmax", 0}};
  const std::vector<float> theta(301 * 200 + 201 * 3, 0.01f), x(80 * 300, 1.0f), y(80 * 3, 0.5f);
  const std::vector<std::int64_t> order(160, 7);
  std::vector<float> outputs(80 * 3), gradient(theta.size());
  Pool pool(2);
  count([&] {
    Mlp<float> mlp(sizes, functions, "softmax_cross_entropy", 0.1, theta.data(), &pool);
    mlp.load(std::make_shared<Data<float>>(x.data(), y.data(), 80, 300, 3), order.data(), order.size());
    mlp.prepare(160, 64);
    mlp.prepare(160, 1);
    mlp.loss_and_gradient(0, 64, gradient.data());
    count([&] { mlp.train(0, 160, 64, 0.1f); });
    count([&] { mlp.train(0, 60, 1, 0.1f); });
    count([&] { mlp.train(3, 90, 30, 0.1f); });
    count([&] { mlp.timed_pass(Operation::forward, 0, 64, 5); });
    count([&] { mlp.timed_pass(Operation::gradient, 0, 60, 5); });
    count([&] { mlp.outputs(2, 64, outputs.data()); });
    count([&] { mlp.loss_and_gradient(2, 64, gradient.data()); });
  });
}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="aligned_alloc can be replaced with glibc")
def test_a_step_allocates_nothing(tmp_path: Any) -> None:
    *steps, everything = native_code.allocations(tmp_path, ALLOCATIONS)
    assert everything > 20, "the count counts nothing"
    assert steps == [0] * 7, "a call whose sizes were prepared for allocates"


def test_models_that_grew_and_closed_leave_no_memory_behind(best: Backend) -> None:
    network = Network((50, 50, 50), "tanh", "squared_error")
    process = psutil.Process()

    def use() -> int:
        with _loaded(best, network, 20000, threads=2) as model:
            for rows in (10, 5000, 20000):
                model.time("gradient", 0, rows, 1)
        return int(process.memory_info().rss)

    use()
    settled = use()
    grown = max(use() for _ in range(8)) - settled
    assert grown < 8e6, f"eight models later {grown / 1e6:.0f} MB more are in use"
