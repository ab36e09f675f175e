"""The suite gpu within a few minutes: its workloads in order of importance, each with the backends that it is about.

The results are those of `bench.run`, in a folder that `python -m bench.plot` reads. A case has fewer launches than
there, so its intervals are wide and provisional.
"""

import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import report
from bench.experiments.gpu import proofs
from bench.experiments.gpu.common import DTYPE, GpuCase, cases, child_parser
from bench.machine.ceilings import measure_ceilings
from bench.machine.description import describe_machine
from bench.machine.sensors import DeviceSensor
from bench.measure.case import CaseRun
from bench.measure.settings import Settings
from bench.progress import ProgressDisplay
from bench.results.build import build_results
from bench.results.events import CeilingsEvent, FinishEvent, RunEvent
from bench.results.journal import Journal, now, read_journal
from bench.results.schema import SCHEMA
from bench.results.store import save_results
from bench.suites.load import built_in_workloads
from bench.suites.suite import CaseKey
from bench.terms import When
from pyfnn import registry
from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row

_LAUNCHES = 2  # where the time allows; each starts and proves every process, about 25 s (not measured)
_ROUNDS = 10


class Suite:
    """All cases, in one journal.

    Parameters
    ----------
    rows : mapping of str to Row
    proofs : Path
        Folder of the batteries that `proofs` makes.
    journal : Journal
    console : Console
    settings : Settings
    sensor : DeviceSensor or None
    """

    def __init__(
        self,
        rows: Mapping[str, Row],
        proofs: Path,
        journal: Journal,
        console: Console,
        settings: Settings,
        sensor: DeviceSensor | None,
    ) -> None:
        self._rows, self._proofs, self._sensor = rows, proofs, sensor
        self._journal, self._console, self._settings = journal, console, settings

    def run(self, given: Sequence[GpuCase], seconds: float) -> None:
        """Run the cases; each has an equal share of the seconds that are left."""
        end = time.monotonic() + seconds
        with ProgressDisplay(self._console, len(given)) as display:
            for number, case in enumerate(given):
                made = proofs.obtain(self._proofs, case.workload, end)
                if made is None:
                    self._console.print(f"{case.workload}: left out: the oracle's part of its proof took too long")
                    continue
                display.begin(case.workload)
                workload, (problem, battery) = built_in_workloads()[case.workload], made
                left = end - time.monotonic()
                share = max(1.0, left / (len(given) - number))
                key = CaseKey(workload, "train", DTYPE, 1)
                rows = [self._rows[name] for name in case.backends]
                measured = CaseRun(
                    number, key, problem, rows, self._settings, share, self._journal, display, self._sensor,
                    battery=battery, patience=left,
                )  # fmt: skip
                measured.run()

    def probe(self, when: When) -> None:
        """Measure the peak rates of the CPU and of the devices."""
        devices = [device for device in dict.fromkeys(row.device for row in self._rows.values()) if device != "cpu"]
        self._journal.write(CeilingsEvent(**measure_ceilings(when, [DTYPE], [1], devices=devices).model_dump()))


def _sensor() -> tuple[DeviceSensor | None, dict[str, Any]]:
    """Return the sensors of the device, and its description for the results."""
    try:
        sensor = DeviceSensor()
    except PyfnnError as error:
        return None, {"cuda": {"absent": str(error)}}
    return sensor, {"cuda": sensor.describe()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step. After Ctrl-C or an error it writes the report of what is finished; Ctrl-C makes it return 130."""
    p = child_parser("suite", __doc__)
    p.add_argument("--proofs", type=Path, required=True, metavar="DIR", help="folder of the batteries")
    p.add_argument("--seconds", type=float, required=True, metavar="N", help="time for measuring")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    arguments = p.parse_args(argv)
    console, given = Console(), cases(arguments.small)
    names = dict.fromkeys(name for case in given for name in case.backends)
    rows = {name: registry.find(name) for name in names}
    launches, rounds = (1, 2) if arguments.small else (_LAUNCHES, _ROUNDS)
    settings = Settings(
        reference=given[0].backends[0], min_launches=1, launches=launches, rounds=rounds, bounded=True, timeout=40.0,
        seed=random.SystemRandom().randrange(2**32),
    )  # fmt: skip
    status = 0
    with Journal(arguments.out) as journal:
        sensor, device = _sensor()
        suite = Suite(rows, arguments.proofs, journal, console, settings, sensor)
        kept = {
            **vars(settings),
            "suite": "gpu",
            "budget": arguments.seconds,
            "backends": [r.name for r in rows.values()],
        }
        journal.write(RunEvent(schema=SCHEMA, created=now(), host={**describe_machine(), **device}, settings=kept))
        try:
            suite.probe("before")
            suite.run(given, arguments.seconds)
            suite.probe("after")
            journal.write(FinishEvent(finished=now()))
        except KeyboardInterrupt:
            status = 130
        finally:
            _write(arguments.out)
    return status


def _write(folder: Path) -> None:
    """Write the results of what is finished, and their report."""
    results = build_results(read_journal(folder / "journal.jsonl"))
    save_results(results, folder)
    report.write(report.run_view(results), folder)


if __name__ == "__main__":
    sys.exit(main())
