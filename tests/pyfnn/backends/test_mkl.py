"""Claims about cpp-mkl: its library and kernels, every shape of product, steps inside the products, the remedy.

Agreement on random networks is tested for all backends in test_parity.
"""

import ctypes.util
import importlib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from support.requirements import require

import pyfnn
from pyfnn import compiled, oracle, parity, registry
from pyfnn.backend import Backend
from pyfnn.backends import mkl
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.model import Model
from pyfnn.network import Network, initialize

# Small ones, for which MKL generates kernels, and one for which it may not.
WIDTHS = st.sampled_from([1, 2, 3, 15, 16, 17, 63, 64, 130, 300])


@pytest.fixture(scope="module")
def backend() -> Backend:
    try:
        return pyfnn.load_backend("cpp-mkl")
    except BackendUnavailable as error:
        require("cpp-mkl", False, str(error))
        raise


def loaded(backend: Backend, network: Network, rows: int = 64) -> Model:
    rng = np.random.default_rng(0)
    model = backend.create(network, initialize(network, 0), 1)
    x, y = (rng.normal(size=(rows, m)).astype(network.dtype) for m in (network.sizes[0], network.sizes[-1]))
    model.load(x, y, np.arange(rows))
    return model


def test_the_description_names_the_library_its_version_and_its_kernels(backend: Backend) -> None:
    flags = backend.description.flags
    assert flags.startswith(compiled.build_info().CXX_FLAGS)
    assert "Math Kernel Library Version " in flags
    assert flags.endswith(" kernels, generated for each shape")
    assert backend.description.compiler == compiled.build_info().CXX_COMPILER


def test_a_model_has_one_thread_whatever_is_asked_for(backend: Backend) -> None:
    network = Network((3, 2), "tanh", "squared_error")
    with backend.create(network, initialize(network, 0), 2) as model:
        assert model.threads == 1


@settings(max_examples=60)
@given(
    sizes=st.lists(WIDTHS, min_size=2, max_size=4),
    batch=st.sampled_from([1, 2, 7, 16, 33]),
    dtype=st.sampled_from(["float32", "float64"]),
    l2=st.sampled_from([0.0, 0.01]),
    seed=st.integers(0, 1000),
)
def test_every_shape_of_product_agrees_with_the_oracle(
    backend: Backend, sizes: list[int], batch: int, dtype: str, l2: float, seed: int
) -> None:
    network = Network(tuple(sizes), "tanh", "half_squared_error", l2=l2, dtype=dtype)
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(80, sizes[0])).astype(dtype), rng.normal(size=(80, sizes[-1])).astype(dtype)
    try:
        battery = parity.battery(network, initialize(network, seed), x, y, batch)
    except Unsupported:  # rounding errors grow too fast for a verdict
        reject()
    evidence = parity.examine(lambda network, theta: backend.create(network, theta, 1), battery)
    assert evidence.passed, str(evidence.worst)


@pytest.mark.parametrize("name", ["cpp-mkl", "cpp-blas", "cpp-xsmm"])
def test_a_decay_that_a_factor_of_the_weights_would_round_is_not_left_to_the_product(name: str) -> None:
    """The factor 1 - rate λ is 1 - 9e-8, which float32 rounds to 1 - 12e-8: after 2000 steps, 6e-5 of each weight."""
    try:
        backend = pyfnn.load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise
    rate, rows, steps = 1e-4, 16, 2000
    network = Network((4, 3), "identity", "half_squared_error", l2=9e-8 / rate)
    theta = 0.5 + initialize(network, 3) ** 2  # far from the smallest loss, and from 0
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(rows, m)).astype("f4") for m in (4, 3))
    order = np.tile(np.arange(rows), steps // 2)
    with backend.create(network, theta.astype("f4"), 1) as model:
        model.load(x, y, order)
        model.train(0, 8 * steps, 8, rate)
        found = model.theta()
    expected = oracle.train(network, theta.astype("f4").astype("f8"), x.astype("f8"), y.astype("f8"), order, 8, rate)
    assert np.abs(found / expected - 1)[:12].max() < 2e-5


def test_shapes_beyond_the_kernels_that_are_kept_are_computed_too(backend: Backend) -> None:
    """More batch sizes than kernels: the last ones go through gemm."""
    network = Network((5, 4, 3), "tanh", "half_squared_error")
    with loaded(backend, network, rows=100) as model:
        outputs = [model.forward(0, count) for count in range(1, 101)]
    for count, output in enumerate(outputs, 1):
        assert np.allclose(output, outputs[-1][:count], rtol=1e-5, atol=1e-6)


def test_without_a_library_the_backend_is_unavailable_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.delenv(mkl.VARIABLE, raising=False)
    monkeypatch.setattr(metadata, "files", absent)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    with pytest.raises(BackendUnavailable, match="no MKL is found") as caught:
        mkl.find_library()
    assert "pip install 'pyfnn[mkl]'" in caught.value.remedy
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: "libmkl_rt.so.2")
    assert mkl.find_library() == "libmkl_rt.so.2"


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("what", ["nothing", "text", "another library"])
def test_a_file_that_is_not_mkl_is_refused_by_name(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "libmine.so"
    if what == "text":
        file.write_text("no library")
    elif what == "another library":
        file.symlink_to(str(importlib.import_module("pyfnn._cpu").__file__))
    monkeypatch.setenv(mkl.VARIABLE, str(file))
    with pytest.raises(BackendUnavailable, match="is no MKL that runs here") as caught:
        registry.load_backend("cpp-mkl")
    assert str(file) in caught.value.reason
    assert caught.value.remedy == f"name another in {mkl.VARIABLE}, or none"
