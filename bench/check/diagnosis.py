"""Explanations of wrong results: computes common mistakes on purpose and compares them with the candidate's result.

A mistake is named only if the result equals the mistake's, up to rounding, and clearly differs from the right one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses, oracle
from pyfnn.activations import Array, parse
from pyfnn.errors import PyfnnError
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.parity.battery import Trial
from pyfnn.parity.trajectory import Trajectory

# Relative to the norm: more than the rounding error of a step, much less than the effect of a mistake.
_NEAR = {"float32": 1e-3, "float64": 1e-7}


@dataclass(frozen=True)
class _Batch:
    """A network at θ in the trial's precision, and the rows of one step. x: (B, m_0); y: (B, m_L)."""

    network: Network
    theta: Array
    x: Array
    y: Array

    @property
    def size(self) -> int:
        """The batch size B."""
        return len(self.x)

    def without_last(self) -> "_Batch":
        """Return the batch without its last row, or the batch itself if it has only one."""
        return replace(self, x=self.x[: max(1, self.size - 1)], y=self.y[: max(1, self.size - 1)])


def explain(make: Callable[[Network, Array], Model], trial: Trial) -> str:
    """Return the mistake that explains this implementation's result in a trial, with its fix; "" if none does."""
    batch = _Batch(
        trial.network,
        trial.theta.astype(trial.precision),
        trial.x[trial.first : trial.first + trial.count],
        trial.y[trial.first : trial.first + trial.count],
    )
    near = _NEAR[trial.network.dtype]
    try:
        with make(trial.network, trial.theta) as model:
            model.load(trial.x, trial.y, trial.order[::-1].copy())  # shows up if the second load does not replace it
            model.load(trial.x, trial.y, trial.order)
            outputs = model.forward(trial.first, trial.count)
            loss, gradient = model.loss_and_gradient(trial.first, trial.count)
            stages: list[tuple[Array, Array, Iterator[tuple[str, Array]]]] = [
                (outputs, trial.outputs, _outputs(batch)),
                (np.asarray([loss]), np.asarray([trial.loss]), _losses(batch)),
                (gradient, trial.gradient, _gradients(batch)),
            ]
            for trajectory in sorted(trial.trajectories, key=lambda trajectory: trajectory.steps):
                model.reset()
                model.train(0, trajectory.count, trajectory.batch_size, trajectory.learning_rate)
                end = model.theta()
                stages.append((end - trial.theta, trajectory.theta - trial.theta, _displacements(trial, trajectory)))
    except PyfnnError:
        return ""
    for seen, right, mistakes in stages:
        if not _equals(seen, right, near):
            return next((mistake for mistake, wrong in mistakes if _equals(seen, wrong, near)), "")
    return ""


def _equals(seen: Array, expected: Array, near: float) -> bool:
    """Return True if the two differ by at most `near` in relative norm; False if either has a NaN."""
    size = float(np.linalg.norm(expected.astype(np.float64)))
    return bool(float(np.linalg.norm((seen - expected).astype(np.float64))) <= near * size)


# Forward --------------------------------------------------------------------------------------------------------------


def _outputs(batch: _Batch) -> Iterator[tuple[str, Array]]:
    network, theta, x = batch.network, batch.theta, batch.x
    run = oracle.forward(network, theta, x)
    if network.fused:
        yield f"outputs are Z_L: write A_L = {network.output_activation}(Z_L)", run.Z[-1]
    yield (
        "W_l is read column by column: its shape is (m_{l-1}, m_l), row by row",
        _forward(network, _transposed(network, theta), x),
    )
    without = theta.copy()
    for _, b in network.layers(without):
        b[:] = 0
    yield "b_l is not added to Z_l", _forward(network, without, x)
    linear = replace(network, activation="identity")
    if linear.n_parameters == network.n_parameters:
        yield "the hidden layers' activation is not applied", _forward(linear, theta, x)


def _forward(network: Network, theta: Array, x: Array) -> Array:
    """Return A_L: (rows, m_L)."""
    outputs: Array = oracle.forward(network, theta, x).A[-1]
    return outputs


def _transposed(network: Network, theta: Array) -> Array:
    """Return θ with each W_l as a program reads it that takes it to be stored column by column."""
    other: Array = theta.copy()
    for W, _ in network.layers(other):
        W[:] = W.reshape(W.shape[::-1]).T.copy()
    return other


