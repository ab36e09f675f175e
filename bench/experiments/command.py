"""The common command of all experiments: parse arguments, run, turn errors into a line on stderr and an exit status."""

import argparse
from collections.abc import Callable, Sequence

from rich.console import Console

from bench import unexpected
from bench.terminal import console as terminal
from pyfnn.errors import PyfnnError


def run_command(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace, Console], None],
    argv: Sequence[str] | None,
) -> int:
    """Run the experiment `name`; print the reason of a failure.

    Returns
    -------
    int
        The exit status: 0; 2 after a `PyfnnError`, such as a bad argument; 1 after an `OSError`, such as a file that
        cannot be written, or an error that nothing expects; 130 after Ctrl-C.
    """
    arguments = parser.parse_args(argv)
    try:
        run(arguments, terminal())
    except PyfnnError as error:
        return _fail(f"{name}: {error}", 2)
    except OSError as error:
        return _fail(f"{name}: {error}", 1)
    except Exception as error:  # noqa: BLE001
        return _fail(unexpected.report(name, [], error), 1)
    except KeyboardInterrupt:
        return _fail(f"{name}: interrupted", 130)
    return 0


def _fail(message: str, status: int) -> int:
    terminal("stderr").print(message, soft_wrap=True)
    return status
