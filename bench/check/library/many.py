"""Exercises with many networks at once, which a library may have: what `refusals` and `models` claim of one model."""

from typing import Any, ClassVar

import numpy as np

from bench.check.library.calls import BATCH, ENTRIES, RATE, ROWS, Absent, Raw, Subject
from bench.check.library.exercises import Exercises, listed
from bench.check.library.models import no_leak
from bench.check.library.refusals import (
    change_nothing,
    failed_handle,
    last_error,
    must_not_create,
    must_refuse,
    no_data,
)
from bench.check.library.table import invalid_networks, with_last
from pyfnn.validation import Array

MANY = Exercises()

_MEMBERS = 3
_BAD_L2 = (-0.01, np.nan, np.inf)


class Many(Raw):
    """Many networks in one model made through fnn.h alone; `start` and `theta` have a row for each.

    Raises
    ------
    Absent
        The library has no functions for many networks.
    """

    required: ClassVar[tuple[str, ...]] = ("fnn_load_many", "fnn_train_many", "fnn_theta", "fnn_reset")
    optional: ClassVar[tuple[str, ...]] = ()
    creates: ClassVar[str] = "fnn_create_many"
    loads: ClassVar[str] = "fnn_load_many"

    def __init__(self, subject: Subject, seed: int = 0, *shape: Any, **fields: Any) -> None:
        if not hasattr(subject.lib, self.creates):
            raise Absent("the library has no fnn_create_many")
        super().__init__(subject, seed, *shape, **fields)
        rng = np.random.default_rng(seed)
        self.start = rng.normal(0, 0.5, (_MEMBERS, len(self.start))).astype(self.precision)
        self.arrays |= {
            "theta": np.zeros_like(self.start),
            "orders": rng.integers(0, ROWS, (_MEMBERS, ENTRIES)),
            "learning_rates": RATE * np.arange(1.0, _MEMBERS + 1),
            "l2s": np.linspace(0.0, 0.02, _MEMBERS),
        }

    def _made_from(self) -> dict[str, Any]:
        return {"members": _MEMBERS, "thetas": self.start, "l2s": self.arrays["l2s"]}

    def results(self) -> dict[str, Array]:
        """Return theta, theta after a training, and theta after another one."""
        found = {"theta": self.theta()}
        self.ok("fnn_train_many")
        found["theta after training"] = self.theta()
        self.ok("fnn_train_many", first=0, count=2 * BATCH)
        return {**found, "theta after two trainings": self.theta()}

    def member(self, k: int) -> Raw:
        """Return a model of one network: the member of that number, with its own order."""
        one = Raw(self.subject, shape=self.shape, precision=self.precision, l2=float(self.arrays["l2s"][k]))
        one.start = self.start[k].copy()
        one.arrays |= {name: self.arrays[name] for name in ("x", "y")} | {"order": self.arrays["orders"][k].copy()}
        return one


@MANY.claim(
    "many networks: fnn_create_many refuses NULL, invalid networks, members below 1 and any l2 that is below 0 or not "
    "finite",
    "check all arguments as fnn_create does, members ≥ 1, and 0 ≤ l2 < infinity for every member, so that NaN fails",
)
def _create(subject: Subject) -> None:
    invalid = {subject.lib.FNN_INVALID}
    for name in ("model", "network", "thetas", "l2s"):
        must_not_create(subject, [{}], invalid, Many, **{name: None})
    for members in (0, -1, -(2**63)):
        must_not_create(subject, [{}], invalid, Many, members=members)
    for l2 in _BAD_L2:
        must_not_create(subject, [{}], invalid, Many, l2s=with_last(Many(subject), "l2s", l2))
    must_not_create(subject, invalid_networks(), invalid, Many)


@MANY.claim(
    "many networks: NULL, ranges, counts, rates and orders that break a rule are refused",
    "check what fnn_load and fnn_train check, each member's order and rate included",
)
def _refusals(subject: Subject) -> str:
    return must_refuse(subject, make=Many)


@MANY.claim(
    "many networks: their handle is refused by functions of one model, and one model's by those of many",
    "remember the kind in the handle; return FNN_INVALID for the other one",
)
def _kinds(subject: Subject) -> None:
    with Many(subject).made() as many, Raw(subject).made() as one:
        others = {(one, name): many.model for name in set(one.functions) - set(many.functions)}
        others |= {(many, name): one.model for name in set(many.functions) - set(one.functions)}
        statuses = {name: owner.call(name, model=model) for (owner, name), model in others.items()}
        listed(
            f"{subject.status_name(status)} from {name} with a handle of the other kind"
            for name, status in statuses.items()
            if status != subject.lib.FNN_INVALID
        )


@MANY.claim(
    "many networks: work before fnn_load_many is refused", "return FNN_INVALID from fnn_train_many without data"
)
def _no_data(subject: Subject) -> None:
    no_data(subject, Many)


@MANY.claim(
    "many networks: every function refuses a handle whose fnn_create_many failed",
    "remember in the handle that fnn_create_many failed; return FNN_INVALID from every function but fnn_destroy",
)
def _failed_handle(subject: Subject) -> None:
    failed_handle(subject, Many)


@MANY.claim(
    "many networks: refused calls change nothing", "check all arguments of all members first, then load or compute"
)
def _change_nothing(subject: Subject) -> None:
    change_nothing(subject, Many)


@MANY.claim(
    'many networks: fnn_last_error explains a failure, and is "" after a success',
    "set the message at each failure; clear it at the start of each call",
)
def _last_error(subject: Subject) -> str:
    return last_error(subject, Many)


@MANY.claim(
    "many networks: each ends where a model of its own would, and fnn_reset brings all of them back",
    "give each member its own theta, order, rate and l2; copy them: the caller may change its arrays afterwards",
)
def _as_single_models(subject: Subject) -> None:
    with Many(subject).made() as many:
        rates, failures = many.arrays["learning_rates"], []
        many.ok("fnn_train_many")
        ends = many.theta()
        for k in range(_MEMBERS):
            with many.member(k).made() as one:
                one.ok("fnn_train", learning_rate=float(rates[k]))
                wanted = one.theta()
            if not np.linalg.norm(ends[k] - wanted) <= 1e-3 * np.linalg.norm(wanted - many.start[k]):
                failures.append(f"member {k} ends at another theta than a model of its own")
        for name in ("l2s", "orders", "x", "y"):
            many.arrays[name][...] = 0
        many.ok("fnn_reset")
        if many.theta().tobytes() != many.start.tobytes():
            failures.append("fnn_reset does not restore all thetas")
        many.ok("fnn_train_many")
        if not np.linalg.norm(many.theta() - ends) <= 1e-3 * np.linalg.norm(ends - many.start):
            failures.append("another theta after fnn_reset, with the caller's arrays overwritten")
        listed(failures)


@MANY.claim(
    "many networks: models created and destroyed leave no memory behind",
    "free in fnn_destroy all that fnn_create_many and fnn_load_many have allocated, after a failure as well",
)
def _no_leak(subject: Subject) -> str:
    return no_leak(subject, Many)
