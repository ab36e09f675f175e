"""Claims about repetition: the same bits from the same calls, exact resets, training in several calls."""

import numpy as np

from bench.check.kit import Candidate, Exercise, Failed, Skipped, Topic, close_to, same_bits
from pyfnn.network import DTYPES
from pyfnn.process.model import ProcessModel
from pyfnn.validation import Array

DETERMINISM = Topic("determinism", "A program")

_STEADY = "find the result that depends on time, threads or addresses; or declare deterministic=no in hello"
_BATCH, _RATE = 4, 0.02


def _computed(model: ProcessModel, task: Exercise) -> list[Array]:
    """Compute everything once, from the initial θ: loss, gradient, outputs, θ after training and checksum."""
    rows, entries = len(task.x), len(task.order)
    model.reset()
    loss, gradient = model.loss_and_gradient(0, rows)
    outputs = model.forward(0, rows)
    model.train(0, entries, _BATCH, _RATE)
    theta = model.theta()
    model.time("gradient", 0, 7, 6)  # 37 gradients in all, a prime: a state with a short cycle does not return
    return [np.asarray([loss]), gradient, outputs, theta, np.asarray([model.checksum])]


def _require_same(once: list[Array], again: list[Array], what: str) -> None:
    names = ("loss", "gradient", "outputs", "theta after train", "checksum")
    different = [name for name, a, b in zip(names, once, again, strict=True) if not same_bits(a, b)]
    if different:
        raise Failed(f"{what}: {', '.join(different)} differ in their last bits or more")


def _skip_unless_deterministic(candidate: Candidate) -> None:
    if not candidate.description.deterministic:
        raise Skipped("hello says deterministic=no")


@DETERMINISM.claim("the same calls twice give the same bits", _STEADY)
def _twice(candidate: Candidate) -> None:
    _skip_unless_deterministic(candidate)
    for dtype in DTYPES:
        task = candidate.exercise((9, 12, 8, 3), dtype)
        model = candidate.load(task)
        once = _computed(model, task)
        for _ in range(3):
            _require_same(once, _computed(model, task), dtype)


@DETERMINISM.claim("a fresh process gives the same bits", f"{_STEADY}: seeds, hashes, memory not set to 0")
def _fresh(candidate: Candidate) -> None:
    _skip_unless_deterministic(candidate)
    task = candidate.exercise((9, 12, 8, 3))
    once = _computed(candidate.load(task), task)
    with candidate.start() as other:
        _require_same(once, _computed(candidate.load(task, other), task), "another process")


@DETERMINISM.claim("reset restores theta bit for bit", "copy the theta that init read; do not undo steps", "A program")
def _reset(candidate: Candidate) -> None:
    for dtype in DTYPES:
        task = candidate.exercise(dtype=dtype)
        model = candidate.load(task)
        for _ in range(2):
            model.train(0, 60, _BATCH, _RATE)
            model.reset()
            if not same_bits(model.theta(), task.theta):
                raise Failed(f"{dtype}: after train and reset, theta differs from theta.bin")


@DETERMINISM.claim("train moves theta", "compute θ ← θ − α dθ in the model that the command theta writes")
def _moves(candidate: Candidate) -> None:
    task = candidate.exercise()
    model = candidate.load(task)
    model.train(0, 60, _BATCH, _RATE)
    if same_bits(model.theta(), task.theta):
        raise Failed("after 15 steps theta still equals theta.bin")


@DETERMINISM.claim("forward, gradient and time leave theta unchanged", "compute the gradient without taking the step")
def _reads_only(candidate: Candidate) -> None:
    task = candidate.exercise()
    model = candidate.load(task)
    model.train(0, 60, _BATCH, _RATE)
    theta = model.theta()
    model.forward(3, 20)
    model.loss_and_gradient(0, 40)
    model.time("forward", 0, 7, 3)
    model.time("gradient", 0, 7, 3)
    if not same_bits(model.theta(), theta):
        raise Failed("theta differs after them")


@DETERMINISM.claim(
    "training in two calls ends where one call does",
    "keep no state but theta between steps; start each call at its own FIRST",
)
def _halves(candidate: Candidate) -> str:
    for dtype in DTYPES:
        task = candidate.exercise(dtype=dtype)
        model = candidate.load(task)
        model.train(0, 110, _BATCH, _RATE)
        whole = model.theta()
        model.reset()
        model.train(0, 48, _BATCH, _RATE)
        model.theta()
        model.train(48, 62, _BATCH, _RATE)
        halves = model.theta()
        same = same_bits(halves, whole) if candidate.description.deterministic else close_to(halves, whole)
        if not same:
            raise Failed(f"{dtype}: theta after 12 and then 16 steps differs from theta after 28 steps")
    return "bit for bit" if candidate.description.deterministic else "deterministic=no: within 1e-3"
