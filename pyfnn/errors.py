"""Exceptions of pyfnn. Each message names the field, the value and the rule, or the remedy.

All can be pickled, so that they come back whole from the worker of a process pool.
"""

import difflib
from collections.abc import Iterable


def shown(value: object) -> str:
    """Return the text of a value for a message: its `repr`, cut to 200 characters, or its type where it has none."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (for instance of an integer of more than 4300 digits)
        return f"<{type(value).__name__}>"
    return text if len(text) <= 200 else f"{text[:200]}…"


class PyfnnError(Exception):
    """Base class of all exceptions that pyfnn raises on purpose."""


class InvalidInput(PyfnnError, ValueError):
    """A value that breaks a rule; the message names the field, the value and the rule."""


class UnknownName(PyfnnError, LookupError):
    """A name that is not in its table.

    Parameters
    ----------
    kind : str
        Kind of the name: "activation", "backend", ...
    name : str
        The unknown name.
    known : iterable of str
        All names in the table.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(shown(name).strip("'"), names, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
        super().__init__(f"unknown {kind} {shown(name)}{hint} known: {', '.join(names)}")
        self.kind, self.name, self.known = kind, name, names

    def __reduce__(self) -> tuple[type["UnknownName"], tuple[str, str, list[str]]]:
        return type(self), (self.kind, self.name, self.known)


class BackendUnavailable(PyfnnError, RuntimeError):
    """A backend that cannot run here.

    Parameters
    ----------
    reason : str
        The missing part.
    remedy : str
        Instruction for the user, such as an install command.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason} ({remedy})" if remedy else reason)
        self.reason, self.remedy = reason, remedy

    def __reduce__(self) -> tuple[type["BackendUnavailable"], tuple[str, str]]:
        return type(self), (self.reason, self.remedy)


class BuildFailed(BackendUnavailable):
    """A backend whose program did not build; `reason` contains the compiler's messages."""


class Unsupported(PyfnnError):
    """A network that a backend does not support."""


class Diverged(PyfnnError, ArithmeticError):
    """The parameters became non-finite during training."""


class DatasetError(PyfnnError):
    """A dataset's file is missing or altered; the message explains how to get it again."""


class WorkerError(PyfnnError):
    """A failure of a worker process."""


class WorkerDied(WorkerError):
    """The worker process ended unexpectedly."""


class WorkerTimeout(WorkerError):
    """The worker process did not answer in time."""


class NoRoom(WorkerError):
    """A folder of the machine that takes no data: its disk is full, or it is read-only. No backend is to blame."""


class ProtocolError(WorkerError):
    """The worker process sent output that the protocol does not allow."""
