"""The command `python -m bench.compare`: the change of every backend between runs, or between revisions in one run.

With `--against` it builds two revisions and has `bench.run` measure them in turns; else it reads finished runs.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import arguments as run_arguments
from bench import revisions, run, unexpected
from bench.interruption import INTERRUPTED
from bench.report.changes import changes_markdown, changes_tables, runs_tables
from bench.report.render import rich_table
from bench.results.changes import Comparison, compare_runs, slower_by
from bench.results.revisions import compare_revisions
from bench.results.schema import Results
from bench.results.store import load_results
from bench.statistics.verdicts import MARGIN
from bench.terminal import console as terminal
from pyfnn.errors import PyfnnError
from pyfnn.manifest import at_revision, read_manifest, split_revision

SLOWER: Final = 1  # exit statuses
CANNOT_COMPARE: Final = 2
_PRECISION: Final = "0.01"  # of the ratios in a run of two revisions, where its options have none: finds 3 %
_EXITS: Final = (
    f"Exit status: 0; {SLOWER} where --fail-over finds a backend that is slower, or that only the old revision has "
    f"times of; {CANNOT_COMPARE} where the runs cannot be read or compared, or a revision cannot be built or timed; "
    f"{INTERRUPTED} after Ctrl-C, 128 and its number after another signal."
)


_BY_SIGNAL = 128  # an exit status above it: a signal ended the run


class _Ended(Exception):
    """The run was ended by a signal; `status` is its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.compare",
        usage="%(prog)s [options] OLD NEW | --combine DIR ... | --against REV [-- options of bench.run] | DIR",
        description="Compare two runs of one machine, or several runs a side: the change of every backend's ratio to "
        "the reference, with its interval. With --combine, the ratios over several runs. With --against, build a "
        "revision of the repository here and its working tree, and measure both in turns, in one run.",
        epilog=_EXITS,
    )
    p.add_argument("runs", nargs="*", type=Path, metavar="DIR", help="OLD NEW; or one run of two revisions")
    p.add_argument("--old", action="append", default=[], type=Path, metavar="DIR", help="another run of the old side")
    p.add_argument("--new", action="append", default=[], type=Path, metavar="DIR", help="another run of the new side")
    p.add_argument("--combine", action="store_true", help="show ratios over the runs (3 or more give an interval)")
    p.add_argument("--against", metavar="REV", help="the old revision: a branch, tag or commit of git")
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
    """Return the comparison of the runs that the command line names.

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
    elif len(arguments.runs) == 1 and not arguments.old and not arguments.new:
        return compare_revisions(load_results(arguments.runs[0]), arguments.margin)
    else:
        raise PyfnnError("name two runs, OLD and NEW, and further ones with --old and --new; or use --combine")
    if not old:
        raise PyfnnError("--combine needs the runs to combine")
    named = [path.resolve() for path in (*old, *new)]
    if len(set(named)) < len(named):
        raise PyfnnError("a run is named twice: it would count as two")
    return compare_runs(_load(old), _load(new), arguments.margin, force=arguments.force)


def _measured(arguments: argparse.Namespace, options: Sequence[str], console: Console) -> Comparison:
    """Build the revision and the working tree, measure both in one run, and return their comparison.

    Raises
    ------
    PyfnnError
    """
    if arguments.runs or arguments.old or arguments.new or arguments.combine:
        raise PyfnnError("--against measures a run of its own: leave out the folders of other runs")
    given = run_arguments.parser().parse_args(options)
    if given.backend or given.reference or given.list:
        raise PyfnnError("--backend, --reference and --list have no place after --against")
    suite, _ = run_arguments.chosen_suite(given)
    names = [row.name for row in run_arguments.chosen_rows(given, suite)]
    repository = revisions.repository_of(Path.cwd())
    old, new = revisions.find(repository, arguments.against), revisions.working_tree(repository)
    if old == new:
        raise PyfnnError(f"--against {arguments.against}: is the working tree itself, {new.label}")
    manifests = [path for one in (new, old) for path in _built(repository, one, names, console)]
    found = {row.name for path in manifests for row in read_manifest(path)}
    both = [name for name in names if {at_revision(name, one.label) for one in (new, old)} <= found]
    if not both:
        raise PyfnnError(f"none of {', '.join(names)} is in both {old.label} and {new.label}")
    arms = [at_revision(name, one.label) for one in (new, old) for name in both]
    start = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{new.label}_against_{old.label}"
    out = given.out or Path("results") / start
    words = ["--precision", _PRECISION, *options, "--backends", ",".join(arms), "--reference", arms[0]]
    status = run.main([*words, "--out", str(out), *(word for path in manifests for word in ("--backend", str(path)))])
    if status > _BY_SIGNAL:
        raise _Ended(status)
    if status:
        raise PyfnnError("the revisions were not measured, for the reason above")
    comparison = compare_revisions(load_results(out), arguments.margin)
    left = sorted(name for name in found if split_revision(name)[0] not in both)
    return comparison.model_copy(update={"only": [*comparison.only, *(f"{name} alone" for name in left)]})


def _built(repository: Path, revision: revisions.Revision, names: Sequence[str], console: Console) -> list[Path]:
    """Return the manifests of a revision, built first where it was not."""
    if not revisions.is_built(revision):
        console.print(f"building {revision.label}: this takes some minutes, once", soft_wrap=True)
    return revisions.write_manifests(revision, revisions.build(repository, revision), names)


def _show(comparison: Comparison, arguments: argparse.Namespace, console: Console) -> None:
    """Print the tables, and write the files that the command line asks for."""
    tables = runs_tables(comparison) if arguments.combine else changes_tables(comparison)
    console.print(*map(rich_table, tables))
    if arguments.markdown:
        arguments.markdown.write_text(changes_markdown(tables), encoding="utf-8")
    if arguments.json:
        arguments.json.write_text(comparison.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    own = words.index("--") if "--" in words else len(words)
    arguments, options = _parser().parse_args(words[:own]), words[own + 1 :]
    console, errors = terminal(), terminal("stderr")
    try:
        if options and not arguments.against:
            raise PyfnnError("options after -- are those of bench.run, and need --against")
        comparison = _measured(arguments, options, console) if arguments.against else _compared(arguments)
        _show(comparison, arguments, console)
    except _Ended as end:
        return end.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except (PyfnnError, OSError) as error:
        errors.print(f"bench.compare: {' '.join(str(error).split())}", soft_wrap=True)
        return CANNOT_COMPARE
    except Exception as error:  # noqa: BLE001
        errors.print(unexpected.report("bench.compare", words, error), soft_wrap=True)
        return CANNOT_COMPARE
    if arguments.fail_over is None:
        return 0
    slower = slower_by(comparison, arguments.fail_over)
    for entry in slower:
        console.print(f"slower: {entry.backend} on {entry.case}", soft_wrap=True)
    for lost in comparison.lost:
        console.print(f"lost: {lost}", soft_wrap=True)
    return SLOWER if slower or comparison.lost else 0


if __name__ == "__main__":
    sys.exit(main())
