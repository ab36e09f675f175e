"""The command `python -m bench.plot DIR [--out DIR]`: writes the figures and the summary of a run again.

Reads results.json or the journal of the run. Measures nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import report, unexpected
from bench.interruption import INTERRUPTED
from bench.results.schema import ResultsError
from bench.results.store import load_results
from bench.terminal import console as terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit status 0; 2 where results cannot be read or figures cannot be written; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.plot", description="Write the figures and the summary of a run again, from its results."
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder with results.json or journal.jsonl")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write to (default: DIR)")
    given = parser.parse_args(arguments)
    console = terminal()
    try:
        for path in report.write(report.run_view(load_results(given.folder)), given.out or given.folder):
            console.print(str(path), soft_wrap=True)
    except (ResultsError, OSError) as error:
        terminal("stderr").print(f"bench.plot: {' '.join(str(error).split())}", soft_wrap=True)
        return 2
    except Exception as error:  # noqa: BLE001
        terminal("stderr").print(unexpected.report("bench.plot", [given.folder], error), soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
