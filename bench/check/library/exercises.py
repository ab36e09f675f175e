"""Parts of the exercises: the claims about a library, each with the function that checks it in a child process."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from bench.check.library.calls import Subject, Wrong

_SHOWN = 4  # failures that a message lists
_Attempt = TypeVar("_Attempt", bound=Callable[[Subject], str | None])


@dataclass(frozen=True)
class Exercise:
    """One claim about a library.

    Attributes
    ----------
    text, fix : str
        The claim and the advice on the fix, as those of `kit.Claim`.
    attempt : callable
        Checks the claim; returns a note or None; raises `Wrong`.
    """

    text: str
    fix: str
    attempt: Callable[[Subject], str | None]


class Exercises(list[Exercise]):
    """Exercises in the order in which they are checked."""

    def claim(self, text: str, fix: str) -> Callable[[_Attempt], _Attempt]:
        """Add the decorated function."""

        def put(attempt: _Attempt) -> _Attempt:
            self.append(Exercise(text, fix, attempt))
            return attempt

        return put


def listed(failures: Iterable[str]) -> None:
    """Raise `Wrong` if there are failures; the message has the first few."""
    found = list(failures)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise Wrong("; ".join(found[:_SHOWN]) + more)
