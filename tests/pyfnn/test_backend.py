"""Claims about the contract of a model: rejected arguments with their messages, copies, reset, closing.

Each claim holds for a model in this process and for one in a worker process. test_parity checks the computed values.
"""

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from planted.model import PlantedBackend, PlantedModel

import pyfnn
from pyfnn import activations, backend, datasets, losses, parity, process, registry, training
from pyfnn.backend import Backend
from pyfnn.errors import Diverged, InvalidInput, PyfnnError, UnknownName, Unsupported
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.validation import Array

NETWORK = Network((3, 4, 2), "tanh", "squared_error", l2=0.01)
THETA = initialize(NETWORK, 1)
ROWS = 9
Make = Callable[..., Model]


def _data(network: Network = NETWORK) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, network.sizes[0])), rng.normal(size=(ROWS, network.sizes[-1]))
    return x.astype(network.dtype), y.astype(network.dtype), np.arange(ROWS - 1, -1, -1)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(command_of(registry.find("numpy"))) as worker:
        yield worker


@pytest.fixture(params=["in this process", "in a worker process"])
def make(request: pytest.FixtureRequest, worker: Worker) -> Make:
    def create(network: Network = NETWORK, theta: Array = THETA, threads: int = 1) -> Model:
        if request.param == "in this process":
            return pyfnn.load_backend("numpy").create(network, theta, threads)
        return ProcessModel(worker, network, theta, threads)

    return create


@pytest.fixture
def model(make: Make) -> Iterator[Model]:
    with make() as model:
        model.load(*_data())
        yield model


def _replaced(at: int, change: Callable[[Array], Any]) -> list[Any]:
    arrays: list[Any] = list(_data())
    arrays[at] = change(arrays[at])
    return arrays


def _with(array: Array, at: tuple[int, ...] | int, value: float) -> Array:
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (_replaced(0, lambda x: x[:, :2].copy()), "x is 9×2 of float32: expected 9×3 of float32"),
        (_replaced(0, lambda x: x[0]), r"x is 3 of float32: expected rows×3 of float32"),
        (_replaced(0, lambda x: x.astype("f8")), "x is 9×3 of float64: expected 9×3 of float32"),
        (_replaced(0, lambda x: x.astype(">f4")), "x is 9×3 of >f4: expected 9×3 of float32"),
        (_replaced(0, lambda x: np.asfortranarray(x)), r"x is not C-contiguous: pass np.ascontiguousarray\(x\)"),
        (_replaced(0, lambda x: x.tolist()), "x is a list: expected a NumPy array, rows×3 of float32"),
        (_replaced(0, lambda x: _with(x, (4, 1), math.nan)), r"x\[4, 1\] = nan: every value must be finite"),
        (_replaced(0, lambda x: x[:0]), "x is empty: at least one row is needed"),
        (_replaced(1, lambda y: y[:8]), "y is 8×2 of float32: expected 9×2 of float32"),
        (_replaced(1, lambda y: y.astype("f8")), "y is 9×2 of float64: expected 9×2 of float32"),
        (_replaced(1, lambda y: np.asfortranarray(y)), "y is not C-contiguous"),
        (_replaced(1, lambda y: _with(y, (8, 0), -math.inf)), r"y\[8, 0\] = -inf: every value must be finite"),
        (_replaced(2, lambda o: o[:0]), "order is empty: at least one row number is needed"),
        (_replaced(2, lambda o: o.astype("i4")), "order is 9 of int32: expected 9 of int64"),
        (_replaced(2, lambda o: o[::2]), "order is not C-contiguous"),
        (_replaced(2, lambda o: o.reshape(3, 3)), "order is 3×3 of int64: expected rows of int64"),
        (_replaced(2, lambda o: _with(o, 3, 9)), r"order\[3\] = 9: row numbers lie in \[0, 9\)"),
        (_replaced(2, lambda o: _with(o, 5, -1)), r"order\[5\] = -1: row numbers lie in \[0, 9\)"),
        (_replaced(2, lambda o: o.tolist()), "order is a list: expected a NumPy array"),
        (_replaced(0, lambda x: np.ma.masked_less(x, 0)), "x is a MaskedArray: expected a NumPy array"),
        (_replaced(2, lambda o: np.ma.masked_equal(_with(o, 3, 99), 99)), "order is a MaskedArray: expected a NumPy"),
    ],
)
def test_bad_data_are_rejected_by_name_and_the_model_is_unchanged(model: Model, arrays: list[Any], words: str) -> None:
    before = model.forward(0, ROWS)
    with pytest.raises(InvalidInput, match=words):
        model.load(*arrays)
    assert model.forward(0, ROWS).tobytes() == before.tobytes()
    assert model.train(0, ROWS, 2, 0.1) >= 0


