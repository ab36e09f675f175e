"""Errors of measuring, and the status that each gives a backend."""

from bench.terms import Status
from pyfnn import parity
from pyfnn.errors import BackendUnavailable, BuildFailed, Diverged, PyfnnError, Unsupported, WorkerDied, WorkerTimeout


class ParityFailed(PyfnnError):
    """A backend computes something else than the oracle; `evidence` says what, where and by how much."""

    def __init__(self, message: str, evidence: parity.Evidence | None = None) -> None:
        super().__init__(message)
        self.evidence = evidence


class TooSlow(PyfnnError):
    """A backend whose samples cannot fit the budget."""


class ThreadsMismatch(PyfnnError):
    """A worker uses more CPUs or threads than the case allows."""


class Implausible(PyfnnError):
    """A worker's timings contradict the driver's clock or each other."""


class NotEnoughMemory(PyfnnError):
    """The machine has too little free memory for this worker."""


STATUS_OF: tuple[tuple[type[PyfnnError], Status], ...] = (
    (BuildFailed, "build_failed"),
    (BackendUnavailable, "unavailable"),
    (Unsupported, "unsupported"),
    (ParityFailed, "parity_failed"),
    (Diverged, "diverged"),
    (ThreadsMismatch, "threads_mismatch"),
    (Implausible, "implausible"),
    (WorkerTimeout, "timed_out"),
    (WorkerDied, "crashed"),
    (NotEnoughMemory, "not_run"),
    (TooSlow, "too_slow"),
    (PyfnnError, "protocol_error"),
)
"""First match counts. Last: an error in reply to a command that was in order."""


def status_of(error: PyfnnError) -> Status:
    return next(status for cls, status in STATUS_OF if isinstance(error, cls))
