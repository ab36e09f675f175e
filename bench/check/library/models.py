"""Exercises with valid arguments: models that share nothing and leave no memory behind, and facts about the library."""

import math
import threading
import time

import numpy as np
import psutil

from bench.check.library.calls import ENTRIES, ROWS, SIZES, Absent, Raw, Subject, Wrong, require_same
from bench.check.library.exercises import Exercises, listed
from bench.check.library.table import invalid_networks
from bench.check.memory import own_memory
from pyfnn.validation import Array

MODELS = Exercises()

_ASSUMED = ("identity", "sigmoid", "tanh", "relu")  # activations of every library
_KEYS = ("name", "language", "compiler", "flags", "clock", "activations", "losses", "arithmetic", "deterministic")
_LEAST_MODELS = 1000
_EACH, _STRETCH_SECONDS = 300, 0.05  # length of a stretch of the search for leaks: the shorter of the two
_STRETCHES, _LEAST_STRETCHES = 12, 4
_LONGEST = 10.0  # seconds until all models are made: a busy machine makes few in a stretch
_LARGER = (30, 64, 2)  # theta has 8 KiB: leaks of single arrays exceed the allocator's own variation
_LEAK = 16 * 1024  # bytes a stretch; memory that a collector will free grows in some stretches only
_WARMING = 50  # models before the first stretch
_ROUNDS = 200  # calls of each of two threads


# Handles and memory ---------------------------------------------------------------------------------------------------


@MODELS.claim(
    "fnn_destroy does nothing for NULL, and frees the handle of a failed fnn_create",
    "return from fnn_destroy for NULL; free what a failed fnn_create left in its handle",
)
def _destroy(subject: Subject) -> None:
    subject.announce("fnn_destroy(NULL)")
    subject.lib.fnn_destroy(subject.ffi.NULL)
    for fields in invalid_networks():
        with Raw(subject, **fields) as raw:
            raw.create()
    with Raw(subject).made() as raw:
        raw.results()


@MODELS.claim(
    "a model copies theta, the data and the network",
    "copy every array and name in fnn_create and fnn_load: the caller may free or change them afterwards",
)
def _copies(subject: Subject) -> None:
    with Raw(subject).made() as raw, Raw(subject) as other:
        wanted = raw.results()
        theta = other.start.copy()
        other.succeed("fnn_create", other.create(theta=theta))
        theta[:] = math.nan
        data = {name: other.arrays[name].copy() for name in ("x", "y", "order")}
        other.ok("fnn_load", **data)
        for array in data.values():
            array[:] = 99
        require_same(subject, wanted, other.results(), "with the caller's arrays overwritten")
        other.ok("fnn_reset")
        require_same(subject, wanted, other.results(), "with the caller's arrays overwritten and after fnn_reset")


@MODELS.claim(
    "fnn_set_theta, if there is one, copies any theta, and fnn_reset still returns to the first",
    "write the theta with which fnn_train goes on, and leave alone the one that fnn_create received",
)
def _set_theta(subject: Subject) -> None:
    if not hasattr(subject.lib, "fnn_set_theta"):
        raise Absent("the library has no fnn_set_theta")
    with Raw(subject).made() as raw, Raw(subject, seed=1).made() as other:
        first, wanted = raw.theta(), other.results()
        theta = other.start.copy()
        raw.ok("fnn_load", **{name: other.arrays[name] for name in ("x", "y", "order")})
        raw.ok("fnn_set_theta", theta=theta)
        theta[:] = math.nan
        require_same(subject, wanted, raw.results(), "after fnn_set_theta")
        raw.ok("fnn_reset")
        require_same(subject, {"theta": first}, {"theta": raw.theta()}, "after fnn_set_theta and fnn_reset")


@MODELS.claim(
    "fnn_loss, if there is one, computes the loss of fnn_loss_and_gradient",
    "compute the same sum, l2 term included, from a forward pass over the same rows",
)
def _loss(subject: Subject) -> None:
    if not hasattr(subject.lib, "fnn_loss"):
        raise Absent("the library has no fnn_loss")
    with Raw(subject).made() as raw:
        for first, count in ((0, ROWS), (2, 1)):
            losses = []
            for function in ("fnn_loss", "fnn_loss_and_gradient"):
                raw.ok(function, first=first, count=count)
                losses.append(float(raw.arrays["loss"][0]))
            if not math.isclose(*losses, rel_tol=1e-6):
                raise Wrong(f"rows [{first}, {first + count}): {losses[0]} from fnn_loss, and {losses[1]}")