@pytest.mark.parametrize(
    ("theta", "words"),
    [
        (THETA[:-1], r"theta is 25 of float32: expected 26 of float32"),
        (THETA.astype("f8"), "theta is 26 of float64: expected 26 of float32"),
        (np.repeat(THETA, 2)[::2], "theta is not C-contiguous"),
        (np.full_like(THETA, math.nan), r"theta\[0\] = nan: every value must be finite"),
        (THETA.tolist(), "theta is a list: expected a NumPy array, 26 of float32"),
    ],
)
def test_a_bad_theta_is_rejected_by_name(make: Make, theta: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        make(NETWORK, theta)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", None])
def test_threads_below_1_or_not_whole_are_rejected(make: Make, threads: Any) -> None:
    with pytest.raises(InvalidInput, match=f"threads = {threads!r}: must be a whole number, at least 1"):
        make(NETWORK, THETA, threads)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 0, 1, 0.1), "count = 0: must be a whole number, at least 1"),
        ((0, 2.0, 1, 0.1), "count = 2.0: must be a whole number"),
        ((-1, 2, 1, 0.1), "first = -1, count = 2: must lie within the 9 entries of order"),
        ((8, 2, 1, 0.1), "first = 8, count = 2: must lie within the 9 entries of order"),
        ((0.0, 2, 1, 0.1), "first = 0.0, count = 2: must lie within"),
        ((0, 2, 0, 0.1), "batch_size = 0: must be a whole number, at least 1"),
        ((0, 2, 2**63, 0.1), "batch_size = 9223372036854775808: must be a whole number"),
        ((0, 2, True, 0.1), "batch_size = True: must be a whole number, at least 1"),
        ((0, 2, 1, 0.0), "learning_rate = 0.0: must be finite and above 0"),
        ((0, 2, 1, -0.1), "learning_rate = -0.1: must be finite and above 0"),
        ((0, 2, 1, math.nan), "learning_rate = nan: must be finite and above 0"),
        ((0, 2, 1, math.inf), "learning_rate = inf: must be finite and above 0"),
        ((0, 2, 1, True), "learning_rate = True: must be finite and above 0"),
        ((0, 2, 1, "0.1"), "learning_rate = '0.1': must be finite and above 0"),
    ],
)
def test_bad_training_arguments_are_rejected_and_theta_is_unchanged(model: Model, arguments: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        model.train(*arguments)
    assert model.theta().tobytes() == THETA.tobytes()


@pytest.mark.parametrize("call", ["forward", "loss_and_gradient"])
@pytest.mark.parametrize(
    ("first", "count"),
    [
        *((0, 10), (9, 1), (-1, 1), (0, 0), (0, -1), (0, 2.5), (True, 2), (0, 2**64)),
        *((np.uint8(250), 8), (np.int8(8), np.int8(127)), (np.uint8(8), np.uint8(250)), (0, np.int64(2**62))),  # wrap
    ],
)
def test_rows_out_of_range_are_rejected(model: Model, call: str, first: Any, count: Any) -> None:
    with pytest.raises(InvalidInput, match=r"count = .*: must"):
        getattr(model, call)(first, count)


def test_integers_of_numpy_are_whole_numbers(model: Model) -> None:
    expected = model.forward(1, 3)
    assert np.array_equal(model.forward(np.uint8(1), np.int16(3)), expected)
    model.train(np.uint8(0), np.uint8(9), np.uint8(200), 0.1)


def test_bad_timing_arguments_are_rejected(model: Model) -> None:
    with pytest.raises(InvalidInput, match="operation = 'forwards': must be one of forward, gradient"):
        model.time("forwards", 0, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="repeats = 0: must be a whole number, at least 1"):
        model.time("forward", 0, 1, 0)
    with pytest.raises(InvalidInput, match="first = 9, count = 1: must lie within the 9 rows"):
        model.time("gradient", 9, 1, 1)
    for probes, why in (
        (np.array([0, 8]), r"probes\[1\] = 8: entries lie in \[0, 8\)"),
        (np.array([-1]), r"probes\[0\] = -1: entries lie in"),
        (np.zeros(0, np.int64), "probes is empty"),
        (np.zeros((1, 1), np.int64), "expected rows of int64"),
        (np.zeros(1), "expected 1 of int64"),
        ([0], "probes is a list"),
    ):
        with pytest.raises(InvalidInput, match=why):
            model.time("forward", 0, 4, 1, probes)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=f"entries lie in .0, {NETWORK.n_parameters}"):
        model.time("gradient", 0, 4, 1, np.array([NETWORK.n_parameters]))


