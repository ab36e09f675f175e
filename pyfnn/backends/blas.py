"""C++ over CBLAS: native/cpp/blas.hpp, through the extension module `_cpp`. No mathematics here.

This module finds the OpenBLAS library, which `_cpp` opens at run time.
"""

import ctypes.util
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfnn import isa
from pyfnn.backend import Backend
from pyfnn.backends.cpp import CppModel, describe, extension, opened
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

if TYPE_CHECKING:
    from pyfnn.backends._cpp import OpenBlas

VARIABLE = "PYFNN_OPENBLAS"
_AVX512_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")


def find_library() -> str:
    """Find the OpenBLAS library: that of `PYFNN_OPENBLAS`, else of the wheel scipy-openblas32, else the system's.

    Returns
    -------
    str
        A path, or a name that the dynamic linker resolves.

    Raises
    ------
    BackendUnavailable
        None of the three exists.
    """
    if named := os.environ.get(VARIABLE):
        return named
    try:
        wheel = importlib.import_module("scipy_openblas32")
    except ImportError:
        if system := ctypes.util.find_library("openblas"):
            return system
        reason = "no OpenBLAS is found, neither that of the wheel scipy-openblas32 nor the system's"
        raise BackendUnavailable(reason, f"pip install scipy-openblas32, or name the library in {VARIABLE}") from None
    return str(Path(wheel.get_lib_dir()) / wheel.get_library(fullname=True))


def open_library() -> "OpenBlas":
    """Open the OpenBLAS of `find_library`; raise `BackendUnavailable` where there is none, or none that fits."""
    library: OpenBlas = opened(extension().OpenBlas, find_library(), "OpenBLAS with 32-bit sizes", VARIABLE)
    return library


class Blas(Backend):
    """The plain C++ network with its matrix products through OpenBLAS.

    OpenBLAS chooses its kernels for the CPU; `OPENBLAS_CORETYPE`, set before the process starts, overrides its choice.

    Parameters
    ----------
    row : Row
        The backend's row in backend.toml.

    Raises
    ------
    BackendUnavailable
        The extension module is absent or stale, or there is no OpenBLAS with 32-bit sizes.
    """

    def __init__(self, row: Row) -> None:
        self._module, library = extension(), open_library()
        flags = f"{isa.flags()}; {library.config()}; {_kernels(library)}"
        super().__init__(describe(row, flags))
        self._library = library

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return BlasModel(network, theta, threads, self._module, self._library)


def _kernels(library: "OpenBlas") -> str:
    core = library.core()
    unused = isa.best() == "v4" and core not in _AVX512_KERNELS
    return f"{core} kernels" + (", though this CPU has AVX-512: try OPENBLAS_CORETYPE=SkylakeX" if unused else "")


class BlasModel(CppModel):
    """A network whose products OpenBLAS computes.

    OpenBLAS has one number of threads for the whole process, and other models may change it: each call sets it again.
    """

    def __init__(self, network: Network, theta: Array, threads: int, module: Any, library: "OpenBlas") -> None:
        super().__init__(network, theta, threads, module, library)
        self._library, self._asked = library, threads
        self._use_threads()

    def _use_threads(self) -> None:
        self._library.set_threads(self._asked)
        self.threads = self._library.threads()

    def _forward(self, first: int, count: int) -> Array:
        self._use_threads()
        return super()._forward(first, count)

    def _forward_loss(self, first: int, count: int) -> float:
        self._use_threads()
        return super()._forward_loss(first, count)

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        self._use_threads()
        return super()._loss_and_gradient(first, count)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        self._use_threads()
        return super()._train(first, count, batch_size, learning_rate)

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        self._use_threads()
        return super()._train_with(first, count, batch_size, learning_rate)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        self._use_threads()
        return super()._time(operation, first, count, repeats, probes)
