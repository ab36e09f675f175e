"""Claims about a session: a stopped process uses no CPU, and its CPUs, threads, clocks and memory are checked."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import misbehaving
import psutil
import pytest
from support.requirements import workers
from threadpoolctl import threadpool_info

from bench.machine import cpus, description
from bench.machine.cpus import choose_cpus
from bench.measure.block import Block, Place
from bench.measure.clock import Reading
from bench.measure.errors import Implausible, NotEnoughMemory, ThreadsMismatch
from bench.measure.networks import Late
from bench.measure.session import Session
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from pyfnn import registry
from pyfnn.errors import InvalidInput, PyfnnError, WorkerDied, WorkerError
from pyfnn.manifest import Device

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and CPU clocks, which are Linux's")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[CaseKey, Problem]:
    path = misbehaving.suite(tmp_path_factory.mktemp("suite") / "tiny.toml")
    (key,) = cases_of(*load_suite(str(path)))
    make_problem.cache_clear()  # the order of another test's problem may be shorter
    return key, make_problem(key.workload, key.dtype)


OpenSession = Callable[[str], AbstractContextManager[Session]]


@pytest.fixture
def open_session(case: tuple[CaseKey, Problem], tmp_path: Path) -> OpenSession:
    """Return a function that opens a session with a worker that shows a behaviour."""

    @contextmanager
    def opened(behaviour: str) -> Iterator[Session]:
        row = registry.find("one", [misbehaving.manifest(tmp_path / "backend.toml", {"one": behaviour})])
        with Session(row, *case, timeout=60.0) as session:
            yield session

    return opened


def cpu_seconds(pid: int) -> float:
    return time.clock_gettime(~pid << 3 | 2)


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@linux
def test_a_stopped_worker_uses_no_cpu_even_if_one_of_its_threads_spins(open_session: OpenSession) -> None:
    with open_session("spins init 1") as session:
        session.load_workload()
        pid = session.worker.pid
        before = cpu_seconds(pid)
        assert wait_until(lambda: cpu_seconds(pid) > before + 0.02), "the thread does not spin"
        session.stop()
        assert wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        stood = cpu_seconds(pid)
        time.sleep(0.3)
        assert cpu_seconds(pid) == stood
        session.resume()
        assert wait_until(lambda: cpu_seconds(pid) > stood + 0.02), "it was not continued"


def test_a_stopped_worker_can_be_ended(open_session: OpenSession) -> None:
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        session.stop()
        process, folder = psutil.Process(session.worker.pid), session.worker.workdir
    assert not process.is_running()
    assert not folder.exists()


@linux
def test_every_thread_of_a_worker_is_pinned_to_the_last_cpu(open_session: OpenSession) -> None:
    with open_session("spins init 1") as session:
        session.load_workload()
        tasks = [int(path.name) for path in Path(f"/proc/{session.worker.pid}/task").iterdir()]
        assert len(tasks) == 2
        for task in tasks:
            assert os.sched_getaffinity(task) == {max(os.sched_getaffinity(0))}


several_cpus = pytest.mark.skipif(cpus.all_threads() < 2, reason="needs two CPUs")


@linux
@several_cpus
def test_a_thread_on_other_cpus_is_found_when_the_workload_is_loaded(open_session: OpenSession) -> None:
    with (
        open_session("widens init 1") as session,
        pytest.raises(ThreadsMismatch, match=r"thread \d+ may run on CPUs \[0, 1"),
    ):
        session.load_workload()


@linux
@several_cpus
def test_a_thread_on_other_cpus_started_in_the_first_step_is_found_by_the_end_of_the_turn(
    open_session: OpenSession,
) -> None:
    with open_session("widens train 1") as session:
        session.load_workload()
        with pytest.raises(ThreadsMismatch, match="may run on CPUs"):
            session.turn(1, 1)


@linux
@pytest.mark.parametrize("behaviour", ["child_spins init 1", "orphan_spins init 1"])
def test_a_stopped_session_uses_no_cpu_even_if_a_descendant_spins_in_another_session(
    behaviour: str, open_session: OpenSession
) -> None:
    with open_session(behaviour) as session:
        session.load_workload()
        tree = session.worker.tree
        processes = tree.processes()
        assert len(processes) == 2
        before = tree.cpu_seconds()
        assert wait_until(lambda: tree.cpu_seconds() > before + 0.02), "the descendant does not spin"
        session.stop()
        assert wait_until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in processes))
        stood = tree.cpu_seconds()
        time.sleep(0.3)
        assert tree.cpu_seconds() == stood
        session.resume()
        assert wait_until(lambda: tree.cpu_seconds() > stood + 0.02), "it was not continued"
    assert not any(psutil.pid_exists(pid) for pid in processes)


@linux
@several_cpus
def test_a_child_process_on_other_cpus_is_found(open_session: OpenSession) -> None:
    with (
        open_session("child_widens init 1") as session,
        pytest.raises(ThreadsMismatch, match=r"thread \d+ may run on CPUs \[0, 1"),
    ):
        session.load_workload()


@linux
@several_cpus
def test_the_cpu_time_of_children_that_end_before_the_reply_is_counted_against_the_threads(
    open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session("child_helps train 3") as session:
        session.load_workload()
        assert session.run(1).cpu_seconds < 0.3
        session.run(1)
        block = session.run(1)
        assert 0.5 < block.cpu_seconds < 0.9
        wall = 0.45  # of two idle CPUs; a busy machine takes longer, and the child then gains nothing
        monkeypatch.setattr(session, "run", lambda *_: replace(block, seconds=0.99 * wall, wall_seconds=wall))
        never_late(session, monkeypatch)
        with pytest.raises(ThreadsMismatch, match=r"CPU seconds in 0\.45 s on 1 threads"):
            session.turn(1, 1)


def test_a_worker_that_reports_more_threads_than_the_case_is_refused(open_session: OpenSession) -> None:
    with (
        open_session("greedy init 1") as session,
        pytest.raises(ThreadsMismatch, match="says it uses 64 threads: 1 were asked"),
    ):
        session.load_workload()


def test_the_blas_of_a_python_hosted_backend_is_reported_with_its_kernels_and_threads(
    case: tuple[CaseKey, Problem],
) -> None:
    with Session(registry.find("numpy"), *case, timeout=60.0) as session:
        session.load_workload()
        pools = session.pools()
        assert pools is not None
        ours = {Path(lib["filepath"]).name: lib for lib in threadpool_info()}
        (blas,) = [pool for pool in pools if pool.kind == "blas"]
        assert blas.kernels == ours[blas.file].get("architecture")
        assert blas.library == f"{ours[blas.file]['internal_api']} {ours[blas.file]['version']}"
        assert {pool.threads for pool in pools} == {1}


@linux
def test_a_pool_of_more_threads_than_the_case_has_is_found(
    case: tuple[CaseKey, Problem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    host = {"greedy": 'host = "misbehaving.hosted:Greedy"'}
    row = registry.find("greedy", [misbehaving.manifest(tmp_path / "backend.toml", {}, host)])
    with Session(row, *case, timeout=60.0) as session:
        session.load_workload()
        with pytest.raises(ThreadsMismatch, match=r"openblas .* has 2 threads: 1 were asked for"):
            session.pools()


def test_an_error_of_the_worker_is_told_when_its_pools_are_asked_for(
    case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InvalidInput("threadpoolctl is too old")

    with Session(registry.find("numpy"), *case, timeout=60.0) as session:
        monkeypatch.setattr(session.worker, "call", refuse)
        with pytest.raises(InvalidInput, match="threadpoolctl is too old"):
            session.pools()


def test_a_program_reports_no_pools(open_session: OpenSession) -> None:
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        assert session.pools() is None


@linux
def test_a_session_reports_the_cpus_of_its_worker(open_session: OpenSession) -> None:
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        assert session.cpus == choose_cpus(1) == (max(os.sched_getaffinity(0)),)


def test_a_turn_starts_from_the_workloads_theta_and_makes_the_steps_it_reports(
    open_session: OpenSession, case: tuple[CaseKey, Problem]
) -> None:
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        block = session.turn(2, 5)
        once = session.theta()
        session.approach(block.place)
        session.run(5, block.place.start)
        assert session.theta().tobytes() == once.tobytes()
        assert block.steps == 5
        assert 0 < block.seconds <= block.wall_seconds
        session.reset()
        assert session.theta().tobytes() == case[1].theta.tobytes()


@linux
def test_cpu_seconds_are_the_workers_over_the_block_and_never_more_than_the_wall(open_session: OpenSession) -> None:
    with open_session("slow train 1") as session:
        session.load_workload()
        block = session.run(1)
        assert 0 < block.cpu_seconds < 0.5 < 2 < block.wall_seconds
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        for _ in range(20):
            block = session.run(20)
            assert 0 < block.cpu_seconds <= 1.03 * block.wall_seconds + 1e-3  # two clocks


@pytest.mark.parametrize(
    ("behaviour", "words"), [("overstates train 1", "for what took"), ("understates train 1", "claims only")]
)
def test_a_worker_that_reports_a_wrong_time_is_implausible(
    behaviour: str, words: str, open_session: OpenSession
) -> None:
    with open_session(behaviour) as session:
        session.load_workload()
        steps = 1
        while session.run(steps).cpu_seconds < 0.1:
            steps *= 2
        with pytest.raises(Implausible, match=words):
            session.turn(1, steps)


def never_late(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no query after a run take longer than another one, nothing be constant, and no thread wait for a CPU."""
    monkeypatch.setattr(session, "_least_work", lambda *_: Reading(0.0, 0.0, 0.0))
    monkeypatch.setattr(session.networks, "late", lambda: Late(0.0, 0.0))
    monkeypatch.setattr(session, "_waits", dict)


