"""Claims about what is computed: the parity battery over functions, shapes and dtypes; extreme logits; digits."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from bench.check.diagnosis import explain
from bench.check.kit import Candidate, Exercise, Failed, Skipped, Topic, exercise
from pyfnn import activations, losses, oracle, parity
from pyfnn.errors import Unsupported
from pyfnn.network import DTYPES, Network
from pyfnn.process.model import ProcessModel
from pyfnn.validation import Array

MATHEMATICS = Topic("mathematics", "The network")

_ADVICE = "compare with the formulas, at a batch of one row first, then of two"
_BATCH = 5
_EXTREME = 1000.0  # the logits that cross-entropies must bear
_DIGITS = 15  # of a loss of 17 digits, at least: some end in zeros


@lru_cache(maxsize=512)
def _battery(network: Network, batch: int) -> list[parity.Trial]:
    task = exercise(network, rows=60)
    return parity.battery(network, task.theta, task.x, task.y, batch)


def _prove(subject: Candidate, networks: Sequence[Network], batch: int = _BATCH, *, listed: bool = False) -> str:
    """The battery on each of these; the first that fails, with what explains it.

    Where all is `listed` in hello, alone a dtype may be refused.
    """

    def make(network: Network, theta: Array) -> ProcessModel:
        return ProcessModel(subject.worker, network, theta)

    done, lacked, worst = 0, [], 0.0
    for network in networks:
        try:
            trials = _battery(network, batch)
            evidence = parity.examine(make, trials, deterministic=subject.said.deterministic)
        except Unsupported as error:
            if listed and network.dtype not in str(error):
                wanted = "what hello lists, or a dtype refused by its name"
                raise Failed(f"{_told(network)}: refused: {error}", wanted) from None
            lacked.append(str(error))
            continue
        if not evidence.passed:
            trial = next(trial for trial in trials if trial.name == evidence.worst.trial)
            failed = f"{len(evidence.failures)} of {len(evidence.checks)} comparisons failed"
            raise Failed(
                f"{_told(network)}: {evidence.worst}; {failed}",
                f"‖error‖ within {evidence.worst.bound:.3g}, as docs/method.md derives it",
                explain(make, trial),
            )
        done, worst = done + len(evidence.checks), max(worst, evidence.worst.share)
    if not done:
        raise Skipped("; ".join(dict.fromkeys(lacked)) or "nothing of it is listed in hello")
    without = f"; without {'; '.join(dict.fromkeys(lacked))}" if lacked else ""
    return f"{done} comparisons, the worst at {worst:.0%} of its bound{without}"


def _told(network: Network) -> str:
    hidden = " ".join(f.name for f in network.hidden_activations)
    return f"{'-'.join(map(str, network.sizes))} {hidden}, {network.loss}, {network.dtype}"


def _hidden(subject: Candidate) -> list[str]:
    return [name for name in activations.TABLE if name in subject.said.activations]


def _every_activation(loss: str, dtype: str) -> Callable[[Candidate], str]:
    def attempt(subject: Candidate) -> str:
        if loss not in subject.said.losses:
            raise Skipped(f"hello does not list {loss}")
        output = _output(subject, loss)
        networks = [Network((5, 7, 4, 3), name, loss, 0.0, output, dtype) for name in _hidden(subject)]
        return _prove(subject, networks, listed=True)

    return attempt


def _output(subject: Candidate, loss: str) -> str | None:
    """The output activation that it has for this loss."""
    if losses.TABLE[loss].fuses or "identity" in subject.said.activations:
        return None
    return subject.activation()


for _dtype in DTYPES:
    for _loss in losses.TABLE:
        MATHEMATICS.claim(f"{_dtype}: {_loss}, with every activation that hello lists", _ADVICE)(
            _every_activation(_loss, _dtype)
        )


def _shapes(subject: Candidate, sizes: Sequence[tuple[int, ...]], batch: int = _BATCH, l2: float = 0.01) -> str:
    networks = [subject.network(shape, dtype, l2) for dtype in DTYPES for shape in sizes]
    return _prove(subject, networks, batch)


@MATHEMATICS.claim("no hidden layer", _ADVICE)
def _no_hidden_layer(subject: Candidate) -> str:
    return _shapes(subject, [(4, 3), (6, 2)])


@MATHEMATICS.claim("layers of width 1", _ADVICE)
def _width_1(subject: Candidate) -> str:
    return _shapes(subject, [(1, 1, 1), (3, 1, 2), (1, 4, 1, 5, 2)])


@MATHEMATICS.claim("odd widths, wider than a vector register or a cache line", _ADVICE)
def _odd_widths(subject: Candidate) -> str:
    return _shapes(subject, [(33, 17, 9), (13, 67, 5)], batch=9)


@MATHEMATICS.claim("many layers", _ADVICE)
def _deep(subject: Candidate) -> str:
    return _shapes(subject, [(4, 5, 6, 5, 4, 3, 2)])


@MATHEMATICS.claim("a batch of one row", _ADVICE)
def _one_row(subject: Candidate) -> str:
    return _shapes(subject, [(5, 7, 3)], batch=1)


@MATHEMATICS.claim("a large batch, without λ", _ADVICE)
def _large_batch(subject: Candidate) -> str:
    return _shapes(subject, [(5, 7, 3)], batch=37, l2=0.0)


@MATHEMATICS.claim(
    "an activation of its own for each hidden layer",
    "read as many names from the line activations as there are hidden layers",
)
def _one_a_layer(subject: Candidate) -> str:
    names = _hidden(subject)
    if len(names) < 2:
        raise Skipped("it has one activation")
    loss = subject.loss()
    mixed = tuple(np.resize(names, 3).tolist())
    networks = [Network((4, 6, 5, 3, 2), mixed, loss, 0.01, _output(subject, loss), dtype) for dtype in DTYPES]
    return _prove(subject, networks)


@MATHEMATICS.claim("an output activation with the squared errors", "delta_L has the factor f_L'(Z_L)")
def _output_activations(subject: Candidate) -> str:
    smooth = [name for name in _hidden(subject) if name != "identity"]
    squared = [name for name in subject.said.losses if name in losses.TABLE and not losses.TABLE[name].fuses]
    return _prove(
        subject,
        [Network((4, 6, 2), subject.activation(), loss, 0.01, name, dtype)
         for dtype in DTYPES for loss in squared for name in smooth],
    )  # fmt: skip


@MATHEMATICS.claim("an activation with a parameter", "read the number in the parentheses, and use it")
def _parameters(subject: Candidate) -> str:
    named = [f"{name}(0.3)" for name in _hidden(subject) if activations.TABLE[name].default is not None]
    if not named:
        raise Skipped("hello lists none that takes one")
    loss = subject.loss()
    return _prove(
        subject, [Network((4, 6, 2), name, loss, 0.01, _output(subject, loss), dtype)
                  for dtype in DTYPES for name in named]
    )  # fmt: skip


@MATHEMATICS.claim(
    "cross-entropies of logits of ±1000 are right and finite",
    "subtract the row's maximum before exponentials (softmax); max(z, 0) − z t + log1p(exp(−|z|)) (sigmoid)",
)
def _extreme_logits(subject: Candidate) -> str:
    fused = [name for name in subject.said.losses if name in losses.TABLE and losses.TABLE[name].fuses]
    if not fused:
        raise Skipped("hello lists no cross-entropy")
    for loss in fused:
        for dtype in DTYPES:
            _bears(subject, _extreme(Network((3, 4), subject.activation(), loss, dtype=dtype)))
    return ", ".join(fused)


def _extreme(network: Network) -> Exercise:
    task = exercise(network)
    W, b = network.layers(task.theta)[0]
    W /= 10
    b[:] = (_EXTREME, -_EXTREME, 0.0, _EXTREME - 1)
    return task


def _bears(subject: Candidate, task: Exercise) -> None:
    model, network = subject.load(task), task.network
    theta, count = task.theta.astype(np.float64), len(task.x)
    loss, gradient = model.loss_and_gradient(0, count)
    R, dtheta = oracle.loss_and_gradient(network, theta, task.x, task.y)
    values = (
        ("outputs", model.forward(0, count), oracle.forward(network, theta, task.x).A[-1]),
        ("loss", np.asarray([loss]), np.asarray([R])),
        ("gradient", gradient, dtheta),
    )
    for what, got, wanted in values:
        far = float(np.linalg.norm(got - wanted))
        if not far <= 1e-3 * float(np.linalg.norm(wanted)):
            raise Failed(f"{network.loss}, {network.dtype}: the {what} is off by {far:.3g}")


@MATHEMATICS.claim("the loss has 17 digits", "print the loss as a double with 17 significant digits: %.17g or the like")
def _digits(subject: Candidate) -> str:
    subject.load(subject.exercise(dtype="float64"))
    said = [subject.worker.call("gradient", first, 3).get("loss", "") for first in range(8)]
    most = max(len(_significant(text)) for text in said)
    if most < _DIGITS:
        raise Failed(f"eight losses, none with more than {most} digits: {said[0]}")
    return said[0]


def _significant(text: str) -> str:
    return "".join(c for c in text.lower().split("e")[0] if c.isdigit()).lstrip("0")
