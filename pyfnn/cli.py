"""The console command `pyfnn`: starts one command of the harness, by name. Measures and imports nothing itself.

The harness is the package `bench` that was installed beside this one. Other distributions, and folders of users, are
named `bench` too; `pyfnn` finds its own wherever it is called.
"""

import argparse
import importlib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyfnn
from pyfnn.pipes import let_readers_end

HOME = Path(__file__).resolve().parents[1]  # the folder that holds both packages


class Command(NamedTuple):
    """A subcommand: the module that is run, and one line of help."""

    module: str
    help: str


COMMANDS = {
    "run": Command("bench.run", "prove and time backends, write results and report"),
    "check": Command("bench.check", "check that a backend keeps the contract, claim by claim"),
    "doctor": Command("bench.doctor", "show what disturbs measurements on this machine, and the remedies"),
    "ceilings": Command("bench.ceilings", "measure the peak of multiply-adds and the memory bandwidth"),
    "report": Command("bench.report", "write one page from one run or several"),
    "plot": Command("bench.plot", "redraw the report of a finished run"),
    "compare": Command("bench.compare", "compare runs of one machine, or two revisions in one run"),
    "history": Command("bench.history", "show backends over many runs, and when they changed"),
    "export": Command("bench.export", "write a run as CSV, Parquet or pyperf's JSON"),
    "experiments": Command("bench.experiments", "run an experiment; without a name, list them"),
    "fleet": Command("bench.fleet", "run one timing suite on every host of a Dask cluster"),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the first word; the rest belongs to the subcommand."""
    p = argparse.ArgumentParser(
        prog="pyfnn",
        usage="pyfnn [-h] [--version] COMMAND ...",
        description="Compare the speed of the same neural-network training step across languages, after proving that "
        "every implementation computes the same gradients.",
        epilog="`pyfnn COMMAND --help` shows the options of a command.",
    )
    p.add_argument("--version", action="version", version=f"pyfnn {pyfnn.__version__}")
    commands = p.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help, add_help=False, prefix_chars="\0")
    return p


def start(module: str, arguments: Sequence[str]) -> int:
    """Run a module of the harness as `python -m` does, from the folder that holds this package.

    Returns
    -------
    int
        The exit status 0, or 2 where the harness cannot be imported; any other ends this process from within.
    """
    sys.path.insert(0, str(HOME))
    try:
        importlib.import_module("bench")
    except ModuleNotFoundError as error:
        print(f"pyfnn: {error}", file=sys.stderr)
        return 2
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit status: that of the subcommand; 2 for an unknown one."""
    given = list(sys.argv[1:] if argv is None else argv)
    if argv is None:  # this process is the command
        let_readers_end()
    parser().parse_args(given[:1])
    return start(COMMANDS[given[0]].module, given[1:])


if __name__ == "__main__":
    sys.exit(main())
