"""Claims about the C++ backend: the binding's strictness, the GIL, memory, the stub.

Agreement with the oracle is tested for all backends in test_parity.
"""

import ctypes
import gc
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
from support import native_code
from support.logits import check_logits_of_a_thousand
from support.requirements import require

import pyfnn
from pyfnn import compiled
from pyfnn.backend import Backend
from pyfnn.network import Network, initialize
from pyfnn.validation import Array

CHECKOUT = Path(__file__).parents[3]
SIZES = (3, 5, 2)
FUNCTIONS = [("tanh", 0.0), ("identity", 0.0)]
N_PARAMETERS = Network(SIZES, "tanh", "squared_error").n_parameters


@pytest.fixture(scope="module")
def backend() -> Backend:
    try:
        return pyfnn.load_backend("cpp")
    except pyfnn.BackendUnavailable as error:
        require("cpp", False, str(error))
        raise


@pytest.fixture(scope="module")
def native(backend: Backend) -> ModuleType:
    """The binding without pyfnn's own checks."""
    del backend
    return importlib.import_module("pyfnn.backends._cpp")


def test_importing_pyfnn_loads_no_native_module() -> None:
    code = "import sys, pyfnn, pyfnn.registry; pyfnn.registry.rows(); sys.exit('pyfnn.backends._cpp' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_description_names_the_compiler_and_the_flags_of_this_build(backend: Backend) -> None:
    assert backend.description.name == "cpp"
    assert backend.description.compiler == compiled.build_info().CXX_COMPILER
    assert "-O" in backend.description.flags
    assert "fast-math" not in backend.description.flags


def test_a_model_with_eight_requested_threads_uses_one(backend: Backend) -> None:
    network = Network(SIZES, "tanh", "squared_error")
    with backend.create(network, initialize(network, 0), threads=8) as model:
        assert model.threads == 1


@pytest.mark.parametrize(("name", "wrong"), [("Mlp32", np.float64), ("Mlp64", np.float32), ("Mlp32", np.int32)])
def test_the_binding_refuses_a_theta_of_another_dtype(native: ModuleType, name: str, wrong: type) -> None:
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        getattr(native, name)(SIZES, FUNCTIONS, "squared_error", 0.0, np.zeros(N_PARAMETERS, wrong), "loops")


@pytest.mark.parametrize("wrong", ["x", "y", "order"])
@pytest.mark.parametrize("how", ["dtype", "layout"])
def test_the_binding_refuses_data_that_it_would_have_to_copy(native: ModuleType, wrong: str, how: str) -> None:
    mlp = native.Mlp32(SIZES, FUNCTIONS, "squared_error", 0.0, np.zeros(N_PARAMETERS, np.float32), "loops")
    arrays: dict[str, Array] = {
        "x": np.zeros((4, 3), np.float32),
        "y": np.zeros((4, 2), np.float32),
        "order": np.zeros(4, np.int64),
    }
    mlp.load(**arrays)
    array = arrays[wrong]
    arrays[wrong] = array.astype(np.int32 if wrong == "order" else np.float64) if how == "dtype" else array[::2]
    with pytest.raises(TypeError, match="incompatible function arguments"):
        mlp.load(**arrays)


def test_an_unknown_name_raises_a_python_error_in_the_binding(native: ModuleType) -> None:
    theta = np.zeros(N_PARAMETERS, np.float32)
    with pytest.raises(ValueError, match="swish"):
        native.Mlp32(SIZES, [("swish", 0.0), ("identity", 0.0)], "squared_error", 0.0, theta, "loops")
    with pytest.raises(ValueError, match="gemm"):
        native.Mlp32(SIZES, FUNCTIONS, "squared_error", 0.0, theta, "gemm")
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        native.Mlp32(SIZES, FUNCTIONS, "squared_error", 0.0, theta, None)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        native.bare_products32(None, SIZES, 1, 0.0)


def test_a_model_returns_copies(backend: Backend) -> None:
    network = Network(SIZES, "tanh", "squared_error")
    start = initialize(network, 0)
    with backend.create(network, start.copy()) as model:
        model.theta()[:] = 7
        assert np.array_equal(model.theta(), start)


