"""Claims about the tree of a worker: every descendant is stopped, accounted for and ended, and no other process."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
from support.processes import alive, until
from support.rogue import HELLO, ROGUE, rogue

from pyfnn.errors import WorkerDied
from pyfnn.process.tree import CpuTime, Tree, process_cpu_seconds, waited
from pyfnn.process.worker import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the supervisor of a worker's descendants is Linux's")

# Start a descendant that spins, and reply with its process id.
SPINNER = """
reading, writing = os.pipe()
if os.fork() == 0:
    {first}
    os.write(writing, b'%d' % os.getpid())
    while time.process_time() < 60: pass
    os._exit(0)
{then}
reply('ok\\tpid=' + os.read(reading, 20).decode())
"""
ORPHAN = SPINNER.format(first="os.setsid()\n    if os.fork(): os._exit(0)", then="os.wait()")
SPINNERS = {
    "a child": SPINNER.format(first="pass", then=""),
    "a child in a session of its own": SPINNER.format(first="os.setsid()", then=""),
    "an orphan": ORPHAN,
}
# A process that forks and ends every millisecond: each of its descendants is an orphan.
RELAY = """
if os.fork() == 0:
    os.setsid()
    end = time.monotonic() + 60  # it ends by itself, should nothing else end it
    while time.monotonic() < end:
        if os.fork(): os._exit(0)
        time.sleep(0.001)
    os._exit(0)
os.wait()
reply('ok')
"""
BURN = """
if os.fork() == 0:
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
    os._exit(0)
