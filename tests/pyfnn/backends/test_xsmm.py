"""Claims about cpp-xsmm: its library and kernels, every shape of product, what it lacks, the remedy.

Agreement on random networks is tested for all backends in test_parity.
"""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from support.requirements import require

import pyfnn
from pyfnn import compiled, parity, programs, registry
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.network import Network, initialize

ROW = registry.find("cpp-xsmm")
# Less than a vector register, one and one more, more than one block of a kernel, and one of many.
WIDTHS = st.sampled_from([1, 2, 3, 15, 16, 17, 63, 64, 130, 300])


@pytest.fixture(scope="module")
def backend() -> Backend:
    try:
        return pyfnn.load_backend("cpp-xsmm")
    except BackendUnavailable as error:
        require("cpp-xsmm", False, str(error))
        raise


def test_the_description_names_the_library_its_version_and_its_kernels(backend: Backend) -> None:
    flags = backend.description.flags
    assert flags.startswith(compiled.build_info().CXX_FLAGS)
    assert re.search(r"; LIBXSMM \d+\.\d+\S*; kernels for \w+, generated for each shape$", flags)
    assert backend.description.compiler == compiled.build_info().CXX_COMPILER


def test_a_model_has_one_thread_whatever_is_asked_for(backend: Backend) -> None:
    network = Network((3, 2), "tanh", "squared_error")
    with backend.create(network, initialize(network, 0), 2) as model:
        assert model.threads == 1


@settings(deadline=None, max_examples=40, print_blob=True)
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_the_widest_workloads_have_kernels(backend: Backend, dtype: str) -> None:
    network = Network((1024, 2048, 10), "relu", "half_squared_error", dtype=dtype)
    x, y = np.ones((512, 1024), dtype), np.zeros((512, 10), dtype)
    with backend.create(network, initialize(network, 0), 1) as model:
        model.load(x, y, np.arange(512))
        model.train(0, 512, 512, 1e-3)
        assert np.isfinite(model.theta()).all()


def test_without_libxsmm_the_backend_is_unavailable_with_the_remedy() -> None:
    """The header's name is another one, as where it is absent."""
    assert ROW.probe is not None
    absent = replace(ROW, probe=ROW.probe.replace("libxsmm_version", "no_such_header"))
    with pytest.raises(BackendUnavailable, match="no_such_header") as caught:
        registry.load(absent)
    assert "apt install libxsmm-dev" in caught.value.remedy


@pytest.mark.usefixtures("backend")
def test_a_library_that_is_not_libxsmm_is_refused_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)
    other = replace(ROW, build="echo 'int mine;' | cc -shared -fPIC -x c - -o {build}/libxsmm.so")
    with pytest.raises(BackendUnavailable, match=r"libxsmm\.so is no LIBXSMM that runs here: it has no libxsmm_"):
        registry.load(other)


@pytest.mark.usefixtures("backend")
def test_the_library_can_be_opened_again_after_its_last_use() -> None:
    """In a process of its own, because LIBXSMM crashed there."""
    code = """
import gc, numpy, pyfnn
from pyfnn.network import Network, initialize
network = Network((3, 2), "tanh", "squared_error")
for _ in range(3):
    backend = pyfnn.load_backend("cpp-xsmm")
    with backend.create(network, initialize(network, 0), 1) as model:
        model.predict(numpy.ones((2, 3), "f4"))
    del backend, model
    gc.collect()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
