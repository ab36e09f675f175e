"""Libraries behind fnn.h: C's, C's with its allocations counted, and one written from the header alone."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from pyfnn import registry
from pyfnn.backend import Backend
from pyfnn.backends import c
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row, native_folder
from pyfnn.model import Model
from pyfnn.network import Network
from support.requirements import require

HERE = Path(__file__).parent
SOURCES = native_folder() / "c_cuda"
NETWORK = Network((3, 4, 2), "tanh", "squared_error", dtype="float64")


def compiler() -> str:
    """Return the C compiler; skip the test without one."""
    found = shutil.which("cc")
    require("cc", found is not None, "install a C compiler, for instance gcc or clang")
    return str(found)


def compile_library(folder: Path, source: str, *flags: str) -> Path:
    """Compile one C file of this folder as `folder`/library.so."""
    library = folder / "library.so"
    options = ("-std=c11", "-O2", "-fPIC", "-shared", f"-I{SOURCES}")
    subprocess.run([compiler(), *options, *flags, str(HERE / source), "-o", str(library), "-lm"], check=True)
    return library


def row(library: Path) -> Row:
    """Return a manifest's row that names a library."""
    return Row(
        name="third",
        language="C",
        division="plain",
        host="pyfnn.backends.c:Library",
        library=library.name,
        manifest=library.parent / "backend.toml",
        remedy="ask its author",
    )


def third_party(folder: Path, *flags: str) -> Backend:
    """Host the library that was written from fnn.h alone, compiled with these flags."""
    return registry.load(row(compile_library(folder, "third_party.c", *flags)))


def data(network: Network, rows: int = 6, seed: int = 1) -> tuple[Any, Any, Any]:
    """Return x: (rows, m_0), y: (rows, m_L) and an order of 11 row numbers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    y = rng.uniform(size=(rows, network.sizes[-1])).astype(network.dtype)
    if network.loss == "softmax_cross_entropy":
        y = np.eye(network.sizes[-1], dtype=network.dtype)[rng.integers(0, network.sizes[-1], rows)]
    return x, y, rng.integers(0, rows, 11)


def load_c() -> Backend:
    """Load the backend `c`; skip the test where it is not compiled."""
    try:
        return registry.load_backend("c")
    except BackendUnavailable as error:
        require("c", False, str(error))
        raise


def raw(model: Model) -> tuple[Any, Any]:
    """Return the library and the handle of a hosted model, for calls that the host would not make."""
    assert isinstance(model, c.LibraryModel)
    return model._lib, model._handle


WRONG_SPELLINGS = ("tanh(1)", "leaky_relu()", "leaky_relu(x)", "elu(nan)", "elu(1e999)", "elu(1", "elu(1)(1)")


def create(lib: Any, **changes: Any) -> tuple[int, str]:
    """Return the status and the message of fnn_create for a valid 2-3-1 network with some fields changed."""
    ffi = c._ffi()
    fields: dict[str, Any] = {
        "n_layers": 2,
        "sizes": (2, 3, 1),
        "activations": ("tanh", "identity"),
        "loss": "squared_error",
        "l2": 0.0,
        "dtype": 1,
        "threads": 1,
    } | changes
    kept = [ffi.new("char[]", name.encode()) for name in fields["activations"]]
    loss = ffi.new("char[]", fields["loss"].encode())
    sizes, activations = ffi.new("int64_t[]", fields["sizes"]), ffi.new("char *[]", kept)
    network = ffi.new("fnn_network *", {**fields, "sizes": sizes, "activations": activations, "loss": loss})
    theta, handle = ffi.new("double[13]"), ffi.new("fnn_model **")
    status = lib.fnn_create(network, theta, handle)
    message = ffi.string(lib.fnn_last_error(handle[0])).decode()
    lib.fnn_destroy(handle[0])
    return status, message
