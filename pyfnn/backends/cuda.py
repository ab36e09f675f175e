"""The CUDA backends: kernels of native/c_cuda, compiled if nvcc was found, with or without cuBLAS.

`pyfnn.backends.c` hosts the libraries; no mathematics here.
"""

import ctypes
import importlib.util
import os
from pathlib import Path
from typing import ClassVar

from pyfnn import compiled
from pyfnn.backends.c import Library
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row

VARIABLE = "PYFNN_CUBLAS"


class Cuda(Library):
    """CUDA kernels with their own matrix products, on the device that `PYFNN_CUDA_DEVICE` names.

    Parameters
    ----------
    row : Row

    Raises
    ------
    BackendUnavailable
        The kernels are not compiled or are stale; or there is no driver, no device, or not the named one.
    """

    target: ClassVar[str] = "fnn_cuda"

    def __init__(self, row: Row) -> None:
        info = compiled.build_info()
        if self.target not in info.SOURCES:
            raise BackendUnavailable(f"its kernels are not compiled here (CUDA: {info.CUDA})")
        super().__init__(row)


class CudaBlas(Cuda):
    """CUDA kernels with their matrix products through cuBLAS.

    The library is the file that `PYFNN_CUBLAS` names, the wheel nvidia-cublas or nvidia-cublas-cu12, or the system's.

    Parameters
    ----------
    row : Row

    Raises
    ------
    BackendUnavailable
        As `Cuda`, or there is no cuBLAS.
    """

    target: ClassVar[str] = "fnn_cuda_blas"

    def __init__(self, row: Row) -> None:
        if path := find_cublas():
            try:
                ctypes.CDLL(str(path))  # the kernels then find it by its name
            except OSError as error:
                raise BackendUnavailable(
                    f"{path} is no cuBLAS that can be loaded: {error}", f"name another in {VARIABLE}, or none"
                ) from None
        super().__init__(row)


def find_cublas() -> Path | None:
    """Return the file that `PYFNN_CUBLAS` names, or the wheel's; None leaves the search to the system."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    found = [path for folder in folders for path in folder.glob("*/lib/libcublas.so.1[23]")]
    return max(found, key=lambda path: path.name, default=None)  # CUDA 13's before 12's
