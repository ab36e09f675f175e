"""The events of a journal: one frozen model each, used to write a line and to read it. Touches no file.

Events share their fields with the models of `bench.results.schema`. An event writes the fields that were set and leaves
the others out.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bench.results.resumption import Resumption
from bench.results.schema import (
    SCHEMA,
    BackendReport,
    CaseHead,
    Ceilings,
    Curve,
    DeviceState,
    HostState,
    Launch,
    ResultsError,
    RoundsChoice,
    RunHead,
    Sample,
    Warned,
    first_error,
)
from bench.terms import Rate, Value


class EventBase(Value):
    """An event; `event` names its kind."""

    place: ClassVar[frozenset[str]] = frozenset({"event"})  # fields that give the kind and the place of the event

    event: str

    def line(self) -> dict[str, Any]:
        """Return the event as the journal stores it: the kind first, then the fields that were set."""
        return {"event": self.event, **self.model_dump(by_alias=True, exclude_unset=True, exclude={"event"})}

    def facts(self) -> dict[str, Any]:
        """Return the fields that were set, without those that give the kind and the place."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude=set(self.place))


class CaseEventBase(EventBase):
    """An event of one case. `case` is the number of the case."""

    place: ClassVar[frozenset[str]] = EventBase.place | {"case"}

    case: int


class BackendEventBase(CaseEventBase):
    """An event of one instance of a backend in one case."""

    place: ClassVar[frozenset[str]] = CaseEventBase.place | {"instance"}

    instance: str


class RunEvent(RunHead, EventBase):
    """The start of a run."""

    event: Literal["run"] = "run"


class FinishEvent(EventBase):
    """The end of all measurement."""

    event: Literal["finish"] = "finish"
    finished: str


class CeilingsEvent(Ceilings, EventBase):
    """Peak rates of the machine."""

    event: Literal["ceilings"] = "ceilings"


class HostStateEvent(HostState, EventBase):
    """The load of the machine."""

    event: Literal["host_state"] = "host_state"


class DeviceStateEvent(DeviceState, EventBase):
    """Sensor readings of a device."""

    event: Literal["device_state"] = "device_state"


class WarningEvent(Warned, EventBase):
    """A warning."""

    event: Literal["warning"] = "warning"


class CaseEvent(CaseHead, CaseEventBase):
    """The start of a case."""

    event: Literal["case"] = "case"
    ceiling_gflops: Rate | None = None  # in journals from before probes had an event


class ResumeEvent(Resumption, EventBase):
    """The start of a continuation of the run."""

    event: Literal["resume"] = "resume"


class CaseAgainEvent(CaseEventBase):
    """The continuation of a case after so many launches: what the journal holds of later ones does not count."""

    event: Literal["case_again"] = "case_again"
    launches: int = Field(ge=0)


class ArmState(Value):
    """The state from which further launches of an arm go on; see `bench.measure.arm`.

    Attributes
    ----------
    steps, burst, step_seconds
        See `bench.measure.arm.Calibration`.
    judged : bool
    disturbed : str
        Message of the error; empty where there is none.
    """

    steps: int = Field(ge=1)
    burst: int = Field(ge=1)
    step_seconds: float = Field(ge=0)
    judged: bool
    disturbed: str = ""


class LaunchEndEvent(CaseEventBase):
    """The end of a launch, in which every live arm took all its turns.

    Attributes
    ----------
    launch_seconds, round_seconds : float
        Cost of this launch without its rounds and curves, and of a round, for all backends together.
    spent_seconds : float
        Of the case so far.
    arms : dict of str to ArmState
        By instance.
    """

    event: Literal["launch_end"] = "launch_end"
    launch: int = Field(ge=0)
    launch_seconds: float = Field(ge=0)
    round_seconds: float = Field(ge=0)
    spent_seconds: float = Field(ge=0)
    arms: dict[str, ArmState] = {}


class CaseEndEvent(CaseEventBase):
    """The end of a case."""

    event: Literal["case_end"] = "case_end"
    stopped: str
    launches_chosen: bool = False
    measured_seconds: float | None = Field(default=None, ge=0)


class RoundsEvent(RoundsChoice, CaseEventBase):
    """The number of rounds in further launches."""

    event: Literal["rounds"] = "rounds"


class _Names(Value):
    """The names of a backend, written once, when the case begins."""

    name: str = ""
    language: str = ""
    division: str = ""


class BackendEvent(BackendReport, _Names, BackendEventBase):
    """Facts about a backend as they become known. A later event replaces the facts of an earlier one."""

    event: Literal["backend"] = "backend"
    curve: Curve | None = None


class LaunchEvent(Launch, BackendEventBase):
    """The costs of a fresh process."""

    event: Literal["launch"] = "launch"


class SampleEvent(Sample, BackendEventBase):
    """One timed block."""

    event: Literal["sample"] = "sample"


Event = (
    RunEvent
    | ResumeEvent
    | FinishEvent
    | CeilingsEvent
    | HostStateEvent
    | DeviceStateEvent
    | WarningEvent
    | CaseEvent
    | CaseAgainEvent
    | LaunchEndEvent
    | CaseEndEvent
    | RoundsEvent
    | BackendEvent
    | LaunchEvent
    | SampleEvent
)

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: Mapping[str, Any]) -> Event:
    """Return the event that a line of a journal holds.

    Raises
    ------
    ResultsError
        Naming the field that does not fit the schema.
    """
    try:
        return _EVENT.validate_python(line)
    except ValidationError as error:
        raise ResultsError(f"does not fit {SCHEMA}: {first_error(error)}") from None
