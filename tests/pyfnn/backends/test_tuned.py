"""Claims about cpp-tuned: agreement at every instruction-set level, the same bits in any order of calls, threads.

Its binding and memory are tested in test_tuned_binding, its vector mathematics in test_vector_math.
"""

import gc
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import count, islice, pairwise

import numpy as np
import psutil
import pytest
from support.logits import check_logits_of_a_thousand
from support.processes import until
from support.tuned import SMALL, backend_at, levels, loaded, random_data

from pyfnn import parity, registry
from pyfnn.backend import CORE_LOSSES, Backend
from pyfnn.errors import Diverged, Unsupported
from pyfnn.model import Model
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.optimizers import Adam, Momentum
from pyfnn.parity.battery import Trial
from pyfnn.validation import Array

NETWORKS = 24  # per dtype
SOAK = 500  # per dtype, in the soak
WIDEST, LARGEST_BATCH = 300, 70
AFFORDABLE = 200_000  # weights times batch size, outside the soak: the oracle takes 6 to 9 s for 5 times as many
ACTIVATIONS = (
    *("identity", "sigmoid", "tanh", "relu", "softplus", "hard_sigmoid", "hard_tanh"),
    *("leaky_relu", "leaky_relu(0.0)", "leaky_relu(0.3)", "leaky_relu(1.0)", "leaky_relu(-0.5)"),
    *("elu", "elu(0.3)", "elu(2.0)", "elu(-0.5)"),
)
OWN_LAYOUT = ("prelu", "prelu(-0.3)", "maxout", "maxout(3)")  # for hidden layers
# Wide networks, whose products are shared between threads; the first layer of the second is processed in blocks.
SHARED = ((97, 301, 203, 31), (1100, 301, 33))
# Minibatches of NARROW are laid out feature-major, in strips of at most 128 samples, up to some 1000 samples; larger
# ones are summed in blocks, their products shared between threads. The first layer of DEEP has too many inputs for the
# feature-major layout at any batch size.
NARROW, DEEP = (37, 53, 17, 5), (1000, 4, 3)
LAYOUTS = (*((sizes, 65) for sizes in SHARED), *((NARROW, batch) for batch in (64, 272, 273, 1100)), (DEEP, 160))
Call = Callable[[Model], object]


@pytest.fixture(scope="module", params=levels())
def backend(request: pytest.FixtureRequest) -> Backend:
    """The backend at each level that this CPU runs."""
    return backend_at(request.param)


@pytest.fixture(scope="module")
def best() -> Backend:
    """The backend at the highest level that this CPU runs."""
    return backend_at(levels()[-1])


def _bits(value: object) -> bytes:
    """Return the bytes of a result: an array, a number, or a loss with a gradient."""
    parts = value if isinstance(value, tuple) else (value,)
    return b"".join(np.asarray(part).tobytes() for part in parts)


# Agreement with the oracle --------------------------------------------------------------------------------------------


