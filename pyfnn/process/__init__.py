"""Driver side of the worker protocol: the protocol, the launcher, worker processes, and their models and ensembles.

The Python child that answers the protocol is `pyfnn.worker`.
"""

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