os.wait()
reply('ok')
"""
every_spinner = pytest.mark.parametrize("behaviour", SPINNERS.values(), ids=SPINNERS.keys())


def stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def stands(pid: int) -> bool:
    """Report if two readings agree: the thread that stops a process may still be on its CPU."""
    before = process_cpu_seconds(pid)
    time.sleep(0.01)
    return process_cpu_seconds(pid) == before


def wrapped(behaviour: str) -> Worker:
    """Return a worker whose wrapper waits for the program instead of becoming it."""
    script = ROGUE.format(hello=HELLO, behaviour=behaviour.replace("\n", "\n        "))
    return Worker(["sh", "-c", '"$0" "$@"; true', sys.executable, "-I", "-S", "-c", script])


@every_spinner
def test_a_descendant_is_stopped_and_continued(behaviour: str) -> None:
    with rogue(behaviour) as worker:
        pid = int(worker.call("start")["pid"])
        worker.signal_tree(signal.SIGSTOP)
        assert until(lambda: stopped(pid) and stopped(worker.pid))
        assert until(lambda: stands(pid))
        stood = process_cpu_seconds(pid)
        time.sleep(0.2)
        assert process_cpu_seconds(pid) == stood
        worker.signal_tree(signal.SIGCONT)
        assert until(lambda: process_cpu_seconds(pid) > stood)


@every_spinner
def test_a_descendant_is_accounted_for(behaviour: str) -> None:
    with rogue(behaviour) as worker:
        pid = int(worker.call("start")["pid"])
        assert sorted(worker.tree.processes()) == sorted([worker.pid, pid])
        before, its = worker.tree.cpu_time(), process_cpu_seconds(pid)
        assert until(lambda: process_cpu_seconds(pid) > its + 0.1)
        assert worker.tree.cpu_time().since(before) > 0.1
        assert worker.tree.affinities()[pid] == os.sched_getaffinity(pid)


@every_spinner
def test_a_tree_moves_to_other_cpus_as_a_whole(behaviour: str) -> None:
    cpus = os.sched_getaffinity(0)
    with rogue(behaviour) as worker:
        worker.call("start")
        for cpu in (min(cpus), max(cpus)):
            worker.tree.move([cpu])
            seen = worker.tree.affinities()
            assert len(seen) == 2
            assert all(found == {cpu} for found in seen.values())


def test_a_thread_that_starts_while_its_tree_moves_moves_too() -> None:
    cpus = os.sched_getaffinity(0)
    with rogue(RELAY) as worker:
        worker.call("start")
        for cpu in (min(cpus), max(cpus)) * 5:

            def all_there(cpu: int = cpu) -> bool:
                worker.tree.move([cpu])
                return set().union(*worker.tree.affinities().values()) == {cpu}

            assert until(all_there)  # a listing may miss a process that was born meanwhile


def test_a_tree_is_moved_until_no_thread_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    listings = iter([{7: {0, 1}, 8: {0}}, {7: {1}, 9: {0, 1}}, {7: {1}, 9: {1}}, {}])
    moved = list[tuple[int, set[int]]]()
    tree = Tree(0)
    monkeypatch.setattr(tree, "affinities", lambda: next(listings))
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cpus: moved.append((thread, cpus)))
    tree.move([1])
    assert moved == [(7, {1}), (8, {1}), (9, {1})]
    assert list(listings) == [{}], "it goes on though all are there"


@every_spinner
def test_a_descendant_ends_with_its_worker(behaviour: str) -> None:
    with rogue(behaviour) as worker:
        pid = int(worker.call("start")["pid"])
    assert not alive(pid)


@every_spinner
def test_a_descendant_ends_when_the_worker_is_killed(behaviour: str) -> None:
    with rogue(behaviour) as worker:
        pid = int(worker.call("start")["pid"])
        os.kill(worker.pid, signal.SIGKILL)
        assert until(lambda: not alive(pid))


@every_spinner
def test_a_descendant_ends_when_the_supervisor_is_killed(behaviour: str) -> None:
    with rogue(behaviour) as worker:
        pid, its = int(worker.call("start")["pid"]), worker.pid
        worker._process.kill()
        assert until(lambda: not alive(its))
        with pytest.raises(WorkerDied, match="signal SIGKILL"):
            worker.call("start")
        assert alive(pid)
    assert until(lambda: not alive(pid))


@every_spinner
def test_a_descendant_ends_when_the_driver_is_killed_even_if_all_are_stopped(behaviour: str, tmp_path: Path) -> None:
    script = ROGUE.format(hello=HELLO, behaviour=behaviour.replace("\n", "\n        "))
    driver = (
        "import signal, sys, time; from pyfnn.process.worker import Worker;"
        f"worker = Worker([sys.executable, '-I', '-S', '-c', {script!r}]);"
        "pid = worker.call('start')['pid']; worker.signal_tree(signal.SIGSTOP);"
        "print(pid, worker.pid, worker._process.pid, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # the killed driver cannot remove its folder
    parent = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert all(alive(pid) for pid in pids)
    parent.kill()
    parent.communicate()
    assert until(lambda: not any(alive(pid) for pid in pids))


def test_processes_that_fork_all_the_time_are_stopped_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyfnn.process.tree._STOPPING", 60.0)
    mark = f"pyfnn-{uuid.uuid4()}"
    with rogue(RELAY + f"# {mark}") as worker:
        worker.call("start")
        for _ in range(50):
            worker.signal_tree(signal.SIGSTOP)
            time.sleep(0.005)
            assert all(stopped(pid) or not alive(pid) for pid in worker.tree.processes())
            worker.signal_tree(signal.SIGCONT)
        supervisor = psutil.Process(worker._process.pid)
        assert any(mark in _read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert not supervisor.is_running()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark in _read(path)]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_a_wrapper_that_does_not_exec_is_no_obstacle() -> None:
    behaviour = (
        "end = time.process_time() + 0.2\nwhile time.process_time() < end: pass\nreply('ok\\tpid=%d' % os.getpid())"
    )
    with wrapped(behaviour) as worker:
        pid = int(worker.call("burn", accounts=True)["pid"])
        assert pid != worker.pid
        assert worker.cpu_seconds > 0.19
        worker.signal_tree(signal.SIGSTOP)
        assert until(lambda: stopped(pid))
    assert not alive(pid)


def test_the_cpu_time_of_a_child_that_ended_within_the_call_is_counted() -> None:
    with rogue(BURN) as worker:
        for _ in range(2):
            worker.call("burn", accounts=True)
            assert 0.15 < worker.cpu_seconds < 0.3


def test_ticks_of_ended_children_never_make_a_difference_too_large() -> None:
    before = CpuTime(running=1.0, reaped={7: 0.50, 8: 1.0})
    assert CpuTime(1.1, {7: 0.50, 8: 1.0}).since(before) == pytest.approx(0.1)
    assert CpuTime(1.1, {7: 0.52, 8: 1.0}).since(before) == pytest.approx(0.1)
    assert CpuTime(1.1, {7: 0.60, 8: 1.0}).since(before) == pytest.approx(0.18)
    assert CpuTime(1.0, {7: 0.51, 8: 1.0}).since(before) == 0.0


def test_the_time_that_threads_wait_for_a_cpu_is_counted() -> None:
    cpu = max(os.sched_getaffinity(0))
    script = ROGUE.format(
        hello=HELLO, behaviour=SPINNERS["a child in a session of its own"].replace("\n", "\n        ")
    )
    with Worker([sys.executable, "-I", "-S", "-c", script], cpus=[cpu]) as worker:
        for _ in range(2):  # two processes that spin on one CPU
            worker.call("start")
        before = worker.tree.run_delays()
        assert before
        assert until(lambda: waited(before, worker.tree.run_delays()) > 0.05)


def test_a_thread_that_ended_takes_no_waiting_of_others_with_it() -> None:
    assert waited({"1": 5.0, "2": 1.0}, {"2": 1.5, "3": 0.25}) == 0.75


def test_processes_of_others_are_left_alone() -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        with rogue(ORPHAN) as worker:
            worker.call("start")
            assert not {other.pid, worker._process.pid, os.getpid()} & set(worker.tree.processes())
            worker.signal_tree(signal.SIGSTOP)
            assert not stopped(other.pid)
        worker.signal_tree(signal.SIGKILL)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_worker_starts_without_blocked_signals() -> None:
    with rogue("reply('ok\\tblocked=%r' % signal.pthread_sigmask(signal.SIG_BLOCK, []))") as worker:
        assert worker.call("mask")["blocked"] == "set()"
