"""The command `python -m bench.run`: checks and times backends, then writes results and report.

Connects the stages and passes the value of each to the next. Measures and draws nothing itself.
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
from bench.advice.advice import Advice
from bench.advice.machine import advice_on_machine, read_machine, try_frameworks
from bench.advice.run import RunFacts, advice_on_run
from bench.advice.subnormals import greatest_subnormal_share
from bench.arguments import chosen_rows, chosen_suite, parser, print_left_out, show_list
from bench.format import duration_text
from bench.machine import description
from bench.machine.ceilings import measure_ceilings
from bench.machine.description import CpuTimes, CpuUse, describe_machine, installed_packages
from bench.machine.sensors import DeviceSensor
from bench.measure.case import CaseRun, least_seconds
from bench.measure.planted import planted_arm
from bench.measure.settings import Settings
from bench.progress import ProgressDisplay
from bench.report import tables
from bench.report.views import device_warnings
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

NOTHING_TIMED = 1  # exit statuses
USAGE_ERROR = 2
INTERRUPTED = 130


def ceilings_of_cases(when: When, keys: Sequence[CaseKey], devices: Iterable[str] = ()) -> Ceilings:
    """Return the peak rates of the CPU, for the dtypes and thread counts of the cases, and of the devices."""
    dtypes, counts = dict.fromkeys(key.dtype for key in keys), dict.fromkeys(key.threads for key in keys)
    return measure_ceilings(when, dtypes, counts, devices=devices)


def prepare(rows: Sequence[Row], again: bool, console: Console) -> dict[str, PyfnnError]:
    """Build the programs that are not in the cache, before any clock starts, and return the errors by backend.

    Parameters
    ----------
    rows : sequence of Row
    again : bool
        True to build programs that are in the cache again.
    console : Console
    """
    failed: dict[str, PyfnnError] = {}
    for row in rows:
        if row.host is not None:
            continue
        try:
            if row.build is not None and (again or not programs.is_built(row)):
                console.print(f"building {row.name}", highlight=False)
                programs.build(row, again=again)
        except PyfnnError as error:
            failed[row.name] = error
    return failed


def expectation(keys: Sequence[CaseKey], rows: Sequence[Row], settings: Settings, budget: float) -> str:
    """Return how long the cases will take, as far as it is known before the first process starts."""
    blocks = sum(least_seconds(key, rows, settings) for key in keys)
    least = (
        f"measuring {_count(len(rows), 'backend')} in {_count(len(keys), 'case')}: {settings.min_launches} launches of "
        f"each take at least {duration_text(blocks)} (timed blocks and warm-up alone; starts, proofs and slow steps "
        "come on top)"
    )
    if not settings.bounded:
        return f"{least}. They are always made, and more of them within {duration_text(budget)}"
    if blocks <= budget:
        return f"{least}. --budget {budget:g} is the bound: where they do not fit, fewer are made"
    return f"{least}. --budget {budget:g} is too little: fewer are made, but one in each case; one gives no interval"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _say_where_nothing_is_planted(
    keys: Sequence[CaseKey], rows: Sequence[Row], settings: Settings, console: Console
) -> None:
    without = [key for key in keys if settings.sensitivity and not planted_arm(key, rows, settings.reference)]
    if without:
        warning = (
            f"warning: --sensitivity has no effect in {_count(len(without), 'case')}: it takes one thread, one "
            "network, and numpy or c among the backends"
        )
        console.print(warning, style="yellow", highlight=False, soft_wrap=True)


def measure(
    keys: Sequence[CaseKey],
    rows: Sequence[Row],
    settings: Settings,
    budget: float,
    journal: Journal,
    console: Console,
    sensor: DeviceSensor | None = None,
    failed: Mapping[str, PyfnnError] | None = None,
) -> None:
    """Run all cases. Each has an equal share of the budget and what earlier cases left of theirs.

    Where the budget bounds the run, each has an equal share of what they left, more or less than its own.
    """
    start = time.perf_counter()
    with ProgressDisplay(console, len(keys)) as display:
        for number, key in enumerate(keys):
            left = max(0.0, budget - (time.perf_counter() - start))
            w = key.workload
            display.begin(case_title(w.name, key.work, key.dtype, key.threads, w.members))
            problem = make_problem(key.workload, key.dtype)
            share = max(left / (len(keys) - number), 0.0 if settings.bounded else budget / len(keys))
            CaseRun(number, key, problem, rows, settings, share, journal, display, sensor, failed).run()


def _settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the command line, with a random seed where none is given."""
    return Settings(
        arguments.reference or "numpy",
        arguments.precision,
        arguments.margin,
        bounded=arguments.budget is not None,
        sensitivity=arguments.sensitivity,
        timeout=arguments.timeout,
        seed=random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed,
    )


