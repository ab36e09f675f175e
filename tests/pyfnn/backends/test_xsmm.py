"""Claims about cpp-xsmm: its library and kernels, every shape of product, what it lacks, the remedy.

Agreement on random networks is tested for all backends in test_parity.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from support.requirements import require

import pyfnn
from bench.machine import availability
from bench.suites.load import built_in_workloads
from pyfnn import compiled, parity, programs, registry
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.manifest import Row
from pyfnn.network import Network, initialize
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, norm, scale

ROW = registry.find("cpp-xsmm")
# Less than a vector register, one and one more, and more than one block: of 128 rows, or of 128 or 256 columns.
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


def test_a_model_has_one_thread_when_more_are_asked_for(backend: Backend) -> None:
    network = Network((3, 2), "tanh", "squared_error")
    with backend.create(network, initialize(network, 0), 2) as model:
        assert model.threads == 1


@settings(max_examples=20)
@given(
    sizes=st.lists(WIDTHS, min_size=2, max_size=4),
    batch=st.sampled_from([1, 2, 7, 33, 129]),
    dtype=st.sampled_from(["float32", "float64"]),
    l2=st.sampled_from([0.0, 0.01]),
    seed=st.integers(0, 1000),
)
def test_every_shape_of_product_agrees_with_the_oracle(
    backend: Backend, sizes: list[int], batch: int, dtype: str, l2: float, seed: int
) -> None:
    network = Network(tuple(sizes), "tanh", "half_squared_error", l2=l2, dtype=dtype)
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(300, sizes[0])).astype(dtype), rng.normal(size=(300, sizes[-1])).astype(dtype)
    try:
        battery = parity.battery(network, initialize(network, seed), x, y, batch)
    except Unsupported:  # rounding errors grow too fast for a verdict
        reject()
    evidence = parity.examine(lambda network, theta: backend.create(network, theta, 1), battery)
    assert evidence.passed, str(evidence.worst)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_the_widest_workload_have_kernels(backend: Backend, dtype: str) -> None:
    workload, rng = built_in_workloads()["wide"], np.random.default_rng(0)
    network = workload.network(dtype)
    theta, rows = initialize(network, 0), workload.batch
    x, y = (rng.normal(size=(rows, m)).astype(dtype) for m in (network.sizes[0], network.sizes[-1]))
    with backend.create(network, theta, 1) as model, pyfnn.load_backend("cpp").create(network, theta) as other:
        found = []
        for each in (model, other):
            each.load(x, y, np.arange(rows))
            found.append(each.loss_and_gradient(0, rows)[1].astype(np.float64))
    size = scale(network, theta, x, y)
    allowed = 2 * C * UNIT_ROUNDOFF[dtype] * norm(size.gradient + size.kinks)  # each may be off by half of it
    assert norm(found[0] - found[1]) <= allowed


@pytest.mark.parametrize("use", [registry.load, programs.build, availability.availability_of])
def test_another_version_is_refused_before_it_is_linked(use: Callable[[Row], object]) -> None:
    assert ROW.probe is not None
    other = replace(ROW, probe=ROW.probe.replace("cc -E -dM -", "sed 's/.*/_CONFIG_VERSION 2.0/'"))
    with pytest.raises(BackendUnavailable, match=r"LIBXSMM 1\.17 is needed") as caught:
        use(other)
    assert "libxsmm-dev" in caught.value.remedy


@pytest.mark.usefixtures("backend")
def test_a_cpu_without_kernels_is_refused_before_a_network_is_made() -> None:
    """LIBXSMM reads its variable once, so this takes a process of its own."""
    code = "import pyfnn; pyfnn.load_backend('cpp-xsmm')"
    environment = {**os.environ, "LIBXSMM_TARGET": "generic"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "BackendUnavailable" in done.stderr
    assert "it generates no kernels for" in done.stderr


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
    """LIBXSMM 1.17 crashes when it is unloaded and opened again, so this takes a process of its own."""
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