@MODELS.claim(
    "fnn_is_finite, if there is one, finds a single number of theta that is not finite, and none where all are",
    "look at every number of theta: weights, biases and what follows them",
)
def _is_finite(subject: Subject) -> None:
    for function in ("fnn_is_finite", "fnn_set_theta"):
        if not hasattr(subject.lib, function):
            raise Absent(f"the library has no {function}")
    with Raw(subject).made() as raw:
        theta = raw.theta()
        for at in range(-1, len(theta)):
            for number in (math.nan, math.inf, -math.inf):
                given = theta.copy()
                given[:1] = np.finfo(theta.dtype).max
                if at >= 0:
                    given[at] = number
                raw.ok("fnn_set_theta", theta=given)
                raw.ok("fnn_is_finite")
                if raw.arrays["finite"][0] != (at < 0):
                    place = f"theta[{at}] = {number}" if at >= 0 else "all of theta finite"
                    raise Wrong(f"{place}: fnn_is_finite wrote {raw.arrays['finite'][0]}")


@MODELS.claim(
    "fnn_load replaces the data, also by fewer or more rows",
    "free the earlier data and set rows and n_order; keep theta",
)
def _load_again(subject: Subject) -> None:
    with Raw(subject).made() as raw, Raw(subject) as other:
        wanted = raw.results()
        other.succeed("fnn_create", other.create())
        few = {name: other.arrays[name][:3].copy() + 0 for name in ("x", "y")}
        few["order"] = np.zeros(4, np.int64)
        other.ok("fnn_load", rows=3, n_order=4, **few)
        if other.call("fnn_forward", first=0, count=4) != subject.lib.FNN_INVALID:
            raise Wrong("3 rows are loaded: fnn_forward with count = 4 is not refused")
        many = {name: np.concatenate([other.arrays[name]] * 50) for name in ("x", "y", "order")}
        other.ok("fnn_load", rows=50 * ROWS, n_order=50 * ENTRIES, **many)
        other.ok("fnn_forward", first=49 * ROWS, count=ROWS)
        other.ok("fnn_load")
        require_same(subject, wanted, other.results(), "after other data has been loaded and replaced")