def _random_case(seed: int, dtype: str, most: float = math.inf) -> tuple[Network, Array, Array, Array, int]:
    """Return network, theta, x, y, batch: 1 to 5 layers of up to 300 units, mostly odd, every activation and loss.

    The batch of a large network is smaller, so that its weights times the batch size are at most `most`.
    """
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(1, 6))
    widths = [int(math.exp(rng.uniform(0, math.log(WIDEST + 1)))) for _ in range(depth + 1)]
    sizes = tuple(m - 1 if m % 2 == 0 and rng.random() < 0.8 else m for m in widths)
    batch = int(math.exp(rng.uniform(0, math.log(LARGEST_BATCH + 1))))
    weights = sum(m * n for m, n in pairwise(sizes))
    batch = max(1, int(min(batch, most // weights)))
    loss = str(rng.choice(CORE_LOSSES))
    network = Network(
        sizes=sizes,
        activation=tuple(map(str, rng.choice(ACTIVATIONS + OWN_LAYOUT, depth - 1))),
        loss=loss,
        l2=float(rng.choice([0.0, 0.0, 0.001, 0.1])),
        output_activation=None if loss.endswith("cross_entropy") else str(rng.choice(ACTIVATIONS)),
        dtype=dtype,
    )
    theta = initialize(network, seed)
    for _, b in network.layers(theta):
        b += (0.3 * rng.normal(size=b.shape)).astype(dtype)
    for slopes in network.slopes(theta):
        slopes += (0.3 * rng.normal(size=slopes.shape)).astype(dtype)
    x, y, _ = random_data(network, 8 * batch + 20, seed)
    return network, theta, x, y, batch


def _drawn(first: int, dtype: str, most: float = math.inf) -> Iterator[tuple[int, list[Trial]]]:
    """Yield random networks that can be judged, each with its seed, without end."""
    for seed in count(first):
        try:
            yield seed, parity.battery(*_random_case(seed, dtype, most), seed=seed)
        except Unsupported:  # too few rows clear of kinks, or rounding errors grow
            continue


@cache
def _batteries(dtype: str) -> list[tuple[int, list[Trial]]]:
    return list(islice(_drawn(0, dtype, AFFORDABLE), NETWORKS))


def _agrees(backend: Backend, seed: int, battery: list[Trial]) -> None:
    threads = 1 + seed % 2
    evidence = parity.examine(lambda network, theta: backend.create(network, theta, threads), battery)
    assert evidence.passed, f"seed {seed}, {backend.description.flags}: {evidence.worst}; {battery[0].network}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_networks_agree_with_the_oracle(backend: Backend, dtype: str) -> None:
    for seed, battery in _batteries(dtype):
        _agrees(backend, seed, battery)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "activation", "batch"),
    [((11, 60, 1), "tanh", 200), ((5, 23, 17, 4), "sigmoid", 150), ((3, 9, 9), "elu", 333)],
)
def test_strips_of_samples_agree_with_the_oracle(
    backend: Backend, sizes: tuple[int, ...], activation: str, batch: int, dtype: str
) -> None:
    network = Network(sizes, activation, "half_squared_error", l2=0.01, dtype=dtype)
    x, y, _ = random_data(network, 4 * batch + 20)
    _agrees(backend, 0, parity.battery(network, initialize(network, 1), x, y, batch, seed=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_an_input_of_zero_would_give_does_not_reach_the_gradient(backend: Backend, dtype: str) -> None:
    network = Network((1, 20, 20, 1), "identity", "half_squared_error", dtype=dtype)
    theta = np.zeros_like(initialize(network, 0))
    (W_1, b_1), (W_2, _), _ = network.layers(theta)
    W_1[:], b_1[:], W_2[:] = -np.finfo(dtype).max, np.finfo(dtype).max, 1  # Z_2 is 0 at x = 1, too large at x = 0
    with backend.create(network, theta) as model:
        model.load(np.ones((201, 1), dtype), np.ones((201, 1), dtype), np.arange(201))
        _, gradient = model.loss_and_gradient(0, 201)
    assert np.isfinite(gradient).all()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_more_random_networks_agree_at_every_level(dtype: str) -> None:
    backends = [backend_at(level) for level in levels()]
    for seed, battery in islice(_drawn(100_000, dtype), SOAK):
        for each in backends:
            _agrees(each, seed, battery)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_random_networks_have_every_activation_and_loss_odd_widths_and_both_kinds_of_batch(dtype: str) -> None:
    own = [battery[0] for _, battery in _batteries(dtype)]
    names = {str(f) for trial in own for f in (*trial.network.activation, trial.network.output_activation)}
    assert {name.split("(")[0] for name in names} >= {name.split("(")[0] for name in ACTIVATIONS + OWN_LAYOUT}
    assert {trial.network.loss for trial in own} == set(CORE_LOSSES)
    sizes = [size for trial in own for size in trial.network.sizes]
    assert np.mean([size % 2 for size in sizes]) > 0.7
    assert (min(sizes), max(sizes) > 200) == (1, True)
    assert any(trial.count == 1 for trial in own)
    assert any(trial.count > 32 for trial in own)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_logits_of_a_thousand_give_the_exact_loss(backend: Backend, loss: str, dtype: str) -> None:
    check_logits_of_a_thousand(backend, loss, dtype)


# The same bits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "batch", "hidden"),
    [
        *((sizes, batch, ("tanh", "sigmoid", "relu")) for sizes, batch in LAYOUTS),
        *((sizes, 65, hidden) for sizes in SHARED for hidden in (("maxout", "prelu"), ("prelu", "maxout(3)"))),
    ],
)
def test_any_number_of_threads_gives_the_same_bits(
    backend: Backend, sizes: tuple[int, ...], batch: int, hidden: tuple[str, ...], dtype: str
) -> None:
    network = Network(sizes, hidden[: len(sizes) - 2], "half_squared_error", l2=0.01, dtype=dtype)

    def everything(threads: int) -> list[bytes]:
        with loaded(backend, network, batch + 5, threads) as model:
            before = [_bits(model.forward(0, batch + 4)), _bits(model.loss_and_gradient(1, batch))]
            model.train(0, 2 * batch + 7, batch, 0.01)
            return [*before, _bits(model.theta()), _bits(model.forward(3, 40))]

    one = everything(1)
    assert everything(2) == one
    assert everything(3) == one


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [("tanh", "relu"), ("maxout", "prelu")])
def test_a_step_of_adam_on_one_sample_has_the_same_bits_with_any_number_of_threads(
    backend: Backend, hidden: tuple[str, ...], dtype: str
) -> None:
    network, ends = Network(SHARED[0], hidden, "half_squared_error", l2=0.01, dtype=dtype), set()
    for threads in (1, 2, 3):
        with loaded(backend, network, 6, threads) as model:
            model.train(0, 6, 1, 0.01, Adam())
            ends.add((_bits(model.theta()), *map(_bits, model.optimizer_state().values())))
    assert len(ends) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 16])
