"""Claims about cpp-blas: its library and kernels, its threads, the remedy without a library.

test_library_products has what it shares with cpp-mkl and cpp-xsmm.
"""

import ctypes.util
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.requirements import require
from threadpoolctl import ThreadpoolController

import pyfnn
from pyfnn import compiled, isa, registry
from pyfnn.backend import Backend
from pyfnn.backends import blas
from pyfnn.errors import BackendUnavailable, InvalidInput
from pyfnn.model import Model
from pyfnn.network import Network, initialize

NETWORK = Network((30, 40, 20), "tanh", "squared_error")


@pytest.fixture(scope="module")
def backend() -> Backend:
    try:
        return pyfnn.load_backend("cpp-blas")
    except BackendUnavailable as error:
        require("cpp-blas", False, str(error))
        raise


def loaded(backend: Backend, threads: int, rows: int = 64) -> Model:
    rng = np.random.default_rng(0)
    model = backend.create(NETWORK, initialize(NETWORK, 0), threads)
    model.load(rng.normal(size=(rows, 30)).astype("f4"), rng.normal(size=(rows, 20)).astype("f4"), np.arange(rows))
    return model


def described(**environment: str) -> str:
    """Return the flags that a new process reports with additional environment variables."""
    code = "import pyfnn; print(pyfnn.load_backend('cpp-blas').description.flags)"
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env={**os.environ, **environment}, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_description_names_the_library_its_version_and_its_kernels(backend: Backend) -> None:
    flags = backend.description.flags
    assert flags.startswith(compiled.build_info().CXX_FLAGS)
    assert "; OpenBLAS " in flags
    assert " kernels" in flags
    assert backend.description.compiler == compiled.build_info().CXX_COMPILER


@pytest.mark.usefixtures("backend")
def test_kernels_requested_before_the_process_starts_are_used_and_reported() -> None:
    require("x86-64-v3", "v3" in isa.levels(), "OPENBLAS_CORETYPE=Haswell needs a CPU with AVX2")
    flags = described(OPENBLAS_CORETYPE="Haswell")
    assert "; Haswell kernels" in flags
    assert ("though this CPU has AVX-512: try OPENBLAS_CORETYPE=SkylakeX" in flags) == (isa.best() == "v4")
    if isa.best() == "v4":
        assert described(OPENBLAS_CORETYPE="SkylakeX").endswith("; SkylakeX kernels")


def test_the_library_reports_the_requested_threads(backend: Backend) -> None:
    assert isinstance(backend, blas.Blas)
    library = backend._library
    with loaded(backend, 1) as one, loaded(backend, 2) as two:
        assert (one.threads, two.threads) == (1, 2)
        calls: tuple[Callable[[Model], object], ...] = (
            lambda m: m.forward(0, 8),
            lambda m: m.loss_and_gradient(0, 8),
            lambda m: m.train(0, 64, 8, 1e-3),
            lambda m: m.time("forward", 0, 8, 2),
        )
        for model in (one, two, one):
            for call in calls:
                library.set_threads(3)
                call(model)
                assert library.threads() == model.threads


def test_no_more_threads_are_reported_than_the_library_allows(backend: Backend) -> None:
    with loaded(backend, 4096) as model:
        assert 1 <= model.threads < 4096
        model.train(0, 64, 8, 1e-3)
    with loaded(backend, 1) as model:
        assert model.threads == 1


def test_zero_threads_are_refused(backend: Backend) -> None:
    with pytest.raises(InvalidInput, match="threads = 0"):
        backend.create(NETWORK, initialize(NETWORK, 0), 0)


def test_the_thread_count_of_numpys_blas_does_not_change(backend: Backend) -> None:
    def numpy_threads() -> dict[str, int]:
        found = ThreadpoolController().select(user_api="blas").lib_controllers
        return {lib.filepath: lib.num_threads for lib in found if "numpy" in lib.filepath}

    before = numpy_threads()
    with loaded(backend, 2) as model:
        model.train(0, 64, 8, 1e-3)
        assert numpy_threads() == before


def test_without_a_library_the_backend_is_unavailable_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "scipy_openblas32", None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    with pytest.raises(BackendUnavailable, match="no OpenBLAS is found") as caught:
        blas.find_library()
    assert "pip install scipy-openblas32" in caught.value.remedy
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: "libopenblas.so.0")
    assert blas.find_library() == "libopenblas.so.0"


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("what", ["nothing", "text", "another library"])
def test_a_file_that_is_not_openblas_is_refused_by_name(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "libmine.so"
    if what == "text":
        file.write_text("no library")
    elif what == "another library":
        file.symlink_to(str(importlib.import_module("pyfnn._cpu").__file__))
    monkeypatch.setenv(blas.VARIABLE, str(file))
    with pytest.raises(BackendUnavailable, match="is no OpenBLAS with 32-bit sizes") as caught:
        registry.load_backend("cpp-blas")
    assert str(file) in caught.value.reason
    assert caught.value.remedy == f"name another in {blas.VARIABLE}, or none"
