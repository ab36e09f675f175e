"""The command line of `bench.run`: its options, the suite and backends that they select, and `--list`."""

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from bench.machine.availability import availability_of
from bench.statistics.verdicts import MARGIN
from bench.suites import load
from bench.suites.load import cases_of, load_suite
from bench.suites.suite import Suite, Workload
from bench.terms import CASE_OPERATIONS
from pyfnn import registry
from pyfnn.errors import InvalidInput, PyfnnError
from pyfnn.manifest import Row
from pyfnn.network import DTYPES
from pyfnn.optimizers import TABLE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser(
        prog="python -m bench.run",
        description="Check that backends compute the same training step, then time them against each other.",
        epilog="Separate the items of a LIST by commas. The run writes report.html, summary.md, "
        "results.json and figures to --out.",
    )
    p.add_argument("--list", action="store_true", help="show suites, workloads and backends, then exit")
    _add_cases(p.add_argument_group("what is measured"))
    _add_method(p.add_argument_group("how long, and how precisely"))
    _add_run(p.add_argument_group("the run"))
    return p


def _add_cases(group: argparse._ArgumentGroup) -> None:
    """Add the options that choose cases and backends."""
    built_in = ", ".join(load.built_in_suites())
    group.add_argument(
        "--suite",
        default="quick",
        metavar="NAME|FILE.toml",
        help=f"suite to run: {built_in}, or a file (default: quick)",
    )
    group.add_argument("--workloads", metavar="LIST", help="workloads to run instead of the suite's")
    group.add_argument("--backends", metavar="LIST", help="backends to run instead of the suite's")
    group.add_argument(
        "--backend",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="backend.toml of an additional backend",
    )
    group.add_argument("--operations", metavar="LIST", help="operations to time: train, forward, gradient")
    group.add_argument(
        "--optimizer",
        metavar="LIST",
        help=f"optimizers of training, each a case: {', '.join(TABLE)}, or with settings, as adam(0.9,0.99,1e-8)",
    )
    group.add_argument("--dtype", metavar="LIST", help="float32, float64")
    group.add_argument("--threads", metavar="LIST", help="thread counts; all is every CPU that may be used")
    group.add_argument("--reference", metavar="NAME", help="backend that the ratios are to (default: numpy)")


def _add_method(group: argparse._ArgumentGroup) -> None:
    """Add the options of the time and of the statements."""
    group.add_argument(
        "--budget",
        type=_positive,
        metavar="SECONDS",
        help="bound on the time for measuring, shared by the cases: where five launches of each backend do not fit, "
        "fewer are made, but at least one; builds, probes and figures come on top. Without this option the suite's "
        "own budget counts, and five launches are always made",
    )
    group.add_argument(
        "--precision",
        type=_positive,
        default=0.02,
        metavar="SHARE",
        help="stop a case once the half-width of every ratio is at most this share (default: 0.02)",
    )
    group.add_argument(
        "--margin",
        type=_positive,
        default=MARGIN,
        metavar="SHARE",
        help=f"call two backends the same once their ratio is shown to be within 1 ± this share (default: {MARGIN:g})",
    )
    group.add_argument(
        "--sensitivity",
        action="store_true",
        help="also measure a copy of a backend, slowed by 3 %%, and report whether that is found: one more process in "
        "each launch",
    )