@pytest.mark.parametrize("call", ["forward", "loss_and_gradient", "train", "time"])
def test_another_thread_advances_during_a_call(backend: Backend, call: str) -> None:
    network = Network((200, 400, 200), "tanh", "squared_error")
    rows = 8000
    x = np.zeros((rows, 200), np.float32)
    with backend.create(network, initialize(network, 0)) as model:
        model.load(x, x, np.zeros(rows, np.int64))
        work: Callable[[], object] = {
            "forward": lambda: model._forward(0, rows),
            "loss_and_gradient": lambda: model._loss_and_gradient(0, rows),
            "train": lambda: model._train(0, rows, 32, 1e-3),
            "time": lambda: model._time("forward", 0, rows, 1, np.zeros(1, np.int64)),
        }[call]
        assert native_code.lets_others_run(work)


ALLOCATIONS = """
#include "mlp.hpp"

template <class Call> long counted(Call call) {
  const long before = allocations;
  call();
  return allocations - before;
}

int main() {
  const std::vector<float> theta(31, 0.5f), x(300, 1.0f), y(200, 0.5f);
  const std::vector<std::int64_t> order(100, 7);
  const std::vector<std::int64_t> probes{5, 0, 17};
  std::vector<float> outputs(200), gradient(31);
  const auto made = [&] {
    fnn::Mlp<float> mlp({3, 4, 3}, {{"tanh", 0}, {"softmax", 0}}, "softmax_cross_entropy", 0.1, theta.data());
    mlp.load(x.data(), y.data(), 66, order.data(), 100);
    return mlp;
  };
  fnn::Mlp<float> one = made(), many = made();
  const long first = counted([&] { one.train(0, 7, 7, 0.1); });
  const long same = counted([&] { many.train(0, 98, 7, 0.1); });
  std::printf("%ld %ld", first, same);
  std::printf(" %ld", counted([&] { one.train(3, 97, 7, 0.1); }));
  std::printf(" %ld", counted([&] { one.train(3, 97, 5, 0.1); }));
  std::printf(" %ld", counted([&] { one.timed_pass(fnn::Operation::forward, 0, 7, 50, probes.data(), 3); }));
  std::printf(" %ld", counted([&] { one.timed_pass(fnn::Operation::gradient, 0, 6, 50, probes.data(), 3); }));
  std::printf(" %ld", counted([&] { one.outputs(2, 7, outputs.data()); }));
  std::printf(" %ld", counted([&] { one.loss_and_gradient(2, 7, gradient.data()); }));
}
"""


def test_a_step_allocates_nothing(tmp_path: Path) -> None:
    first, same, *rest = native_code.allocations(tmp_path, ALLOCATIONS)
    assert first > 0, "the counter detects no allocation"
    assert same == first, "fourteen steps allocate more than one step"
    assert rest == [0] * 6, "a call with the sizes of an earlier call allocates"


def test_closed_models_leave_no_memory_behind(backend: Backend) -> None:
    network = Network((50, 50, 50), "tanh", "squared_error")
    process = psutil.Process()
    x = np.zeros((20000, 50), np.float32)

    def use() -> int:
        with backend.create(network, initialize(network, 0)) as model:
            model.load(x, x, np.zeros(1, np.int64))
            for count in (10, 5000, 20000):
                model.time("gradient", 0, count, 1)
        gc.collect()
        with suppress(AttributeError):  # only glibc has it; otherwise what is free in its arenas counts as used
            ctypes.CDLL(None).malloc_trim(0)
        return int(process.memory_info().rss)

    use()
    baseline = use()
    for _ in range(7):
        use()
    grown = min(use() for _ in range(4)) - baseline  # a leak never shrinks
    least = 8 * x.nbytes  # of a leak: an array of each model
    assert grown < least / 2, f"eight models later {grown / 1e6:.0f} MB more are in use"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_logits_of_a_thousand_give_the_exact_loss(backend: Backend, loss: str, dtype: str) -> None:
    check_logits_of_a_thousand(backend, loss, dtype)


def test_each_stub_matches_its_module(backend: Backend) -> None:
    del backend
    require("mypy", shutil.which("stubtest", path=str(Path(sys.executable).parent)) is not None, "pip install mypy")
    modules = ("pyfnn.backends._cpp", "pyfnn._cpu")
    command = [sys.executable, "-m", "mypy.stubtest", *modules]
    result = subprocess.run(
        command, cwd=CHECKOUT / "tests", env={**os.environ, "MYPYPATH": str(CHECKOUT)}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
