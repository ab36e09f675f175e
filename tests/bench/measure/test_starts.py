"""Claims about the starts of a launch: side by side, never two at one place, and a failure costs its backend alone."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

import misbehaving
import pytest
from support.requirements import workers
from support.rogue import HELLO

from bench.measure.arm import Arm
from bench.measure.session import Session
from bench.measure.starts import Cpus, start_side_by_side
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from pyfnn.errors import PyfnnError, WorkerDied, WorkerTimeout
from pyfnn.manifest import read_manifest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")

# A program that begins with `first`, then answers hello and nothing else, until its input ends.
PROGRAM = """import os, sys, time
{first}
for line in sys.stdin:
    if line == "quit\\n": break
    os.write(1, ({hello!r} + "\\n").encode())
"""
SLOW = "time.sleep(0.5)"
WAITS = "while not os.path.exists({begun!r}): time.sleep(0.01)"  # until the second process has begun to start


class Launch:
    """The starts of programs: their sessions, the errors, and when and where each began.

    `timeouts` has the seconds of those that have others than 60 to answer.
    """

    def __init__(
        self, case: tuple[CaseKey, Problem], folder: Path, timeouts: dict[str, float] | None = None, **firsts: str
    ) -> None:
        self.case, self.folder, self.timeouts = case, folder, timeouts or {}
        self.arms, self.sessions = list[Arm](), dict[str, Session]()
        self.errors = dict[str, PyfnnError]()
        self.begun, self.at = dict[str, float](), dict[str, Cpus]()
        self.after: Callable[[str], object] = lambda _: None  # is called once a process has begun to start
        behaviours = dict.fromkeys(firsts, misbehaving.STEADY)
        for row in read_manifest(misbehaving.manifest(folder / "backend.toml", behaviours)):
            script = folder / f"{row.name}.py"
            first = firsts[row.name].format(begun=str(folder / "begun"))
            script.write_text(PROGRAM.format(first=first, hello=HELLO), encoding="utf-8")
            run = f"{sys.executable} -I -S {script}"
            self.arms.append(Arm(replace(row, run=run), row.name))

    def start(self, arm: Arm, place: Cpus) -> Session:
        self.begun[arm.instance], self.at[arm.instance] = time.perf_counter(), place
        timeout = self.timeouts.get(arm.instance, 60.0)
        session = Session(arm.row, *self.case, timeout, cpus=self.cpus, place=place)
        self.sessions[arm.instance] = session
        if len(self.sessions) == 2:
            (self.folder / "begun").touch()
        self.after(arm.instance)
        return session

    @contextmanager
    def blame(self, arm: Arm) -> Iterator[None]:
        try:
            yield
        except PyfnnError as error:
            arm.lost = True
            self.errors[arm.instance] = error

    def run(self, places: list[Cpus]) -> None:
        self.cpus = places[0]
        try:
            start_side_by_side(self.arms, places, self.start, self.blame)
            assert all(_stopped(session) for name, session in self.sessions.items() if name not in self.errors)
            self.affinities = {
                name: set().union(*session.worker.tree.affinities().values())
                for name, session in self.sessions.items()
                if name not in self.errors
            }
        finally:
            for session in self.sessions.values():
                session.close()

    def wait_for_output(self) -> None:
        """Wait until all processes that have begun to start have written something or closed their output."""
        waiting = {session.worker.fileno() for session in self.sessions.values()}
        while waiting:
            waiting -= set(wait(waiting))

    def span(self, name: str) -> tuple[float, float]:
        return self.begun[name], self.begun[name] + self.sessions[name].worker.startup_seconds


def _stopped(session: Session) -> bool:
    return all(
        Path(task, "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in session.worker.tree.tasks()
    )


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[CaseKey, Problem]:
    path = misbehaving.suite(tmp_path_factory.mktemp("suite") / "tiny.toml")
    (key,) = cases_of(*load_suite(str(path)))
    return key, make_problem(key.workload, key.dtype)


@pytest.fixture
def places() -> list[Cpus]:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    return [(cpus[-1],), (cpus[0],)]


def test_processes_start_side_by_side_but_one_at_a_place_and_arrive_at_the_cpus_of_the_case(
    case: tuple[CaseKey, Problem], places: list[Cpus], tmp_path: Path
) -> None:
    launch = Launch(case, tmp_path, a=WAITS, b=SLOW, c=SLOW, d=SLOW)
    launch.run(places)
    assert not launch.errors
    assert {name: found for name, found in launch.affinities.items() if found != set(places[0])} == {}
    assert set(launch.at.values()) == set(places)
    names = [arm.instance for arm in launch.arms]
    for at, name in enumerate(names):
        for other in names[at + 1 :]:
            apart = launch.span(name)[1] <= launch.span(other)[0]
            assert apart or launch.at[name] != launch.at[other]
    first, second = names[:2]
    assert launch.span(second)[0] < launch.span(first)[1], "the first two were not side by side"


def test_a_process_that_ends_or_is_silent_costs_its_own_backend_only(
    case: tuple[CaseKey, Problem], places: list[Cpus], tmp_path: Path
) -> None:
    half = "os.write(1, b'half'); time.sleep(600)"
    firsts = {"ends": "sys.exit(3)", "silent": "time.sleep(600)", "half": half, "good": "", "later": SLOW, "last": ""}
    launch = Launch(case, tmp_path, {"silent": 3.0, "half": 3.0}, **firsts)
    launch.run(places)
    errors = {name: type(error) for name, error in launch.errors.items()}
    assert errors == {"ends": WorkerDied, "silent": WorkerTimeout, "half": WorkerTimeout}
    assert set(launch.affinities) == {"good", "later", "last"}


def test_an_answer_that_came_in_time_counts_though_it_is_read_late(
    case: tuple[CaseKey, Problem], places: list[Cpus], tmp_path: Path
) -> None:
    launch = Launch(case, tmp_path, good=WAITS, other="")

    def dally(instance: str) -> None:
        if instance == "other":  # the driver is busy from the answers to the deadlines
            launch.wait_for_output()
            for session in launch.sessions.values():
                session.worker.timeout = time.perf_counter() - session.worker._begun

    launch.after = dally
    launch.run(places)
    assert all(session.worker.greeting_deadline < time.perf_counter() for session in launch.sessions.values())
    assert not launch.errors


def test_the_start_of_a_process_ends_with_its_answer_and_not_with_the_starts_of_others(
    case: tuple[CaseKey, Problem], places: list[Cpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyfnn.process.worker._ENDING", 0.1)  # seconds, in which `quick` is not attended to
    launch = Launch(case, tmp_path, mute=f"{WAITS}\nos.close(1); time.sleep(600)", quick="")
    arrive, arrivals = Session.arrive, dict[Session, float]()

    def arriving(session: Session) -> None:
        arrivals[session] = time.perf_counter()
        arrive(session)

    monkeypatch.setattr(Session, "arrive", arriving)
    launch.after = lambda instance: launch.wait_for_output() if instance == "quick" else None
    launch.run(places)
    assert set(launch.errors) == {"mute"}
    assert list(arrivals) == [launch.sessions["mute"], launch.sessions["quick"]]
    worker = launch.sessions["quick"].worker
    assert worker._begun + worker.startup_seconds <= min(arrivals.values())


def test_an_interrupted_start_leaves_no_process(
    case: tuple[CaseKey, Problem], places: list[Cpus], tmp_path: Path
) -> None:
    before, launch = workers(), Launch(case, tmp_path, a="time.sleep(600)", b="time.sleep(600)", c="")
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))

    launch.after = lambda instance: timer.start() if instance == "b" else None
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # as by a shell, in a job in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            launch.run(places)
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, ignored)
    assert workers() == before


def test_what_a_process_writes_to_stderr_is_no_answer(
    case: tuple[CaseKey, Problem], places: list[Cpus], tmp_path: Path
) -> None:
    talks = "sys.stderr.write('x' * 10_000 + '\\n'); sys.stderr.flush(); " + SLOW
    launch = Launch(case, tmp_path, talks=talks, other=SLOW)
    launch.run(places)
    assert not launch.errors
    assert len(launch.sessions["talks"].worker.stderr) > 10_000


def test_a_backend_that_is_lost_while_it_starts_is_waited_for_no_longer(
    case: tuple[CaseKey, Problem], places: list[Cpus], tmp_path: Path
) -> None:
    launch = Launch(case, tmp_path, silent="time.sleep(600)", other=SLOW)
    silent = launch.arms[0]

    def lose(instance: str) -> None:
        if instance != silent.instance:  # as where the second instance of a backend fails
            silent.lost = True
            launch.sessions[silent.instance].close()
            launch.errors[silent.instance] = PyfnnError("lost")

    begin = time.perf_counter()
    launch.after = lose
    launch.run(places)
    assert time.perf_counter() - begin < 30
    assert set(launch.affinities) == {"other"}
