"""The last handler of the commands: an error that no other one expects becomes one line, which asks for a report."""

import traceback
from collections.abc import Iterable
from pathlib import Path


def report(command: str, inputs: Iterable[object], error: Exception) -> str:
    """Return the line for an error that is a fault of pyfnn.

    Parameters
    ----------
    command : str
    inputs : iterable of object
        The files, folders or names that the command was given.
    error : Exception
        The line has its type, its message, and the place that raised it.
    """
    place = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{Path(place.filename).name}, line {place.lineno}"
    given = ", ".join(map(str, inputs)) or "no arguments"
    found = f"{type(error).__name__}: {error} ({at})"
    return " ".join(f"{command}: {given}: a fault of pyfnn; please report it, with these files: {found}".split())
