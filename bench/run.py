"""The headline command: proves and times backends, writes the results and the report. python -m bench.run --help

Parses, checks, and hands each stage's value to the next; measures and draws nothing itself.
"""

import argparse
import contextlib
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import report
from bench.advice import machine
from bench.advice.advice import Advice
from bench.advice.machine import advice_on_machine
from bench.advice.run import RunFacts, advice_on_run
from bench.advice.subnormals import greatest_subnormal_share
from bench.arguments import chosen_rows, chosen_suite, parser, print_left_out, show_list
from bench.machine import description
from bench.machine.ceilings import measure_ceilings
from bench.machine.description import CpuTimes, CpuUse, describe_machine
from bench.machine.sensors import Sensor
from bench.measure.arm import Settings
from bench.measure.case import CaseRun
from bench.progress import ProgressDisplay
from bench.report import tables
from bench.report.rows import device_warnings
from bench.results.build import build_results
from bench.results.events import (
    CeilingsEvent,
    DeviceStateEvent,
    FinishEvent,
    HostStateEvent,
    RunEvent,
    WarningEvent,
)
from bench.results.journal import Journal, now, read_journal
from bench.results.schema import SCHEMA, Ceilings, Results
from bench.results.store import save_results
from bench.suites.load import cases_of
from bench.suites.problem import make_problem
from bench.suites.suite import CaseKey
from bench.terms import When, case_title
from pyfnn import compiled, programs
from pyfnn.errors import BackendUnavailable, InvalidInput, PyfnnError
from pyfnn.manifest import Row


def ceilings_of_cases(when: When, keys: Sequence[CaseKey], devices: Iterable[str] = ()) -> Ceilings:
    """What the cases of a run are held against, on the CPU and on the devices of its backends."""
    dtypes, counts = dict.fromkeys(key.dtype for key in keys), dict.fromkeys(key.threads for key in keys)
    return measure_ceilings(when, dtypes, counts, devices=devices)


NOTHING_TIMED = 1
USAGE_ERROR = 2
INTERRUPTED = 130


def prepare(rows: Sequence[Row], again: bool, console: Console) -> dict[str, PyfnnError]:
    """Build the programs that are not built yet, outside every budget and clock; who cannot be, by name, and why."""
    lost: dict[str, PyfnnError] = {}
    for row in rows:
        if row.host is not None:
            continue
        try:
            if row.build is not None and (again or not programs.is_built(row)):
                console.print(f"building {row.name}", highlight=False)
                programs.build(row, again=again)
        except PyfnnError as error:
            lost[row.name] = error
    return lost