@pytest.mark.parametrize("call", [lambda m: m.forward(0, 1), lambda m: m.train(0, 1, 1, 0.1)])
def test_a_call_on_a_model_without_data_is_an_error(make: Make, call: Callable[[Model], Any]) -> None:
    with make() as model, pytest.raises(PyfnnError, match="no data yet: call load first"):
        call(model)


def test_a_model_without_data_has_its_theta(make: Make) -> None:
    with make() as model:
        assert model.theta().tobytes() == THETA.tobytes()
        model.reset()
        assert model.theta().tobytes() == THETA.tobytes()


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.forward(0, 1),
        lambda m: m.loss_and_gradient(0, 1),
        lambda m: m.train(0, 1, 1, 0.1),
        lambda m: m.time("forward", 0, 1, 1),
        lambda m: m.theta(),
        lambda m: m.reset(),
        lambda m: m.load(*_data()),
    ],
)
def test_a_call_on_a_closed_model_is_an_error_and_closing_again_is_not(
    model: Model, call: Callable[[Model], Any]
) -> None:
    model.close()
    with pytest.raises(PyfnnError, match="this model is closed"):
        call(model)
    model.close()


def test_theta_is_copied_in_and_out(make: Make) -> None:
    given = THETA.copy()
    with make(NETWORK, given) as model:
        given[:] = 7
        model.load(*_data())
        model.theta()[:] = 7
        assert model.theta().tobytes() == THETA.tobytes()
        assert model.theta().dtype == np.float32


def test_data_are_copied_in(make: Make) -> None:
    x, y, order = _data()
    with make() as model:
        model.load(x, y, order)
        before = model.forward(0, ROWS)
        x[:], y[:], order[:] = 9, 9, 0
        assert model.forward(0, ROWS).tobytes() == before.tobytes()


def test_results_are_not_overwritten_by_the_next_call(model: Model) -> None:
    outputs, (_, gradient) = model.forward(0, 3), model.loss_and_gradient(0, 3)
    kept = outputs.tobytes(), gradient.tobytes()
    model.forward(3, 3)
    model.loss_and_gradient(3, 3)
    assert (outputs.tobytes(), gradient.tobytes()) == kept


def test_reset_restores_the_initial_theta(model: Model) -> None:
    model.train(0, ROWS, 2, 0.1)
    assert model.theta().tobytes() != THETA.tobytes()
    model.reset()
    assert model.theta().tobytes() == THETA.tobytes()


def test_new_data_replace_the_old(model: Model) -> None:
    x, y, order = _data()
    model.load(x[:4].copy(), y[:4].copy(), order[-4:].copy())
    with pytest.raises(InvalidInput, match="within the 4 rows"):
        model.forward(0, 5)
    with pytest.raises(InvalidInput, match="within the 4 entries of order"):
        model.train(0, 5, 1, 0.1)


def test_training_that_leaves_the_finite_numbers_diverges_until_reset(make: Make) -> None:
    network = Network((3, 4, 2), "relu", "squared_error")
    with make(network, initialize(network, 1)) as model:
        model.load(*_data())
        with pytest.raises(Diverged, match=r"not finite after 9 steps at learning_rate = 1e\+30"):
            model.train(0, ROWS, 1, 1e30)
        assert not np.isfinite(model.theta()).all()
        model.reset()
        assert np.isfinite(model.forward(0, ROWS)).all()


