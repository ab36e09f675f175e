"""The stages of a run, from the plan to the report: builds, probes, measurement, results, page.

Connects them and passes the value of each to the next. Measures and draws nothing itself; `bench.run` is the command.
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

from bench import continuation, report
from bench.advice.advice import Advice
from bench.advice.machine import advice_on_machine, read_machine, try_frameworks
from bench.advice.run import RunFacts, advice_on_run
from bench.advice.subnormals import greatest_subnormal_share
from bench.arguments import chosen_rows, chosen_suite, print_left_out, show_list
from bench.continuation import Plan
from bench.format import duration_text
from bench.interruption import INTERRUPTED, Interruptions, status_of
from bench.machine import description
from bench.machine.ceilings import StepShape, measure_ceilings
from bench.machine.description import CpuTimes, CpuUse, describe_machine, installed_packages
from bench.machine.sensors import DeviceSensor
from bench.measure.case import CaseRun, least_seconds
from bench.measure.planted import planted_arm
from bench.measure.settings import Settings
from bench.measure.sources import origins
from bench.progress import ProgressDisplay
from bench.report import bars
from bench.report.views import device_warnings
from bench.results.build import build_results
from bench.results.events import (
    CeilingsEvent,
    DeviceStateEvent,
    FinishEvent,
    HostStateEvent,
    ResumeEvent,
    RunEvent,
    WarningEvent,
)
from bench.results.files import CannotWrite
from bench.results.journal import JOURNAL, RESULTS, Journal, now, numbered, read_journal
from bench.results.schema import SCHEMA, Ceilings, Results
from bench.results.store import save_results
from bench.suites.load import cases_of
from bench.suites.problem import make_problem
from bench.suites.suite import CaseKey
from bench.terms import When, WorkloadFacts, case_title
from pyfnn import compiled, programs
from pyfnn.errors import BackendUnavailable, InvalidInput, PyfnnError
from pyfnn.manifest import Row
from pyfnn.scratch import remove_abandoned

NOTHING_TIMED = 1  # exit status; docs/running.md has all


def ceilings_of_cases(when: When, keys: Sequence[CaseKey], devices: Iterable[str] = ()) -> Ceilings:
    """Return the peak rates of the CPU, for the dtypes and thread counts of the cases, and of the devices.

    Those of the products alone are for cases that train one network.
    """
    dtypes, counts = dict.fromkeys(key.dtype for key in keys), dict.fromkeys(key.threads for key in keys)
    trained = [key for key in keys if key.operation == "train" and key.workload.members == 1]
    steps = [StepShape(key.workload.sizes, key.workload.batch, key.dtype) for key in trained]
    return measure_ceilings(when, dtypes, counts, devices=devices, steps=steps)


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
        try:
            if row.build is not None and (again or not programs.is_built(row)):
                console.print(f"building {row.name}")
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
        console.print(warning, style="yellow", soft_wrap=True)


def measure(
    plan: Plan,
    journal: Journal,
    console: Console,
    sensor: DeviceSensor | None = None,
    failed: Mapping[str, PyfnnError] | None = None,
) -> None:
    """Run all cases but those that have ended. Each has an equal share of the time and what earlier ones left.

    Where the budget bounds the run, each has an equal share of what they left, more or less than its own. A case that
    goes on has, beside its share, the time that its finished launches took.
    """
    keys, settings, before = plan.keys, plan.settings, plan.so_far
    start, numbers = time.perf_counter(), [number for number in range(len(keys)) if number not in before.done]
    least = 0.0 if settings.bounded else plan.suite.budget / len(keys)
    with ProgressDisplay(console, len(numbers)) as display:
        for place, number in enumerate(numbers):
            left = max(0.0, plan.seconds - (time.perf_counter() - start))
            key, part = keys[number], before.open.get(number)
            w = key.workload
            display.begin(case_title(w.name, key.work, key.dtype, key.threads, w.members))
            problem = make_problem(key.workload, key.dtype)
            share = max(left / (len(numbers) - place) + (part.spent_seconds if part else 0.0), least)
            CaseRun(
                number, key, problem, plan.rows, settings, share, journal, display, sensor, failed, before=part
            ).run()


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


def _claimed(arguments: argparse.Namespace) -> Journal:
    """Claim a folder for the results, and return the journal in it."""
    if arguments.out is not None:
        return Journal(arguments.out)
    return numbered(Path("results"), datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))


def _new_plan(arguments: argparse.Namespace) -> Plan:
    suite, workloads = chosen_suite(arguments)
    keys = cases_of(suite, workloads)
    used = {name: workloads[name] for name in suite.workloads}
    return Plan(suite, used, keys, chosen_rows(arguments, suite), _settings(arguments), suite.budget)


def run(arguments: argparse.Namespace, console: Console, signals: Interruptions) -> int:
    """Run the command for parsed arguments and return its exit status. Errors are the caller's to handle."""
    if arguments.list:
        show_list(console, arguments)
        return 0
    if arguments.resume is not None:
        with Journal(arguments.resume, again=True) as journal:
            plan = continuation.continued(arguments.resume, arguments.more or 0.0)
            return _carry_out(plan, journal, arguments, console, signals)
    plan = _new_plan(arguments)
    with _claimed(arguments) as journal:
        return _carry_out(plan, journal, arguments, console, signals)


