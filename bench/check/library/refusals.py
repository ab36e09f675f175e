"""Exercises with invalid arguments: a library refuses each, explains it, and changes nothing."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.check.library.calls import WORK, Raw, Subject, Wrong, require_same
from bench.check.library.exercises import Exercises, listed
from bench.check.library.table import BadCall, bad_calls, invalid_networks

REFUSALS = Exercises()


def described(call: BadCall) -> str:
    """Return the function and the arguments that break a rule, for a message."""
    values = ("NULL" if value is None else value for value in call.changed.values())
    shown = (f"{name} = {_short(value)}" for name, value in zip(call.changed, values, strict=True))
    return f"{call.function} with {', '.join(shown)}"


def _short(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"[…, {value.min() if value.min() < 0 else value.max()}, …]"
    return str(value)


# Invalid arguments ----------------------------------------------------------------------------------------------------


def must_refuse(subject: Subject, *kinds: str, make: type[Raw] = Raw) -> str:
    """Raise `Wrong` unless every call of these kinds on a loaded model returns FNN_INVALID; return their number."""
    failures, number = [], 0
    with make(subject).made() as raw:
        for call in bad_calls(raw, *kinds):
            number += 1
            status = raw.call(call.function, **call.changed)
            if status != subject.lib.FNN_INVALID:
                failures.append(f"{subject.status_name(status)} from {described(call)}")
    listed(failures)
    return f"{number} calls"


@REFUSALS.claim("NULL for a model or an array is refused", "return FNN_INVALID if the handle or a pointer is NULL")
def _null(subject: Subject) -> str:
    return must_refuse(subject, "null")


@REFUSALS.claim(
    "ranges outside the data are refused",
    "require 0 ≤ first, 1 ≤ count and count ≤ rows − first: the sum first + count may overflow",
)
def _range(subject: Subject) -> str:
    return must_refuse(subject, "range")


@REFUSALS.claim(
    "rows, n_order, counts, batch_size and repeats below 1 are refused",
    "require each to be at least 1: a batch_size of 0 is a loop without end",
)
def _least(subject: Subject) -> str:
    return must_refuse(subject, "least")


@REFUSALS.claim(
    "fnn_train refuses a rate that is not finite and above 0", "require 0 < rate < infinity, written so that NaN fails"
)
def _rate(subject: Subject) -> str:
    return must_refuse(subject, "rate")


@REFUSALS.claim("entries of order outside the rows are refused", "require 0 ≤ entry < rows for every entry in fnn_load")
def _order(subject: Subject) -> str:
    return must_refuse(subject, "order")


@REFUSALS.claim(
    "fnn_time refuses an unknown operation and probes that are out of range",
    "accept FNN_FORWARD and FNN_GRADIENT alone; compare each probe with the number of outputs or parameters",
)
def _operation(subject: Subject) -> str:
    return must_refuse(subject, "operation", "probes")


@REFUSALS.claim(
    "work before fnn_load is refused",
    "remember whether data is loaded; return FNN_INVALID from forward, gradient, train and time if not",
)
def no_data(subject: Subject, make: type[Raw] = Raw) -> None:
    """Raise `Wrong` unless the functions that need data refuse a model without data."""
    with make(subject) as raw:
        raw.succeed(raw.creates, raw.create())
        statuses = {function: raw.call(function) for function in raw.functions if function in WORK}
        listed(
            f"{subject.status_name(status)} from {function}"
            for function, status in statuses.items()
            if status != subject.lib.FNN_INVALID
        )
        raw.ok("fnn_theta")
        raw.ok("fnn_reset")


_UNSUPPORTED: tuple[dict[str, Any], ...] = (
    {"activations": ("gelu", "gelu")}, {"activations": ("", "")}, {"loss": "hinge"}, {"loss": ""}, {"dtype": 7},
    {"dtype": -1},
)  # fmt: skip
_TOO_LARGE: tuple[dict[str, Any], ...] = ({"sizes": (2**31, 2**33, 2)}, {"sizes": (2**62, 2**62, 2**62)})


def must_not_create(
    subject: Subject,
    networks: Iterable[dict[str, Any]],
    allowed: set[int],
    make: type[Raw] = Raw,
    **arguments: Any,
) -> None:
    """Raise `Wrong` unless a model of each of these networks, made with these arguments, has an allowed status."""
    failures = []
    for fields in networks:
        with make(subject, **fields) as raw:
            status = raw.create(**arguments)
            if status not in allowed:
                given = {**fields, **arguments}
                shown = ", ".join(f"{name} = {'NULL' if value is None else value}" for name, value in given.items())
                failures.append(f"{subject.status_name(status)} from {raw.creates} with {shown}")
    listed(failures)


@REFUSALS.claim(
    "fnn_create refuses invalid networks and NULL",
    "require n_layers, every size and threads to be at least 1; check pointers before reading them",
)
def _create(subject: Subject) -> None:
    invalid = {subject.lib.FNN_INVALID}
    for name in ("model", "network", "theta"):
        must_not_create(subject, [{}], invalid, Raw, **{name: None})
    must_not_create(subject, invalid_networks(), invalid)


@REFUSALS.claim(
    "fnn_create refuses functions, dtypes and sizes that it does not have",
    "return FNN_UNSUPPORTED for names outside fnn_about; count the parameters without overflow",
)
def _unsupported(subject: Subject) -> None:
    lib = subject.lib
    fields: list[dict[str, Any]] = [*_UNSUPPORTED]
    if subject.output != "softmax":
        fields.append({"activations": ("softmax", subject.output)})
    either = {lib.FNN_UNSUPPORTED, lib.FNN_INVALID}
    must_not_create(subject, [each for each in fields if "dtype" not in each], {lib.FNN_UNSUPPORTED})
    must_not_create(subject, [each for each in fields if "dtype" in each], either)
    must_not_create(subject, _TOO_LARGE, {*either, lib.FNN_NO_MEMORY})


@REFUSALS.claim(
    "every function refuses a handle whose fnn_create failed",
    "remember in the handle that fnn_create failed; return FNN_INVALID from every function but fnn_destroy",
)
def failed_handle(subject: Subject, make: type[Raw] = Raw) -> None:
    """Raise `Wrong` unless every function refuses a handle of a model that could not be made."""
    failures = []
    for fields in ({"n_layers": 0}, {"loss": "hinge"}, {"sizes": (3, 0, 2)}):
        with make(subject, **fields) as raw:
            status = raw.create()
            if status == subject.lib.FNN_OK:
                raise Wrong(f"FNN_OK from {raw.creates} with {fields}")
            if raw.model == subject.ffi.NULL:
                raise Wrong(f"{raw.creates} failed without a handle: NULL is for the lack of memory alone")
            for function in raw.functions:
                status = raw.call(function)
                if status != subject.lib.FNN_INVALID:
                    failures.append(f"{subject.status_name(status)} from {function}")
    listed(failures)


@REFUSALS.claim(
    "refused calls change nothing",
    "check all arguments first, then compute; write no array, and keep the data of before a refused fnn_load",
)
def change_nothing(subject: Subject, make: type[Raw] = Raw) -> None:
    """Raise `Wrong` if refused calls write an array, or change what the model computes later."""
    with make(subject).made() as raw, make(subject).made() as untouched:
        wanted = untouched.results()
        calls, failures = list(bad_calls(raw)), []
        for call in calls:
            raw.mark()
            raw.call(call.function, **call.changed)
            failures += [f"{name} written by {described(call)}" for name in raw.written()]
        listed(failures)
        require_same(subject, wanted, raw.results(), f"after {len(calls)} refused calls")


@REFUSALS.claim(
    'fnn_last_error explains a failure, and is "" after a success',
    "set the message at each failure; clear it at the start of each call; return a text for NULL, too",
)
def last_error(subject: Subject, make: type[Raw] = Raw) -> str:
    """Raise `Wrong` unless fnn_last_error has a text after each failure, and none after a success."""
    lib, failures = subject.lib, []
    if not subject.text(lib.fnn_last_error(subject.ffi.NULL)):
        failures.append("no text for NULL")
    with make(subject, n_layers=0) as broken:
        if broken.create() == lib.FNN_OK or not broken.error:
            failures.append(f"no text after {broken.creates} failed")
    example = ""
    with make(subject).made() as raw:
        if raw.error:
            failures.append(f"{raw.error!r} after a successful {raw.loads}")
        for function in raw.functions:
            changed = next((call.changed for call in bad_calls(raw, "range", "null") if call.function == function
                            and call.changed != {"model": None}), None)  # fmt: skip
            if changed is not None:
                status = raw.call(function, **changed)
                example = raw.error
                if status == lib.FNN_OK or not example:
                    failures.append(f"no text after {function} with {described(BadCall('', function, changed))}")
            raw.ok(function)
            if raw.error:
                failures.append(f"{raw.error!r} after a successful {function}")
    listed(failures)
    return f"for instance: {example}"