def test_a_long_row_alone_trains_as_in_the_plain_backend(backend: Backend, batch: int, dtype: str) -> None:
    """Minibatches of such rows are gathered into panels, and a single row is not: the last of 17 here."""
    network = Network((4200, 130, 3), "tanh", "half_squared_error", dtype=dtype)
    plain, ends = registry.load_backend("cpp"), []
    for each in (backend, plain):
        with loaded(each, network, 17) as model:
            model.train(0, 17, batch, 0.001, Momentum(0.9))
            ends.append(model.theta().astype(np.float64))
    moved = np.linalg.norm(ends[1] - initialize(network, 1))
    assert np.linalg.norm(ends[0] - ends[1]) < 1e-3 * moved


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("l2", [0.0, 0.01])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "elu", "prelu", "maxout"])
def test_steps_in_one_call_or_in_several_end_at_the_same_bits(
    backend: Backend, activation: str, l2: float, batch: int, dtype: str
) -> None:
    network = Network((11, 50, 23, 17, 3), activation, "softmax_cross_entropy", l2=l2, dtype=dtype)
    with loaded(backend, network) as once, loaded(backend, network) as cut:
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
    lambda m: m.load(*random_data(m.network, 31, seed=2)),
    lambda m: m.train(0, 5, 1, 0.05),
    lambda m: m.loss_and_gradient(0, 1),
    lambda m: m.train(7, 30, 6, 0.05),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
