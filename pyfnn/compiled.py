"""Finds the compiled parts of pyfnn, and checks that they match their sources. Loads none of them."""

import hashlib
import importlib
from pathlib import Path
from types import ModuleType

from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import PACKAGE, native_folder

REINSTALL = "in the checkout: pip install -e ."


def build_info() -> ModuleType:
    """Import `pyfnn._build_info`, which the build generates beside the compiled parts.

    Returns
    -------
    module
        Compilers, flags, instruction-set levels, and the sha256 of every source.

    Raises
    ------
    BackendUnavailable
        This copy of pyfnn has no compiled parts.
    """
    try:
        return importlib.import_module("pyfnn._build_info")
    except ImportError:
        raise BackendUnavailable(*_why_absent()) from None


def _why_absent() -> tuple[str, str]:
    import importlib.metadata

    reason = f"pyfnn was imported from the source tree {PACKAGE.parent}, which has no compiled parts"
    try:
        elsewhere = importlib.metadata.distribution("pyfnn").version
    except importlib.metadata.PackageNotFoundError:
        return reason, REINSTALL
    return (
        f"{reason}; pyfnn {elsewhere} is installed, but this folder hides it",
        f"run from another folder, or {REINSTALL}",
    )


def folder(target: str) -> Path:
    """Check that `target` was built from the present sources, and return the folder of the compiled parts.

    Parameters
    ----------
    target : str
        Name of an extension module or library, as in CMake.

    Raises
    ------
    BackendUnavailable
        There are no compiled parts or none of that name, or a source has changed since the build: a result must name
        the source that it measured.
    """
    info = build_info()
    if target not in info.SOURCES:
        raise BackendUnavailable(f"{target} was not built with this copy of pyfnn", REINSTALL)
    for name, built in info.SOURCES[target].items():
        source = native_folder() / name
        if not source.exists() or hashlib.sha256(source.read_bytes()).hexdigest() != built:
            raise BackendUnavailable(f"{source} is not what {target} was compiled from", REINSTALL)
    return Path(str(info.__file__)).parent
