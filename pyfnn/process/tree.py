"""The processes of a worker: the worker and all its descendants, in other sessions too, with their clocks and CPUs.

On Linux the supervisor of `pyfnn.launch` adopts descendants that lose their parent, so the descendants of the
supervisor are complete. A process that another service starts on the worker's behalf (systemd, docker) is not found.
"""

import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from signal import Signals

import psutil

_LINUX = sys.platform == "linux"
_TICK = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01  # seconds
_STOPPING, _SOON, _STOP_CHECK = 1.0, 5e-4, 2e-4  # seconds
_LISTS_CHILDREN = Path("/proc/thread-self/children").exists()  # a kernel with CONFIG_PROC_CHILDREN


@dataclass(frozen=True)
class CpuTime:
    """CPU time of a tree at one moment.

    Attributes
    ----------
    running : float
        Seconds of the processes that exist; resolution 1 ns on Linux, one tick on other systems.
    reaped : dict of int to float
        Seconds of ended descendants, by the process that waited for them; in ticks (10 ms). Empty outside Linux.
    """

    running: float
    reaped: dict[int, float]

    @property
    def total(self) -> float:
        """Seconds of the processes that exist and of those that ended."""
        return self.running + sum(self.reaped.values())

    def since(self, before: "CpuTime") -> float:
        """Return the seconds between two readings, rounded down where descendants ended between them.

        A parent counts ended children in whole ticks, of user and of system time: at most two ticks of a difference may
        be of an earlier time, and are not counted.
        """
        changed = [pid for pid, seconds in self.reaped.items() if seconds != before.reaped.get(pid, 0.0)]
        uncertain = 2 * _TICK * len(changed)
        return max(0.0, self.total - before.total - uncertain)


class Tree:
    """The processes of a worker.

    Parameters
    ----------
    worker : int
        Process id of the worker.
    supervisor : int, optional
        Process id of its supervisor, which is not one of the processes; None where there is none.
    """

    def __init__(self, worker: int, supervisor: int | None = None) -> None:
        self.worker, self._supervisor = worker, supervisor

    def processes(self) -> list[int]:
        """Return the process ids, parents before their children; zombies included."""
        found = [self.worker] if self._supervisor is None else children(self._supervisor, threads=False)
        for pid in found:  # which grows
            found += [child for child in children(pid) if child not in found]
        return found

    def tasks(self) -> list[str]:
        """Return the folder /proc/PID/task/THREAD of every thread of every process; empty outside Linux."""
        return [task for pid in self.processes() for task in _tasks(pid)] if _LINUX else []

    def affinities(self) -> dict[int, set[int]]:
        """Return the CPUs on which each thread may run, by thread id; empty outside Linux."""
        found = {}
        for task in self.tasks():
            thread = int(task.rpartition("/")[2])
            with suppress(ProcessLookupError):  # it ended after it was listed
                found[thread] = os.sched_getaffinity(thread)
        return found

    def move(self, cpus: Iterable[int]) -> None:
        """Move every thread that may run elsewhere to these CPUs; do nothing outside Linux.

        A thread that is started meanwhile inherits the CPUs of before: moving is repeated, at most 1 s long, until no
        thread is left there. The caller checks the CPUs again where they matter.
        """
        wanted, begin = set(cpus), time.monotonic()
        while time.monotonic() - begin < _STOPPING:
            elsewhere = [thread for thread, seen in self.affinities().items() if not seen <= wanted]
            if not elsewhere:
                return
            for thread in elsewhere:
                with suppress(ProcessLookupError):  # it ended after it was listed
                    os.sched_setaffinity(thread, wanted)

    def cpu_time(self) -> CpuTime:
        """Return the CPU time of all processes so far, of those that ended too.

        Not counted: descendants whose parent ignores SIGCHLD, once they have ended, since the kernel drops their time.
        """
        running, reaped = 0.0, {}
        processes = self.processes()
        for pid in processes:
            with suppress(OSError, psutil.Error):
                running += process_cpu_seconds(pid)
        parents = processes if self._supervisor is None else [*processes, self._supervisor]
        for pid in parents if _LINUX else ():
            with suppress(OSError):
                if seconds := _reaped_seconds(pid):
                    reaped[pid] = seconds
        return CpuTime(running, reaped)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all processes so far, of those that ended too; see `cpu_time`."""
        return self.cpu_time().total

    def run_delays(self) -> dict[str, float]:
        """Return the seconds that each thread waited for a CPU so far; empty where the kernel does not count them."""
        delays = {}
        for task in self.tasks():
            with suppress(OSError):
                delays[task.rpartition("/")[2]] = int(read_proc(f"{task}/schedstat").split()[1]) * 1e-9
        return delays

    def switches(self) -> int | None:
        """Return the involuntary switches of all threads so far; None where the system does not count them."""
        tasks = self.tasks()
        try:
            counts = [int(_status_field(f"{task}/status", b"nonvoluntary_ctxt_switches:")) for task in tasks]
        except (OSError, ValueError):
            return None
        return sum(counts) if counts else None

    def peak_bytes(self) -> int | None:
        """Return the most memory that the worker itself has had resident; None where the system does not report it."""
        try:
            return 1024 * int(_status_field(f"/proc/{self.worker}/status", b"VmHWM:"))
        except (OSError, ValueError):
            return None

    def signal(self, number: Signals) -> None:
        """Send a signal to every process; do nothing where all have ended."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """Stop every thread of every process, and wait until they have stopped, at most 1 s.

        A process that is forking when SIGSTOP arrives finishes the fork first, and a listing misses a process whose
        parent ends meanwhile. So SIGSTOP is repeated until a listing equals the one before, all of which had stopped
        before this one was made.
        """
        begin = time.monotonic()
        stopped: list[str] | None = None
        while (spent := time.monotonic() - begin) < _STOPPING:
            self.signal(Signals.SIGSTOP)
            tasks = self.tasks()
            if tasks == stopped:
                return
            stopped = tasks if all(map(_is_stopped, tasks)) else None
            if not stopped:
                time.sleep(0 if spent < _SOON else _STOP_CHECK)  # a sleep takes 1 ms, most processes stop in 50 µs


def waited(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Return the seconds between two readings of `Tree.run_delays`, of the threads that the second one has.

    A thread that ends takes its count with it.
    """
    return sum(max(0.0, seconds - before.get(thread, 0.0)) for thread, seconds in after.items())


