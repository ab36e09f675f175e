"""The heap layout of each program: another one in each process."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support.requirements import require

from pyfnn import programs, registry
from pyfnn.errors import BackendUnavailable
from pyfnn.network import Network, initialize
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker

NETWORK = Network((1, 4, 1), "tanh", "squared_error", dtype="float64")
PROGRAMS = [row.name for row in registry.rows().values() if row.host is None]
LAUNCHES = 4  # at most
PAGE = 4096  # bytes
MOST = 1 << 31  # bytes of a mapping; larger ones are reserved address space

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/mem")


def offsets(pid: int, pattern: bytes) -> set[int]:
    """Return the offsets within a page at which a process has a pattern in its own writable memory."""
    found = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode, _, _, inode, *_ = line.split()
            begin, end = (int(address, 16) for address in span.split("-"))
            if mode != "rw-p" or inode != "0" or end - begin > MOST:
                continue
            try:
                memory.seek(begin)
                data = memory.read(end - begin)
            except OSError:
                continue
            at = data.find(pattern)
            while at >= 0:
                found.add((begin + at) % PAGE)
                at = data.find(pattern, at + 1)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_data_of_a_program_lie_at_other_offsets_in_each_launch(name: str) -> None:
    row = registry.find(name)
    try:
        programs.build(row)
    except BackendUnavailable as error:
        require(name, False, str(error))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 1)), rng.normal(size=(300, 1))
    seen = []
    for _ in range(LAUNCHES):
        with Worker(command_of(row), cpus=[max(os.sched_getaffinity(0))]) as worker:
            model = ProcessModel(worker, NETWORK, initialize(NETWORK, 0))
            model.load(x, y, np.arange(300))
            model.train(0, 300, 1, 0.01)
            boxed = x[100:101].tobytes()  # of a language whose arrays hold references to numbers
            seen.append(offsets(worker.pid, x[100:108].tobytes()) or offsets(worker.pid, boxed))
        assert seen[-1]
        if len(seen) > 1 and not _common(name, seen):
            return
    raise AssertionError(f"{_common(name, seen)} in each launch: {seen}")


def _common(name: str, seen: list[set[int]]) -> set[int]:
    """Return the offsets that all launches have; of Go's and PyPy's, only if a launch has no other."""
    common = set.intersection(*seen)
    if name in ("go", "go-unchecked", "pypy") and all(found - common for found in seen):
        return set()  # the buffer of the file, which is collected but not cleared, lies in one place
    return common
