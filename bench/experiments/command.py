"""How an experiment is a command: arguments in, an exit status out, an error said in a line. Measures nothing."""

import argparse
from collections.abc import Callable, Sequence

from rich.console import Console

from pyfnn.errors import PyfnnError


def perform(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace, Console], None],
    argv: Sequence[str] | None,
) -> int:
    """Run the experiment `name`. Exit status 0, or 2 where it cannot be done, with the reason."""
    arguments = parser.parse_args(argv)
    try:
        run(arguments, Console())
    except PyfnnError as error:
        Console(stderr=True).print(f"{name}: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    return 0
