"""The errors of measuring, and the status that each error gives a backend."""

from bench.terms import Status
from pyfnn import parity
from pyfnn.errors import (
    BackendUnavailable,
    BuildFailed,
    Diverged,
    NoRoom,
    PyfnnError,
    Unsupported,
    WorkerDied,
    WorkerTimeout,
)


class ParityFailed(PyfnnError):
    """A backend that computes other values than the oracle; `evidence` has the tensors, their errors and bounds."""

    def __init__(self, message: str, evidence: parity.Evidence | None = None) -> None:
        super().__init__(message)
        self.evidence = evidence


def require(evidence: parity.Evidence) -> None:
    """Raise `ParityFailed` unless all checks passed."""
    if not evidence.passed:
        failed = f"{len(evidence.failures)} of {len(evidence.checks)} checks failed"
        raise ParityFailed(f"{evidence.worst}; {failed}", evidence)


class TooSlow(PyfnnError):
    """A backend whose samples do not fit the budget.

    Attributes
    ----------
    by_proof : bool
        Without its proof it would fit.
    """

    def __init__(self, message: str, *, by_proof: bool = False) -> None:
        super().__init__(message)
        self.by_proof = by_proof


class ThreadsMismatch(PyfnnError):
    """A worker that uses more CPUs or threads than the case allows."""


class Implausible(PyfnnError):
    """A worker whose timings contradict the driver's clock or each other."""


class Disturbed(PyfnnError):
    """A worker whose timings cannot be judged, because other processes took its CPU."""


class NotEnoughMemory(PyfnnError):
    """Too little free memory on the machine for a worker."""


STATUS_OF: tuple[tuple[type[PyfnnError], Status], ...] = (
    (BuildFailed, "build_failed"),
    (BackendUnavailable, "unavailable"),
    (Unsupported, "unsupported"),
    (ParityFailed, "parity_failed"),
    (Diverged, "diverged"),
    (ThreadsMismatch, "threads_mismatch"),
    (Implausible, "implausible"),
    (Disturbed, "disturbed"),
    (WorkerTimeout, "timed_out"),
    (WorkerDied, "crashed"),
    (NotEnoughMemory, "not_run"),
    (NoRoom, "not_run"),
    (TooSlow, "too_slow"),
    (PyfnnError, "protocol_error"),
)
"""Status by error class; the first match counts. The last row is an error in reply to a correct command."""


def status_of(error: PyfnnError) -> Status:
    """Return the status that an error gives a backend."""
    return next(status for cls, status in STATUS_OF if isinstance(error, cls))


def reason_of(error: PyfnnError) -> str:
    """Return the message of an error, without the remedy of an absent backend."""
    return error.reason if isinstance(error, BackendUnavailable) else str(error)