@MODELS.claim(
    "two models share nothing, in one thread or in two",
    "keep all state in the model: no static buffers, no static message",
)
def _two_models(subject: Subject) -> None:
    shapes = ((0, SIZES, "float32"), (1, (5, 9, 3), "float64"))
    alone = []
    for shape in shapes:
        with Raw(subject, *shape).made() as raw:
            alone.append([raw.results() for _ in range(3)])
    with Raw(subject, *shapes[0]).made() as a, Raw(subject, *shapes[1]).made() as b:
        for turn in range(3):
            for raw, wanted in zip((a, b), alone, strict=True):
                require_same(subject, wanted[turn], raw.results(), "two models in turn")
        a.call("fnn_forward", count=0)
        if b.error:
            raise Wrong(f"after an error of one model, the text of the other one is {b.error!r}")
        a.ok("fnn_reset")
        b.ok("fnn_reset")
        failures: list[str] = []
        threads = [
            threading.Thread(target=_work_repeatedly, args=(subject, raw, wanted[0], failures))
            for raw, wanted in zip((a, b), alone, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        listed(failures)


def _work_repeatedly(subject: Subject, raw: Raw, wanted: dict[str, Array], failures: list[str]) -> None:
    try:
        for _ in range(_ROUNDS):
            raw.ok("fnn_reset")
            require_same(subject, wanted, raw.results(), "two models in two threads")
    except Wrong as wrong:
        failures.append(str(wrong))


@MODELS.claim(
    f"{_LEAST_MODELS} models created and destroyed leave no memory behind",
    "free in fnn_destroy all that fnn_create and fnn_load have allocated, after a failure as well",
)
def no_leak(subject: Subject, make: type[Raw] = Raw) -> str:
    """Raise `Wrong` if memory grows by models that are created, loaded and destroyed; return their number."""
    good = make(subject, shape=_LARGER)
    bad = make(subject, shape=_LARGER, activations=("tanh", "no such activation"))

    def use(most: int) -> int:
        until, models = time.perf_counter() + _STRETCH_SECONDS, 0
        while models < most and time.perf_counter() < until:
            good.made().ok(good.loads)
            good.destroy()
            bad.create()
            bad.destroy()
            models += 1
        return models

    use(_WARMING)
    sizes, models = [own_memory(psutil.Process())], 0
    until = time.perf_counter() + _LONGEST
    while len(sizes) <= _STRETCHES or (models < _LEAST_MODELS and time.perf_counter() < until):
        models += use(_EACH)
        sizes.append(own_memory(psutil.Process()))
        if len(sizes) > _LEAST_STRETCHES and sizes[-1] - sizes[-2] < _LEAK:
            return f"{models} models"
    raise Wrong(f"{(sizes[-1] - sizes[0]) / models:.0f} bytes remain of each model, over {models} models")


# Facts ----------------------------------------------------------------------------------------------------------------


@MODELS.claim(
    "fnn_version is the header's, and fnn_about has each key once, with a value that the header knows",
    "print one key=value a line; list identity, sigmoid, tanh and relu, which every library has",
)
def _about(subject: Subject) -> str:
    lib, failures = subject.lib, []
    if lib.fnn_version() != lib.FNN_VERSION:
        failures.append(f"fnn_version returns {lib.fnn_version()}")
    pointer = lib.fnn_about()
    text = subject.text(pointer)
    lines = [line for line in text.split("\n") if line]
    fields = dict(line.partition("=")[::2] for line in lines)
    failures += [f"the line {line!r} is no key=value" for line in lines if "=" not in line]
    failures += [f"no value of {key}" for key in _KEYS if not fields.get(key, "").strip()]
    failures += ["a key twice"] if len(fields) != len(lines) else []
    names = fields.get("activations", "").split(",")
    failures += [f"{name} is not among the activations" for name in _ASSUMED if name not in names]
    for key, known in (("arithmetic", ("native", "float64")), ("deterministic", ("yes", "no"))):
        if fields.get(key) not in known:
            failures.append(f"{key}={fields.get(key)}")
    with Raw(subject).made() as raw:
        raw.results()
    if subject.text(pointer) != text or subject.text(lib.fnn_about()) != text:
        failures.append("its text changes while models are used")
    listed(failures)
    return str(fields["compiler"])


@MODELS.claim("fnn_threads is at least 1 and at most the threads allowed", "return the number of threads that compute")
def _threads(subject: Subject) -> str:
    found = {}
    for allowed in (1, 2):
        with Raw(subject, threads=allowed).made() as raw:
            found[allowed] = int(subject.lib.fnn_threads(raw.model))
    listed(f"{count} of {allowed}" for allowed, count in found.items() if not 1 <= count <= allowed)
    return ", ".join(f"{count} of {allowed}" for allowed, count in found.items())


@MODELS.claim("it prints nothing", "leave messages to fnn_last_error: stdout may be a pipe to another program")
def _silent(subject: Subject) -> None:
    with Raw(subject).made() as raw:
        raw.results()
        raw.call("fnn_forward", count=0)
        raw.call("fnn_train", first=-1)
    with Raw(subject, loss="hinge") as raw:
        raw.create()


@MODELS.claim(
    "fnn_device_seconds refuses NULL and a model without a timed call",
    "return FNN_INVALID before the first fnn_train or fnn_time",
)
def _device_seconds(subject: Subject) -> str:
    if not hasattr(subject.lib, "fnn_device_seconds"):
        raise Absent("fnn_device_seconds is not exported")
    seconds = subject.ffi.new("double *")
    clock, invalid = subject.lib.fnn_device_seconds, subject.lib.FNN_INVALID
    with Raw(subject).made() as raw:
        subject.announce("fnn_device_seconds(before a timed call)")
        if clock(raw.model, seconds) != invalid:
            raise Wrong("not FNN_INVALID before the first timed call")
        subject.announce("fnn_device_seconds(NULL)")
        if clock(subject.ffi.NULL, seconds) != invalid:
            raise Wrong("not FNN_INVALID for NULL")
        raw.ok("fnn_train")
        if clock(raw.model, subject.ffi.NULL) != invalid:
            raise Wrong("not FNN_INVALID for NULL")
        raw.succeed("fnn_device_seconds", clock(raw.model, seconds))
    return f"{seconds[0]:.2g} s"