def _carry_out(
    plan: Plan, journal: Journal, arguments: argparse.Namespace, console: Console, signals: Interruptions
) -> int:
    """Measure what a plan has not yet, and write and show the results."""
    remove_abandoned()  # of a killed run, also where nothing is left to measure
    keys, rows = plan.keys, plan.rows
    for workload, dtype in dict.fromkeys((key.workload, key.dtype) for key in keys):
        make_problem(workload, dtype)  # raises an error of the data before anything is written
    _warn_where_nothing_is_compiled(console)
    if not plan.so_far.run:
        print_left_out(console, arguments, rows)
    failed = prepare(rows, arguments.rebuild, console)
    status = 0
    with _sensor(rows) as (sensor, device):
        host = {**describe_machine(), **device}
        _begin(plan, host, journal, arguments, console)
        start = description.cpu_times()
        try:
            facts = read_machine(host, try_frameworks(rows), max(key.threads for key in keys))
            _note("before", CpuUse(facts.others, facts.steal), journal)
            _warn("before", advice_on_machine(facts), journal, console)
            _probe("before", keys, rows, journal, console)
            _sense(sensor, journal)
            _announce(plan, [row for row in rows if row.name not in failed], console)
            measure(plan, journal, console, sensor, failed)
            _sense(sensor, journal)
            _probe("after", keys, rows, journal, console)
            journal.write(FinishEvent(finished=now()))
        except KeyboardInterrupt as error:
            status = status_of(error)
            console.print("interrupted: finished measurements are kept", style="yellow")
            signals.wait()
        try:
            _check_run(journal.folder, () if status else keys, start, journal, console)
        except KeyboardInterrupt as error:
            status = status_of(error)
            console.print("interrupted: the checks of this run are incomplete", style="yellow")
            signals.wait()
    timed, status = _write_report(journal.folder, console, signals, status)
    return status or (0 if timed else NOTHING_TIMED)


def _begin(plan: Plan, host: dict[str, Any], journal: Journal, arguments: argparse.Namespace, console: Console) -> None:
    """Write the start of the run or of its continuation; raise an error where it may not be continued here."""
    if plan.so_far.run is None:
        journal.write(_head(plan, host, arguments))
        return
    changed = continuation.differences(plan, host)
    if changed and not arguments.force:
        raise InvalidInput(
            f"{journal.folder}: not continued, because its numbers would not be of one kind: {'; '.join(changed)}. "
            "--force continues it and marks them"
        )
    for one in changed:
        console.print(f"warning: changed since the run began: {one}", style="yellow", soft_wrap=True)
    journal.write(
        ResumeEvent(begun=now(), command=sys.orig_argv, more_seconds=arguments.more or 0.0, differences=changed)
    )
    (journal.folder / RESULTS).unlink(missing_ok=True)  # the journal holds these results, and from now on more