def test_a_turn_is_tried_five_times_and_not_a_sixth_time(
    open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, late = Block(1, 0.099, 0.1, 0.09, 0), Block(1, 0.05, 0.1, 0.05, 0)
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        for timed, ends in (([late] * 4 + [honest], honest), ([late] * 5 + [honest], None)):
            blocks = iter(timed)
            monkeypatch.setattr(session, "run", lambda *_, blocks=blocks: next(blocks))
            never_late(session, monkeypatch)
            if ends:
                block = session.turn(1, 1)
                assert block == replace(ends, retries=4, place=block.place, work_cpu_seconds=block.work_cpu_seconds)
            else:
                with pytest.raises(Implausible):
                    session.turn(1, 1)


@pytest.mark.parametrize(
    ("outside", "accepted"),
    [([0.0018, 0.05, 0.0019], True), ([0.0, 0.0, 0.05], False), ([0.004, 0.004, 0.0], False)],
    ids=["busy now", "as quiet as before", "longer than busy"],
)
def test_a_repeated_turn_is_judged_beside_new_runs_of_almost_no_work(
    outside: list[float], accepted: bool, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, pauses = cycle(outside), list[float]()

    def read(_place: Place, pause: float = 0.0) -> Reading:
        pauses.append(pause)
        return Reading(0.0, next(new) if pause else 0.0, 0.0)

    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        monkeypatch.setattr(session, "run", lambda *_: Block(1, 0.05, 0.053, 0.05, 0))  # 3 ms outside its clock
        monkeypatch.setattr(session, "_read_least_work", read)
        monkeypatch.setattr(session.networks, "late", lambda: Late(0.0, 0.0))
        monkeypatch.setattr(session, "_waits", dict)
        with nullcontext() if accepted else pytest.raises(Implausible):
            assert session.turn(1, 1).retries == 1
    before = pauses.index(0.053)
    assert set(pauses[:before]) == {0.0}  # the first try needs no pause
    assert set(pauses[before:]) == {0.053}
    assert len(pauses[before:]) == (3 if accepted else 12)


@pytest.mark.parametrize(
    ("block", "error"),
    [
        (Block(9, 0.099, 0.100, 0.100, 0), None),
        (Block(9, 0.0977, 0.100, 0.100, 0), None),
        (Block(9, 0.0970, 0.100, 0.100, 0), Implausible),
        (Block(9, 0.002, 0.007, 0.002, 0), None),  # too short for a check of its share
        (Block(9, 0.1001, 0.100, 0.100, 0), Implausible),
        (Block(9, 0.099, 0.100, 0.1035, 0), None),  # within the difference allowed between two clocks
        (Block(9, 0.099, 0.100, 0.115, 0), ThreadsMismatch),
        (Block(9, 0.099, 0.100, 0.190, 0), ThreadsMismatch),
        (Block(9, 0.099, 0.100, 0.100, 0, device_seconds=0.0998), None),
        (
            Block(9, 0.099, 0.100, 0.100, 0, device_seconds=0.0502),
            None,
        ),  # low, which is reported in a note under the table
        (
            Block(9, 0.090, 0.100, 0.100, 0, device_seconds=0.0998),
            Implausible,
        ),  # the worker's clock stopped before the device
    ],
)
def test_a_block_whose_clocks_or_cpu_time_disagree_is_rejected(
    block: Block, error: type[PyfnnError] | None, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        monkeypatch.setattr(session, "run", lambda *_: block)
        never_late(session, monkeypatch)
        if error is None:
            turn = session.turn(1, 9)
            expected = replace(block, place=turn.place, work_cpu_seconds=turn.work_cpu_seconds)
            assert turn == replace(expected, involuntary_switches=turn.involuntary_switches)
        else:
            with pytest.raises(error):
                session.turn(1, 9)


def test_no_data_are_loaded_without_enough_memory(open_session: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
    children = workers()
    with open_session(misbehaving.STEADY) as session:
        with monkeypatch.context() as patch:
            patch.setattr(description, "available_memory", lambda: 2**20)
            with pytest.raises(NotEnoughMemory, match=r"needs about \d\d MiB: 1 MiB are free"):
                session.load_workload()
        session.load_workload()
        monkeypatch.setattr(description, "available_memory", lambda: 2**20)
        session.load_workload()  # the data of the first time may fill the memory still
    assert workers() == children


@linux
def test_the_peak_memory_is_that_of_the_process(open_session: OpenSession, case: tuple[CaseKey, Problem]) -> None:
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        peak = session.worker.tree.peak_bytes()
        assert peak is not None
        assert case[1].order.nbytes < peak < 2**31
        os.kill(session.worker.pid, signal.SIGKILL)


def test_a_worker_that_exits_after_a_correct_reply_is_found_dead_at_the_next_call(open_session: OpenSession) -> None:
    with open_session("answers_and_exits train 1") as session:
        session.load_workload()
        with pytest.raises(WorkerDied, match="exit status 3"):
            session.turn(1, 1)


def test_a_removed_workdir_is_an_error_of_the_worker(open_session: OpenSession) -> None:
    with open_session("vandal hello 1") as session, pytest.raises(WorkerError, match="takes no data: No such file"):
        session.load_workload()


@pytest.mark.parametrize(("seconds", "error"), [(0.081, None), (0.0787, None), (0.059, Implausible)])
def test_the_time_to_fetch_theta_from_a_device_is_not_counted_against_the_worker(
    seconds: float, error: type[PyfnnError] | None, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session(misbehaving.STEADY) as session:
        session.load_workload()
        monkeypatch.setattr(session, "_fetch_seconds", 0.02)
        never_late(session, monkeypatch)
        monkeypatch.setattr(session, "run", lambda *_: Block(9, seconds, 0.1, 0.05, 0))
        if error is None:
            session.turn(1, 9)
        else:
            with pytest.raises(error):
                session.turn(1, 9)


def test_the_fetch_of_theta_takes_time_on_a_device_only(case: tuple[CaseKey, Problem]) -> None:
    key, problem = case
    row = registry.find("numpy")
    devices: tuple[tuple[Device, float], ...] = (("cpu", 0.0), ("cuda", problem.theta.nbytes / 2e9))
    for device, wanted in devices:
        with Session(replace(row, device=device), key, problem, 20.0) as session:
            assert session._fetch_seconds == wanted
