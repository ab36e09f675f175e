"""Continues a run from its folder: the plan that its journal holds, and what has changed since it began."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.machine.description import installed_packages, momentary
from bench.measure.settings import Settings
from bench.measure.sources import origins
from bench.results.events import RunEvent
from bench.results.journal import JOURNAL, read_journal
from bench.results.so_far import SoFar, so_far
from bench.suites.load import cases_of, load_suite
from bench.suites.suite import CaseKey, Suite, Workload
from pyfnn import registry
from pyfnn.errors import InvalidInput, PyfnnError
from pyfnn.manifest import Row

_LONGEST = 60  # characters of a value in a message


@dataclass(frozen=True)
class Plan:
    """The cases, backends, settings and time of a run, and its measurements so far.

    Attributes
    ----------
    suite : Suite
    workloads : mapping of str to Workload
        Those of the suite, by name.
    keys : sequence of CaseKey
        The cases; each has its place as its number.
    rows : sequence of Row
    settings : Settings
    seconds : float
        Time for measuring.
    so_far : SoFar
    """

    suite: Suite
    workloads: Mapping[str, Workload]
    keys: Sequence[CaseKey]
    rows: Sequence[Row]
    settings: Settings
    seconds: float
    so_far: SoFar = field(default_factory=SoFar)


def continued(folder: Path, more: float = 0.0) -> Plan:
    """Return the plan of the run in a folder, as its journal holds it.

    Parameters
    ----------
    folder : Path
    more : float
        Seconds for measuring beside what is left of the run's budget.

    Raises
    ------
    PyfnnError
        The journal cannot be used, nothing is left to measure, or a backend does not exist any more.
    """
    before = so_far(read_journal(folder / JOURNAL), more=more > 0)
    run = before.run
    if run is None or not run.workloads or "backends" not in run.settings:
        raise InvalidInput(f"{folder}: an older version of pyfnn began this run, and its journal lacks the plan of it")
    suite = Suite.model_validate(run.suite)
    workloads = {name: Workload.model_validate(facts.model_dump()) for name, facts in run.workloads.items()}
    manifests = [Path(path) for path in run.settings.get("manifests", [])]
    rows = [registry.find(name, manifests) for name in run.settings["backends"]]
    kept = {each.name: run.settings[each.name] for each in fields(Settings) if each.name in run.settings}
    left = max(0.0, suite.budget + before.given_seconds - before.spent_seconds)
    plan = Plan(suite, workloads, cases_of(suite, workloads), rows, Settings(**kept), left + more, before)
    _check_cases(folder, plan)
    if before.finished and len(before.done) == len(plan.keys):
        remedy = "no case can use more time" if more else "--more SECONDS gives cases that ran out of budget more time"
        raise InvalidInput(f"{folder}: nothing is left to measure: all cases have ended; {remedy}")
    return plan


def _check_cases(folder: Path, plan: Plan) -> None:
    """Raise an error unless the cases of the journal are those of the plan at the same places."""
    for number, case in plan.so_far.cases.items():
        key = plan.keys[number] if number < len(plan.keys) else None
        if key is None or (case.workload, case.operation, case.optimizer, case.dtype, case.threads) != (
            key.workload.name,
            key.work,
            key.optimizer.text,
            key.dtype,
            key.threads,
        ):
            raise InvalidInput(f"{folder}: {case.title} is not case {number} of its suite here, where CPUs may differ")


def differences(plan: Plan, host: Mapping[str, Any]) -> list[str]:
    """Return what has changed since the run began: host, packages, backends, code of pyfnn, workloads.

    Parameters
    ----------
    plan : Plan
    host : mapping
        See `bench.machine.description.describe_machine`.
    """
    run = plan.so_far.run
    assert run is not None
    return [
        *_changed("host", _lasting(run.host), _lasting(host)),
        *_changed("package", run.packages, installed_packages()),
        *_changed_origins(run.origins, origins(plan.rows)),
        *_changed_workloads(run, plan.workloads),
    ]


def _lasting(host: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that do not change by themselves, as JSON has them, nested ones by dotted names."""
    return dict(_flat(json.loads(json.dumps({k: v for k, v in host.items() if k not in momentary()}))))


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _changed(kind: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{kind} {name}: {_shown(before.get(name))}, now {_shown(now.get(name))}"


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _changed_origins(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{name}: its sources, manifest or compiler are not those that the run began with"


def _changed_workloads(run: RunEvent, before: Mapping[str, Workload]) -> Iterator[str]:
    """Compare the workloads with those that the suite's name or file gives now, where there still is one."""
    try:
        _, now = load_suite(str(run.settings.get("suite")))
    except PyfnnError:
        return
    for name, workload in before.items():
        if name in now and now[name] != workload:
            changed = dict(_flat(now[name].model_dump(mode="json")))
            yield from _changed(f"workload {name}:", dict(_flat(workload.model_dump(mode="json"))), changed)
