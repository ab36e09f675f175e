"""The command `python -m bench.fleet SUITE --scheduler ADDRESS`: one timing suite on every host of a Dask cluster."""

import argparse
import sys
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import unexpected
from bench.arguments import chosen_rows, chosen_suite, given_options, parsed
from bench.experiments.engine.cluster import connect
from bench.fleet.gather import FleetFolder, gather
from bench.fleet.host import Order
from bench.interruption import INTERRUPTED, Interruptions, status_of
from bench.terminal import console as terminal
from pyfnn.errors import InvalidInput, PyfnnError

HOST_FAILED: Final = 1  # exit statuses
USAGE_ERROR: Final = 2
_REFUSED = ("out", "resume", "list", "suite")  # options of bench.run that the fleet decides


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.fleet",
        usage="%(prog)s SUITE --scheduler ADDRESS [--out DIR] [options of bench.run]",
        description="Run one timing suite on every host of a Dask cluster, alone on each, and gather the folders of "
        "results. Compare the runs of a host with each other (python -m bench.compare); never those of two hosts.",
        epilog=f"Exit status: 0; {HOST_FAILED} where a host failed or results cannot be written; {USAGE_ERROR} for "
        f"wrong arguments or a cluster that cannot be used; {INTERRUPTED} after Ctrl-C.",
        allow_abbrev=False,
    )
    p.add_argument("suite", metavar="SUITE", help="suite to run: a name, or a file, which is sent to the hosts")
    p.add_argument("--scheduler", required=True, metavar="ADDRESS", help="such as tcp://192.168.1.2:8786")
    p.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results, DIR/HOST (default: results/fleet-<timestamp>)"
    )
    return p


def order_of(suite: str, options: Sequence[str]) -> Order:
    """Return the order for a suite with options of `bench.run`, after the checks that need no host.

    Raises
    ------
    InvalidInput, UnknownName
        The suite or a backend does not exist, or an option is one that the fleet decides.
    """
    for name in _REFUSED:
        if name in given_options(options):
            raise InvalidInput(f"--{name}: is not for a fleet")
    arguments = parsed(["--suite", suite, *options])
    for path in arguments.backend:
        if not path.is_absolute():  # hosts measure in folders of their own
            rule = "must be an absolute path, at which this machine and every host have the file"
            raise InvalidInput(f"--backend {path}: {rule}")
    chosen_rows(arguments, chosen_suite(arguments)[0])
    topic = f"pyfnn-fleet-{uuid.uuid4().hex}"
    if Path(suite).suffix != ".toml":
        return Order(("--suite", suite, *options), None, topic)
    return Order(tuple(options), Path(suite).read_text(encoding="utf-8"), topic)


def run(arguments: argparse.Namespace, options: Sequence[str], console: Console) -> int:
    """Run the command for parsed arguments and return its exit status. Errors are the caller's to handle."""
    order = order_of(arguments.suite, options)
    out = arguments.out or Path("results", f"fleet-{datetime.now():%Y-%m-%d_%H-%M-%S}")
    with connect(arguments.scheduler) as client, FleetFolder(out) as folder:
        ends = gather(client, order, folder, console)
    return 0 if all(end.exit_status == 0 for end in ends) else HOST_FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status (see --help)."""
    arguments, options = _parser().parse_known_args(argv)
    errors = terminal("stderr")
    try:
        with Interruptions():
            return run(arguments, options, terminal())
    except PyfnnError as error:
        errors.print(f"fleet: {error}", soft_wrap=True)
        return USAGE_ERROR
    except OSError as error:
        errors.print(f"fleet: {error}", soft_wrap=True)
        return HOST_FAILED
    except Exception as error:  # noqa: BLE001
        errors.print(unexpected.report("bench.fleet", sys.argv[1:] if argv is None else argv, error), soft_wrap=True)
        return HOST_FAILED
    except KeyboardInterrupt as error:
        errors.print("fleet: interrupted; the folders of hosts that had ended are kept", soft_wrap=True)
        return status_of(error)


if __name__ == "__main__":
    sys.exit(main())
