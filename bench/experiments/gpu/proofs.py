"""Makes the parity batteries of the suite's workloads ahead: the oracle needs minutes for the largest of them.

Runs beside the parts before the suite. A battery is a file as soon as it is complete.
"""

import os
import pickle
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench.experiments.gpu.common import DTYPE, cases, child_parser
from bench.measure import gate
from bench.suites.load import built_in_workloads
from bench.suites.problem import Problem, make_problem

_PID = "pid"  # file with the process id of the step
Made = tuple[Problem, gate.Battery]


def make(workload: str) -> Made:
    """Return a workload's problem and battery."""
    problem = make_problem(built_in_workloads()[workload], DTYPE)
    return problem, gate.battery(problem, built_in_workloads()[workload].batch)


def obtain(folder: Path, workload: str, end: float) -> Made | None:
    """Return what `main` makes of a workload, in its process or, where there is none, in this one.

    None where it is not complete when the monotonic clock shows `end`.
    """
    path = _path(folder, workload)
    while not path.exists():
        if time.monotonic() > end:
            return None
        if not _runs(folder):
            return make(workload)
        time.sleep(0.2)
    made: Made = pickle.loads(path.read_bytes())
    return made


def _path(folder: Path, workload: str) -> Path:
    return folder / f"{workload}.pickle"


def _runs(folder: Path) -> bool:
    """Return True where the process that makes the batteries in this folder runs.

    One that has crashed is a zombie as long as the command `gpu` has not waited for it.
    """
    try:
        process = psutil.Process(int((folder / _PID).read_text(encoding="ascii")))
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except (OSError, ValueError, psutil.Error):
        return False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    p = child_parser("proofs", __doc__)
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the batteries")
    arguments = p.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / _PID).write_text(str(os.getpid()), encoding="ascii")
    for each in cases(arguments.small):
        path = _path(arguments.out, each.workload)
        partial = path.with_suffix(".part")
        partial.write_bytes(pickle.dumps(make(each.workload)))
        partial.rename(path)
        print(f"{each.workload}: made")
    return 0


if __name__ == "__main__":
    sys.exit(main())
