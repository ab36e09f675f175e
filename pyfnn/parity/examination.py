"""Examination of a model: runs it through the battery and compares its results with the oracle's."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pyfnn.activations import Array
from pyfnn.errors import Diverged
from pyfnn.model import OPERATIONS, Model
from pyfnn.network import Network
from pyfnn.optimizers import State
from pyfnn.parity.battery import Trial
from pyfnn.parity.evidence import Check, Evidence
from pyfnn.parity.rounding import norm, tensor_norms
from pyfnn.parity.trajectory import Trajectory

Maker = Callable[[Network, Array], Model]


def examine(make: Maker, trials: list[Trial], *, deterministic: bool = True) -> Evidence:
    """Run an implementation through a battery.

    Parameters
    ----------
    make : callable
        (network, theta) -> Model; each model is closed again.
    trials : list of Trial
    deterministic : bool
        The same call twice must give the same bits, as the implementation's description claims.

    Returns
    -------
    Evidence
    """
    checks: list[Check] = []
    for trial in trials:
        with make(trial.network, trial.theta) as model:
            # The second load must replace these data and row numbers.
            model.load(trial.x[::-1].copy(), trial.y[::-1].copy(), trial.order[::-1].copy())
            model.load(trial.x, trial.y, trial.order)
            once = _everything(model, trial)
            checks.extend(_values(trial, once))
            checks.append(identical_bits(trial.name, "theta after calls that only read it", once.theta, trial.theta))
            model.reset()
            checks.append(identical_bits(trial.name, "theta after reset", model.theta(), trial.theta))
            checks.extend(_timed_values(model, trial))
            checks.append(identical_bits(trial.name, "theta after timed calls", model.theta(), trial.theta))
            for trajectory, end in zip(trial.trajectories, once.ends, strict=True):
                checks.extend(_displacements(trial, trajectory, end))
            if deterministic and trial is trials[0]:  # once: it takes as long as all other checks
                checks.extend(_same_bits_again(trial, once, _everything(model, trial)))
    return Evidence(tuple(checks))


class _End(NamedTuple):
    """θ after a training, and the state of its optimizer."""

    theta: Array
    state: State


@dataclass(frozen=True)
class _Computed:
    """Results of a model in a trial.

    theta: after the calls that only read it; ends: of each trajectory, None where training diverged.
    """

    outputs: Array
    loss: float
    gradient: Array
    theta: Array
    ends: tuple[_End | None, ...]


def _everything(model: Model, trial: Trial) -> _Computed:
    model.reset()
    outputs = model.forward(trial.first, trial.count)
    loss, gradient = model.loss_and_gradient(trial.first, trial.count)
    return _Computed(
        outputs, loss, gradient, model.theta(), tuple(_end(model, trajectory) for trajectory in trial.trajectories)
    )


def _end(model: Model, trajectory: Trajectory) -> _End | None:
    """Train from the initial θ; by an optimizer with a state, in two calls, between which the state must stay."""
    model.reset()
    steps, batch = trajectory.steps // 2 if trajectory.optimizer.vectors else 0, trajectory.batch_size
    try:
        for first, end in ((0, steps * batch), (steps * batch, trajectory.count)):
            if end > first:
                model.train(first, end - first, batch, trajectory.learning_rate, trajectory.optimizer)
    except Diverged:
        return None
    return _End(model.theta(), model.optimizer_state())


def _values(trial: Trial, got: _Computed) -> Iterator[Check]:
    for what, array, expected in (("outputs", got.outputs, trial.outputs), ("gradient", got.gradient, trial.gradient)):
        good = array.shape == expected.shape and array.dtype == np.dtype(trial.network.dtype)
        yield Check(trial.name, f"shape and dtype of {what}", 0.0 if good else math.inf, 0.0)
        if not good:
            return
    outputs, gradient = difference(got.outputs, trial.outputs), difference(got.gradient, trial.gradient)
    yield Check(trial.name, "outputs", norm(outputs), trial.bounds["outputs"])
    yield _worst_entry(trial.name, "outputs", outputs, trial.entry_bounds["outputs"])
    yield Check(trial.name, "loss", abs(got.loss - trial.loss), trial.bounds["loss"])
    for name, error in tensor_norms(trial.network, gradient).items():
        yield Check(trial.name, f"d{name}", error, trial.bounds[f"d{name}"])
    bounds = trial.network.tensors(trial.entry_bounds["gradient"])
    for name, entries in trial.network.tensors(gradient).items():
        yield _worst_entry(trial.name, f"d{name}", entries, bounds[name])


def _worst_entry(trial: str, what: str, error: Array, bound: Array) -> Check:
    """Make the check of the entry that is largest against its bound, as "dW_2[3, 0]"; NaN is largest."""
    at = np.unravel_index(int(np.argmax(np.abs(error) / bound)), error.shape)
    place = ", ".join(str(int(index)) for index in at)
    return Check(trial, f"{what}[{place}]", abs(float(error[at])), float(bound[at]))


def _timed_values(model: Model, trial: Trial) -> Iterator[Check]:
    """Check that the passes of `time` compute what `forward` and `loss_and_gradient` compute."""
    for operation in OPERATIONS:
        probes = trial.probes[operation]
        model.time(operation, trial.first, trial.count, len(probes) + 1, probes)
        error = abs(model.checksum - trial.checksums[operation])
        yield Check(trial.name, f"checksum of time {operation}", error, trial.bounds[operation])


def _displacements(trial: Trial, trajectory: Trajectory, end: _End | None) -> Iterator[Check]:
    steps = "1 step" if trajectory.steps == 1 else f"{trajectory.steps} steps"
    short = ", a short one" if trajectory.count < trajectory.batch_size else ""
    if end is None:
        yield Check(trial.name, f"theta after {steps}{short}: not finite", math.inf, 0.0)
        return
    for name, error in tensor_norms(trial.network, difference(end.theta, trajectory.theta)).items():
        yield Check(trial.name, f"displacement of {name} after {steps}{short}", error, trajectory.bound[name])
    for vector, expected in trajectory.state.items():
        for name, error in tensor_norms(trial.network, difference(end.state[vector], expected)).items():
            bound = trajectory.state_bound[vector][name]
            yield Check(trial.name, f"{vector} of {name} after {steps}{short}", error, bound)


def _same_bits_again(trial: Trial, once: _Computed, again: _Computed) -> Iterator[Check]:
    """Check that the same calls give the same bits."""

    def bits(values: _Computed) -> list[Array]:
        whole = (end and np.concatenate([end.theta, *end.state.values()]) for end in values.ends)
        ends = [np.empty(0) if end is None else end for end in whole]
        return [values.outputs, np.asarray(values.loss), values.gradient, *ends]

    for first, second in zip(bits(once), bits(again), strict=True):
        yield identical_bits(trial.name, "the same call twice", second, first)


def identical_bits(trial: str, what: str, got: Array, expected: Array) -> Check:
    """Make the check that two arrays have the same bits."""
    return Check(trial, what, 0.0 if got.tobytes() == expected.tobytes() else math.inf, 0.0)


def difference(got: Array, expected: Array) -> Array:
    """Return got - expected, in the dtype of `expected`, the oracle's."""
    return got.astype(expected.dtype) - expected
