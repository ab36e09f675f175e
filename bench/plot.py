"""The command `python -m bench.plot DIR [--out DIR]`: writes the figures and the summary of a run again.

Reads results.json or the journal of the run. Measures nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.results.schema import ResultsError
from bench.results.store import load_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit status 0; 2 where the results cannot be read or the figures cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.plot", description="Write the figures and the summary of a run again, from its results."
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder with results.json or journal.jsonl")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write to (default: DIR)")
    given = parser.parse_args(arguments)
    try:
        for path in report.write(report.run_view(load_results(given.folder)), given.out or given.folder):
            print(path)
    except (ResultsError, OSError) as error:
        print(f"bench.plot: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
