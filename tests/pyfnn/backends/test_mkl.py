"""Claims about cpp-mkl: its library and kernels, the remedy.

test_library_products has what it shares with cpp-blas and cpp-xsmm.
"""

import ctypes.util
import importlib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from support.requirements import require

import pyfnn
from pyfnn import compiled, registry
from pyfnn.backend import Backend
from pyfnn.backends import mkl
from pyfnn.errors import BackendUnavailable
from pyfnn.model import Model
from pyfnn.network import Network, initialize


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
