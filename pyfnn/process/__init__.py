"""Worker processes: the protocol, programs, the launcher, and the models and ensembles on their other side."""

from pyfnn.process.ensemble import MemberByMember, ProcessEnsemble, open_ensemble
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import ProgramBackend, command_of
from pyfnn.process.worker import Worker

__all__ = [
    "MemberByMember",
    "ProcessEnsemble",
    "ProcessModel",
    "ProgramBackend",
    "Worker",
    "command_of",
    "open_ensemble",
]
