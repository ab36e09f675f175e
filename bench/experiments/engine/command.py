"""The command line that all experiments of cells share: python -m bench.experiments NAME."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench import unexpected
from bench.experiments.engine.cell import Experiment, Settings, at_least
from bench.experiments.engine.run import run
from bench.interruption import Interruptions, status_of
from bench.terminal import console as terminal
from pyfnn.errors import PyfnnError

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
        type=at_least(1),
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
        type=at_least(1),
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


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Run an experiment.

    Returns
    -------
    int
        Exit status: 0; 1 where cells failed, or the results cannot be written; 2 for wrong arguments, a folder of
        another run, or a cluster that cannot be used; after a signal, 128 and its number.
    """
    settings = settings_of(parser(experiment).parse_args(argv))
    errors = terminal("stderr")
    try:
        with Interruptions() as signals:
            return run(experiment, settings, terminal(), signals)
    except PyfnnError as error:
        errors.print(f"{experiment.name}: {error}", soft_wrap=True)
        return 2
    except OSError as error:
        errors.print(f"{experiment.name}: {error}", soft_wrap=True)
        return 1
    except Exception as error:  # noqa: BLE001
        errors.print(unexpected.report(experiment.name, [settings.out], error), soft_wrap=True)
        return 1
    except KeyboardInterrupt as error:
        return status_of(error)
