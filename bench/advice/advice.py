"""The form of a warning, and helpers that machine and run warnings share."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from bench.format import number

_NAMED = 3  # cases or backends in a message; the others are counted


class Advice(NamedTuple):
    """What is wrong, in a word and in a sentence, and what to do about it."""

    name: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}. To do: {self.remedy}"


def stolen_time(share: float | None, bearable: float, when: str) -> Advice | None:
    if share is None or share <= bearable:
        return None
    return Advice(
        "steal",
        f"the hypervisor gives {number(100 * share, 2)} % of this virtual machine's time to others ({when})",
        "measure at another hour, or on a machine with CPUs of its own; within this one nothing mends it",
    )


def several_openmp(runtimes: Mapping[str, Sequence[str]]) -> Advice | None:
    several = {name: files for name, files in runtimes.items() if len(files) > 1}
    if not several:
        return None
    told = some_of([f"{name}: {', '.join(files)}" for name, files in several.items()])
    return Advice(
        "openmp",
        f"several OpenMP runtimes in one process, each with threads that may wait spinning in another's time ({told})",
        "install what brings them from one source (all from PyPI, or all from conda-forge), and set "
        "OMP_WAIT_POLICY=passive until then",
    )


def some_of(told: Sequence[str]) -> str:
    more = len(told) - _NAMED
    return "; ".join([*told[:_NAMED], *([f"and {more} more"] if more > 0 else [])])


# The tables ----------------------------------------------------------------------------------------------------------

Facts = TypeVar("Facts")


def advice_from(rows: Sequence[Callable[[Facts], Advice | None]], facts: Facts) -> tuple[Advice, ...]:
    return tuple(advice for row in rows if (advice := row(facts)))
