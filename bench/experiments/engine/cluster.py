"""The engine on a Dask cluster: a local one of its own, or that of a scheduler. The only part that knows Dask.

The scheduler sends the batches of a worker that died to another one. What is sent is code by its name and cells; so all
workers need the same pyfnn, which is checked.
"""

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import ModuleType, TracebackType
from typing import Any

from bench.experiments.engine.deal import Deal
from bench.experiments.engine.origin import Origin, differences, origin_of
from bench.experiments.engine.pool import environment
from bench.experiments.engine.work import Outcome, Skew, Task, work
from pyfnn import launch
from pyfnn.errors import PyfnnError

REMEDY = "pip install 'pyfnn[distributed]', or in a checkout: pip install -e '.[distributed]'"
_AHEAD = 2  # batches a thread: one computes while the next one waits beside it
_STARTS = 3  # of a local cluster
_TICK = 1.0  # seconds between two looks at an idle cluster
_GO_ON = "finished cells are kept, and the same command continues"
_PATIENCE = 20.0  # seconds for a scheduler to answer, and for a first worker
# What Dask does beside the cells takes the CPUs that compute them, so our local cluster does less of it.
LOCAL_SETTINGS = {
    "distributed.worker.profile.enabled": False,  # a thread in each worker that samples its stacks every 10 ms
    "distributed.admin.tick.interval": "1s",  # of the check of each event loop; by default 20 ms
    "distributed.admin.system-monitor.interval": "10s",  # by default 500 ms
    "distributed.worker.memory.monitor-interval": "2s",  # by default 100 ms
    "distributed.nanny.pre-spawn-environ": {},  # its MALLOC_TRIM_THRESHOLD_ returns the memory of each larger array
}


class ExtraMissing(PyfnnError):
    """The extra `distributed`, which is not installed."""


class ClusterError(PyfnnError):
    """A cluster that is not there, has no workers, or ended."""


def dask() -> ModuleType:
    """Import Dask's `distributed`.

    Raises
    ------
    ExtraMissing
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ExtraMissing(f"--workers and --scheduler need the package {error.name}: {REMEDY}") from None
    module: ModuleType = distributed
    return module


def connect(address: str) -> Any:
    """Return a client of the scheduler at an address, such as ``tcp://192.168.1.2:8786``, once a worker is there.

    Raises
    ------
    ClusterError
        No scheduler answers, or it has no worker.
    """
    distributed = dask()
    try:
        client = distributed.Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise ClusterError(f"--scheduler {address}: no answer ({error}); start one: dask scheduler") from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except distributed.TimeoutError:
        client.close()
        raise ClusterError(f"--scheduler {address}: it has no worker; start one: dask worker {address}") from None
    return client


def check_workers(client: Any, name: str, origin: Origin) -> None:
    """Compare the code of all workers with that of this process.

    Raises
    ------
    Skew
        Naming each worker that differs, and how.
    """
    faults = []
    for address, theirs in sorted(client.run(origin_of, name, on_error="return").items()):
        if isinstance(theirs, BaseException):
            faults.append(f"worker {address}: {type(theirs).__name__}: {theirs}")
        elif differing := differences(origin, theirs):
            faults.append(f"worker {address}: {', '.join(differing)}")
    if faults:
        raise Skew(f"not the same code on all workers: {'; '.join(faults)}")


def _local_cluster(workers: int, tries: int = _STARTS) -> Any:
    """Start a cluster on this machine, again where a worker was killed while it started.

    Raises
    ------
    ClusterError
    """
    distributed = dask()
    from dask import config

    try:
        with config.set(LOCAL_SETTINGS):
            return distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=":0",
                silence_logs=logging.ERROR,
            )
    except RuntimeError as error:
        if tries == 1:
            raise ClusterError(f"--workers {workers}: the local cluster did not start: {error}") from error
        return _local_cluster(workers, tries - 1)


class Cluster:
    """A Dask cluster. A context manager, whose end leaves it or, where it is local, ends it.

    Parameters
    ----------
    name, origin
        As for `Pool`.
    workers : int, optional
        Number of processes of a local cluster; None for that of `scheduler`.
    scheduler : str, optional
        Address.
    """

    tries = 1  # of a cell that is alone: the scheduler itself sends it to another worker three times

    def __init__(self, name: str, origin: Origin, workers: int | None = None, scheduler: str | None = None) -> None:
        self._name, self._origin, self._local, self._address = name, origin, workers, scheduler
        self._stack = ExitStack()
        self._run = uuid.uuid4().hex
        self.workers = workers or 1
        self._seen = time.monotonic()  # a worker, last

    @property
    def description(self) -> str:
        """The engine for readers."""
        return f"Dask: {self.workers} thread{'s' * (self.workers != 1)} of workers at {self._address}"

    def run(self, deal: Deal) -> Iterator[list[Outcome]]:
        """Compute all cells of a deal; yield their outcomes as they come, and nothing from time to time."""
        distributed = dask()
        sent = dict[Any, list[Task]]()
        found, counted = list[Outcome](), time.monotonic()
        while True:
            while deal and len(sent) < max(1, _AHEAD * self.workers):
                batch = deal.take(self.workers)
                sent[self._submit(batch)] = batch
            yield found
            if not sent:
                return
            try:
                ended = distributed.wait(list(sent), timeout=_TICK, return_when="FIRST_COMPLETED").done
            except distributed.TimeoutError:
                ended = set()
            except distributed.CancelledError:
                raise self._ended() from None
            found = [outcome for future in ended for outcome in self._collect(future, sent.pop(future), deal)]
            if time.monotonic() - counted >= _TICK:
                self._count()
                counted = time.monotonic()

    def _submit(self, batch: Sequence[Task]) -> Any:
        key = f"pyfnn-{self._run}-{batch[0].number}-{time.monotonic_ns()}"
        return self._client.submit(work, self._name, self._origin, batch, key=key, pure=False)

    def _collect(self, future: Any, batch: Sequence[Task], deal: Deal) -> list[Outcome]:
        distributed = dask()
        try:
            outcomes: list[Outcome] = future.result()
        except distributed.KilledWorker as error:
            return deal.lost(batch, f"on {error.last_worker.address}")
        except distributed.CancelledError:
            raise self._ended() from None
        finally:
            future.release()
        deal.done(outcomes)
        return outcomes

    def _count(self) -> None:
        """Count the workers, which may come and go."""
        try:
            self.workers = sum(self._client.nthreads().values())
        except OSError:
            raise self._ended() from None
        if self.workers:
            self._seen = time.monotonic()
        elif self._local and time.monotonic() - self._seen > _PATIENCE:  # Dask gives up one that dies as it starts
            raise ClusterError(f"all workers of the local cluster are gone; {_GO_ON}")

    def _ended(self) -> ClusterError:
        return ClusterError(f"{self._address}: the scheduler has ended; {_GO_ON}")

    def __enter__(self) -> "Cluster":
        with ExitStack() as stack:
            if self._local:
                stack.enter_context(environment(dict.fromkeys(launch.THREAD_VARIABLES, "1")))
                self._address = stack.enter_context(_local_cluster(self._local)).scheduler_address
            assert self._address is not None
            self._client = stack.enter_context(connect(self._address))
            check_workers(self._client, self._name, self._origin)
            self._seen = time.monotonic()
            self._count()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
