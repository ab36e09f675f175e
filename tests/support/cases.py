"""Short cases of the workload `tiny` with backends that behave as requested."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import misbehaving

from bench.measure.case import CaseRun
from bench.measure.settings import Settings
from bench.results.events import RunEvent
from bench.results.journal import Journal, now
from bench.results.schema import SCHEMA, Case
from bench.results.store import load_results
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import make_problem
from bench.terms import Status
from pyfnn import registry
from pyfnn.manifest import Division

# Two launches reach the precision however much they differ.
SHORT = Settings(
    reference="steady", precision=1e30, rounds=2, min_launches=2, launches=2, block_seconds=0.005, burst_seconds=0.001
)


class Listener:
    """Checks what it receives, and calls `act` with the launch and the round at the start of each round."""

    def __init__(self, act: Callable[[int, int], None] | None = None) -> None:
        self.act = act
        self.reports = 0
        self.verdicts: list[tuple[str, Status]] = []

    def progress(self, text: str, share: float, left: float | None = None) -> None:
        assert text
        assert 0 <= share <= 1
        assert left is None or left >= 0
        if self.act:
            self.act(*divmod(self.reports, 2))  # two rounds a launch
        self.reports += 1

    def failed(self, instance: str, status: Status, reason: str) -> None:
        assert reason
        self.verdicts.append((instance, status))


class Measure:
    """Measures a case of the workload `tiny` in its own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "run"

    def run(
        self,
        behaviours: Mapping[str, str],
        settings: Settings = SHORT,
        *,
        listener: Listener | None = None,
        budget: float = 20.0,
        operation: str = "train",
        divisions: Mapping[str, Division] | None = None,
    ) -> Case:
        manifest = misbehaving.manifest(self.folder / "backend.toml", behaviours)
        suite, workloads = load_suite(str(misbehaving.suite(self.folder / "tiny.toml")))
        (key,) = cases_of(suite.model_copy(update={"operations": (operation,)}), workloads)
        problem = make_problem(key.workload, key.dtype)
        rows = [registry.find(name, [manifest]) for name in behaviours]
        rows = [replace(row, division=(divisions or {}).get(row.name, "plain")) for row in rows]
        with Journal(self.journal) as journal:
            journal.write(RunEvent(schema=SCHEMA, created=now(), settings=vars(settings)))
            CaseRun(0, key, problem, rows, settings, budget, journal, listener or Listener()).run()
        case = self.case
        for backend in case.backends:
            print(f"{backend.instance}: {backend.status} {backend.reason}")  # shown where a test fails
        return case

    @property
    def case(self) -> Case:
        return load_results(self.journal).cases[0]