def test_a_call_gives_the_same_bits_as_in_a_fresh_model_after_any_other_calls(
    backend: Backend, loss: str, dtype: str
) -> None:
    network = Network((7, 33, 9, 4), ("softplus", "tanh"), loss, l2=0.01, dtype=dtype)
    data = random_data(network, 40)
    with loaded(backend, network) as used:
        for at, call in enumerate(MIXED):
            with backend.create(network, used.theta()) as fresh:
                fresh.load(*data)
                results = [call(used), call(fresh)]
                assert used.theta().tobytes() == fresh.theta().tobytes(), f"theta after call {at}"
                if results[0] is None:  # new data
                    data = random_data(network, 31, seed=2)
                elif not isinstance(results[0], float):  # those are seconds
                    assert _bits(results[0]) == _bits(results[1]), f"result of call {at}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus", "prelu", "maxout(3)"])
def test_reset_after_a_divergence_gives_the_bits_of_a_fresh_model(
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

    with loaded(backend, network) as fresh, loaded(backend, network) as diverged:
        with pytest.raises(Diverged):
            diverged.train(0, 60, batch, 1e30 if dtype == "float32" else 1e200)
        assert not np.isfinite(diverged.theta()).all()
        diverged.forward(0, 40)
        diverged.loss_and_gradient(0, 40)
        assert everything(diverged) == everything(fresh)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("batch", "hidden"), [(1, "tanh"), (5, "tanh"), (1, ("prelu", "maxout"))])
def test_each_member_of_an_ensemble_has_the_bits_of_a_single_model(
    backend: Backend, batch: int, hidden: str | tuple[str, ...], threads: int, dtype: str
) -> None:
    network = Network((11, 33, 5, 3), hidden, "half_squared_error", dtype=dtype)
    members, rng = 7, np.random.default_rng(0)
    x, y, _ = random_data(network, 40)
    thetas = np.stack([initialize(network, seed) for seed in range(members)])
    orders = rng.integers(40, size=(members, 50))
    l2, rates = np.linspace(0.0, 0.1, members), np.linspace(0.002, 0.02, members)
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
def test_a_model_has_the_requested_threads_and_ends_them(best: Backend, threads: int) -> None:
    process = psutil.Process()
    gc.collect()  # models of other tests end their threads
    before = process.num_threads()
    with loaded(best, SMALL, threads=threads) as model:
        assert model.threads == threads
        assert until(lambda: process.num_threads() == before + threads - 1)
        model.train(0, 40, 4, 0.1)
    assert until(lambda: process.num_threads() == before)  # the system may count a thread that was just joined


def test_every_thread_takes_its_part_of_a_large_product(best: Backend) -> None:
    network = Network((512, 512, 512), "tanh", "squared_error")
    process = psutil.Process()
    others = {thread.id for thread in process.threads()}
    with loaded(best, network, 256, threads=3) as model:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            model.train(0, 512, 256, 1e-6)
            helpers = [thread.user_time for thread in process.threads() if thread.id not in others]
            if min(helpers) > 0.05:
                break
    assert len(helpers) == 2
    assert min(helpers) > 0.05, f"CPU seconds of the helper threads: {helpers}"


@pytest.mark.parametrize("call", ["train", "many"])
def test_no_thread_is_busy_2_ms_after_a_call(best: Backend, call: str) -> None:
    network = Network((300, 300, 300), "tanh", "squared_error")

    def idle_seconds() -> float:
        time.sleep(0.002)
        before = time.process_time()
        time.sleep(0.3)
        return time.process_time() - before

    with loaded(best, network, 64, threads=3) as model:
        for _ in range(3):
            model.train(0, 128, 64, 1e-6)
            assert idle_seconds() < 0.02
    if call == "many":
        thetas = np.stack([initialize(network, seed) for seed in range(4)])
        x, y, _ = random_data(network, 64)
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
theta = initialize(network, 0)
for create, given in ((backend.create, theta), (backend.create_many, theta[None])):
    try:
        create(network, given, threads=4096)
    except pyfnn.PyfnnError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces a limit on the address space")
@pytest.mark.usefixtures("best")
def test_more_threads_than_the_system_allows_are_an_error_and_no_crash() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_MEMORY], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout == 2 * "threads = 4096: the system starts no more: Resource temporarily unavailable\n"