def test_a_function_that_a_backend_lacks_is_rejected_by_name(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(activations.TABLE, "swish", activations.TABLE["leaky_relu"])
    monkeypatch.setitem(losses.TABLE, "hinge", losses.TABLE["squared_error"])
    for words, network in (
        ("activation 'swish'", Network((3, 4, 2), "swish(0.5)", "squared_error")),
        ("activation 'swish'", Network((3, 4, 2), "tanh", "squared_error", output_activation="swish")),
        ("loss 'hinge'", Network((3, 4, 2), "tanh", "hinge")),
    ):
        with pytest.raises(Unsupported, match=f"numpy has no {words}"):
            make(network, initialize(network, 1))


def test_targets_that_do_not_suit_the_loss_are_rejected(make: Make) -> None:
    network = Network((3, 4, 2), "tanh", "softmax_cross_entropy")
    with make(network, initialize(network, 1)) as model, pytest.raises(InvalidInput, match=r"lie in \[0, 1\]"):
        model.load(*_data())


def test_the_checksum_sums_the_results_of_the_rotated_ranges(model: Model) -> None:
    assert model.time("forward", 1, 4, 5) >= 0  # without probes: the first and the last entry in turn
    starts = [(1 + repeat * 4) % (ROWS - 4 + 1) for repeat in range(5)]
    outputs = [model.forward(at, 4) for at in starts]
    assert model.checksum == pytest.approx(sum(float(Y.flat[-(r % 2)]) for r, Y in enumerate(outputs)), rel=1e-6)
    model.time("gradient", 1, 4, 5)
    gradients = [model.loss_and_gradient(at, 4) for at in starts]
    assert model.checksum == pytest.approx(sum(R + float(d[-(r % 2)]) for r, (R, d) in enumerate(gradients)), rel=1e-6)


def test_calls_that_read_do_not_change_theta(model: Model) -> None:
    model.forward(0, ROWS)
    model.loss_and_gradient(0, ROWS)
    model.time("gradient", 0, 2, 3)
    assert model.theta().tobytes() == THETA.tobytes()


def test_leaving_the_context_closes_the_model(make: Make) -> None:
    with make() as model:
        pass
    with pytest.raises(PyfnnError, match="closed"):
        model.theta()


def test_numpy_integers_are_whole_numbers(model: Model) -> None:
    assert model.forward(np.int64(0), np.int32(3)).shape == (3, 2)


@pytest.mark.parametrize(("name", "nearest"), [("nunpy", "numpy"), ("cp", "cpp")])
def test_an_unknown_backend_gets_the_nearest_match_and_the_list(name: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=rf"unknown backend '{name}'; did you mean '{nearest}'\? known: .*numpy"):
        pyfnn.load_backend(name)


def test_the_contract_holds_for_a_backend_that_no_manifest_names() -> None:
    backend: Backend = PlantedBackend()
    network = Network((3, 4, 2), "elu", "squared_error")
    with pytest.raises(Unsupported, match="planted-None has no activation 'elu'"):
        backend.create(network, initialize(network, 0))


def test_importing_pyfnn_takes_less_than_300_ms_and_loads_no_dependency() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import pyfnn; seconds = time.perf_counter() - start;"
        "print(seconds, [m for m in ('numpy', 'cffi', 'pyfnn._cpp', 'pydantic') if m in sys.modules])"
    )

    def is_fast() -> bool:
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, loaded = run.stdout.split(maxsplit=1)
        assert loaded == "[]\n"
        return float(seconds) < 0.3

    assert any(is_fast() for _ in range(30))  # a busy machine is not always so


def test_every_public_name_can_be_imported() -> None:
    for name in pyfnn.__all__:
        assert getattr(pyfnn, name).__name__ == name
    for name in ("activations", "datasets", "losses", "oracle", "parity", "training"):
        assert getattr(pyfnn, name).__name__ == f"pyfnn.{name}"
    for module in (backend, datasets, parity, process, training):
        assert all(hasattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match="module 'pyfnn' has no attribute 'netwrok'"):
        _ = pyfnn.netwrok


class _HastyModel(PlantedModel):
    """A model whose clock shows a tenth of the time of a training."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        while (used := time.process_time() - cpu_begin) < 0.02:
            super()._train(first, count, batch_size, learning_rate)
        self.used = used
        return 0.1 * (time.perf_counter() - begin)


def test_the_cpu_time_of_a_call_is_that_within_the_seconds_it_reports() -> None:
    model = _HastyModel(NETWORK, THETA)
    model.load(*_data())
    model.train(0, ROWS, 2, 1e-3)
    unasked = model.cpu_seconds
    assert unasked is None, "it is read where it is asked for"
    model.reads_cpu_clock = True
    model.train(0, ROWS, 2, 1e-3)
    assert model.cpu_seconds is not None
    assert 0.02 * model.used < model.cpu_seconds < 0.5 * model.used  # a tenth
