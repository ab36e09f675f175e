"""The CUDA kernels of native/c_cuda compiled for the CPU (tests/cuda_on_cpu) and hosted, and work for them to do."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cuda_on_cpu
import numpy as np
import pytest
from cuda_on_cpu import Device

from pyfnn import parity, registry
from pyfnn.backend import Backend
from pyfnn.manifest import Row, native_folder
from pyfnn.network import Network, initialize
from pyfnn.validation import Array
from support.requirements import require
from support.strategies import targets

SOURCES = native_folder() / "c_cuda"
_LIMIT = re.compile(r"#define FNN_PERSISTENT_OPERATIONS (\S+)")
PATHS = {  # the two ways to train, and their FNN_PERSISTENT_OPERATIONS: the one that is shipped, and none
    "persistent": float(_LIMIT.findall((SOURCES / "persistent_plan.hpp").read_text(encoding="utf-8"))[0]),
    "spread": 0.0,
}
NETWORK = Network((5, 4, 9, 3), "relu", "softmax_cross_entropy", l2=0.01)


def require_gcc() -> None:
    """Skip the test without g++."""
    require("g++", cuda_on_cpu.compiler() is not None, "install GCC's C++ compiler and binutils")


@dataclass(frozen=True)
class Hosted:
    """A library of the kernels, and the device that it runs on."""

    backend: Backend
    device: Device


def host(library: Path) -> Hosted:
    """Host a compiled library."""
    device = Device(library)
    row = Row(name="cuda", language="CUDA", division="tuned", host="pyfnn.backends.c:Library", library=str(library))
    return Hosted(registry.load(row), device)


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the session's folder of compiled libraries, one for all test files and all processes that run them."""
    require_gcc()
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cuda_on_cpu"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a shared folder: its libraries have object files in common."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compiled(folder: Path, name: str, source: Path | Callable[[], Path], *flags: str) -> Path:
    """Return a library of a shared folder; if it is absent, compile it from a .cu file or from what makes one."""
    library = folder / f"{name}.so"
    with _alone(folder):
        if not library.exists():
            made = source if isinstance(source, Path) else source()
            cuda_on_cpu.link_library(library, cuda_on_cpu.compile_object(library.with_suffix(".o"), made, *flags))
    return library


@cache
def compiled_kernels(folder: Path, path: str) -> Hosted:
    """Compile the kernels once for all of `PATHS`, link them for one of these, and host them."""
    library, kernels = folder / f"{path}.so", folder / "kernels.o"
    with _alone(folder):
        if not kernels.exists():
            cuda_on_cpu.compile_object(kernels, cuda_on_cpu.HERE / "limited.cu", f"-I{SOURCES}")
        if not library.exists():
            limit = folder / f"{path}.cpp"
            limit.write_text(f"extern const double persistent_operations = {PATHS[path]};\n", encoding="utf-8")
            cuda_on_cpu.link_library(library, kernels, limit)
    return host(library)


def clean(folder: Path, path: str) -> Iterator[Hosted]:
    """Yield the kernels of one path; afterwards no mistake may be found, and nothing may be left on the device."""
    hosted = compiled_kernels(folder, path)
    hosted.device.reset()
    yield hosted
    assert hosted.device.findings == []
    assert hosted.device.left == []


@cache
def battery(network: Network, batch: int) -> list[parity.Trial]:
    """Return a parity battery for one network."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(24 + 8 * batch, network.sizes[0])).astype(network.dtype)
    return parity.battery(network, initialize(network, 2), x, targets(network, len(x), rng), batch)


@cache
def many_battery(network: Network, members: int, batch: int) -> list[parity.ManyTrial]:
    """Return a parity battery for `members` networks at once."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(24 + 8 * batch, network.sizes[0])).astype(network.dtype)
    thetas = np.stack([initialize(network, seed) for seed in range(members)])
    l2 = np.linspace(0.0, 0.05, members)
    return parity.many_battery(network, thetas, l2, x, targets(network, len(x), rng), batch)


def data(network: Network, rows: int = 12) -> tuple[Array, Array, Array]:
    """Return x: (rows, m_0), y: (rows, m_L) and an order of 2 * rows row numbers."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    return x, targets(network, rows, rng), rng.integers(rows, size=2 * rows)


def everything(hosted: Hosted, network: Network = NETWORK) -> list[Array]:
    """Return all that a model and an ensemble compute, with batches of one, of several, and a short last one."""
    x, y, order = data(network)
    theta = initialize(network, 2)
    got = []
    with hosted.backend.create(network, theta) as model:
        model.load(x, y, order)
        got += [model.forward(2, 9), model.loss_and_gradient(1, 10)[1]]
        for batch in (1, 5):
            model.train(1, 13, batch, 0.05)
            got.append(model.theta())
        for operation in ("forward", "gradient"):
            model.time(operation, 0, 7, 3)
            got.append(np.array(model.checksum))
        model.reset()
        got.append(model.theta())
    with hosted.backend.create_many(network, np.stack([theta, -theta]), np.array([0.0, 0.1])) as many:
        many.load(x, y, np.stack([order, order[::-1]]))
        for batch in (1, 4):
            many.train(1, 9, batch, np.array([0.05, 0.02]))
            got.append(many.thetas())
    return got
