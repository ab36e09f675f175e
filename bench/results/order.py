"""The order of a journal's events: refuses what one run cannot have written, such as a second run. Reads no file."""

from bench.results.events import (
    CaseAgainEvent,
    CaseEvent,
    Event,
    LaunchEndEvent,
    LaunchEvent,
    RunEvent,
    SampleEvent,
)
from bench.results.schema import ResultsError

_Place = tuple[str, int, int, str, int]  # kind of the event, case, launch, instance, round


class Order:
    """The events of a journal so far; `check` each of them in turn."""

    def __init__(self) -> None:
        self._has_run = False
        self._cases: set[int] = set()
        self._places: set[_Place] = set()

    def check(self, event: Event) -> None:
        """Raise `ResultsError` where the journal holds this run, case, launch or round already."""
        match event:
            case RunEvent():
                if self._has_run:
                    raise ResultsError("a second run: two runs wrote into this journal, or its lines were copied")
                self._has_run = True
            case CaseEvent():
                if event.case in self._cases:
                    raise ResultsError(f"case {event.case} begins a second time")
                self._cases.add(event.case)
            case CaseAgainEvent():
                self._places = {p for p in self._places if p[1] != event.case or p[2] < event.launches}
            case LaunchEvent():
                self._add("launch", event.case, event.launch, event.instance)
            case LaunchEndEvent():
                self._add("end of launch", event.case, event.launch)
            case SampleEvent():
                self._add("sample", event.case, event.launch, event.instance, event.round)
            case _:
                pass

    def _add(self, kind: str, case: int, launch: int, instance: str = "", number: int = -1) -> None:
        place = kind, case, launch, instance, number
        if place in self._places:
            of = f" of {instance}" if instance else ""
            where = f", round {number}" if number >= 0 else ""
            raise ResultsError(f"a second {kind}{of}: case {case}, launch {launch}{where}")
        self._places.add(place)
