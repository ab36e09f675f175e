"""The cells that wait for a worker, dealt in batches; those of a worker that died are dealt again. Starts no worker."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from statistics import fmean

from bench.experiments.engine.work import Outcome, Task

BATCH_SECONDS = 0.5  # a batch is to take so long: handing it out takes milliseconds, and a dead worker loses no more


class Deal:
    """Cells in the order of the experiment, each dealt until its outcome is there.

    Parameters
    ----------
    tasks : iterable of Task
    tries : int
        Number of workers that a cell may be alone with when they die; the last one's death is the cell's failure.
    """

    def __init__(self, tasks: Iterable[Task], tries: int) -> None:
        self._waiting, self._suspects, self._tries = deque(tasks), deque[Task](), tries
        self._deaths = Counter[int]()  # of workers, by the number of the cell that was alone with them
        self._mean = BATCH_SECONDS  # seconds of a cell, in the latest batch: neighbours cost about the same

    def __bool__(self) -> bool:
        return bool(self._waiting or self._suspects)

    def take(self, workers: int) -> list[Task]:
        """Return the next batch: about `BATCH_SECONDS` of work, less where not enough is left for all workers.

        A cell whose worker died comes alone, so that one which kills its worker takes no other with it.
        """
        if self._suspects:
            return [self._suspects.popleft()]
        share = len(self._waiting) // (2 * max(1, workers))
        count = max(1, min(share, round(BATCH_SECONDS / max(self._mean, 1e-6))))
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def done(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from a finished batch how long a cell takes."""
        self._mean = fmean(outcome.seconds for outcome in outcomes)

    def lost(self, batch: Sequence[Task], how: str) -> list[Outcome]:
        """Take back a batch whose worker died; return the failure of a cell that had its last try.

        Parameters
        ----------
        batch : sequence of Task
        how : str
            The end of the worker, such as "SIGKILL".
        """
        if len(batch) > 1:  # any of them may have killed it, or none
            self._suspects.extend(batch)
            return []
        (task,) = batch
        self._deaths[task.number] += 1
        if self._deaths[task.number] < self._tries:
            self._suspects.append(task)
            return []
        return [Outcome(task.number, None, f"WorkerDied: the worker of this cell died in each try ({how})")]
