"""The command `python -m bench.doctor [--backend PATH]`: checks whether this machine is fit for measurements.

Prints the machine, warnings with remedies, and the availability of each backend, within ten seconds. Changes and builds
nothing.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import unexpected
from bench.advice.advice import Advice
from bench.advice.machine import advice_on_machine, read_machine
from bench.interruption import INTERRUPTED
from bench.machine import availability
from bench.machine.availability import Availability
from bench.machine.description import describe_machine
from bench.terminal import console as terminal
from pyfnn import registry
from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row

PATIENCE = 4.5  # seconds, for all backends together
_SHOWN = (
    "cpu_model",
    "usable_cpus",
    "cpu_quota",
    "physical_cores",
    "smt",
    "governors",
    "turbo",
    "celsius",
    "load_1min",
    "memory_bytes",
    "memory_limit_bytes",
    "container",
    "virtual_machine",
    "kernel",
    "python",
    "numpy",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit status 0, with or without warnings; 2 for an unreadable manifest; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.doctor",
        description="Check whether this machine is fit for measurements, and print remedies. Changes nothing.",
    )
    parser.add_argument(
        "--backend",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="backend.toml of an additional backend",
    )
    given = parser.parse_args(argv)
    try:
        rows = list(registry.rows(given.backend).values())
    except PyfnnError as error:
        print(f"pyfnn: {error}", file=sys.stderr)
        return 2
    try:
        show(rows, terminal())
    except Exception as error:  # noqa: BLE001
        print(unexpected.report("pyfnn", given.backend, error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def show(rows: Sequence[Row], console: Console) -> None:
    """Check everything, then print it. Backends are tried first, because they would count as load in the warnings."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        described = pool.submit(describe_machine)
        tried = availability.try_all(rows, PATIENCE)
        host = described.result()
    _show_machine(host, console)
    _show_warnings(advice_on_machine(read_machine(host, tried)), console)
    _show_backends(rows, tried, console)


def _show_machine(host: Mapping[str, Any], console: Console) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for key in _SHOWN:
        value = host[key]
        shown = ", ".join(value) if isinstance(value, list) else value
        table.add_row(Text(key.replace("_", " "), style="dim"), Text("unknown" if shown in (None, "") else str(shown)))
    console.print(table)


def _show_warnings(found: Sequence[Advice], console: Console) -> None:
    console.print()
    if not found:
        console.print("no warnings: no check found a problem", highlight=False)
    for one in found:
        console.print(Text.assemble((f"warning: {one.name}", "yellow"), f": {one.message}"), soft_wrap=True)
        console.print(Text(f"  to do: {one.remedy}"), soft_wrap=True)


def _show_backends(rows: Sequence[Row], tried: Sequence[Availability], console: Console) -> None:
    console.print()
    for row, one in zip(rows, tried, strict=True):
        style = {"unavailable": "red", "not tried": "yellow"}.get(one.here, "green")
        about = f" ({row.language}, {row.division}{'' if row.device == 'cpu' else f', on {row.device}'}): "
        reason = f": {one.reason}" if one.reason else ""
        console.print(Text.assemble((row.name, "bold"), about, (one.here, style), reason), soft_wrap=True)
        if one.remedy:
            console.print(Text(f"  to do: {one.remedy}"), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
