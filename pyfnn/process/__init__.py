"""Driver side of the worker protocol: the protocol, worker processes, and their models and ensembles.

The Python child that answers the protocol is `pyfnn.worker`; it imports `protocol` alone. So that it starts soon, a
module is imported when one of its names below is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyfnn.process.ensemble import MemberByMember, ProcessEnsemble, open_ensemble
    from pyfnn.process.model import ProcessModel
    from pyfnn.process.program import ProgramBackend, command_of
    from pyfnn.process.worker import DEFAULT_TIMEOUT, Worker

__all__ = [
    "DEFAULT_TIMEOUT",
    "MemberByMember",
    "ProcessEnsemble",
    "ProcessModel",
    "ProgramBackend",
    "Worker",
    "command_of",
    "open_ensemble",
]

_HOME = {
    "DEFAULT_TIMEOUT": "worker",
    "MemberByMember": "ensemble",
    "ProcessEnsemble": "ensemble",
    "ProcessModel": "model",
    "ProgramBackend": "program",
    "Worker": "worker",
    "command_of": "program",
    "open_ensemble": "ensemble",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pyfnn.process' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pyfnn.process.{_HOME[name]}"), name)
