"""The form of a warning, and the parts that warnings about machines and runs share."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from bench.format import number

_NAMED = 3  # cases or backends named in a message; it counts the others


class Advice(NamedTuple):
    """A warning: the problem in a word and in a sentence, and its remedy."""

    name: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}. To do: {self.remedy}"


def stolen_time(share: float | None, limit: float, when: str) -> Advice | None:
    """Warn where a hypervisor gave more than `limit` of this machine's time to others."""
    if share is None or share <= limit:
        return None
    return Advice(
        "steal",
        f"the hypervisor gave {number(100 * share, 2)} % of this virtual machine's time to other machines ({when})",
        "measure at another time or on a machine with dedicated CPUs; no setting inside this machine helps",
    )


def several_openmp(runtimes: Mapping[str, Sequence[str]]) -> Advice | None:
    """Warn of processes with several OpenMP runtimes. `runtimes` has the library files by name of a backend."""
    several = {name: files for name, files in runtimes.items() if len(files) > 1}
    if not several:
        return None
    listed = some_of([f"{name}: {', '.join(files)}" for name, files in several.items()])
    return Advice(
        "openmp",
        f"one process has several OpenMP runtimes, whose waiting threads can take CPU time from each other ({listed})",
        "install all packages from one source (all from PyPI or all from conda-forge); until then set "
        "OMP_WAIT_POLICY=passive",
    )


def some_of(texts: Sequence[str]) -> str:
    """Join the first texts and count the others."""
    more = len(texts) - _NAMED
    return "; ".join([*texts[:_NAMED], *([f"and {more} more"] if more > 0 else [])])


Facts = TypeVar("Facts")


def advice_from(checks: Sequence[Callable[[Facts], Advice | None]], facts: Facts) -> tuple[Advice, ...]:
    """Return the warnings of a table of checks."""
    return tuple(advice for check in checks if (advice := check(facts)))
