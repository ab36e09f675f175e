"""C++ over MKL: native/cpp/mkl.hpp, through the extension module `_cpp`. No mathematics here.

This module finds Intel's MKL, which `_cpp` opens at run time.
"""

import ctypes.util
import os
from importlib import metadata
from typing import TYPE_CHECKING

from pyfnn import isa
from pyfnn.backend import Backend
from pyfnn.backends.cpp import CppModel, describe, extension, opened
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.validation import Array

if TYPE_CHECKING:
    from pyfnn.backends._cpp import Mkl as MklLibrary

VARIABLE = "PYFNN_MKL"
# MKL_CBWR_... of mkl_types.h: the kernels that MKL chooses for a CPU.
_BRANCHES = {
    3: "compatible (SSE2)",
    4: "SSE2",
    6: "SSSE3",
    7: "SSE4.1",
    8: "SSE4.2",
    9: "AVX",
    10: "AVX2",
    12: "AVX-512",
    14: "AVX-512",  # E1, which adds VNNI
}


def find_library() -> str:
    """Find MKL's single dynamic library: that of `PYFNN_MKL`, else of the wheel mkl, else the system's.

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
    for file in _files_of_wheel():
        if file.name.startswith("libmkl_rt.so"):
            return str(file.locate())
    if system := ctypes.util.find_library("mkl_rt"):
        return system
    reason = "no MKL is found, neither that of the wheel mkl nor the system's"
    raise BackendUnavailable(reason, f"pip install 'pyfnn[mkl]' (on x86-64), or name libmkl_rt in {VARIABLE}")


def _files_of_wheel() -> list[metadata.PackagePath]:
    try:
        return metadata.files("mkl") or []
    except metadata.PackageNotFoundError:
        return []


def open_library() -> "MklLibrary":
    """Open the MKL of `find_library`; raise `BackendUnavailable` where there is none, or none that runs here."""
    library: MklLibrary = opened(extension().Mkl, find_library(), "MKL that runs here", VARIABLE)
    return library


class Mkl(Backend):
    """The plain C++ network with its matrix products through MKL, on one thread.

    MKL generates a kernel for each shape of product. It chooses its instructions by CPU, and on CPUs that are not
    Intel's it can choose older ones than the CPU has. The flags name them.

    Parameters
    ----------
    row : Row
        The backend's row in backend.toml.

    Raises
    ------
    BackendUnavailable
        The extension module is absent or stale, or there is no MKL.
    """

    def __init__(self, row: Row) -> None:
        self._module, library = extension(), open_library()
        branch = library.branch()
        kernels = f"{_BRANCHES.get(branch, f'branch {branch}')} kernels, generated for each shape"
        super().__init__(describe(row, f"{isa.flags()}; {library.version()}; {kernels}"))
        self._library = library

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return CppModel(network, theta, threads, self._module, self._library)
