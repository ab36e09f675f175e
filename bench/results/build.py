"""Builds results from the events of a journal. Reads no file."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from bench.results.derive import with_all_statistics
from bench.results.events import (
    BackendEvent,
    CaseAgainEvent,
    CaseEndEvent,
    CaseEvent,
    CeilingsEvent,
    DeviceStateEvent,
    Event,
    FinishEvent,
    HostStateEvent,
    LaunchEndEvent,
    LaunchEvent,
    ResumeEvent,
    RoundsEvent,
    RunEvent,
    SampleEvent,
    WarningEvent,
)
from bench.results.schema import SCHEMA, Results, ResultsError, first_error

CUT_OFF: Final = "cut off: the journal has no end of this case"

Fields = dict[str, Any]

_LISTS_OF_RUN: dict[type[Event], str] = {
    CeilingsEvent: "ceilings",
    HostStateEvent: "host_states",
    DeviceStateEvent: "device_states",
    WarningEvent: "warnings",
    ResumeEvent: "resumptions",
}


def build_results(events: Iterable[Event]) -> Results:
    """Build the results of a run, statistics included, from the events of its journal.

    Raises
    ------
    ResultsError
        Naming the place that does not fit the schema.
    """
    return with_all_statistics(bare_results(events))


def bare_results(events: Iterable[Event]) -> Results:
    """Build the results of a run without statistics; otherwise as `build_results`."""
    try:
        return Results.model_validate(_collect(events))
    except ValidationError as error:
        raise ResultsError(f"does not fit {SCHEMA}: {first_error(error)}") from None


def _collect(events: Iterable[Event]) -> Fields:
    """Return the fields of `Results`, without statistics."""
    run: Fields = {}
    lists: dict[str, list[Fields]] = {name: [] for name in _LISTS_OF_RUN.values()}
    cases: dict[int, Fields] = {}
    backends: dict[int, dict[str, Fields]] = {}
    finished: dict[int, tuple[int, dict[str, Fields]]] = {}  # launches of a case, and its backends after them
    for event in events:
        match event:
            case RunEvent() | FinishEvent():
                run.update(event.facts())
            case CaseEvent():
                cases[event.case] = {"stopped": CUT_OFF, **event.facts()}
                backends[event.case] = {}
            case CaseEndEvent():
                _case(cases, event.case).update(event.facts())
            case LaunchEndEvent():
                finished[event.case] = event.launch + 1, _copied(_case(backends, event.case))
            case CaseAgainEvent():
                _reopen(_case(cases, event.case))
                backends[event.case] = _kept(event, *finished.get(event.case, (0, {})))
                lists["device_states"] = [state for state in lists["device_states"] if not _is_dropped(state, event)]
            case RoundsEvent():
                _case(cases, event.case)["rounds_choice"] = event.facts()
            case BackendEvent() | LaunchEvent() | SampleEvent():
                _add(event, _case(backends, event.case))
            case _:
                if isinstance(event, ResumeEvent):  # its own end and checks come later
                    run.pop("finished", None)
                    lists["warnings"] = [one for one in lists["warnings"] if one["when"] == "before"]
                lists[_LISTS_OF_RUN[type(event)]].append(event.facts())
    if not run:
        raise ResultsError("the journal holds no run")
    return {
        **run,
        **lists,
        "cases": [{**fields, **_arms(list(backends[number].values()))} for number, fields in cases.items()],
    }


def _reopen(case: Fields) -> None:
    """Remove the end of a case."""
    case["stopped"] = CUT_OFF
    for name in ("launches_chosen", "measured_seconds"):
        case.pop(name, None)


def _copied(instances: dict[str, Fields]) -> dict[str, Fields]:
    """Return a copy that further events of the case do not change."""
    lists = ("launches", "samples")
    return {name: {**fields, **{each: list(fields[each]) for each in lists}} for name, fields in instances.items()}


def _kept(event: CaseAgainEvent, launches: int, instances: dict[str, Fields]) -> dict[str, Fields]:
    """Return the backends of a case that goes on after its last finished launch."""
    if event.launches != launches:
        raise ResultsError(f"case {event.case} goes on after {event.launches} launches: {launches} had ended")
    return _copied(instances)


def _is_dropped(state: Fields, event: CaseAgainEvent) -> bool:
    return state.get("case") == event.case and (state.get("launch") or 0) >= event.launches


def _arms(instances: list[Fields]) -> Fields:
    """Return the fields of a case that hold its backends and, apart from them, the slowed copy of one."""
    backends = [fields for fields in instances if not fields.get("copy_of")]
    return {"backends": backends, "planted": next((fields for fields in instances if fields.get("copy_of")), None)}


def _add(event: BackendEvent | LaunchEvent | SampleEvent, instances: dict[str, Fields]) -> None:
    """Add an event to the fields of its instance."""
    empty: Fields = {"instance": event.instance, "launches": [], "samples": []}
    fields = instances.setdefault(event.instance, empty)
    match event:
        case BackendEvent():
            fields.update(event.facts())
        case LaunchEvent():
            fields["launches"].append(event.facts())
        case SampleEvent():
            fields["samples"].append(event.facts())


def _case(known: dict[int, Any], number: int) -> Any:
    if number not in known:
        raise ResultsError(f"does not fit {SCHEMA}: an event of case {number}, which has not begun")
    return known[number]
