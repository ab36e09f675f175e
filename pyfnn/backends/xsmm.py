"""C++ over LIBXSMM: native/cpp/xsmm.hpp, through the extension module `_cpp`. No mathematics here.

LIBXSMM is an archive. The row's build line makes a shared library of it at first use, in the user's cache.
"""

import re
from typing import TYPE_CHECKING

from pyfnn import isa, programs
from pyfnn.backend import Backend
from pyfnn.backends.cpp import CppModel, describe, extension
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.validation import Array

if TYPE_CHECKING:
    from pyfnn.backends._cpp import Xsmm as XsmmLibrary

_FILE = "libxsmm.so"  # of the build


def open_library(row: Row) -> "XsmmLibrary":
    """Build the row's library where that is necessary, and open it.

    Raises
    ------
    BackendUnavailable
        There is no compiler or no LIBXSMM 1.17 (the functions of another version may take other arguments), or it
        generates no kernels for this CPU.
    """
    module, path = extension(), programs.build(row).folder / _FILE
    try:
        library: XsmmLibrary = module.Xsmm(str(path))
    except RuntimeError as error:
        raise BackendUnavailable(f"{path} is no LIBXSMM that runs here: {error}") from None
    return library


def version(row: Row) -> str:
    """Return the version of LIBXSMM, from the answer to the row's probe."""
    found = re.search(r'CONFIG_VERSION "(\S+)"', programs.probe(row))
    assert found is not None  # the probe fails without it
    return found[1]


class Xsmm(Backend):
    """The plain C++ network with its matrix products through LIBXSMM, on one thread.

    With a single row, Δ Wᵀ is computed by the loops of `cpp`: LIBXSMM would need W transposed. LIBXSMM generates a
    kernel for each shape of product, for the CPU that `libxsmm_get_target_arch` names; `LIBXSMM_TARGET`, set before
    the process starts, overrides its choice.

    Parameters
    ----------
    row : Row
        The backend's row in backend.toml.

    Raises
    ------
    BackendUnavailable
        The extension module is absent or stale; or as for `open_library`.
    """

    def __init__(self, row: Row) -> None:
        self._module, self._library = extension(), open_library(row)
        kernels = f"kernels for {self._library.target()}, generated for each shape"
        super().__init__(describe(row, f"{isa.flags()}; LIBXSMM {version(row)}; {kernels}"))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return CppModel(network, theta, threads, self._module, self._library)
