"""Makes the parity batteries of the suite's workloads ahead: the oracle needs minutes for the largest of them.

Runs beside the parts that time nothing. A battery is a file as soon as it is complete.
"""

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.gpu.common import DTYPE, cases, child_parser
from bench.measure import gate
from bench.suites.load import built_in_workloads
from bench.suites.problem import Problem, make_problem

Made = tuple[Problem, gate.Battery]


def path_of(folder: Path, workload: str) -> Path:
    """Return the file of a workload's problem and battery."""
    return folder / f"{workload}.pickle"


def read(folder: Path, workload: str) -> Made | None:
    """Return what `main` has made of a workload; None where it is not complete."""
    path = path_of(folder, workload)
    if not path.exists():
        return None
    made: Made = pickle.loads(path.read_bytes())
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    p = child_parser("proofs", __doc__)
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the batteries")
    arguments = p.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for each in cases(arguments.small):
        workload = built_in_workloads()[each.workload]
        problem = make_problem(workload, DTYPE)
        made: Made = problem, gate.battery(problem, workload.batch)
        path = path_of(arguments.out, each.workload)
        partial = path.with_suffix(".part")
        partial.write_bytes(pickle.dumps(made))
        partial.rename(path)
        print(f"{each.workload}: made")
    return 0


if __name__ == "__main__":
    sys.exit(main())
