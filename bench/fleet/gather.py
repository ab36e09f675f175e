"""The part of the fleet that sends a suite to the hosts of a cluster, and writes what comes back.

A host has one worker with one thread, so that nothing else of the cluster computes there while it measures.
"""

import re
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from bench.experiments.engine.cluster import ClusterError, check_workers, dask
from bench.experiments.engine.origin import Origin, origin_of
from bench.fleet.host import BEGUN, Measured, Order, measure
from bench.format import duration_text
from bench.results.files import FolderTaken, Lines
from pyfnn.errors import InvalidInput

HOSTS = "fleet.jsonl"
MEASURES = "bench.run:main"  # the function whose code must be the same on all hosts
PATIENCE = 60.0  # seconds for a host whose worker has gone to have another
_TICK = 1.0  # seconds


@dataclass(frozen=True)
class HostEnd:
    """The end of a host's run; `exit_status` is that of `bench.run`, or None where it did not end, for `reason`."""

    host: str
    hostname: str = ""
    exit_status: int | None = None
    reason: str = ""
    tries: int = 0
    seconds: float = 0.0
    folder: str = ""

    def __str__(self) -> str:
        if self.exit_status is None:
            return f"failed: {self.reason}"
        again = f", in try {self.tries}" if self.tries > 1 else ""
        took = f"exit status {self.exit_status} after {duration_text(self.seconds)}{again}"
        return f"{'finished' if self.exit_status == 0 else 'failed'}: {took}; {self.folder}"


class FleetFolder(Lines):
    """The folder of a fleet's results: a line of fleet.jsonl for each host. A context manager; it claims the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / HOSTS, again=False)

    def check(self, again: bool, begun: bool) -> None:
        """Raise `FolderTaken` where the folder holds anything else."""
        del again
        if begun or any(path.name != HOSTS for path in self.folder.iterdir()):
            raise FolderTaken(f"--out {self.folder}: is not empty; name another folder")

    def keep(self, host: str, measured: Measured) -> Path:
        """Write the files of a run, and return their folder."""
        folder = self.folder / re.sub(r"[^\w.-]", "_", host)
        for name, content in measured.files.items():
            inner = PurePosixPath(name)
            if inner.is_absolute() or ".." in inner.parts:
                raise InvalidInput(f"host {host}: it sent a file {name!r}, which is not in its folder")
            path = folder / inner
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder

    def __enter__(self) -> "FleetFolder":
        return self


def hosts_of(client: Any) -> dict[str, str]:
    """Return the hosts of a cluster, each with the address of its worker.

    Raises
    ------
    InvalidInput
        A host has several workers, or a worker with several threads: other work could disturb the measurement.
    """
    workers: dict[str, list[tuple[str, int]]] = {}
    for address, threads in sorted(client.nthreads().items()):
        workers.setdefault(host_of(address), []).append((address, threads))
    for host, own in workers.items():
        if len(own) > 1 or own[0][1] > 1:
            count = f"{len(own)} workers with {sum(threads for _, threads in own)} threads"
            remedy = "dask worker ADDRESS --nworkers 1 --nthreads 1"
            raise InvalidInput(f"host {host}: has {count}; a fleet needs one of each, to measure alone: {remedy}")
    return {host: own[0][0] for host, own in workers.items()}


def host_of(address: str) -> str:
    """Return the host of the address of a worker."""
    return urlsplit(address).hostname or address


def gather(
    client: Any, order: Order, folder: FleetFolder, console: Console, patience: float = PATIENCE
) -> list[HostEnd]:
    """Measure on all hosts at once; write the results of each as it ends, and return the ends.

    Parameters
    ----------
    client : distributed.Client
    order : Order
    folder : FleetFolder
    console : Console
    patience : float, optional
        Seconds for a host whose worker has gone to have another.

    Raises
    ------
    InvalidInput
        See `hosts_of`.
    Skew
        The hosts do not have the same code.
    ClusterError
        The scheduler has ended.
    """
    hosts, origin, tries, ends = hosts_of(client), origin_of(MEASURES), Counter[str](), list[HostEnd]()
    check_workers(client, MEASURES, origin)
    with _progress(client, order.topic, tries, console), _sent(client, order, origin, hosts) as futures:
        for host, future in _ended(client, futures, patience):
            if future is None:
                end = HostEnd(host, reason=f"it has had no worker for {patience:g} s", tries=tries[host])
            else:
                end = _end(host, future, folder, tries[host])
            folder.append([asdict(end)])
            console.print(f"{host}: {end}", soft_wrap=True)
            ends.append(end)
    return ends


@contextmanager
def _sent(client: Any, order: Order, origin: Origin, hosts: Iterable[str]) -> Iterator[dict[Any, str]]:
    """Send the order to the hosts, and cancel what has not ended at the end. A worker that died is tried again."""
    futures = {
        client.submit(
            measure,
            order,
            host,
            MEASURES,
            origin,
            workers=[host],
            allow_other_workers=False,
            key=f"pyfnn-fleet-{uuid.uuid4().hex}",
            pure=False,
        ): host
        for host in hosts
    }
    try:
        yield futures
    finally:
        client.cancel([future for future in futures if not future.done()])


def _ended(client: Any, futures: Mapping[Any, str], patience: float) -> Iterator[tuple[str, Any]]:
    """Yield each host with its future as it ends; with None once it has had no worker for so many seconds."""
    distributed = dask()
    left, seen = dict(futures), dict.fromkeys(futures.values(), time.monotonic())
    while left:
        try:
            with suppress(distributed.TimeoutError):
                distributed.wait(list(left), timeout=_TICK, return_when="FIRST_COMPLETED")
            present = {host_of(address) for address in client.nthreads()}
        except (distributed.CancelledError, OSError):
            raise ClusterError("the scheduler has ended") from None
        for future in [future for future in left if future.done()]:
            yield left.pop(future), future
        now = time.monotonic()
        seen.update(dict.fromkeys(present, now))
        for future, host in list(left.items()):
            if now - seen[host] > patience:
                del left[future]
                yield host, None


def _end(host: str, future: Any, folder: FleetFolder, tries: int) -> HostEnd:
    distributed = dask()
    try:
        measured: Measured = future.result()
    except distributed.KilledWorker:
        return HostEnd(host, reason=f"its worker died in each of {tries} tries", tries=tries)
    except Exception as error:  # noqa: BLE001 (of any kind: raised on the host, which fails alone)
        return HostEnd(host, reason=f"{type(error).__name__}: {error}", tries=tries)
    kept = folder.keep(host, measured)
    return HostEnd(host, measured.hostname, measured.status, "", tries, measured.seconds, str(kept))


@contextmanager
def _progress(client: Any, topic: str, tries: Counter[str], console: Console) -> Iterator[None]:
    """Print what the hosts report, and count the tries of each."""

    def show(event: tuple[float, dict[str, str]]) -> None:
        _, message = event
        tries[message["host"]] += message["text"] == BEGUN
        console.print(f"{message['host']}: {message['text']}", soft_wrap=True)

    client.subscribe_topic(topic, show)
    try:
        yield
    finally:
        client.unsubscribe_topic(topic)
