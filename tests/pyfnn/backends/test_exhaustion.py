"""Claims about native backends without memory: every failed allocation is a MemoryError, and nothing is left behind.

An allocation fails by a preloaded library, so that this is about the compiled modules themselves.
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.fnn_libraries import HERE, compiler
from support.requirements import require

from pyfnn import load_backend
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable
from pyfnn.network import Network, initialize

MODULES = {"c": "libfnn_c", "cpp": "_cpp.", "cpp-tuned": "_tuned_", "cpp-blas": "_cpp.", "cpp-xsmm": "_cpp."}

SCRIPT = """
import ctypes, sys
import numpy as np
from pyfnn import Network, initialize, load_backend

name, module, what = sys.argv[1:]
network = Network((20, 30, 30, 10), "tanh", "squared_error", dtype="float64")
theta = initialize(network, 0)
rng = np.random.default_rng(0)
x, y, order = rng.normal(size=(64, 20)), rng.normal(size=(64, 10)), rng.integers(0, 64, 100)
backend = load_backend(name)
hooks = ctypes.CDLL(None)
hooks.fail_after.argtypes = [ctypes.c_int64]
threads = 2 if name == "cpp-tuned" else 1

def create():
    return backend.create(network, theta, threads)

def create_many():
    return backend.create_many(network, np.stack([theta, theta]), threads=threads)

def sound(model):
    model.load(x, y, order)
    return model.forward(0, 8).tobytes() + model.theta().tobytes()

create().close()
assert hooks.watch(module.encode()) > 0
with create() as model:
    expected = sound(model)
calls = {"create": lambda _: create().close(), "create_many": lambda _: create_many().close(),
         "load": lambda m: m.load(x, y, order), "forward": lambda m: m.forward(0, 64),
         "gradient": lambda m: m.loss_and_gradient(0, 64), "train": lambda m: m.train(0, 100, 64, 0.001)}
failures = 0
for left in range(500):
    with create() as model:
        if what not in ("create", "create_many", "load"):
            model.load(x, y, order)
        hooks.fail_after(left)
        try:
            calls[what](model)
        except MemoryError as error:
            hooks.fail_after(-1)
            failures += 1
            if what == "train":
                model.reset()  # the copy of theta that is checked after a training may be what fails
            assert sound(model) == expected, "a failed call changed the model"
        else:
            break
        finally:
            hooks.fail_after(-1)
print(failures)
"""


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("linux", sys.platform == "linux", "the preloaded library is for glibc")
    library = tmp_path_factory.mktemp("failing") / "libfailing.so"
    source = HERE / "failing_allocations.c"
    subprocess.run([compiler(), "-O1", "-fPIC", "-shared", "-fno-builtin", str(source), "-o", str(library)], check=True)
    return library


def backend(name: str) -> Backend:
    try:
        return load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise


@pytest.mark.parametrize("what", ["create", "create_many", "load", "forward", "gradient", "train"])
@pytest.mark.parametrize("name", MODULES)
def test_every_allocation_that_fails_is_a_memory_error_and_changes_nothing(
    name: str, what: str, preloaded: Path
) -> None:
    backend(name)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, MODULES[name], what],
        env={**os.environ, "LD_PRELOAD": str(preloaded)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= (3 if what.startswith("create") else 1), "no allocation failed"


@pytest.mark.soak
@pytest.mark.parametrize("name", [*MODULES, "numpy"])
def test_a_hundred_thousand_models_leave_no_memory_behind(name: str) -> None:
    network = Network((11, 50, 30, 1), "tanh", "squared_error")
    theta, maker, process = initialize(network, 0), backend(name), psutil.Process()
    resident: list[int] = []
    for number in range(100_000):
        maker.create(network, theta).close()
        if number % 10_000 == 9_999:
            resident.append(process.memory_info().rss)
    assert resident[-1] - resident[0] < 1 << 20, f"{(resident[-1] - resident[0]) / 90_000:.1f} bytes a model are left"
