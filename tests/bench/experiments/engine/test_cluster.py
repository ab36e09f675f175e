"""Claims about Dask clusters: the same file as the pool's though workers die, and no work for one with other code."""

import random
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from support.cells import EXPERIMENT, begun
from support.dask_cluster import dask_cluster, hosts, require_dask
from support.processes import until

from bench.experiments.engine import cluster, command, pool
from bench.experiments.engine import run as engine_run
from bench.experiments.engine.cluster import REMEDY, ClusterError
from bench.experiments.engine.origin import origin_of
from bench.experiments.engine.store import CELLS, load

require_dask_here = pytest.fixture(require_dask, autouse=True)


@pytest.fixture(autouse=True)
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    monkeypatch.setattr(pool, "all_threads", lambda: 2)
    monkeypatch.setattr(cluster, "_PATIENCE", 300.0)
    return tmp_path / "witness"


def run(out: Path, *words: str) -> int:
    return command.main(EXPERIMENT, ["--out", str(out), *words])


def test_a_local_cluster_two_of_whose_workers_die_writes_the_same_file_as_the_pool(
    witness: Path, tmp_path: Path
) -> None:
    words = ["--seeds", "30", "--kinds", "3=kills once", "17=kills once", "20=raises"]
    assert run(tmp_path / "dask", "--workers", "2", *words) == 1
    deaths = begun(witness)
    assert min(deaths[3], deaths[17]) >= 2  # more where a cell was in a batch with the other one
    witness.unlink()
    assert run(tmp_path / "pool", *words) == 1
    dask, of_pool = ((tmp_path / name / "results.json").read_bytes() for name in ("dask", "pool"))
    assert dask == of_pool
    assert len(load(tmp_path / "dask").cells) == 30


def test_a_scheduler_gets_the_cells_unless_a_worker_has_other_code(
    witness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hosts(2) as places, dask_cluster(tmp_path, places) as running:
        with monkeypatch.context() as patch:
            patch.setattr(engine_run, "origin_of", lambda name: {**origin_of(name), "numpy": "0.1"})
            assert run(tmp_path / "other", "--scheduler", running.address) == 2
        printed = capsys.readouterr().err
        assert "not the same code on all workers" in printed
        assert f"numpy {sys.modules['numpy'].__version__}, here 0.1" in printed
        assert not begun(witness)
        assert run(tmp_path / "out", "--scheduler", running.address) == 0
    assert begun(witness) == dict.fromkeys(range(12), 1)
    assert run(tmp_path / "pool") == 0
    assert (tmp_path / "out" / "results.json").read_bytes() == (tmp_path / "pool" / "results.json").read_bytes()


def test_without_the_extra_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run(tmp_path / "out", "--workers", "2") == 2
    assert REMEDY in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere"])
def test_a_scheduler_that_does_not_answer_is_an_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.2)
    with pytest.raises(ClusterError, match=f"--scheduler {address}: no answer"):
        cluster.connect(address)


@pytest.mark.soak
def test_10_random_kills_of_workers_lose_nothing_and_duplicate_nothing(tmp_path: Path) -> None:
    rng, words = random.Random(0), ["--seeds", "600", "--seconds", "0.1"]
    ended, killed = threading.Event(), list[int]()

    def kill() -> None:
        until(lambda: (tmp_path / "dask" / CELLS).exists() or ended.is_set(), 60)
        while len(killed) < 10 and not ended.wait(rng.uniform(1.0, 3.0)):
            found = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
            if found:
                victim = rng.choice(found)
                victim.kill()
                killed.append(victim.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert run(tmp_path / "dask", "--workers", "2", *words) == 0
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 10
    assert run(tmp_path / "pool", *words) == 0
    assert (tmp_path / "dask" / "results.json").read_bytes() == (tmp_path / "pool" / "results.json").read_bytes()


def test_a_local_cluster_is_started_again_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = cluster.dask()
    real, failures = distributed.LocalCluster, list[int]()

    def fails(times: int, **settings: Any) -> Any:
        if len(failures) < times:
            failures.append(1)
            raise RuntimeError("Nanny failed to start.")
        return real(**settings)

    monkeypatch.setattr(distributed, "LocalCluster", partial(fails, 3))
    assert run(tmp_path / "out", "--workers", "1") == 2
    assert "the local cluster did not start: Nanny failed to start." in " ".join(capsys.readouterr().err.split())
    failures.clear()
    monkeypatch.setattr(distributed, "LocalCluster", partial(fails, 2))
    assert run(tmp_path / "out", "--workers", "1") == 0
    assert len(failures) == 2


def test_a_local_cluster_starts_with_settings_that_this_dask_has_and_no_other_one_gets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed = cluster.dask()
    from dask import config

    def settings(**_: Any) -> dict[str, Any]:
        return {name: config.get(name) for name in cluster.LOCAL_SETTINGS}

    before = settings()  # a name that Dask does not have raises an error
    assert all(before[name] != value for name, value in cluster.LOCAL_SETTINGS.items())
    monkeypatch.setattr(distributed, "LocalCluster", settings)
    assert cluster._local_cluster(2) == cluster.LOCAL_SETTINGS
    assert settings() == before


def test_a_local_cluster_without_workers_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = cluster.Cluster("name", None, workers=2)  # type: ignore[arg-type]
    engine._client = SimpleNamespace(nthreads=dict)
    engine._count()
    monkeypatch.setattr(cluster, "_PATIENCE", 0.0)
    with pytest.raises(ClusterError, match="all workers of the local cluster are gone; finished cells are kept"):
        engine._count()
