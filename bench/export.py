"""The command `python -m bench.export`: writes the results of a run in the formats of other tools. Measures nothing."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench import unexpected
from bench.interruption import INTERRUPTED
from bench.results.exports import write_csv, write_parquet, write_pyperf
from bench.results.json_schema import experiment_json_schema, json_schema
from bench.results.schema import Results
from bench.results.store import load_results
from bench.terminal import console as terminal
from pyfnn.errors import PyfnnError

FORMATS: Final[dict[str, Callable[[Results, Path], list[Path]]]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "pyperf": write_pyperf,
}
SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "schema": json_schema,
    "experiment-schema": experiment_json_schema,
}


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.export",
        description="Write the results of a run in the formats of other tools: csv and parquet have its samples and "
        "its statistics, pyperf.json its samples. schema prints the JSON Schema of every results.json, "
        "experiment-schema that of an experiment's.",
        epilog="Exit status: 0; 2 where the results cannot be read, or a package of the extra export is missing.",
    )
    p.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="folder with results.json or journal.jsonl")
    p.add_argument("--to", required=True, choices=[*FORMATS, *SCHEMAS], help="the format")
    p.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: the run's)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments, console, errors = _parser().parse_args(argv), terminal(), terminal("stderr")
    try:
        if arguments.to in SCHEMAS:
            print(json.dumps(SCHEMAS[arguments.to](), indent=1, ensure_ascii=False), flush=True)
            return 0
        if arguments.folder is None:
            raise PyfnnError(f"--to {arguments.to} needs the folder of a run")
        results, out = load_results(arguments.folder), arguments.out or arguments.folder
        out.mkdir(parents=True, exist_ok=True)
        for path in FORMATS[arguments.to](results, out):
            console.print(str(path), soft_wrap=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (PyfnnError, OSError) as error:
        errors.print(f"bench.export: {' '.join(str(error).split())}", soft_wrap=True)
        return 2
    except Exception as error:  # noqa: BLE001
        errors.print(unexpected.report("bench.export", [arguments.folder], error), soft_wrap=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