# Loss -----------------------------------------------------------------------------------------------------------------


def _losses(batch: _Batch) -> Iterator[tuple[str, Array]]:
    network = batch.network

    def bare_of(some: _Batch) -> Any:
        return oracle.loss_and_gradient(replace(network, l2=0.0), some.theta, some.x, some.y)[0]

    bare, fewer = bare_of(batch), batch.without_last()
    penalty = oracle.loss_and_gradient(network, batch.theta, batch.x, batch.y)[0] - bare
    wrong = {
        "the loss lacks (λ/2) Σ ‖W_l‖²": bare,
        "the loss has λ Σ ‖W_l‖² in place of (λ/2) Σ ‖W_l‖²": bare + 2 * penalty,
        "the loss is a sum over the batch: 1/B is missing": batch.size * bare + penalty,
        "the loss is a mean over the outputs, too: sum over them": bare / network.sizes[-1] + penalty,
        "the last row is left out": bare_of(fewer) * ((batch.size - 1) / batch.size) + penalty,
        "the last row is left out, and B is one less": bare_of(fewer) + penalty,
        "the loss is half of the right one": bare / 2 + penalty,
        "the loss is twice the right one": 2 * bare + penalty,
    }
    for mistake, loss in wrong.items():
        yield mistake, np.asarray([loss])


# Gradient -------------------------------------------------------------------------------------------------------------


def _gradients(batch: _Batch) -> Iterator[tuple[str, Array]]:
    network, B = batch.network, batch.size
    bare = _backward(batch)
    decay = _decay(batch)
    without_b = bare.copy()
    for _, b in network.layers(without_b):
        b[:] = 0
    fewer = batch.without_last()
    wrong: dict[str, Callable[[], Array]] = {
        "1/B is missing: delta_L is divided by the number of rows": lambda: B * bare + decay,
        "1/B is missing, and λ W_l is multiplied by B": lambda: B * (bare + decay),
        "delta_L is half of the right one: a squared error without its factor 2": lambda: bare / 2 + decay,
        "delta_L is twice the right one": lambda: 2 * bare + decay,
        "delta_L is divided by the number of outputs: divide by the rows alone": lambda: (
            bare / network.sizes[-1] + decay
        ),
        "the gradient has the wrong sign": lambda: -(bare + decay),
        "λ W_l is missing in dW_l": lambda: bare,
        "dW_l has 2 λ W_l in place of λ W_l": lambda: bare + 2 * decay,
        "λ W_l is divided by B": lambda: bare + decay / B,
        "λ acts on the biases, too": lambda: bare + network.l2 * _without_slopes(batch),
        "db_l is 0: it is the sum of delta_l over the rows": lambda: without_b + decay,
        "the last row is left out": lambda: _backward(fewer) * ((B - 1) / B) + decay,
        "the last row is left out, and B is one less": lambda: _backward(fewer) + decay,
        "f'(0) is wrong at the kink: relu'(0) = 0": lambda: _backward(batch, at_zero=True) + decay,
        "delta_l lacks the factor f_l'(Z_l)": lambda: _backward(batch, derivative=False) + decay,
        "dW_l multiplies Z_{l-1} by delta_l: multiply A_{l-1}": lambda: _backward(batch, below="Z") + decay,
        "dW_l is stored column by column: its shape is (m_{l-1}, m_l), row by row": lambda: _by_columns(
            network, bare + decay
        ),
    }
    for mistake, gradient in wrong.items():
        if B > 1 or ("B" not in mistake and "last row" not in mistake):
            yield mistake, gradient()


def _decay(batch: _Batch) -> Array:
    """Return the gradient of (λ/2) Σ ‖W_l‖²: λ W_l for the weights, 0 for the biases."""
    decay: Array = _without_slopes(batch) * batch.theta.dtype.type(batch.network.l2)
    for _, b in batch.network.layers(decay):
        b[:] = 0
    return decay


def _without_slopes(batch: _Batch) -> Array:
    """Return θ with 0 in place of the slopes of prelu."""
    theta: Array = batch.theta.copy()
    for slopes in batch.network.slopes(theta):
        slopes[:] = 0
    return theta


