"""The command that redraws a run's figures and summary from its results file. Measures nothing.

Usage: python -m bench.plot DIR [--out DIR]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.results.schema import ResultsError
from bench.results.store import load_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Redraw; returns the exit status: 0, or 2 where the results cannot be used or the figures cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description="Redraw a run's figures and summary.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="holds results.json or journal.jsonl")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write; default: DIR itself")
    given = parser.parse_args(arguments)
    try:
        for path in report.write(load_results(given.folder), given.out or given.folder):
            print(path)
    except (ResultsError, OSError) as error:
        print(f"bench.plot: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
