"""Results of a run: schema, events, journal, build, derive, store, exports. A report shows values from here only.

`frame` and `load_results` are for users; their modules are imported when one of them is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.results.exports import frame
    from bench.results.store import load_results

__all__ = ["frame", "load_results"]

_HOME = {"frame": "exports", "load_results": "store"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bench.results' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bench.results.{_HOME[name]}"), name)
