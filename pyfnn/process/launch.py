"""Sets a process up, then becomes the program it was asked for: affinity, thread counts, death with its parent.

Run as a script, before the program exists: python -I -S launch.py PARENT CPUS THREADS COMMAND ...
A thread setting made after a library was loaded may not take; one made here always comes first. Standard library only.
"""

import ctypes
import os
import signal
import sys

# Each is read once, by some library or runtime, as it starts.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "PJRT_NPROC",  # XLA, and so JAX
    "JULIA_NUM_THREADS",
    "GOMAXPROCS",
)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when our parent ends, stopped or not. Off Linux, the end of input does it."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        sys.exit(1)


def main() -> None:
    """Set up this process and replace it by the command."""
    parent, cpus, threads, *command = sys.argv[1:]
    die_with(int(parent))
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, threads)}
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
