"""Claims about cpp-xsmm: its library and kernels, what it lacks, the remedy.

test_library_products has what it shares with cpp-blas and cpp-mkl.
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
from support.requirements import require

import pyfnn
from bench.machine import availability
from bench.suites.load import built_in_workloads
from pyfnn import compiled, programs, registry
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row
from pyfnn.network import initialize
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, norm, scale

ROW = registry.find("cpp-xsmm")


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
