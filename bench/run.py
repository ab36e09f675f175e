"""The headline command: proves and times backends, writes the results and the report. python -m bench.run --help

Parses, checks, and hands each stage's value to the next; measures and draws nothing itself.
"""

import argparse
import contextlib
import math
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from bench import advice, ceilings, denormals, machine, report, results, suites
from bench.advice import Advice, RunFacts
from bench.progress import Teller
from bench.report import tables
from bench.report.rows import device_warnings
from bench.results import Journal, Results, When, case_title
from bench.schedule import CaseRun, Settings
from bench.sensors import Sensor
from bench.suites import CaseKey, Suite, Workload
from pyfnn import compiled, programs, registry
from pyfnn.errors import BackendUnavailable, InvalidInput, PyfnnError
from pyfnn.manifest import Row
from pyfnn.network import DTYPES

NOTHING_TIMED = 1
USAGE_ERROR = 2
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m bench.run",
        description="Prove that backends compute the same training step, then time them against each other.",
        epilog="Lists are separated by commas. Results go to DIR: results.json, summary.md, figures.",
    )
    built_in = ", ".join(suites.built_in_suites())
    p.add_argument("--suite", default="quick", metavar="NAME|FILE.toml", help=f"{built_in}, or a file (quick)")
    p.add_argument("--workloads", metavar="LIST", help="instead of the suite's")
    p.add_argument("--backends", metavar="LIST", help="instead of those of the suite's divisions")
    p.add_argument("--backend", action="append", default=[], type=Path, metavar="PATH", help="a further backend.toml")
    p.add_argument("--operations", metavar="LIST", help="of train, forward, gradient")
    p.add_argument("--dtype", metavar="LIST", help="of float32, float64")
    p.add_argument("--threads", metavar="LIST", help="thread counts, or all")
    p.add_argument("--reference", metavar="NAME", help="the backend that ratios are to (numpy)")
    p.add_argument(
        "--budget",
        type=_positive,
        metavar="SECONDS",
        help="for the measuring, divided over the cases; five launches of each, probes and figures are always made",
    )
    p.add_argument(
        "--precision", type=_positive, default=0.02, metavar="SHARE", help="half-width of a ratio to stop at (0.02)"
    )
    p.add_argument("--timeout", type=_positive, default=60.0, metavar="SECONDS", help="for one reply of a worker (60)")
    p.add_argument("--seed", type=int, metavar="N", help="of the shuffles; drawn and recorded if not given")
    p.add_argument("--out", type=_folder, metavar="DIR", help="results/<timestamp> if not given")
    p.add_argument("--rebuild", action="store_true", help="build programs again that are in the cache already")
    p.add_argument("--list", action="store_true", help="show suites, workloads and backends, and stop")
    return p


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a finite number above 0")
    return value


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the empty name: must be a folder's")
    return Path(text)


