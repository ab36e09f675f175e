"""Launcher: sets CPU affinity, thread counts and death with the parent, then replaces itself by the command.

Runs as a script: python -I -S launch.py PARENT CPUS THREADS COMMAND ...; `command` returns this command line.
Thread variables have an effect only if they are set before a library is loaded; here they always are. This file must
not import pyfnn, nor anything but the standard library.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

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
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def command(cpus: Sequence[int] = (), threads: int = 1) -> list[str]:
    """Return the command line of the launcher, up to the command that it becomes; this process is the parent.

    Parameters
    ----------
    cpus : sequence of int
        CPUs that the command may use; empty leaves the affinity as it is.
    threads : int
        Number of threads, for each of `THREAD_VARIABLES`.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), ",".join(map(str, cpus)), str(threads)]


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


def die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent ends, even if this process is stopped. Linux only.

    On other systems, a worker ends at the end of its input.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the request
        sys.exit(1)


def main() -> None:
    """Set up this process and replace it by the command."""
    parent, cpus, threads, *words = sys.argv[1:]
    die_with(int(parent))
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, threads)}
    try:
        os.execvpe(words[0], words, environment)
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