def _head(plan: Plan, host: dict[str, Any], arguments: argparse.Namespace) -> RunEvent:
    kept_settings = {
        **vars(plan.settings),
        "suite": arguments.suite,
        "budget": plan.suite.budget,
        "backends": [row.name for row in plan.rows],
        "manifests": [str(path.resolve()) for path in arguments.backend],
    }
    return RunEvent(
        schema=SCHEMA,
        created=now(),
        host=host,
        settings=kept_settings,
        command=sys.orig_argv,
        suite=plan.suite.model_dump(mode="json"),
        packages=installed_packages(),
        workloads={name: WorkloadFacts.model_validate(w.model_dump()) for name, w in plan.workloads.items()},
        origins=origins(plan.rows),
    )


def _announce(plan: Plan, runnable: Sequence[Row], console: Console) -> None:
    """Print how long the run will take."""
    left = [key for number, key in enumerate(plan.keys) if number not in plan.so_far.done]
    _say_where_nothing_is_planted(left, runnable, plan.settings, console)
    if plan.so_far.run is None:
        console.print(expectation(left, runnable, plan.settings, plan.suite.budget), soft_wrap=True)
        return
    kept = sum(part.launches for part in plan.so_far.open.values())
    console.print(
        f"continuing: {_count(len(left), 'case')} to measure, in {duration_text(plan.seconds)}; "
        f"{_count(len(plan.so_far.done), 'case')} have ended, and {kept} launches of others are kept",
        soft_wrap=True,
    )


def _warn(when: When, found: Sequence[Advice], journal: Journal, console: Console) -> None:
    """Print warnings and add them to the results."""
    for one in found:
        journal.write(WarningEvent(when=when, **one._asdict()))
        console.print(f"warning: {one}", style="yellow", soft_wrap=True)


def _note(when: When, use: CpuUse, journal: Journal) -> None:
    """Add the load of the machine to the results."""
    journal.write(HostStateEvent(when=when, **use._asdict(), **description.momentary()))


def _check_run(folder: Path, keys: Sequence[CaseKey], start: CpuTimes, journal: Journal, console: Console) -> None:
    """Record the load of the machine during the run, and warn of problems in the results so far."""
    use = description.cpu_times().since(start)
    _note("after", use, journal)
    so_far = build_results(read_journal(folder / JOURNAL))
    shares = _subnormal_shares(keys, so_far, console)
    steal = max((s.steal for s in so_far.host_states if s.when == "after" and s.steal is not None), default=None)
    _warn("after", advice_on_run(RunFacts(so_far, steal, shares)), journal, console)


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
            console.print(warning, style="yellow", soft_wrap=True)
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
        console.print(warning, style="yellow", soft_wrap=True)


def _write_report(folder: Path, console: Console, signals: Interruptions, status: int) -> tuple[bool, int]:
    """Write results.json and the report, and print the tables.

    Returns
    -------
    timed : bool
        True where a backend was timed.
    status : int
        `status`, or that of a signal meanwhile. Such a signal, or an earlier one but Ctrl-C, leaves out the figures.
    """
    signals.wait()
    results = build_results(read_journal(folder / JOURNAL))
    save_results(results, folder)
    view = report.run_view(results)
    try:
        bars.show(view, console)
        for warning in device_warnings(results):
            console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
        signals.resume()
        report.write(view, folder, drawing=status in (0, INTERRUPTED))
    except KeyboardInterrupt as error:
        status = status or status_of(error)
        report.write(view, folder, drawing=False)
    except OSError as error:
        raise CannotWrite(error.errno, error.strerror, str(folder)) from None
    if status:
        goes_on = "" if results.finished else f"--resume {folder} continues this run; "
        console.print(f"{goes_on}python -m bench.plot {folder} draws what there is", style="yellow", soft_wrap=True)
    console.print(f"written to {folder}; open {folder / report.PAGE}", soft_wrap=True)
    return any(backend.status == "ok" for case in results.cases for backend in case.backends), status


def _warn_where_nothing_is_compiled(console: Console) -> None:
    try:
        compiled.build_info()
    except BackendUnavailable as error:
        warning = f"warning: {error.reason}. To do: {error.remedy}"
        console.print(warning, style="yellow", soft_wrap=True)
