"""The command `python -m bench.report DIR ... [--out FILE]`: one page from one run or several. Measures nothing."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import unexpected
from bench.report import PAGE, run_view
from bench.report.page import Source, write_page
from bench.results.crossing import load_crossing
from bench.results.store import load_results
from pyfnn.errors import PyfnnError


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.report",
        description="Write one page, report.html, from one run or several, of one machine or several. The page needs "
        "no network. Rows of several machines are grouped by host, and no ratio is between runs.",
        epilog="Exit status: 0; 2 where results cannot be read or the page cannot be written; 130 after Ctrl-C.",
    )
    p.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folder with results.json or journal.jsonl; crossing.json, if there, is shown too",
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = _parser().parse_args(argv)
    out = arguments.out or arguments.folders[0] / PAGE
    try:
        sources = _sources(arguments.folders)
        out.parent.mkdir(parents=True, exist_ok=True)
        print(write_page(sources, out))
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
