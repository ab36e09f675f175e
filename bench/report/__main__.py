"""The command `python -m bench.report DIR ... [--out FILE]`: one page of runs or of an experiment. Measures nothing."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import unexpected
from bench.report import PAGE, run_view
from bench.report.page import Source, write_page
from bench.report.page.experiment import write_experiment_page
from bench.results.crossing import load_crossing
from bench.results.experiment_report import holds_experiment
from bench.results.store import load_results
from pyfnn.errors import PyfnnError


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.report",
        description="Write one page, report.html, from one run or several, of one machine or several, or from one "
        "experiment. The page needs no network. Rows of several machines are grouped by host, and no ratio is between "
        "runs.",
        epilog="Exit status: 0; 2 where results cannot be read or the page cannot be written; 130 after Ctrl-C.",
    )
    p.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folder of a run, with results.json or journal.jsonl (crossing.json, if there, is shown too), or of an "
        "experiment, with report.json",
    )
    p.add_argument("--out", type=Path, metavar="FILE", help=f"the page (default: {PAGE} in the first DIR)")
    return p


def _sources(folders: Sequence[Path]) -> list[Source]:
    """Return the runs of these folders.

    Raises
    ------
    PyfnnError
        A folder is named twice, or its results cannot be read.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise PyfnnError("a run is named twice")
    return [Source(run_view(load_results(folder)), str(folder), load_crossing(folder)) for folder in folders]


def _write(folders: Sequence[Path], out: Path) -> Path:
    """Write the page of these folders and return its path.

    Raises
    ------
    PyfnnError
        A folder cannot be read, or an experiment stands beside other folders.
    """
    experiments = [folder for folder in folders if holds_experiment(folder)]
    if experiments and len(folders) > 1:
        raise PyfnnError(f"{experiments[0]}: is an experiment, which has a page of its own; name it alone")
    if experiments:
        return write_experiment_page(experiments[0], out)
    sources = _sources(folders)
    out.parent.mkdir(parents=True, exist_ok=True)
    return write_page(sources, out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = _parser().parse_args(argv)
    out = arguments.out or arguments.folders[0] / PAGE
    try:
        print(_write(arguments.folders, out))
    except (PyfnnError, OSError) as error:
        print(f"bench.report: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001
        print(unexpected.report("bench.report", arguments.folders, error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
