"""The command line that all experiments of cells share: python -m bench.experiments NAME."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.engine.cell import Experiment, Settings

OUT = Path("results", "experiments")


def parser(experiment: Experiment) -> argparse.ArgumentParser:
    """Return the parser of an experiment: the shared options and its own."""
    p = argparse.ArgumentParser(
        prog=f"python -m bench.experiments {experiment.name}",
        description=experiment.summary,
        epilog="The same command again continues a run that was ended: finished cells are kept.",
    )
    p.add_argument("--backend", default="numpy", metavar="NAME", help="backend that trains (default: numpy)")
    p.add_argument(
        "--seeds",
        type=_at_least_1,
        default=experiment.seeds,
        metavar="N",
        help=f"number of seeds (default: {experiment.seeds})",
    )
    p.add_argument(
        "--out",
        type=Path,
        default=OUT / experiment.name,
        metavar="DIR",
        help=f"folder for the results (default: {OUT / experiment.name})",
    )
    where = p.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=_at_least_1,
        metavar="N",
        help="compute on a local Dask cluster of N processes (default: a pool of processes on every CPU)",
    )
    where.add_argument("--scheduler", metavar="ADDRESS", help="compute on the Dask cluster of this scheduler")
    experiment.arguments(p)
    return p


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings of a parsed command line."""
    shared = ("backend", "seeds", "out", "workers", "scheduler")
    given = vars(arguments)
    own = {name: value for name, value in given.items() if name not in shared}
    return Settings(**{name: given[name] for name in shared}, options=own)


def _at_least_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 1")
    return int(text)


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Run an experiment; return its exit status."""
    settings = settings_of(parser(experiment).parse_args(argv))
    raise NotImplementedError(f"{experiment.name}: {settings}")  # replaced by the engine in the next commits
