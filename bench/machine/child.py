"""The command line of the processes in which a module of this folder runs alone, pinned to its CPUs."""

from collections.abc import Sequence
from pathlib import Path

from pyfnn import launch

ROOT = Path(__file__).parents[2]  # the folder that holds this `bench`


def command(module: str, cpus: Sequence[int] = (), threads: int = 1) -> list[str]:
    """Return the command line that calls `main` of a module, for instance ``bench.machine.probe``; add its arguments.

    See `pyfnn.launch.command` for `cpus` and `threads`.
    """
    return [*launch.command(cpus, threads), *launch.python(module, ROOT)]