def _folder(arguments: argparse.Namespace) -> Path:
    """Return the folder for the results; raise an error where it holds those of another run."""
    folder: Path = arguments.out or Path("results") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if any((folder / name).exists() for name in ("journal.jsonl", "results.json")):
        raise InvalidInput(f"--out {folder}: holds the results of a run already; name another folder")
    return folder


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command for parsed arguments and return its exit status. Errors are the caller's to handle."""
    if arguments.list:
        show_list(console, arguments)
        return 0
    suite, workloads = chosen_suite(arguments)
    keys = cases_of(suite, workloads)
    rows = chosen_rows(arguments, suite)
    settings, folder = _settings(arguments), _folder(arguments)
    for workload, dtype in dict.fromkeys((key.workload, key.dtype) for key in keys):
        make_problem(workload, dtype)  # raises an error of the data before anything is written
    _warn_where_nothing_is_compiled(console)
    print_left_out(console, arguments, rows)

    kept_settings = {
        **vars(settings),
        "suite": arguments.suite,
        "budget": suite.budget,
        "backends": [row.name for row in rows],
    }
    failed = prepare(rows, arguments.rebuild, console)
    status = 0
    with Journal(folder) as journal, _sensor(rows) as (sensor, device):
        host = {**describe_machine(), **device}
        run_event = RunEvent(
            schema=SCHEMA,
            created=now(),
            host=host,
            settings=kept_settings,
            command=sys.orig_argv,
            suite=suite.model_dump(mode="json"),
            packages=installed_packages(),
        )
        journal.write(run_event)
        start = description.cpu_times()
        try:
            facts = read_machine(host, try_frameworks(rows), max(key.threads for key in keys))
            _note("before", CpuUse(facts.others, facts.steal), journal)
            _warn("before", advice_on_machine(facts), journal, console)
            _probe("before", keys, rows, journal, console)
            _sense(sensor, journal)
            runnable = [row for row in rows if row.name not in failed]
            _say_where_nothing_is_planted(keys, runnable, settings, console)
            console.print(expectation(keys, runnable, settings, suite.budget), highlight=False, soft_wrap=True)
            measure(keys, rows, settings, suite.budget, journal, console, sensor, failed)
            _sense(sensor, journal)
            _probe("after", keys, rows, journal, console)
            journal.write(FinishEvent(finished=now()))
        except KeyboardInterrupt:
            status = INTERRUPTED
            console.print("interrupted: finished measurements are kept", style="yellow")
        try:
            _check_run(folder, () if status else keys, start, journal, console)
        except KeyboardInterrupt:
            status = INTERRUPTED
            console.print("interrupted: the checks of this run are incomplete", style="yellow")
    timed = _write_report(folder, console)
    return status or (0 if timed else NOTHING_TIMED)


def _warn(when: When, found: Sequence[Advice], journal: Journal, console: Console) -> None:
    """Print warnings and add them to the results."""
    for one in found:
        journal.write(WarningEvent(when=when, **one._asdict()))
        console.print(f"warning: {one}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _note(when: When, use: CpuUse, journal: Journal) -> None:
    """Add the load of the machine to the results."""
    journal.write(HostStateEvent(when=when, **use._asdict(), **description.momentary()))


def _check_run(folder: Path, keys: Sequence[CaseKey], start: CpuTimes, journal: Journal, console: Console) -> None:
    """Record the load of the machine during the run, and warn of problems in the results so far."""
    use = description.cpu_times().since(start)
    _note("after", use, journal)
    so_far = build_results(read_journal(folder / "journal.jsonl"))
    shares = _subnormal_shares(keys, so_far, console)
    _warn("after", advice_on_run(RunFacts(so_far, use.steal, shares)), journal, console)


def _subnormal_shares(keys: Sequence[CaseKey], so_far: Results, console: Console) -> dict[str, float]:
    """Return the greatest share of subnormals in θ by title of a case, over as many steps as its longest block."""
    shares = {}
    for key, case in zip(keys, so_far.cases, strict=False):  # no keys after Ctrl-C: the run then ends at once
        longest = [sample.steps // case.members for b in case.backends for sample in b.samples]
        try:
            if longest:
                shares[case.title] = greatest_subnormal_share(key, max(longest))
        except PyfnnError as error:  # the measurements are valid without this check
            warning = f"warning: {case.title}: θ was not checked for subnormals: {error}"
            console.print(warning, style="yellow", markup=False, soft_wrap=True)
    return shares


@contextlib.contextmanager
def _sensor(rows: Sequence[Row]) -> Iterator[tuple[DeviceSensor | None, dict[str, Any]]]:
    """Open the sensors of the device, if a backend computes on one, and describe the device for the results."""
    if all(row.device == "cpu" for row in rows):
        yield None, {}
        return
    try:
        sensor = DeviceSensor()
    except PyfnnError as error:
        yield None, {"cuda": {"absent": str(error)}}
        return
    try:
        yield sensor, {"cuda": sensor.describe()}
    finally:
        sensor.close()


def _sense(sensor: DeviceSensor | None, journal: Journal) -> None:
    if sensor:
        journal.write(DeviceStateEvent(**sensor.read()))


def _probe(when: When, keys: Sequence[CaseKey], rows: Sequence[Row], journal: Journal, console: Console) -> None:
    """Measure the peak rates, outside the budget: a few seconds for each thread count and each device."""
    devices = [device for device in dict.fromkeys(row.device for row in rows) if device != "cpu"]
    found = ceilings_of_cases(when, keys, devices)
    journal.write(CeilingsEvent(**found.model_dump()))
    if found.absent:
        warning = f"warning: not probed {when} measuring: {found.absent}"
        console.print(warning, style="yellow", highlight=False, soft_wrap=True)


def _write_report(folder: Path, console: Console) -> bool:
    """Write results.json and the report, and print the tables. Return True where a backend was timed."""
    results = build_results(read_journal(folder / "journal.jsonl"))
    save_results(results, folder)
    view = report.run_view(results)
    tables.show(view, console)
    for warning in device_warnings(results):
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
    report.write(view, folder)
    console.print(f"written to {folder}", highlight=False, soft_wrap=True)
    return any(backend.status == "ok" for case in results.cases for backend in case.backends)


def _warn_where_nothing_is_compiled(console: Console) -> None:
    try:
        compiled.build_info()
    except BackendUnavailable as error:
        warning = f"warning: {error.reason}. To do: {error.remedy}"
        console.print(warning, style="yellow", highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        Exit status: 0; 1 where no backend was timed or the results cannot be written; 2 for wrong arguments; 130 after
        Ctrl-C.
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
