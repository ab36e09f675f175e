"""Claims about cpp-tuned: instruction-set levels, the strictness of its binding, the GIL, allocations."""

import ctypes
import importlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
from support import native_code
from support.tuned import SIZES, SMALL, backend_at, levels, loaded

import pyfnn
from pyfnn import compiled, isa
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable
from pyfnn.network import Network, initialize
from pyfnn.validation import Array

FUNCTIONS = [("tanh", 0.0), ("identity", 0.0)]


@pytest.fixture(scope="module")
def best() -> Backend:
    """The backend at the highest level that this CPU runs."""
    return backend_at(levels()[-1])


@pytest.fixture(scope="module")
def native(best: Backend) -> ModuleType:
    """The binding without pyfnn's own checks."""
    del best
    return importlib.import_module(f"pyfnn.backends._tuned_{levels()[-1]}")


# Levels ---------------------------------------------------------------------------------------------------------------


def test_the_description_names_the_flags_of_the_level_in_use() -> None:
    for level in levels():
        description = backend_at(level).description
        assert description.flags == compiled.build_info().LEVELS[level]
        assert description.compiler == compiled.build_info().CXX_COMPILER
        assert "fast-math" not in description.flags


@pytest.mark.usefixtures("best")
@pytest.mark.parametrize("level", levels())
def test_a_process_loads_only_the_level_that_pyfnn_isa_names(level: str) -> None:
    code = (
        "import sys, pyfnn; backend = pyfnn.load_backend('cpp-tuned');"
        "print(*(name for name in sys.modules if '_tuned_' in name))"
    )
    environment = {**os.environ, isa.VARIABLE: level}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [f"pyfnn.backends._tuned_{level}"]


@pytest.mark.usefixtures("best")
def test_an_unavailable_level_is_refused_with_the_available_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isa.VARIABLE, "v9")
    with pytest.raises(BackendUnavailable, match=", ".join(isa.levels())) as caught:
        pyfnn.load_backend("cpp-tuned")
    assert "PYFNN_ISA=v9" in caught.value.reason
    assert caught.value.remedy == "unset PYFNN_ISA"


# The binding ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bound:
    """A model or ensemble of the binding, and arrays that its `load` accepts."""

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
def test_the_binding_refuses_data_that_it_would_have_to_copy(
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


def test_an_unknown_name_raises_a_python_error_in_the_binding(native: ModuleType) -> None:
    theta = np.zeros(SMALL.n_parameters, "f4")
    with pytest.raises(ValueError, match="swish"):
        native.Mlp32(SIZES, [("swish", 0.0), ("identity", 0.0)], "squared_error", 0.0, theta, 1)


def test_a_model_returns_copies(best: Backend) -> None:
    start = initialize(SMALL, 1)
    with loaded(best, SMALL) as model:
        model.theta()[:] = 7
        model.forward(0, 4)[:] = 7
        assert np.array_equal(model.theta(), start)


@pytest.mark.parametrize("call", ["forward", "loss_and_gradient", "train", "train one by one", "time", "many"])
def test_another_thread_advances_during_a_call(best: Backend, call: str) -> None:
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
            "time": lambda: model._time("forward", 0, rows, 4, np.zeros(1, np.int64)),
            "many": lambda: many._train(0, 2 * rows, 32, np.full(3, 1e-3)),
        }[call]
        work()  # allocates the workspace
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
  const std::vector<fnn::LayerFunction> functions{{"tanh", 0}, {"softmax", 0}};
  const std::vector<float> theta(301 * 200 + 201 * 3, 0.01f), x(80 * 300, 1.0f), y(80 * 3, 0.5f);
  const std::vector<std::int64_t> order(160, 7);
  const std::vector<std::int64_t> probes{7, 0, 191};
  std::vector<float> outputs(80 * 3), gradient(theta.size());
  Pool pool(2);
  count([&] {
    Mlp<float> mlp(sizes, functions, "softmax_cross_entropy", 0.1, theta.data(), &pool);
    mlp.load(std::make_shared<Data<float>>(x.data(), y.data(), 80, 300, 3), order.data(), order.size());
    mlp.prepare(160, 64);
    mlp.prepare(160, 1);
    mlp.loss_and_gradient(0, 64, gradient.data());
    mlp.timed_pass(fnn::Operation::forward, 0, 64, 1, probes.data(), probes.size());
    count([&] { mlp.train(0, 160, 64, 0.1f); });
    count([&] { mlp.train(0, 60, 1, 0.1f); });
    count([&] { mlp.train(3, 90, 30, 0.1f); });
    count([&] { mlp.timed_pass(fnn::Operation::forward, 0, 64, 5, probes.data(), probes.size()); });
    count([&] { mlp.timed_pass(fnn::Operation::gradient, 0, 60, 5, probes.data(), probes.size()); });
    count([&] { mlp.outputs(2, 64, outputs.data()); });
    count([&] { mlp.loss_and_gradient(2, 64, gradient.data()); });
  });
}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc lets a program replace aligned_alloc")
def test_a_step_allocates_nothing(tmp_path: Any) -> None:
    *steps, everything = native_code.allocations(tmp_path, ALLOCATIONS)
    assert everything > 20, "the counter detects no allocation"
    assert steps == [0] * 7, "a call with prepared sizes allocates"


def test_closed_models_leave_no_memory_behind(best: Backend) -> None:
    network = Network((50, 50, 50), "tanh", "squared_error")
    process = psutil.Process()

    def use() -> int:
        with loaded(best, network, 20000, threads=2) as model:
            for rows in (10, 5000, 20000):
                model.time("gradient", 0, rows, 1)
        with suppress(AttributeError):  # only glibc has it; otherwise what is free in its arenas counts as used
            ctypes.CDLL(None).malloc_trim(0)
        return int(process.memory_info().rss)

    use()
    baseline = use()
    for _ in range(7):
        use()
    grown = min(use() for _ in range(4)) - baseline  # a leak never shrinks
    least = 8 * 20000 * 50 * 4  # of a leak: the inputs of each model
    assert grown < least / 2, f"eight models later {grown / 1e6:.0f} MB more are in use"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count page faults in other ways")
def test_models_one_after_the_other_take_no_new_memory_of_the_system(best: Backend) -> None:
    network = Network((11, 100, 1), "tanh", "squared_error")

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt  # of pages that the system had to clear

    def use() -> None:
        with loaded(best, network, 2000, threads=1) as model:  # x takes 128 KB, of a slab
            model.train(0, 200, 50, 0.01)

    for _ in range(3):
        use()
    taken = []
    for _ in range(4):
        before = faults()
        for _ in range(50):
            use()
        taken.append(faults() - before)
    assert min(taken) < 50  # in one of them the heap of earlier tests may shrink and grow
