"""Launcher: sets CPU affinity, thread counts and death with the parent, then replaces itself by the command.

Runs as a script: python -I -S launch.py PARENT REPORT CPUS THREADS COMMAND ...; `command` returns this command line.
Given a REPORT on Linux, it stays as the supervisor of the command: every descendant that loses its parent becomes a
child of the supervisor, which ends all of them when the command or the driver ends.
Thread variables have an effect only if they are set before a library is loaded; here they always are. This file must
not import pyfnn, nor anything but the standard library.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

SUPERVISES = sys.platform == "linux"  # elsewhere the launcher always replaces itself by the command

# Variables that a library or runtime reads once, when it starts.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "PJRT_NPROC",  # XLA, which JAX uses
    "JULIA_NUM_THREADS",
    "GOMAXPROCS",
)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36  # linux/prctl.h
_RETRY = 0.1  # seconds between two attempts to end what is left


def command(cpus: Sequence[int] = (), threads: int | None = 1, report: int | None = None) -> list[str]:
    """Return the command line of the launcher, up to the command that it starts; this process is the parent.

    Parameters
    ----------
    cpus : sequence of int
        CPUs that the command may use; empty leaves the affinity as it is.
    threads : int or None
        Number of threads, for each of `THREAD_VARIABLES`; None leaves them as they are.
    report : int, optional
        An inherited file descriptor to which the launcher writes the command's process id, on a line. The launcher then
        supervises the command; otherwise, and on systems other than Linux, it becomes the command.
    """
    number = "" if report is None or not SUPERVISES else str(report)
    places = ",".join(map(str, cpus))
    count = "" if threads is None else str(threads)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), number, places, count]


def python(module: str, folder: os.PathLike[str]) -> list[str]:
    """Return the command line that calls `main` of a Python module and exits with its result; add its arguments.

    Parameters
    ----------
    module : str
        For instance ``pyfnn.worker``.
    folder : path-like
        Folder of the module's package. It comes first on the path, so that every working directory gives the same
        module.
    """
    code = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import main; sys.exit(main())"
    return [sys.executable, "-c", code, os.fspath(folder)]


def main() -> None:
    """Set up this process, then replace it by the command or supervise the command."""
    parent, report, cpus, threads, *words = sys.argv[1:]
    if report:
        die_with(int(parent), signal.SIGTERM)  # caught, so that the supervisor can end the descendants
        _start_supervised(int(report))
    else:
        die_with(int(parent), signal.SIGKILL)
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    environment = {**os.environ, **(dict.fromkeys(THREAD_VARIABLES, threads) if threads else {})}
    try:
        os.execvpe(words[0], words, environment)
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with(parent: int, number: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent ends; SIGKILL ends even a stopped process. Linux only.

    On other systems, a worker ends at the end of its input.
    """
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # the parent ended before the request
        sys.exit(1)


def _start_supervised(report: int) -> None:
    """Fork: return in the child, which leads a session of its own; in the parent, supervise the child and exit."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    awaited = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    supervisor, child = os.getpid(), os.fork()
    if child == 0:
        os.close(report)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
        die_with(supervisor, signal.SIGKILL)
        return
    os.write(report, b"%d\n" % child)
    os.close(report)
    null = os.open(os.devnull, os.O_RDWR)
    for pipe in (0, 1, 2):  # otherwise the driver would not see the end of the worker's output
        os.dup2(null, pipe)
    _end_like(_supervise(child, awaited))


def _supervise(worker: int, awaited: set[signal.Signals]) -> int:
    """Wait until the worker ends or SIGTERM arrives, end all descendants, and return the worker's wait status.

    Only children that have not been waited for are killed, so their process ids cannot belong to another process.
    A killed child's children become children of this process before SIGCHLD arrives, and are killed next.
    """
    status, ending = 0, False
    while True:
        found = signal.sigtimedwait(awaited, _RETRY) if ending else signal.sigwaitinfo(awaited)
        ending = ending or (found is not None and found.si_signo == signal.SIGTERM)
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == worker:
                    status, ending = ended[1], True
        except ChildProcessError:  # there are no children left
            return status
        if ending:
            for child in _children():
                os.kill(child, signal.SIGKILL)


def _children() -> list[int]:
    """Return the process ids of this process's children, zombies included."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 (pathlib takes 10 ms to import)
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
            if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                found.append(int(name))
    return found


def _end_like(status: int) -> None:
    """End this process with the exit status or the signal of a wait status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        _prctl(_PR_SET_DUMPABLE, 0)  # no second core file
        with suppress(OSError):  # SIGKILL needs no default
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
