"""The command `python -m bench.compare`: the change of every backend from old runs to new ones, or ratios over runs.

Reads the results of finished runs; measures nothing. Exit status 0; 1 where `--fail-over` finds a slower backend; 2
where the runs cannot be read or compared.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from bench.report.changes import changes_markdown, changes_tables, runs_tables
from bench.report.render import rich_table
from bench.results.changes import Comparison, compare_runs, slower_by
from bench.results.schema import Results
from bench.results.store import load_results
from bench.statistics.verdicts import MARGIN
from pyfnn.errors import PyfnnError

SLOWER = 1  # exit status


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description="Compare two runs of one machine, or several runs a side: the change of every backend's ratio to "
        "the reference, with its interval. With --combine, the ratios over several runs.",
        epilog=f"Exit status: 0; {SLOWER} where --fail-over finds a slower backend; 2 where runs cannot be compared.",
    )
    p.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="OLD NEW; with --combine, the runs to combine")
    p.add_argument("--old", action="append", default=[], type=Path, metavar="DIR", help="another run of the old side")
    p.add_argument("--new", action="append", default=[], type=Path, metavar="DIR", help="another run of the new side")
    p.add_argument("--combine", action="store_true", help="show ratios over the runs (3 or more give an interval)")
    p.add_argument(
        "--margin", type=_share, default=MARGIN, metavar="SHARE", help=f"what counts as the same ({100 * MARGIN:g}%%)"
    )
    p.add_argument(
        "--fail-over",
        type=_share,
        metavar="SHARE",
        help=f"exit with {SLOWER} where a backend is slower by more (5%%)",
    )
    p.add_argument("--force", action="store_true", help="compare unlike runs; the output names their differences")
    p.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the comparison as JSON")
    return p


def _share(text: str) -> float:
    """Return a share above 0, given as 0.05 or as 5%."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a share above 0, as 0.05 or 5%")
    return value


def _load(folders: Iterable[Path]) -> dict[str, Results]:
    return {str(folder): load_results(folder) for folder in folders}


def _compared(arguments: argparse.Namespace) -> Comparison:
    """Return the comparison that the command line asks for.

    Raises
    ------
    PyfnnError
    """
    if arguments.combine:
        if arguments.old or arguments.new:
            raise PyfnnError("--combine takes its runs without --old and --new")
        old, new = arguments.runs, []
    elif len(arguments.runs) == 2:
        old, new = [arguments.runs[0], *arguments.old], [arguments.runs[1], *arguments.new]
    else:
        raise PyfnnError("name two runs, OLD and NEW, and further ones with --old and --new; or use --combine")
    named = [path.resolve() for path in (*old, *new)]
    if len(set(named)) < len(named):
        raise PyfnnError("a run is named twice: it would count as two")
    return compare_runs(_load(old), _load(new), arguments.margin, force=arguments.force)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        comparison = _compared(arguments)
        tables = runs_tables(comparison) if arguments.combine else changes_tables(comparison)
        Console().print(*map(rich_table, tables))
        if arguments.markdown:
            arguments.markdown.write_text(changes_markdown(tables), encoding="utf-8")
        if arguments.json:
            arguments.json.write_text(comparison.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    except (PyfnnError, OSError) as error:
        print(f"bench.compare: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    slower = [] if arguments.fail_over is None else slower_by(comparison, arguments.fail_over)
    for entry in slower:
        print(f"slower: {entry.backend} on {entry.case}")
    return SLOWER if slower else 0


if __name__ == "__main__":
    sys.exit(main())
