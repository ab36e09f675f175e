"""Builds results from the events of a journal."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from bench.results.derive import best_ceilings, with_statistics
from bench.results.schema import SCHEMA, Results, ResultsError, first_error

CUT_OFF: Final = "cut off: the journal does not tell of this case's end"


_LISTS_OF_ARM = {"launch": "launches", "sample": "samples"}


def build_results(events: Iterable[dict[str, Any]]) -> Results:
    """The results that a journal tells.

    Events: ``run`` (created, host, settings), ``ceilings`` (when, peaks, bandwidths, absent), ``host_state`` (when,
    what the machine was doing), ``device_state`` (case, launch, round, what its sensors said), ``warning`` (when, name,
    message, remedy), ``case`` (its number and fields), ``backend`` (case, instance and any fields: later ones win),
    ``launch`` and ``sample`` (case, instance, fields), ``case_end`` (case, stopped, launches_chosen), ``finish``.

    Raises
    ------
    ResultsError
        Naming the place that does not fit.
    """
    run: dict[str, Any] = {}
    lists: dict[str, list[dict[str, Any]]] = {"ceilings": [], "host_state": [], "device_state": [], "warning": []}
    cases: dict[int, dict[str, Any]] = {}
    arms: dict[int, dict[str, dict[str, Any]]] = {}
    try:
        for event in events:
            kind = event["event"]
            fields = {key: value for key, value in event.items() if key != "event"}
            if kind in ("run", "finish"):
                run.update(fields)
                continue
            if kind in lists:
                lists[kind].append(fields)
                continue
            number = fields.pop("case")
            if kind in ("case", "case_end"):
                cases.setdefault(number, {"stopped": CUT_OFF}).update(fields)
                arms.setdefault(number, {})
                continue
            arm = arms[number].setdefault(fields.pop("instance"), {"launches": [], "samples": []})
            if kind in _LISTS_OF_ARM:
                arm[_LISTS_OF_ARM[kind]].append(fields)
            else:
                arm.update(fields)
        if not run:
            raise ResultsError("the journal holds no run")
        run["ceilings"], run["warnings"] = lists["ceilings"], lists["warning"]
        run["host_states"], run["device_states"] = lists["host_state"], lists["device_state"]
        run["cases"] = [
            {**fields, "backends": [{**arm, "instance": name} for name, arm in arms[number].items()]}
            for number, fields in cases.items()
        ]
        bare = Results.model_validate(run)
    except ValidationError as error:
        raise ResultsError(f"does not fit {SCHEMA}: {first_error(error)}") from None
    except (KeyError, TypeError) as error:  # TypeError: a list or an object where a number or a name belongs
        raise ResultsError(f"does not fit {SCHEMA}: an event that lacks or misplaces {error}") from None
    reference = str(bare.settings.get("reference", "numpy"))
    under = [case.model_copy(update=best_ceilings(bare.ceilings, case)) for case in bare.cases]
    return bare.model_copy(update={"cases": [with_statistics(case, reference) for case in under]})
