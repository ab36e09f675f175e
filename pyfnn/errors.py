"""Every error that pyfnn raises on purpose. Each message names the field, the value and the rule, or the way out."""

import difflib
from collections.abc import Iterable


class PyfnnError(Exception):
    """The root of every error that pyfnn raises on purpose."""


class InvalidInput(PyfnnError, ValueError):
    """A value that breaks a rule; the message names the field, the value and the rule."""


class UnknownName(PyfnnError, LookupError):
    """A name that is not in its table.

    Parameters
    ----------
    kind : str
        What was looked up: "activation", "backend", ...
    name : str
        The name as given.
    known : iterable of str
        Every name in the table.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
        super().__init__(f"unknown {kind} {name!r}{hint} known: {', '.join(names)}")
        self.kind, self.name, self.known = kind, name, names


class BackendUnavailable(PyfnnError, RuntimeError):
    """A backend that cannot run here.

    Parameters
    ----------
    reason : str
        What is missing.
    remedy : str
        What the user can do about it.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason} ({remedy})" if remedy else reason)
        self.reason, self.remedy = reason, remedy


class BuildFailed(BackendUnavailable):
    """A backend whose program did not build; `reason` carries the compiler's words."""


class Unsupported(PyfnnError):
    """A network that this backend, by its own word, cannot compute."""


class Diverged(PyfnnError, ArithmeticError):
    """The parameters became non-finite during training."""


class DatasetError(PyfnnError):
    """A dataset's file cannot be had, or is not what it should be; the message says how to get it again."""


class WorkerError(PyfnnError):
    """Something is wrong with the process at the other end."""


class WorkerDied(WorkerError):
    """The worker process ended without being asked to."""


class WorkerTimeout(WorkerError):
    """The worker process did not answer in time."""


class ProtocolError(WorkerError):
    """The worker process answered something that is not in the protocol."""