def end_marked(mark: str) -> None:
    """Kill every process that has `mark`, NAME=value, in its environment, at most 1 s long. Linux only.

    After the end of a supervisor that was killed, its descendants are children of the system's first process.
    """
    begin = time.monotonic()
    while time.monotonic() - begin < _STOPPING and (found := _marked(mark.encode())):
        for pid in found:
            with suppress(OSError):
                os.kill(pid, Signals.SIGKILL)


def _marked(mark: bytes) -> list[int]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 (see `read_proc`)
        with suppress(OSError):  # it ended, or belongs to another user
            if mark in read_proc(f"/proc/{name}/environ").split(b"\0"):
                found.append(int(name))
    return found


def read_proc(path: str) -> bytes:
    """Return the content of a file of proc(5). A turn reads dozens: this takes 10 µs, a third of pathlib's time.

    Raises
    ------
    OSError
        The process or thread has ended.
    """
    with FileIO(path) as file:
        return file.readall()


def _tasks(pid: int) -> list[str]:
    """Return the folder of every thread of a process; empty where it has ended. Linux only."""
    folder = f"/proc/{pid}/task"
    with suppress(OSError):
        return [f"{folder}/{thread}" for thread in os.listdir(folder)]  # noqa: PTH208 (see `read_proc`)
    return []


def _status_field(path: str, key: bytes) -> bytes:
    """Return the value of a key in a Linux status file; b"" where the file has no such line."""
    return next((line.split()[1] for line in read_proc(path).splitlines() if line.startswith(key)), b"")


def _is_stopped(task: str) -> bool:
    """Return True if a thread has stopped or ended."""
    try:
        return read_proc(f"{task}/stat").rpartition(b")")[2].split()[0] in b"TtZX"
    except OSError:
        return True


def children(pid: int, *, threads: bool = True) -> list[int]:
    """Return the process ids of a process's children, zombies included; empty where the process has ended.

    threads: False for a process of one thread, which is quicker.
    """
    found: list[int] = []
    if not _LISTS_CHILDREN:
        with suppress(psutil.Error):
            found = [child.pid for child in psutil.Process(pid).children()]
        return found
    for task in _tasks(pid) if threads else [f"/proc/{pid}/task/{pid}"]:
        with suppress(OSError):  # the thread ended after it was listed
            found += map(int, read_proc(f"{task}/children").split())
    return found


def process_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of one process so far, all its threads; resolution 1 ns on Linux, else one tick.

    Raises
    ------
    OSError, psutil.Error
        There is no such process.
    """
    if _LINUX:
        return time.clock_gettime(~pid << 3 | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of Linux
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _reaped_seconds(pid: int) -> float:
    """Return the CPU seconds of the children that a process has waited for, and of theirs, in whole ticks."""
    fields = read_proc(f"/proc/{pid}/stat").rpartition(b")")[2].split()  # from field 3 on
    return (int(fields[13]) + int(fields[14])) * _TICK  # cutime and cstime
