"""Claims about the fleet: one run a host, alone there; a dead worker costs its host a retry and nothing else."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import misbehaving
import pytest
from rich.console import Console
from support.dask_cluster import DaskCluster, Host, dask_cluster, ends, hosts, require_dask
from support.processes import alive, until

from bench.experiments.engine.cluster import connect
from bench.experiments.engine.origin import origin_of
from bench.fleet import __main__ as command
from bench.fleet.gather import HOSTS, MEASURES, FleetFolder, HostEnd, gather, hosts_of
from bench.fleet.host import CONSOLE, Measured, Order, measure
from bench.results.files import FolderTaken
from bench.results.store import load_results
from pyfnn.errors import InvalidInput

require_dask_here = pytest.fixture(require_dask, autouse=True, scope="module")


class Gathering(threading.Thread):
    """A fleet in a thread of its own; `ends` are those of the hosts, `printed` what it has printed."""

    def __init__(self, address: str, order: Order, out: Path, patience: float = 60.0) -> None:
        super().__init__(daemon=True)
        self._arguments = address, order, out, patience
        self._stream, self.ends = StringIO(), dict[str, HostEnd]()

    @property
    def printed(self) -> str:
        return self._stream.getvalue()

    def run(self) -> None:
        address, order, out, patience = self._arguments
        with connect(address) as client, FleetFolder(out) as folder:
            found = gather(client, order, folder, Console(file=self._stream, width=200), patience)
            self.ends = {end.host: end for end in found}


class Places(NamedTuple):
    """A cluster of two hosts, and the files through which its runs and the tests speak: see `support.fleet_run`."""

    cluster: DaskCluster
    hosts: list[Host]
    witness: Path
    hold: Path

    def begun(self) -> list[tuple[int, int]]:
        """Return the process ids of the runs so far and of the workers that started them."""
        pairs = [line.split() for line in self.witness.read_text().splitlines()] if self.witness.exists() else []
        return [(int(own), int(parent)) for own, parent in pairs]

    def first(self) -> tuple[int, int]:
        """Return the process ids of the first run, once it is there, and of its worker."""
        assert until(lambda: bool(self.begun()), 120)
        return self.begun()[0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("cluster")
    witness, hold = folder / "witness", folder / "hold"
    # The lock of the machine is in TMPDIR: another pytest worker may have a cluster of its own.
    variables = {"WITNESS": str(witness), "HOLD": str(hold), "TMPDIR": str(folder)}
    with hosts(2) as made, dask_cluster(folder, made, **variables) as running:
        yield Places(running, made, witness, hold)


@pytest.fixture
def places(cluster: Places) -> Iterator[Places]:
    """The cluster; runs wait until `hold` is removed."""
    cluster.witness.unlink(missing_ok=True)
    cluster.hold.touch()
    yield cluster
    cluster.hold.unlink(missing_ok=True)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """An order of a short run."""
    suite = misbehaving.suite(tmp_path / "tiny.toml").read_text(encoding="utf-8")
    manifest = misbehaving.manifest(tmp_path / "backend.toml", {"steady": misbehaving.STEADY})
    options = ("--backend", str(manifest), "--backends", "steady", "--reference", "steady")
    return Order(options, suite, "topic", "tests.support.fleet_run")


def test_a_killed_worker_costs_its_host_a_retry_and_each_host_measures_alone(
    places: Places, order: Order, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fleet = Gathering(places.cluster.address, order, out)
    fleet.start()
    run, worker = places.first()
    waits = "another fleet measures here; waiting"  # both hosts are this machine
    assert until(lambda: waits in fleet.printed), fleet.printed
    assert len(places.begun()) == 1
    os.kill(worker, signal.SIGKILL)
    assert until(lambda: not alive(run))
    places.hold.unlink()
    fleet.join(600)
    assert set(fleet.ends) == {host.address for host in places.hosts}
    assert {end.exit_status for end in fleet.ends.values()} == {0}, fleet.printed
    assert sorted(end.tries for end in fleet.ends.values()) == [1, 2]
    assert len(places.begun()) == 3
    assert [json.loads(line)["host"] for line in (out / HOSTS).read_text().splitlines()] == list(fleet.ends)
    for host in places.hosts:
        folder = out / host.address
        assert load_results(folder).cases[0].backends[0].status == "ok"
        assert (folder / "journal.jsonl").exists()
        assert (folder / "summary.md").exists()
        assert "written to" in (folder / CONSOLE).read_text()


@pytest.mark.parametrize("how", ["cancelled", "its client has gone"])
def test_a_run_that_nothing_waits_for_any_more_ends(how: str, places: Places, order: Order) -> None:
    with connect(places.cluster.address) as client:
        host = places.hosts[0].address
        future = client.submit(measure, order, host, MEASURES, origin_of(MEASURES), workers=[host], pure=False)
        run, worker = places.first()
        if how == "cancelled":
            client.cancel([future])
            assert until(lambda: not alive(run))
    assert until(lambda: not alive(run))
    assert alive(worker)


def test_a_host_that_goes_away_or_fails_does_so_alone(places: Places, order: Order, tmp_path: Path) -> None:
    """Comes last: the cluster has one host less from here on."""
    failing = Order((*order.options, "fails"), order.suite, order.topic, order.module)
    fleet = Gathering(places.cluster.address, failing, tmp_path / "out", patience=2.0)
    fleet.start()
    _, worker = places.first()
    gone = next(address for address, nanny in places.cluster.nannies.items() if nanny.pid == parent_of(worker))
    places.cluster.nannies[gone].kill()
    with suppress(ProcessLookupError):  # it may end with its nanny
        os.kill(worker, signal.SIGKILL)
    assert ends(places.cluster.nannies[gone])
    places.hold.unlink()
    fleet.join(600)
    left = next(host.address for host in places.hosts if host.address != gone)
    assert fleet.ends[gone].reason == "it has had no worker for 2 s"
    assert fleet.ends[left].exit_status == 3
    assert "it fails" in (tmp_path / "out" / left / CONSOLE).read_text()


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


class Threads:
    """A client whose workers have these numbers of threads."""

    def __init__(self, threads: dict[str, int]) -> None:
        self._threads = threads

    def nthreads(self) -> dict[str, int]:
        return self._threads


@pytest.mark.parametrize(
    "threads",
    [{"tcp://10.0.0.1:4": 1, "tcp://10.0.0.1:5": 1}, {"tcp://10.0.0.1:4": 2}, {"tcp://[::1]:4": 1, "tcp://[::1]:5": 1}],
)
def test_a_host_that_other_work_could_disturb_is_refused(threads: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=r"a fleet needs one of each.*--nworkers 1 --nthreads 1"):
        hosts_of(Threads(threads))


def test_every_host_has_one_worker() -> None:
    found = hosts_of(Threads({"tcp://10.0.0.2:9": 1, "tls://10.0.0.1:9": 1, "tcp://[fe80::1]:9": 1}))
    assert found == {"10.0.0.1": "tls://10.0.0.1:9", "10.0.0.2": "tcp://10.0.0.2:9", "fe80::1": "tcp://[fe80::1]:9"}


def test_a_folder_of_other_results_is_refused_and_a_host_cannot_write_outside_its_own(tmp_path: Path) -> None:
    with FleetFolder(tmp_path / "out") as folder:
        assert folder.keep("fe80::1", Measured(0, "x", 1.0, {"a/b.txt": b"1"})) == tmp_path / "out" / "fe80__1"
        for name in ("../x", "/tmp/x", "a/../../x"):
            with pytest.raises(InvalidInput, match="is not in its folder"):
                folder.keep("one", Measured(0, "x", 1.0, {name: b""}))
    with pytest.raises(FolderTaken, match="is not empty"):
        FleetFolder(tmp_path / "out")
    assert (tmp_path / "out" / "fe80__1" / "a" / "b.txt").read_bytes() == b"1"


def test_a_suite_file_is_sent_with_its_content_and_a_name_as_it_is(tmp_path: Path) -> None:
    path = misbehaving.suite(tmp_path / "tiny.toml")
    sent = command.order_of(str(path), ["--backends", "numpy", "--budget", "3"])
    assert (sent.suite, sent.options) == (path.read_text(encoding="utf-8"), ("--backends", "numpy", "--budget", "3"))
    assert command.order_of("quick", ["--budget", "3"]).options == ("--suite", "quick", "--budget", "3")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["quick", "--resume", "x"], "--resume: is not for a fleet"),
        (["quick", "--suite", "full"], "--suite: is not for a fleet"),
        (["full", "--suite", "quick"], "--suite: is not for a fleet"),
        (["quick", "--backend", "my.toml"], "--backend my.toml: must be an absolute path"),
        (["quick", "--list"], "--list: is not for a fleet"),
        (["quik"], "did you mean 'quick'?"),
        (["quick", "--backends", "nimpy"], "did you mean"),
        (["quick"], "no answer"),
    ],
)
def test_a_wrong_command_is_refused_before_anything_is_written(
    words: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.experiments.engine.cluster._PATIENCE", 0.2)
    out = tmp_path / "out"
    assert command.main([*words, "--scheduler", "tcp://127.0.0.1:9", "--out", str(out)]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
