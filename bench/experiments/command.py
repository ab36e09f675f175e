"""How an experiment is a command: arguments in, an exit status out, an error said in a line. Measures nothing."""

import argparse
from collections.abc import Callable, Sequence

from rich.console import Console

from pyfnn.errors import PyfnnError


def run_command(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace, Console], None],
    argv: Sequence[str] | None,
) -> int:
    """Run the experiment `name`. Exit status 0; 2 where it cannot be done, 1 where the system refuses something (as to
    write), each with the reason; 130 after Ctrl-C.
    """
    arguments = parser.parse_args(argv)
    try:
        run(arguments, Console())
    except PyfnnError as error:
        return _say(f"{name}: {error}", 2)
    except OSError as error:
        return _say(f"{name}: {error}", 1)
    except KeyboardInterrupt:
        return _say(f"{name}: interrupted", 130)
    return 0


def _say(words: str, status: int) -> int:
    Console(stderr=True).print(words, markup=False, highlight=False, soft_wrap=True)
    return status