def measure(
    keys: Sequence[CaseKey],
    rows: Sequence[Row],
    settings: Settings,
    budget: float,
    journal: Journal,
    console: Console,
    sensor: Sensor | None = None,
    lost: Mapping[str, PyfnnError] | None = None,
) -> None:
    """Run every case with its equal share of the budget, and with what earlier ones left of theirs."""
    start = time.perf_counter()
    with ProgressDisplay(console, len(keys)) as teller:
        for number, key in enumerate(keys):
            left = max(0.0, budget - (time.perf_counter() - start))
            w = key.workload
            teller.begin(case_title(w.name, key.operation, key.dtype, key.threads, w.members))
            problem = make_problem(key.workload, key.dtype)
            share = max(left / (len(keys) - number), budget / len(keys))
            CaseRun(number, key, problem, rows, settings, share, journal, teller, sensor, lost).run()


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Everything the command does, but for turning errors into exit statuses."""
    if arguments.list:
        show_list(console, arguments)
        return 0
    suite, workloads = chosen_suite(arguments)
    keys = cases_of(suite, workloads)
    rows = chosen_rows(arguments, suite)
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    settings = Settings(arguments.reference or "numpy", arguments.precision, timeout=arguments.timeout, seed=seed)
    folder = arguments.out or Path("results") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if any((folder / name).exists() for name in ("journal.jsonl", "results.json")):
        raise InvalidInput(f"--out {folder}: holds the results of a run already; name another folder")
    for workload, dtype in dict.fromkeys((key.workload, key.dtype) for key in keys):
        make_problem(workload, dtype)  # what is wrong with its data is said before anything is written
    _warn_where_nothing_is_compiled(console)
    print_left_out(console, arguments, rows)

    said = {**vars(settings), "suite": arguments.suite, "budget": suite.budget, "backends": [row.name for row in rows]}
    lost = prepare(rows, arguments.rebuild, console)
    status = 0
    with Journal(folder) as journal, _sensor(rows) as (sensor, device):
        host = {**describe_machine(), **device}
        journal.write(RunEvent(schema=SCHEMA, created=now(), host=host, settings=said))
        start = description.cpu_times()
        try:
            facts = machine.read_machine(host, machine.try_frameworks(rows))
            _note("before", CpuUse(facts.others, facts.steal), journal)
            _warn("before", advice_on_machine(facts), journal, console)
            _probe("before", keys, rows, journal, console)
            _sense(sensor, journal)
            measure(keys, rows, settings, suite.budget, journal, console, sensor, lost)
            _sense(sensor, journal)
            _probe("after", keys, rows, journal, console)
            journal.write(FinishEvent(finished=now()))
        except KeyboardInterrupt:
            status = INTERRUPTED
            console.print("interrupted: what was finished is kept", style="yellow")
        try:
            _look_back(folder, () if status else keys, start, journal, console)
        except KeyboardInterrupt:
            status = INTERRUPTED
            console.print("interrupted: what is wrong with this run was not looked for to its end", style="yellow")
    timed = _write_report(folder, console)
    return status or (0 if timed else NOTHING_TIMED)


def _warn(when: When, found: Sequence[Advice], journal: Journal, console: Console) -> None:
    """Say what can be acted on, and keep it with the results."""
    for one in found:
        journal.write(WarningEvent(when=when, **one._asdict()))
        console.print(f"warning: {one}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _note(when: When, use: CpuUse, journal: Journal) -> None:
    """Keep what the machine was doing."""
    journal.write(HostStateEvent(when=when, **use._asdict(), **description.momentary()))


def _look_back(folder: Path, keys: Sequence[CaseKey], start: CpuTimes, journal: Journal, console: Console) -> None:
    """What the machine did meanwhile, and of what in this run its reader should be warned."""
    use = description.cpu_times().since(start)
    _note("after", use, journal)
    so_far = build_results(read_journal(folder / "journal.jsonl"))
    walked = _subnormals(keys, so_far, console)
    _warn("after", advice_on_run(RunFacts(so_far, use.steal, walked)), journal, console)


def _subnormals(keys: Sequence[CaseKey], so_far: Results, console: Console) -> dict[str, float]:
    """Their share on θ's way, by a case's title: walked again as far as its longest block went."""
    walked = {}
    for key, case in zip(keys, so_far.cases, strict=False):  # no keys after Ctrl-C: then there is no time for walks
        longest = [sample.steps // case.members for b in case.backends for sample in b.samples]
        try:
            if longest:
                walked[case.title] = greatest_subnormal_share(key, max(longest))
        except PyfnnError as error:  # no reason to lose what was measured
            warning = f"warning: {case.title}: not looked for denormals: {error}"
            console.print(warning, style="yellow", markup=False, soft_wrap=True)
    return walked


@contextlib.contextmanager
def _sensor(rows: Sequence[Row]) -> Iterator[tuple[Sensor | None, dict[str, Any]]]:
    """The sensors of the device that any of these backends computes on, and what the results say of it."""
    if all(row.device == "cpu" for row in rows):
        yield None, {}
        return
    try:
        sensor = Sensor()
    except PyfnnError as error:
        yield None, {"cuda": {"absent": str(error)}}
        return
    try:
        yield sensor, {"cuda": sensor.describe()}
    finally:
        sensor.close()


def _sense(sensor: Sensor | None, journal: Journal) -> None:
    if sensor:
        journal.write(DeviceStateEvent(**sensor.read()))


def _probe(when: When, keys: Sequence[CaseKey], rows: Sequence[Row], journal: Journal, console: Console) -> None:
    """What the machine could do, outside the budget: a few seconds for each thread count, and for a device."""
    devices = [device for device in dict.fromkeys(row.device for row in rows) if device != "cpu"]
    found = ceilings_of_cases(when, keys, devices)
    journal.write(CeilingsEvent(**found.model_dump()))
    if found.absent:
        warning = f"warning: not probed {when} measuring: {found.absent}"
        console.print(warning, style="yellow", highlight=False, soft_wrap=True)


def _write_report(folder: Path, console: Console) -> bool:
    """Build the results from the journal; write results.json and the report; print the table. Whether any was timed."""
    outcome = build_results(read_journal(folder / "journal.jsonl"))
    save_results(outcome, folder)
    tables.show(outcome, console)
    for warning in device_warnings(outcome):
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
    report.write(outcome, folder)
    console.print(f"written to {folder}", highlight=False, soft_wrap=True)
    return any(backend.status == "ok" for case in outcome.cases for backend in case.backends)


def _warn_where_nothing_is_compiled(console: Console) -> None:
    try:
        compiled.build_info()
    except BackendUnavailable as error:
        warning = f"warning: {error.reason}. To do: {error.remedy}"
        console.print(warning, style="yellow", highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 1 where nothing was timed or results cannot be written; 2 for bad arguments;
    130 after Ctrl-C.
    """
    arguments = parser().parse_args(argv)
    console = Console()
    errors = Console(stderr=True)
    try:
        return run(arguments, console)
    except PyfnnError as error:
        errors.print(f"pyfnn: {error}", markup=False, highlight=False, soft_wrap=True)
        return USAGE_ERROR
    except OSError as error:
        errors.print(f"pyfnn: cannot write results: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