def _by_columns(network: Network, gradient: Array) -> Array:
    other: Array = gradient.copy()
    for W, _ in network.layers(other):
        W[:] = W.T.copy().reshape(W.shape)
    return other


def _backward(
    batch: _Batch,
    *,
    derivative: bool = True,
    below: str = "A",
    at_zero: bool = False,
    moved: float = 0.0,
    rows: int = 0,
) -> Array:
    """Return the gradient without λ: right, or with the mistakes that the arguments ask for.

    Parameters
    ----------
    batch : _Batch
    derivative : bool
        False leaves the factor f_l'(Z_l) out of delta_l.
    below : str
        ``Z`` multiplies Z_{l-1} by delta_l in place of A_{l-1}.
    at_zero : bool
        True takes f'(0) from the right of the kink.
    moved : float
        The learning rate with which W_l was updated before delta was propagated through it.
    rows : int
        The divisor in place of B.
    """
    network, theta, run = batch.network, batch.theta, oracle.forward(batch.network, batch.theta, batch.x)
    T = batch.y.astype(theta.dtype)
    delta = losses.TABLE[network.loss].derivative(run.A[-1], T) / (rows or batch.size)
    if not network.fused:
        delta = delta * parse(str(network.output_activation)).derivative(run.Z[-1])
    gradient = np.zeros_like(theta)
    layers, slots = network.layers(theta), network.layers(gradient)
    functions, slopes = network.activations_at(theta), network.slopes(gradient)
    for at in reversed(range(network.n_layers)):
        A = run.Z[at - 1] if below == "Z" and at > 0 and functions[at - 1].pieces == 1 else run.A[at]
        slots[at].W[:], slots[at].b[:] = A.T @ delta, delta.sum(axis=0)
        if at > 0:
            W = layers[at].W * (1 - moved * network.l2) - theta.dtype.type(moved) * slots[at].W
            f, Z, G = functions[at - 1], run.Z[at - 1], delta @ W.T
            if f.row.slope_derivative is not None:
                slopes[at - 1][:] = (G * f.row.slope_derivative(Z)).sum(axis=0)
            delta = f.of_each_piece(G)
            if derivative:
                nudged = np.where(Z == 0, np.finfo(np.float32).tiny, Z).astype(Z.dtype) if at_zero else Z
                delta = f.derivative(nudged) * delta
    return gradient


# Training -------------------------------------------------------------------------------------------------------------


def _displacements(trial: Trial, trajectory: Trajectory) -> Iterator[tuple[str, Array]]:
    order, every = trial.order[: trajectory.count], np.arange(trajectory.count) % len(trial.x)
    whole = trajectory.count - trajectory.count % trajectory.batch_size
    yield "order is not followed: step s takes rows order[FIRST + s·BATCH …]", _displacement(trial, trajectory, every)
    yield "order is that of an earlier init", _displacement(trial, trajectory, trial.order[::-1][: trajectory.count])
    yield (
        "all rows are taken as one batch: a step has BATCH of them",
        _displacement(trial, replace(trajectory, batch_size=trajectory.count), order),
    )
    yield "θ moves up the gradient: θ ← θ − α dθ", -_displacement(trial, trajectory, order)
    if trajectory.count % trajectory.batch_size:
        yield "the last, short minibatch is left out", _displacement(trial, trajectory, order[:whole])
        yield (
            "the short minibatch is divided by BATCH: each step divides by its own number of rows",
            _displacement(trial, trajectory, order, rows=trajectory.batch_size),
        )
    yield (
        "delta is propagated through the updated W_l: take the W_l of before the update",
        _displacement(trial, trajectory, order, moved=trajectory.learning_rate),
    )


def _displacement(
    trial: Trial, trajectory: Trajectory, order: NDArray[np.int64], *, rows: int = 0, moved: float = 0.0
) -> Array:
    """Return θ − θ₀ after minibatch descent: right, or with the mistakes that the arguments ask for."""
    theta = start = trial.theta.astype(trial.precision)
    for at in range(0, len(order), trajectory.batch_size):
        here = order[at : at + trajectory.batch_size]
        batch = _Batch(trial.network, theta, trial.x[here], trial.y[here])
        step = _backward(batch, rows=rows, moved=moved) + _decay(batch)
        theta = theta - theta.dtype.type(trajectory.learning_rate) * step
    return np.asarray(theta - start)
