"""pyfnn: the same feed-forward network in many languages, checked for equal results, then timed.

This file lists the module of each public name; a module is imported when one of its names is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyfnn.backend import Backend
    from pyfnn.ensemble import Ensemble
    from pyfnn.errors import (
        BackendUnavailable,
        Diverged,
        InvalidInput,
        PyfnnError,
        UnknownName,
        Unsupported,
    )
    from pyfnn.model import Model
    from pyfnn.network import Network, initialize
    from pyfnn.registry import load_backend
    from pyfnn.storage import load, save

__version__: str  # of the build, see __getattr__

_HOME = {
    "Backend": "backend",
    "Model": "model",
    "Ensemble": "ensemble",
    "BackendUnavailable": "errors",
    "Diverged": "errors",
    "InvalidInput": "errors",
    "PyfnnError": "errors",
    "UnknownName": "errors",
    "Unsupported": "errors",
    "Network": "network",
    "initialize": "network",
    "load_backend": "registry",
    "load": "storage",
    "save": "storage",
}

__all__ = [
    "Backend",
    "BackendUnavailable",
    "Diverged",
    "Ensemble",
    "InvalidInput",
    "Model",
    "Network",
    "PyfnnError",
    "UnknownName",
    "Unsupported",
    "initialize",
    "load",
    "load_backend",
    "save",
]


_MODULES = {"activations", "datasets", "estimators", "losses", "optimizers", "oracle", "parity", "training"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _MODULES:
        return importlib.import_module(f"pyfnn.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'pyfnn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pyfnn.{_HOME[name]}"), name)


def _version() -> str:
    """Return the version that the build recorded; "not built" in a source tree without a build."""
    try:
        return str(importlib.import_module("pyfnn._build_info").VERSION)
    except ImportError:
        return "not built"