def _add_run(group: argparse._ArgumentGroup) -> None:
    """Add the options of the run as a whole."""
    group.add_argument(
        "--timeout",
        type=_positive,
        default=60.0,
        metavar="SECONDS",
        help="limit for one reply of a worker (default: 60)",
    )
    group.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="seed of the shuffles and of the proof's secret places (default: random; the results record it)",
    )
    group.add_argument(
        "--out", type=_folder, metavar="DIR", help="folder for the results (default: results/<timestamp>)"
    )
    group.add_argument("--rebuild", action="store_true", help="build all programs again, also those in the cache")
    group.add_argument(
        "--resume",
        type=_folder,
        metavar="DIR",
        help="continue the interrupted run in DIR with its own settings: finished launches are kept",
    )
    group.add_argument(
        "--more",
        type=_positive,
        metavar="SECONDS",
        help="with --resume: time for measuring beside what is left of the budget, also of a run that has finished",
    )
    group.add_argument(
        "--force",
        action="store_true",
        help="with --resume: continue although the machine, a package or a backend has changed; all numbers are marked",
    )


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line.

    Raises
    ------
    InvalidInput
        An option of a new run beside --resume, whose settings are those of its folder, or the other way round.
    """
    arguments, given = parser().parse_args(argv), given_options(argv)
    of_resume = [name for name in given if name in ("more", "force")]
    others = [name for name in given if name not in ("resume", "more", "force")]
    if arguments.resume is None and of_resume:
        raise InvalidInput(f"{_options(of_resume)}: needs --resume DIR, the run to continue")
    if arguments.resume is not None and others:
        raise InvalidInput(f"{_options(others)}: cannot be changed: --resume goes on with the settings in its folder")
    return arguments


def given_options(argv: Sequence[str] | None = None) -> list[str]:
    """Return the names of the options that a command line has, also where their values are the defaults."""
    without_defaults = parser()
    without_defaults.set_defaults(**dict.fromkeys(vars(parser().parse_args(argv))))
    return [name for name, value in vars(without_defaults.parse_args(argv)).items() if value is not None]


def _options(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


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
        raise argparse.ArgumentTypeError("an empty name: must be the name of a folder")
    return Path(text)


def chosen_suite(arguments: argparse.Namespace) -> tuple[Suite, dict[str, Workload]]:
    """Return the suite that the options select, with the parts that they replace, and all workloads by name."""
    suite, workloads = load_suite(arguments.suite)
    if suite.sweep and arguments.workloads is not None:
        raise InvalidInput(
            f"--workloads {arguments.workloads}: suite {arguments.suite} sweeps {suite.summary} and has no other "
            f"workloads. To sweep your own workload, write a suite file with a table [suite.sweep]"
        )
    given = {
        "workloads": _words("workloads", arguments.workloads),
        "operations": _words("operations", arguments.operations),
        "optimizers": _words("optimizer", arguments.optimizer),
        "dtypes": _words("dtype", arguments.dtype),
        "threads": _thread_counts(arguments.threads),
        "budget": arguments.budget,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    for operation in changes.get("operations", ()):
        load.look_up("operation", operation, dict.fromkeys(CASE_OPERATIONS))
    for dtype in changes.get("dtypes", ()):
        load.look_up("dtype", dtype, dict.fromkeys(DTYPES))
    try:
        return Suite.model_validate({**suite.model_dump(), **changes}), workloads
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(f"{first['loc'][0]} = {first['input']!r}: {first['msg']}") from None


def _words(option: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    outside_parentheses = r",(?![^(]*\))"
    words = tuple(word.strip() for word in re.split(outside_parentheses, text) if word.strip())
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
    """Return the backends to run: those of --backends, or the suite's together with all of --backend.

    Raises
    ------
    InvalidInput
        A backend is unknown, or --reference is not among the backends.
    """
    table = registry.rows(arguments.backend)
    own = {path.resolve() for path in arguments.backend}
    of_suite = suite.backends or tuple(row.name for row in table.values() if _in_divisions(row, suite))
    additional = (row.name for row in table.values() if row.manifest.resolve() in own)
    names = _words("backends", arguments.backends) or (*of_suite, *additional)
    rows = [registry.find(name, arguments.backend) for name in dict.fromkeys(names)]
    if arguments.reference is not None:
        registry.find(arguments.reference, arguments.backend)
        if arguments.reference not in names:
            raise InvalidInput(f"--reference {arguments.reference}: is not among --backends {','.join(names)}")
    return rows


def _in_divisions(row: Row, suite: Suite) -> bool:
    """Return True where a suite includes a backend by its division. Backends of a device must be named."""
    return row.division in suite.divisions and row.device == "cpu" and (suite.programs or not _is_program(row))


def _is_program(row: Row) -> bool:
    """Return True for a program, and for a backend in Python that must be built first like one."""
    return row.host is None or row.build is not None


def print_left_out(console: Console, arguments: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Print the backends that the suite leaves out, unless --backends names its own."""
    left = [row for row in registry.rows(arguments.backend).values() if row not in rows]
    if left and arguments.backends is None:
        kinds = sorted({_kind(row) for row in left})
        names = ", ".join(row.name for row in left)
        hint = "Select backends with --backends; --list shows all"
        console.print(
            f"not in suite {arguments.suite}: {names} ({', '.join(kinds)}). {hint}", highlight=False, soft_wrap=True
        )


def _kind(row: Row) -> str:
    if _is_program(row):
        return "programs"
    return row.division if row.device == "cpu" else f"on {row.device}"


def show_list(console: Console, arguments: argparse.Namespace) -> None:
    """Print suites, workloads and backends, each backend with its availability on this machine."""
    _, workloads = load_suite(arguments.suite)
    table = Table("suite", "workloads", "cases", "backends", "seconds", title="Suites", title_justify="left")
    for name in load.built_in_suites():
        suite, known = load_suite(name)
        count = str(len(cases_of(suite, known)))
        backends = ", ".join(suite.backends or suite.divisions)
        table.add_row(*map(Text, (name, suite.summary, count, backends, f"{suite.budget:g}")))
    console.print(table)
    folded = [Column(heading, overflow="fold") for heading in ("network", "loss")]
    table = Table("workload", *folded, "rows", "batch", "data", title="Workloads", title_justify="left")
    for w in workloads.values():
        network = w.network("float32")
        functions = w.activation if isinstance(w.activation, str) else " ".join(w.activation)
        many = f"{w.members} × " if w.members > 1 else ""
        shape = f"{many}{'-'.join(map(str, network.sizes))} {functions}"
        table.add_row(*map(Text, (w.name, shape, w.loss, str(w.rows), str(w.batch), w.data)))
    console.print(table)
    here_folded = Column("here", overflow="fold")
    table = Table("backend", "language", "division", here_folded, title="Backends", title_justify="left")
    for row in registry.rows(arguments.backend).values():
        try:
            here: str = availability_of(row)
        except PyfnnError as error:
            here = f"unavailable: {error}"
        division = row.division if row.device == "cpu" else f"{row.division}, on {row.device}"
        table.add_row(*map(Text, (row.name, row.language, division, here)))  # texts: a remedy has brackets
    console.print(table)
