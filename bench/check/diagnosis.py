"""What a wrong result looks like: common mistakes, each computed on purpose and held against what was seen.

Only a result that is a mistake's, rounding aside, and clearly not the right one, is called by the mistake's name.
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

_NEAR = {"float32": 1e-3, "float64": 1e-7}  # of the norm: what rounding may do to a step, and much less than a mistake


@dataclass(frozen=True)
class _Batch:
    """A network at θ, in the trial's precision, with the rows of one step. x: (B, m_0); y: (B, m_L)."""

    network: Network
    theta: Array
    x: Array
    y: Array

    @property
    def size(self) -> int:
        """B."""
        return len(self.x)

    def without_last(self) -> "_Batch":
        """All rows but the last; where there is but one, that."""
        return replace(self, x=self.x[: max(1, self.size - 1)], y=self.y[: max(1, self.size - 1)])


def explain(make: Callable[[Network, Array], Model], trial: Trial) -> str:
    """The mistake that explains what this implementation computes in a trial, and how to mend it; "" for none known."""
    batch = _Batch(
        trial.network,
        trial.theta.astype(trial.precision),
        trial.x[trial.first : trial.first + trial.count],
        trial.y[trial.first : trial.first + trial.count],
    )
    near = _NEAR[trial.network.dtype]
    try:
        with make(trial.network, trial.theta) as model:
            model.load(trial.x, trial.y, trial.order[::-1].copy())  # to be forgotten
            model.load(trial.x, trial.y, trial.order)
            outputs = model.forward(trial.first, trial.count)
            loss, gradient = model.loss_and_gradient(trial.first, trial.count)
            stages: list[tuple[Array, Array, Iterator[tuple[str, Array]]]] = [
                (outputs, trial.outputs, _outputs(batch)),
                (np.asarray([loss]), np.asarray([trial.loss]), _losses(batch)),
                (gradient, trial.gradient, _gradients(batch)),
            ]
            for walk in sorted(trial.walks, key=lambda walk: walk.steps):
                model.reset()
                model.train(0, walk.count, walk.batch_size, walk.learning_rate)
                end = model.theta()
                stages.append((end - trial.theta, walk.theta - trial.theta, _displacements(trial, walk)))
    except PyfnnError:
        return ""
    for seen, right, mistakes in stages:
        if not _is(seen, right, near):
            return next((how for how, wrong in mistakes if _is(seen, wrong, near)), "")
    return ""


def _is(seen: Array, wanted: Array, near: float) -> bool:
    """NaN is nothing."""
    size = float(np.linalg.norm(wanted.astype(np.float64)))
    return bool(float(np.linalg.norm((seen - wanted).astype(np.float64))) <= near * size)


# Forward --------------------------------------------------------------------------------------------------------------


def _outputs(batch: _Batch) -> Iterator[tuple[str, Array]]:
    network, theta, x = batch.network, batch.theta, batch.x
    run = oracle.forward(network, theta, x)
    if network.fused:
        yield f"outputs are Z_L: write A_L, after {network.output_activation}", run.Z[-1]
    yield (
        "W_l is read column by column: it is (m_{l-1}, m_l), row by row",
        _forward(network, _transposed(network, theta), x),
    )
    without = theta.copy()
    for _, b in network.layers(without):
        b[:] = 0
    yield "b_l is not added to Z_l", _forward(network, without, x)
    linear = replace(network, activation="identity")
    yield "the hidden layers' activation is not applied", _forward(linear, theta, x)


def _forward(network: Network, theta: Array, x: Array) -> Array:
    """A_L: (rows, m_L)."""
    outputs: Array = oracle.forward(network, theta, x).A[-1]
    return outputs


def _transposed(network: Network, theta: Array) -> Array:
    """θ with each W_l as it would be if it lay column by column."""
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
        "the loss has λ Σ ‖W_l‖² where (λ/2) Σ ‖W_l‖² belongs": bare + 2 * penalty,
        "the loss is a sum over the batch: 1/B is missing": batch.size * bare + penalty,
        "the loss is a mean over the outputs too: sum over them": bare / network.sizes[-1] + penalty,
        "the last row is left out": bare_of(fewer) * ((batch.size - 1) / batch.size) + penalty,
        "the last row is left out, and B is one less": bare_of(fewer) + penalty,
        "the loss is half of what it should be": bare / 2 + penalty,
        "the loss is twice what it should be": 2 * bare + penalty,
    }
    for how, loss in wrong.items():
        yield how, np.asarray([loss])


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
        "1/B is missing, and λ W_l multiplied by B": lambda: B * (bare + decay),
        "delta_L is half of what it should be: a squared error without its 2": lambda: bare / 2 + decay,
        "delta_L is twice what it should be": lambda: 2 * bare + decay,
        "delta_L is divided by the number of outputs: divide by the rows alone": lambda: (
            bare / network.sizes[-1] + decay
        ),
        "the sign is turned round": lambda: -(bare + decay),
        "λ W_l is missing in dW_l": lambda: bare,
        "2 λ W_l where λ W_l belongs": lambda: bare + 2 * decay,
        "λ W_l is divided by B": lambda: bare + decay / B,
        "λ acts on the biases too": lambda: bare + network.l2 * batch.theta,
        "db_l is 0: it is the sum of delta_l over the rows": lambda: without_b + decay,
        "the last row is left out": lambda: _backward(fewer) * ((B - 1) / B) + decay,
        "the last row is left out, and B is one less": lambda: _backward(fewer) + decay,
        "f'(0) at the kink: relu'(0) = 0": lambda: _backward(batch, at_zero=True) + decay,
        "delta_l lacks the factor f_l'(Z_l)": lambda: _backward(batch, slope=False) + decay,
        "dW_l multiplies delta_l with Z_{l-1}: A_{l-1} belongs there": lambda: _backward(batch, below="Z") + decay,
        "dW_l lies column by column: it is (m_{l-1}, m_l), row by row": lambda: _turned(network, bare + decay),
    }
    for how, gradient in wrong.items():
        if B > 1 or ("B" not in how and "last row" not in how):
            yield how, gradient()


