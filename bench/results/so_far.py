"""The content of an interrupted run's journal: finished cases, and the finished launches of those that go on.

A launch is the unit of replication: one that was not finished is measured again as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.results.build import bare_results
from bench.results.events import (
    CaseAgainEvent,
    CaseEndEvent,
    CaseEvent,
    Event,
    FinishEvent,
    LaunchEndEvent,
    ResumeEvent,
    RoundsEvent,
    RunEvent,
    SampleEvent,
)
from bench.results.schema import Case, ResultsError

INTERRUPTED = "interrupted"  # how the reasons begin for which a case ended that more time would continue
OUT_OF_BUDGET = "budget"


@dataclass(frozen=True)
class CaseSoFar:
    """The finished launches of a case that goes on.

    Attributes
    ----------
    case : Case
        Without statistics, and without events of the launch that was not finished.
    ends : tuple of LaunchEndEvent
    rounds : int or None
        Rounds of further launches, where they have been chosen.
    """

    case: Case
    ends: tuple[LaunchEndEvent, ...] = ()
    rounds: int | None = None

    @property
    def launches(self) -> int:
        """Number of finished launches."""
        return len(self.ends)

    @property
    def spent_seconds(self) -> float:
        """Seconds of the case up to the end of its last finished launch."""
        return self.ends[-1].spent_seconds if self.ends else 0.0


@dataclass(frozen=True)
class SoFar:
    """The cases of a run so far.

    Attributes
    ----------
    run : RunEvent or None
        None for a run that has just begun.
    done : frozenset of int
        Numbers of the cases that have ended.
    cases : mapping of int to Case
        All cases that have begun, by number.
    open : mapping of int to CaseSoFar
        The cases that have begun and go on, by number.
    spent_seconds : float
        Seconds of all cases.
    given_seconds : float
        Seconds that earlier continuations have added to the budget.
    finished : bool
        True where the run came to its end.
    """

    run: RunEvent | None = None
    done: frozenset[int] = frozenset()
    cases: Mapping[int, Case] = field(default_factory=dict)
    open: Mapping[int, CaseSoFar] = field(default_factory=dict)
    spent_seconds: float = 0.0
    given_seconds: float = 0.0
    finished: bool = False


def so_far(events: Sequence[Event], *, more: bool = False) -> SoFar:
    """Return what a journal holds.

    Parameters
    ----------
    events : sequence of Event
    more : bool
        True to continue the cases that ended because their budget was spent.

    Raises
    ------
    ResultsError
        The journal holds no run, or was written by a version of pyfnn that did not mark the ends of launches.
    """
    run = next((event for event in events if isinstance(event, RunEvent)), None)
    if run is None:
        raise ResultsError("the journal holds no run")
    begun = [event.case for event in events if isinstance(event, CaseEvent)]
    parts = {number: _part(number, events) for number in begun}
    open_ = {number for number, part in parts.items() if _goes_on(part.stopped, more)}
    kept = [CaseAgainEvent(case=number, launches=len(parts[number].ends)) for number in sorted(open_)]
    cases = dict(zip(begun, bare_results([*events, *kept]).cases, strict=True))
    return SoFar(
        run,
        frozenset(begun) - open_,
        cases,
        {number: CaseSoFar(cases[number], tuple(parts[number].ends), parts[number].rounds) for number in open_},
        sum(part.spent(number in open_) for number, part in parts.items()),
        sum(event.more_seconds for event in events if isinstance(event, ResumeEvent)),
        any(isinstance(event, FinishEvent) for event in events[_last_resume(events) :]),
    )


@dataclass
class _Part:
    """The events of one case that say how far it is."""

    ends: list[LaunchEndEvent] = field(default_factory=list)
    rounds: int | None = None
    stopped: str | None = None
    measured_seconds: float | None = None

    def spent(self, is_open: bool) -> float:
        of_launches = self.ends[-1].spent_seconds if self.ends else 0.0
        return of_launches if is_open or self.measured_seconds is None else self.measured_seconds


def _part(number: int, events: Sequence[Event]) -> _Part:
    part = _Part()
    for event in events:
        match event:
            case LaunchEndEvent() if event.case == number:
                part.ends.append(event)
            case RoundsEvent() if event.case == number:
                part.rounds = event.rounds
            case CaseEndEvent() if event.case == number:
                part.stopped, part.measured_seconds = event.stopped, event.measured_seconds
            case CaseAgainEvent() if event.case == number:
                del part.ends[event.launches :]
                part.stopped = part.measured_seconds = None
            case SampleEvent() if event.case == number and event.launch > len(part.ends):
                raise ResultsError(
                    f"case {number} has samples of launch {event.launch}, but {len(part.ends)} launches that ended: an "
                    "older version of pyfnn wrote this journal, and its run cannot be continued"
                )
            case _:
                pass
    return part


def _goes_on(stopped: str | None, more: bool) -> bool:
    """Return True for a case without an end, or one that ended for lack of time."""
    return stopped is None or stopped.startswith(INTERRUPTED) or (more and stopped.startswith(OUT_OF_BUDGET))


def _last_resume(events: Sequence[Event]) -> int:
    return max((place for place, event in enumerate(events) if isinstance(event, ResumeEvent)), default=0)
