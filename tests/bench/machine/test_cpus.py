"""The CPUs of a case and those of the driver."""

import os
from pathlib import Path

import pytest

from bench.machine import cpus
from bench.machine.cpus import choose_cpus, core_count, driver_apart, places_for, siblings
from pyfnn.errors import PyfnnError

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[set[int]]:
    """Make four cores of CPUs n and n + 4, without CPU 3; return the affinities, the first one and those set."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    seen = [{0, 1, 2, 4, 5, 6, 7}]
    monkeypatch.setattr(cpus, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: seen[-1])
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, mask: seen.append(set(mask)))
    return seen


@pytest.mark.usefixtures("affinity")
def test_threads_get_the_last_cpus_each_on_a_core_of_its_own() -> None:
    assert choose_cpus(1) == (7,)
    assert choose_cpus(4) == (4, 5, 6, 7)
    assert choose_cpus(5) == (2, 4, 5, 6, 7)
    with pytest.raises(PyfnnError, match="8 threads: this process may use 7 CPUs"):
        choose_cpus(8)
    assert core_count() == 4


def test_processes_of_one_thread_start_side_by_side_on_cores_of_their_own(affinity: list[set[int]]) -> None:
    assert places_for((7,)) == [(7,), (2,), (1,), (0,)]
    assert places_for((6, 7)) == [(6, 7)]
    assert places_for(()) == [()]
    affinity[-1] = {3, 7}  # one core: its other CPU is the best that is left
    assert places_for((7,)) == [(7,), (3,)]
    affinity[-1] = {7}
    assert places_for((7,)) == [(7,)]


def test_the_driver_keeps_off_the_cores_of_a_case_and_comes_back(affinity: list[set[int]]) -> None:
    with driver_apart((6, 7)):
        assert affinity[-1] == {0, 1, 4, 5}
    assert affinity[-1] == affinity[0]
    with driver_apart((4, 5, 6, 7)):
        assert affinity[-1] == {0, 1, 2}  # every core computes: its other CPU is the best that is left
    set_so_far = len(affinity)
    with driver_apart(tuple(sorted(affinity[-1]))):
        pass
    assert affinity[set_so_far:] == [affinity[0]]


def test_without_a_topology_each_cpu_is_a_core(affinity: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_TOPOLOGY", Path("/nowhere"))
    assert siblings(5) == {5}
    assert choose_cpus(3) == (5, 6, 7)
    assert core_count() == len(affinity[0])


def test_ranges_of_siblings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_TOPOLOGY", tmp_path)
    (tmp_path / "cpu2/topology").mkdir(parents=True)
    (tmp_path / "cpu2/topology/thread_siblings_list").write_text("0-2,8")
    assert siblings(2) == {0, 1, 2, 8}
