"""The gate: no backend is timed before the very process that would be timed has passed the parity battery."""

from functools import lru_cache

from bench.suites import Problem
from bench.workers import Seat
from pyfnn import parity
from pyfnn.errors import PyfnnError


class ParityFailed(PyfnnError):
    """A backend computes something else than the oracle; `evidence` says what, where and by how much."""

    def __init__(self, message: str, evidence: parity.Evidence | None = None) -> None:
        super().__init__(message)
        self.evidence = evidence


@lru_cache(maxsize=1)  # dear for large networks; cases of one workload and dtype share a problem and are neighbours
def trials(problem: Problem, batch: int) -> list[parity.Trial]:
    """The battery for a workload, shared by its backends and its cases."""
    return parity.battery(problem.network, problem.theta, problem.x, problem.y, batch)


def prove(seat: Seat, battery: list[parity.Trial]) -> parity.Evidence:
    """Put a process through the battery.

    Raises
    ------
    ParityFailed
        Naming the tensor, the error and what would have been allowed.
    """
    evidence = parity.examine(seat.make, battery, deterministic=seat.worker.description.deterministic)
    if not evidence.passed:
        failed = f"{len(evidence.failures)} of {len(evidence.checks)} checks failed"
        raise ParityFailed(f"{evidence.worst}; {failed}", evidence)
    return evidence


def replay(seat: Seat, burst: int, steps: int) -> None:
    """What was timed is what was proven: the same burst and block, untimed, must lead to the same θ.

    Call right after a timed block. A backend that declares itself nondeterministic is not held to it.

    Raises
    ------
    ParityFailed
    """
    if not seat.worker.description.deterministic:
        return
    timed = seat.model.theta()
    seat.reset()
    seat.run(burst)
    seat.run(steps)
    if seat.model.theta().tobytes() != timed.tobytes():
        raise ParityFailed("the timed training, replayed from the same θ over the same rows, ended at another θ")
