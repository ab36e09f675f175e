"""The command `python -m bench.history DIR ...`: backends over many runs, with the runs at which they changed.

Reads the results of finished runs; measures nothing.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench import unexpected
from bench.interruption import INTERRUPTED
from bench.report.changes import changes_markdown
from bench.report.figures import save
from bench.report.history import history_figures, history_rows, history_tables
from bench.report.render import rich_table
from bench.results.history import History, histories
from bench.results.store import load_results
from bench.terminal import console as terminal
from pyfnn.errors import PyfnnError


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.history",
        description="Show every backend's ratio to the reference over many runs of one machine, in order of time, and "
        "the runs at which it changed. Runs of unlike machines or methods have histories of their own.",
        epilog="Exit status: 0; 2 where the runs cannot be read or taken together.",
    )
    p.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="folders of runs, in any order")
    p.add_argument("--out", type=Path, metavar="DIR", help="write history.md, .csv, .json, .png and .svg there")
    p.add_argument("--force", action="store_true", help="take unlike runs together; the output names their differences")
    return p


def _histories(folders: Sequence[Path], *, force: bool) -> list[History]:
    if len({path.resolve() for path in folders}) < len(folders):
        raise PyfnnError("a run is named twice: it would count as two")
    return histories({str(folder): load_results(folder) for folder in folders}, force=force)


def _stem(number: int) -> str:
    return "history" if number == 1 else f"history_{number}"


def _figures(history: History, stem: str) -> Iterator[tuple[str, Figure]]:
    for page, figure in enumerate(history_figures(history), 1):
        yield (stem if page == 1 else f"{stem}_page_{page}"), figure


def _write(history: History, stem: str, folder: Path) -> list[Path]:
    """Write a history as Markdown, CSV, JSON and figures, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    text, table, data = (folder / f"{stem}{suffix}" for suffix in (".md", ".csv", ".json"))
    text.write_text(changes_markdown(history_tables(history)), encoding="utf-8")
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(history_rows(history))
    data.write_text(history.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    return [text, table, data, *save(_figures(history, stem), folder)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments, console, errors = _parser().parse_args(argv), terminal(), terminal("stderr")
    try:
        for number, history in enumerate(_histories(arguments.runs, force=arguments.force), 1):
            console.print(*map(rich_table, history_tables(history)))
            for path in _write(history, _stem(number), arguments.out) if arguments.out else ():
                console.print(str(path), soft_wrap=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (PyfnnError, OSError) as error:
        errors.print(f"bench.history: {' '.join(str(error).split())}", soft_wrap=True)
        return 2
    except Exception as error:  # noqa: BLE001
        errors.print(unexpected.report("bench.history", arguments.runs, error), soft_wrap=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
