"""The backend that is a program, `ProgramBackend`, and the command lines of all workers.

`pyfnn.programs` builds the programs; `pyfnn.process.worker` starts them.
"""

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pyfnn import launch, programs
from pyfnn.backend import Backend
from pyfnn.ensemble import Ensemble
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import PACKAGE, Row, own_manifests
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.process.ensemble import open_ensemble
from pyfnn.process.model import ProcessModel
from pyfnn.process.worker import Worker
from pyfnn.validation import Array


def command_of(row: Row) -> list[str]:
    """Return the command line, without its WORKDIR, of the worker for a row of backend.toml; builds a program.

    Raises
    ------
    BackendUnavailable
        The program's toolchain is absent, or the program did not build.
    """
    if row.host is not None:
        further = [] if row.manifest in own_manifests() else ["--backend", str(row.manifest)]
        return [*launch.python("pyfnn.worker", PACKAGE.parent), *further, row.name]
    built = programs.build(row)
    command = [programs.fill_in(word, row.folder, built.folder) for word in shlex.split(str(row.run))]
    if shutil.which(command[0]) is None:
        raise BackendUnavailable(f"{command[0]} is not on PATH", row.remedy)
    return command


class ProgramBackend(Backend):
    """A backend that is a program. Every model has a process of its own.

    Parameters
    ----------
    row : Row
        A row of backend.toml with a `run` line.

    Raises
    ------
    BackendUnavailable
        The program's toolchain is absent, or the program did not build.
    """

    def __init__(self, row: Row) -> None:
        self._command = command_of(row)
        with Worker(self._command) as worker:
            super().__init__(worker.description)

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        with _closed_if_it_fails(Worker(self._command, threads=threads)) as worker:
            return ProcessModel(worker, network, theta, threads, owns_worker=True)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        with _closed_if_it_fails(Worker(self._command, threads=threads)) as worker:
            return open_ensemble(worker, network, thetas, l2, threads, owns_worker=True)


@contextmanager
def _closed_if_it_fails(worker: Worker) -> Iterator[Worker]:
    try:
        yield worker
    except BaseException:
        worker.close()
        raise
