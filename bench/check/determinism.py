"""Claims about doing a thing twice: the same bits, exact resets, training in pieces."""

import numpy as np

from bench.check.kit import Candidate, Exercise, Failed, Skipped, Topic, close_to, same_bits
from pyfnn.network import DTYPES
from pyfnn.process.model import ProcessModel
from pyfnn.validation import Array

REPEATING = Topic("determinism", "A program")

_STEADY = "find what hangs on time, threads or addresses; or declare deterministic=no in hello"
_BATCH, _RATE = 4, 0.02


def _computed(model: ProcessModel, task: Exercise) -> list[Array]:
    """Everything once, from the θ given."""
    rows, entries = len(task.x), len(task.order)
    model.reset()
    loss, gradient = model.loss_and_gradient(0, rows)
    outputs = model.forward(0, rows)
    model.train(0, entries, _BATCH, _RATE)
    theta = model.theta()
    model.time("gradient", 0, 7, 6)  # 37 gradients in all: no short cycle of states ends where it began
    return [np.asarray([loss]), gradient, outputs, theta, np.asarray([model.checksum])]


def _hold_together(once: list[Array], again: list[Array], what: str) -> None:
    names = ("loss", "gradient", "outputs", "theta after train", "checksum")
    other = [name for name, a, b in zip(names, once, again, strict=True) if not same_bits(a, b)]
    if other:
        raise Failed(f"{what}: {', '.join(other)} differ in their last bits or more")


def _declared(subject: Candidate) -> None:
    if not subject.said.deterministic:
        raise Skipped("hello says deterministic=no")


@REPEATING.claim("the same calls twice give the same bits", _STEADY)
def _twice(subject: Candidate) -> None:
    _declared(subject)
    for dtype in DTYPES:
        task = subject.exercise((9, 12, 8, 3), dtype)
        model = subject.load(task)
        once = _computed(model, task)
        for _ in range(3):
            _hold_together(once, _computed(model, task), dtype)


@REPEATING.claim("a fresh process gives the same bits", f"{_STEADY}; a seed of its own, a hash, memory not set to 0")
def _fresh(subject: Candidate) -> None:
    _declared(subject)
    task = subject.exercise((9, 12, 8, 3))
    once = _computed(subject.load(task), task)
    with subject.start() as other:
        _hold_together(once, _computed(subject.load(task, other), task), "another process")


@REPEATING.claim("reset brings theta back bit for bit", "copy what init read; do not undo steps", "A program")
def _reset(subject: Candidate) -> None:
    for dtype in DTYPES:
        task = subject.exercise(dtype=dtype)
        model = subject.load(task)
        for _ in range(2):
            model.train(0, 60, _BATCH, _RATE)
            model.reset()
            if not same_bits(model.theta(), task.theta):
                raise Failed(f"{dtype}: after train and reset, theta is not that of theta.bin")


@REPEATING.claim("train moves theta", "θ ← θ − α dθ, in the model that theta writes out")
def _moves(subject: Candidate) -> None:
    task = subject.exercise()
    model = subject.load(task)
    model.train(0, 60, _BATCH, _RATE)
    if same_bits(model.theta(), task.theta):
        raise Failed("after 15 steps theta is still that of theta.bin")


@REPEATING.claim("forward, gradient and time leave theta alone", "compute a gradient without taking the step")
def _reads_only(subject: Candidate) -> None:
    task = subject.exercise()
    model = subject.load(task)
    model.train(0, 60, _BATCH, _RATE)
    theta = model.theta()
    model.forward(3, 20)
    model.loss_and_gradient(0, 40)
    model.time("forward", 0, 7, 3)
    model.time("gradient", 0, 7, 3)
    if not same_bits(model.theta(), theta):
        raise Failed("theta is another after them")


@REPEATING.claim(
    "training in two calls ends where one call does",
    "keep nothing between the steps of a call but theta; start each call at its own FIRST",
)
def _halves(subject: Candidate) -> str:
    for dtype in DTYPES:
        task = subject.exercise(dtype=dtype)
        model = subject.load(task)
        model.train(0, 110, _BATCH, _RATE)
        whole = model.theta()
        model.reset()
        model.train(0, 48, _BATCH, _RATE)
        model.theta()
        model.train(48, 62, _BATCH, _RATE)
        halves = model.theta()
        same = same_bits(halves, whole) if subject.said.deterministic else close_to(halves, whole)
        if not same:
            raise Failed(f"{dtype}: theta after 12 and then 16 steps is not that after 28")
    return "bit for bit" if subject.said.deterministic else "deterministic=no: nearly"