def _decay(batch: _Batch) -> Array:
    """λ W_l in its places, 0 in those of b_l."""
    decay: Array = batch.theta * batch.theta.dtype.type(batch.network.l2)
    for _, b in batch.network.layers(decay):
        b[:] = 0
    return decay


def _turned(network: Network, gradient: Array) -> Array:
    other: Array = gradient.copy()
    for W, _ in network.layers(other):
        W[:] = W.T.copy().reshape(W.shape)
    return other


def _backward(
    batch: _Batch, *, slope: bool = True, below: str = "A", at_zero: bool = False, moved: float = 0.0, rows: int = 0
) -> Array:
    """Backpropagation without λ, right but for what is asked for.

    slope: whether delta_l has its f_l'(Z_l); below: what dW_l multiplies delta_l with; at_zero: f'(0) from the right;
    moved: the rate by which W_l moved before delta passed it; rows: what to divide by in place of B.
    """
    network, theta, run = batch.network, batch.theta, oracle.forward(batch.network, batch.theta, batch.x)
    T = batch.y.astype(theta.dtype)
    delta = losses.TABLE[network.loss].derivative(run.A[-1], T) / (rows or batch.size)
    if not network.fused:
        delta = delta * parse(str(network.output_activation)).derivative(run.Z[-1])
    gradient = np.zeros_like(theta)
    layers, slots = network.layers(theta), network.layers(gradient)
    for at in reversed(range(network.n_layers)):
        A = run.Z[at - 1] if below == "Z" and at > 0 else run.A[at]
        slots[at].W[:], slots[at].b[:] = A.T @ delta, delta.sum(axis=0)
        if at > 0:
            W = layers[at].W * (1 - moved * network.l2) - theta.dtype.type(moved) * slots[at].W
            delta = delta @ W.T
            if slope:
                Z = run.Z[at - 1]
                nudged = np.where(Z == 0, np.finfo(np.float32).tiny, Z).astype(Z.dtype) if at_zero else Z
                delta = network.hidden_activations[at - 1].derivative(nudged) * delta
    return gradient


# Training -------------------------------------------------------------------------------------------------------------


def _displacements(trial: Trial, walk: Trajectory) -> Iterator[tuple[str, Array]]:
    order, every = trial.order[: walk.count], np.arange(walk.count) % len(trial.x)
    whole = walk.count - walk.count % walk.batch_size
    yield "order is not followed: step s works on rows order[FIRST + s·BATCH …]", _walked(trial, walk, every)
    yield "order is that of an earlier init", _walked(trial, walk, trial.order[::-1][: walk.count])
    yield (
        "all rows are taken for one batch: a step has BATCH of them",
        _walked(trial, replace(walk, batch_size=walk.count), order),
    )
    yield "θ moves uphill: θ ← θ − α dθ", -_walked(trial, walk, order)
    if walk.count % walk.batch_size:
        yield "the last, short minibatch is left out", _walked(trial, walk, order[:whole])
        yield (
            "the short minibatch is divided by BATCH: each step divides by its own number of rows",
            _walked(trial, walk, order, rows=walk.batch_size),
        )
    yield (
        "delta passes a W_l that has moved: take the W_l of before the update",
        _walked(trial, walk, order, moved=walk.learning_rate),
    )


def _walked(trial: Trial, walk: Trajectory, order: NDArray[np.int64], *, rows: int = 0, moved: float = 0.0) -> Array:
    """θ − θ₀ after minibatch descent, right but for what is asked for."""
    theta = start = trial.theta.astype(trial.precision)
    for at in range(0, len(order), walk.batch_size):
        here = order[at : at + walk.batch_size]
        batch = _Batch(trial.network, theta, trial.x[here], trial.y[here])
        step = _backward(batch, rows=rows, moved=moved) + _decay(batch)
        theta = theta - theta.dtype.type(walk.learning_rate) * step
    return np.asarray(theta - start)
