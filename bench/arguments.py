"""The command line of `bench.run`: options, the suite and backends they choose, `--list`."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from bench.suites import load
from bench.suites.load import cases_of, load_suite
from bench.suites.suite import Suite, Workload
from bench.terms import OPERATIONS
from pyfnn import programs, registry
from pyfnn.errors import InvalidInput, PyfnnError
from pyfnn.manifest import Row
from pyfnn.network import DTYPES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m bench.run",
        description="Prove that backends compute the same training step, then time them against each other.",
        epilog="Lists are separated by commas. Results go to DIR: results.json, summary.md, figures.",
    )
    built_in = ", ".join(load.built_in_suites())
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
    suite, workloads = load_suite(arguments.suite)
    if suite.sweep and arguments.workloads is not None:
        raise InvalidInput(
            f"--workloads {arguments.workloads}: suite {arguments.suite} sweeps {suite.summary}, and has no others; "
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
        load.look_up("operation", operation, dict.fromkeys(OPERATIONS))
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


def print_left_out(console: Console, arguments: argparse.Namespace, rows: Sequence[Row]) -> None:
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
    _, workloads = load_suite(arguments.suite)
    table = Table("suite", "workloads", "cases", "backends", "seconds", title="Suites", title_justify="left")
    for name in load.built_in_suites():
        suite, known = load_suite(name)
        count = str(len(cases_of(suite, known)))
        who = ", ".join(suite.backends or suite.divisions)
        table.add_row(name, suite.summary, count, who, f"{suite.budget:g}")
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