def chosen_suite(arguments: argparse.Namespace) -> tuple[Suite, dict[str, Workload]]:
    """The suite named, with whatever the command line puts in place of its own."""
    suite, workloads = suites.load(arguments.suite)
    if suite.sweep and arguments.workloads is not None:
        raise InvalidInput(
            f"--workloads {arguments.workloads}: suite {arguments.suite} sweeps {suite.told}, and has no others; "
            f"a file with a table [suite.sweep] sweeps a workload of your own"
        )
    given = {
        "workloads": _words("workloads", arguments.workloads),
        "operations": _words("operations", arguments.operations),
        "dtypes": _words("dtype", arguments.dtype),
        "threads": _thread_counts(arguments.threads),
        "budget": arguments.budget,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    for operation in changes.get("operations", ()):
        suites.look_up("operation", operation, dict.fromkeys(suites.OPERATIONS))
    for dtype in changes.get("dtypes", ()):
        suites.look_up("dtype", dtype, dict.fromkeys(DTYPES))
    try:
        return Suite.model_validate({**suite.model_dump(), **changes}), workloads
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(f"{first['loc'][0]} = {first['input']!r}: {first['msg']}") from None


def _words(option: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise InvalidInput(f"--{option} {text!r}: names nothing")
    return words


def _thread_counts(text: str | None) -> tuple[int | str, ...] | None:
    words = _words("threads", text)
    for word in words or ():
        if word != "all" and not (word.isdecimal() and int(word) >= 1):
            raise InvalidInput(f"threads = {word!r}: must be a whole number, at least 1, or all")
    return None if words is None else tuple(word if word == "all" else int(word) for word in words)


def chosen_rows(arguments: argparse.Namespace, suite: Suite) -> list[Row]:
    """The backends named; or the suite's, by name or division, and all of --backend. A reference must be among them."""
    table = registry.rows(arguments.backend)
    own = {path.resolve() for path in arguments.backend}
    theirs = suite.backends or tuple(row.name for row in table.values() if _by_division(row, suite))
    further = (row.name for row in table.values() if row.manifest.resolve() in own)
    names = _words("backends", arguments.backends) or (*theirs, *further)
    rows = [registry.find(name, arguments.backend) for name in dict.fromkeys(names)]
    if arguments.reference is not None:
        registry.find(arguments.reference, arguments.backend)
        if arguments.reference not in names:
            raise InvalidInput(f"--reference {arguments.reference}: is not among --backends {','.join(names)}")
    return rows


def _by_division(row: Row, suite: Suite) -> bool:
    """A suite takes those for a device only by name: others are about this machine's CPU."""
    return row.division in suite.divisions and row.device == "cpu" and (suite.programs or row.host is not None)


def _tell_who_is_left_out(console: Console, arguments: argparse.Namespace, rows: Sequence[Row]) -> None:
    left = [row for row in registry.rows(arguments.backend).values() if row not in rows]
    if left and arguments.backends is None:
        kinds = sorted({_kind(row) for row in left})
        names = ", ".join(row.name for row in left)
        told = f"not in suite {arguments.suite}: {names} ({', '.join(kinds)}). See --list; --backends names others"
        console.print(told, highlight=False, soft_wrap=True)


def _kind(row: Row) -> str:
    if row.host is None:
        return "programs"
    return row.division if row.device == "cpu" else f"on {row.device}"


def show_list(console: Console, arguments: argparse.Namespace) -> None:
    """Suites, workloads and backends, each backend with whether it can run here."""
    _, workloads = suites.load(arguments.suite)
    table = Table("suite", "workloads", "cases", "backends", "seconds", title="Suites", title_justify="left")
    for name in suites.built_in_suites():
        suite, known = suites.load(name)
        count = str(len(suites.cases(suite, known)))
        who = ", ".join(suite.backends or suite.divisions)
        table.add_row(name, suite.told, count, who, f"{suite.budget:g}")
    console.print(table)
    folded = [Column(heading, overflow="fold") for heading in ("network", "loss")]
    table = Table("workload", *folded, "rows", "batch", "data", title="Workloads", title_justify="left")
    for w in workloads.values():
        network = w.network("float32")
        functions = w.activation if isinstance(w.activation, str) else " ".join(w.activation)
        many = f"{w.members} × " if w.members > 1 else ""
        shape = f"{many}{'-'.join(map(str, network.sizes))} {functions}"
        table.add_row(w.name, shape, w.loss, str(w.rows), str(w.batch), w.data)
    console.print(table)
    here_folded = Column("here", overflow="fold")
    table = Table("backend", "language", "division", here_folded, title="Backends", title_justify="left")
    for row in registry.rows(arguments.backend).values():
        try:
            here = _here(row)
        except PyfnnError as error:
            here = escape(f"unavailable: {error}")  # a remedy may name an extra in brackets
        division = row.division if row.device == "cpu" else f"{row.division}, on {row.device}"
        table.add_row(row.name, row.language, division, here)
    console.print(table)


def _here(row: Row) -> str:
    """That a backend is available, or is once built; raises what it lacks."""
    if row.host is None and not programs.is_built(row):
        return "available, built at first use"
    registry.load(row)
    return "available"


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
    with Teller(console, len(keys)) as teller:
        for number, key in enumerate(keys):
            left = max(0.0, budget - (time.perf_counter() - start))
            w = key.workload
            teller.begin(case_title(w.name, key.operation, key.dtype, key.threads, w.members))
            problem = suites.problem(key.workload, key.dtype)
            share = max(left / (len(keys) - number), budget / len(keys))
            CaseRun(number, key, problem, rows, settings, share, journal, teller, sensor, lost).run()


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Everything the command does, but for turning errors into exit statuses."""
    if arguments.list:
        show_list(console, arguments)
        return 0
    suite, workloads = chosen_suite(arguments)
    keys = suites.cases(suite, workloads)
    rows = chosen_rows(arguments, suite)
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    settings = Settings(arguments.reference or "numpy", arguments.precision, timeout=arguments.timeout, seed=seed)
    folder = arguments.out or Path("results") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if any((folder / name).exists() for name in ("journal.jsonl", "results.json")):
        raise InvalidInput(f"--out {folder}: holds the results of a run already; name another folder")
    for workload, dtype in dict.fromkeys((key.workload, key.dtype) for key in keys):
        suites.problem(workload, dtype)  # what is wrong with its data is said before anything is written
    _warn_where_nothing_is_compiled(console)
    _tell_who_is_left_out(console, arguments, rows)

    said = {**vars(settings), "suite": arguments.suite, "budget": suite.budget, "backends": [row.name for row in rows]}
    lost = prepare(rows, arguments.rebuild, console)
    status = 0
    with Journal(folder) as journal, _sensor(rows) as (sensor, device):
        host = {**machine.describe(), **device}
        journal.write("run", schema=results.SCHEMA, created=results.now(), host=host, settings=said)
        start = machine.cpu_times()
        try:
            facts = advice.read_machine(host, advice.try_frameworks(rows))
            _note("before", machine.CpuUse(facts.others, facts.steal), journal)
            _warn("before", advice.of_machine(facts), journal, console)
            _probe("before", keys, rows, journal, console)
            _sense(sensor, journal)
            measure(keys, rows, settings, suite.budget, journal, console, sensor, lost)
            _sense(sensor, journal)
            _probe("after", keys, rows, journal, console)
            journal.write("finish", finished=results.now())
        except KeyboardInterrupt:
            status = INTERRUPTED
            console.print("interrupted: what was finished is kept", style="yellow")
        try:
            _look_back(folder, () if status else keys, start, journal, console)
        except KeyboardInterrupt:
            status = INTERRUPTED
            console.print("interrupted: what is wrong with this run was not looked for to its end", style="yellow")
    timed = _tell(folder, console)
    return status or (0 if timed else NOTHING_TIMED)


def _warn(when: When, found: Sequence[Advice], journal: Journal, console: Console) -> None:
    """Say what can be acted on, and keep it with the results."""
    for one in found:
        journal.write("warning", when=when, **one._asdict())
        console.print(f"warning: {one}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _note(when: When, use: machine.CpuUse, journal: Journal) -> None:
    """Keep what the machine was doing."""
    journal.write("host_state", when=when, **use._asdict(), **machine.momentary())


def _look_back(
    folder: Path, keys: Sequence[CaseKey], start: machine.CpuTimes, journal: Journal, console: Console
) -> None:
    """What the machine did meanwhile, and of what in this run its reader should be warned."""
    use = machine.cpu_times().since(start)
    _note("after", use, journal)
    so_far = results.build(results.read_journal(folder / "journal.jsonl"))
    walked = _denormals(keys, so_far, console)
    _warn("after", advice.of_run(RunFacts(so_far, use.steal, walked)), journal, console)


def _denormals(keys: Sequence[CaseKey], so_far: Results, console: Console) -> dict[str, float]:
    """Their share on θ's way, by a case's title: walked again as far as its longest block went."""
    walked = {}
    for key, case in zip(keys, so_far.cases, strict=False):  # no keys after Ctrl-C: then there is no time for walks
        longest = [sample.steps // case.members for b in case.backends for sample in b.samples]
        try:
            if longest:
                walked[case.title] = denormals.greatest_share(key, max(longest))
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
        journal.write("device_state", **sensor.read())


def _probe(when: When, keys: Sequence[CaseKey], rows: Sequence[Row], journal: Journal, console: Console) -> None:
    """What the machine could do, outside the budget: a few seconds for each thread count, and for a device."""
    devices = [device for device in dict.fromkeys(row.device for row in rows) if device != "cpu"]
    found = ceilings.of_cases(when, keys, devices)
    journal.write("ceilings", **found.model_dump())
    if found.absent:
        warning = f"warning: not probed {when} measuring: {found.absent}"
        console.print(warning, style="yellow", highlight=False, soft_wrap=True)


def _tell(folder: Path, console: Console) -> bool:
    """Build the results from the journal; write results.json and the report; print the table. Whether any was timed."""
    outcome = results.build(results.read_journal(folder / "journal.jsonl"))
    results.save(outcome, folder)
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
