"""Claims about results: the parity battery over functions, shapes and dtypes; extreme logits; digits of the loss."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from bench.check.diagnosis import explain
from bench.check.kit import Candidate, Exercise, Failed, Skipped, Topic, exercise
from pyfnn import activations, losses, oracle, parity
from pyfnn.errors import Unsupported
from pyfnn.network import DTYPES, Network
from pyfnn.optimizers import DESCENT, SGD, Named, parse
from pyfnn.process.model import ProcessModel
from pyfnn.validation import Array

MATHEMATICS = Topic("mathematics", "The network")

_ADVICE = "compare with the formulas, for a batch of one row first, then of two"
_BATCH = 5
_EXTREME = 1000.0  # logits at which cross-entropies must stay finite
_DIGITS = 15  # least number of significant digits printed: a loss of 17 digits may end in zeros


@lru_cache(maxsize=512)
def _battery(network: Network, batch: int, optimizer: Named = DESCENT) -> list[parity.Trial]:
    task = exercise(network, rows=60)
    return parity.battery(network, task.theta, task.x, task.y, batch, optimizer=optimizer)


def _prove(
    candidate: Candidate,
    networks: Sequence[Network],
    batch: int = _BATCH,
    *,
    listed: bool = False,
    optimizer: Named = DESCENT,
) -> str:
    """Run the battery on each of these networks; raise `Failed` at the first failure, with its explanation.

    If hello has `listed` all functions of the networks, the candidate may refuse a dtype, but nothing else.
    """

    def make(network: Network, theta: Array) -> ProcessModel:
        return ProcessModel(candidate.worker, network, theta)

    done, lacked, worst = 0, [], 0.0
    for network in networks:
        try:
            trials = _battery(network, batch, optimizer)
            evidence = parity.examine(make, trials, deterministic=candidate.description.deterministic)
        except Unsupported as error:
            if listed and network.dtype not in str(error):
                expected = "every function that hello lists; only a dtype may be refused, by its name"
                raise Failed(f"{_label(network)}: refused: {error}", expected) from None
            lacked.append(str(error))
            continue
        if not evidence.passed:
            named = [trial for trial in trials if trial.name == evidence.worst.trial]  # one for each layer with a kink
            trial = next((trial for trial in named if not parity.examine(make, [trial]).passed), named[0])
            failed = f"{len(evidence.failures)} of {len(evidence.checks)} comparisons failed"
            raise Failed(
                f"{_label(network)}: {evidence.worst}; {failed}",
                f"‖error‖ within {evidence.worst.bound:.3g}, the bound of docs/rounding.md",
                explain(make, trial) if isinstance(optimizer, SGD) else "",
            )
        done, worst = done + len(evidence.checks), max(worst, evidence.worst.share)
    if not done:
        raise Skipped("; ".join(dict.fromkeys(lacked)) or "hello lists none of these functions")
    without = f"; without {'; '.join(dict.fromkeys(lacked))}" if lacked else ""
    return f"{done} comparisons, the worst at {worst:.0%} of its bound{without}"


def _label(network: Network) -> str:
    hidden = " ".join(f.name for f in network.hidden_activations)
    return f"{'-'.join(map(str, network.sizes))} {hidden}, {network.loss}, {network.dtype}"


def _hidden(candidate: Candidate) -> list[str]:
    return [name for name in activations.TABLE if name in candidate.description.activations]


def _every_activation(loss: str, dtype: str) -> Callable[[Candidate], str]:
    def attempt(candidate: Candidate) -> str:
        if loss not in candidate.description.losses:
            raise Skipped(f"hello does not list {loss}")
        output = _output(candidate, loss)
        networks = [Network((5, 7, 4, 3), name, loss, 0.0, output, dtype) for name in _hidden(candidate)]
        return _prove(candidate, networks, listed=True)

    return attempt


def _output(candidate: Candidate, loss: str) -> str | None:
    """Return an output activation that the candidate has for this loss; None is the loss's usual one."""
    if losses.TABLE[loss].fuses or "identity" in candidate.description.activations:
        return None
    return candidate.activation()


for _dtype in DTYPES:
    for _loss in losses.TABLE:
        MATHEMATICS.claim(f"{_dtype}: {_loss}, with every activation that hello lists", _ADVICE)(
            _every_activation(_loss, _dtype)
        )


def _shapes(candidate: Candidate, sizes: Sequence[tuple[int, ...]], batch: int = _BATCH, l2: float = 0.01) -> str:
    networks = [candidate.network(shape, dtype, l2) for dtype in DTYPES for shape in sizes]
    return _prove(candidate, networks, batch)


@MATHEMATICS.claim("no hidden layer", _ADVICE)
def _no_hidden_layer(candidate: Candidate) -> str:
    return _shapes(candidate, [(4, 3), (6, 2)])


@MATHEMATICS.claim("layers of width 1", _ADVICE)
def _width_1(candidate: Candidate) -> str:
    return _shapes(candidate, [(1, 1, 1), (3, 1, 2), (1, 4, 1, 5, 2)])


@MATHEMATICS.claim("odd widths above those of a vector register and a cache line", _ADVICE)
def _odd_widths(candidate: Candidate) -> str:
    return _shapes(candidate, [(33, 17, 9), (13, 67, 5)], batch=9)


@MATHEMATICS.claim("many layers", _ADVICE)
def _deep(candidate: Candidate) -> str:
    return _shapes(candidate, [(4, 5, 6, 5, 4, 3, 2)])


@MATHEMATICS.claim("a batch of one row", _ADVICE)
def _one_row(candidate: Candidate) -> str:
    return _shapes(candidate, [(5, 7, 3)], batch=1)


@MATHEMATICS.claim("a large batch, without λ", _ADVICE)
def _large_batch(candidate: Candidate) -> str:
    return _shapes(candidate, [(5, 7, 3)], batch=37, l2=0.0)


@MATHEMATICS.claim(
    "a different activation for each hidden layer",
    "read one name a hidden layer from the line activations",
)
def _one_a_layer(candidate: Candidate) -> str:
    names = _hidden(candidate)
    if len(names) < 2:
        raise Skipped("it has only one activation")
    loss = candidate.loss()
    mixed = tuple(np.resize(names, 3).tolist())
    networks = [Network((4, 6, 5, 3, 2), mixed, loss, 0.01, _output(candidate, loss), dtype) for dtype in DTYPES]
    return _prove(candidate, networks)


@MATHEMATICS.claim("an output activation with the squared errors", "multiply delta_L by f_L'(Z_L)")
def _output_activations(candidate: Candidate) -> str:
    smooth = [name for name in _hidden(candidate) if name != "identity" and not activations.TABLE[name].hidden_only]
    squared = [name for name in candidate.description.losses if name in losses.TABLE and not losses.TABLE[name].fuses]
    return _prove(
        candidate,
        [Network((4, 6, 2), candidate.activation(), loss, 0.01, name, dtype)
         for dtype in DTYPES for loss in squared for name in smooth],
    )  # fmt: skip


@MATHEMATICS.claim(
    "an activation with a parameter",
    "read the number in the parentheses and use it; where it is negative, f(z) does not show the sign of z",
)
def _parameters(candidate: Candidate) -> str:
    parametric = [name for name in _hidden(candidate) if activations.TABLE[name].default is not None]
    named = [
        f"{name}({parameter})"
        for name in parametric
        for parameter in ((3, 5) if activations.TABLE[name].most_pieces > 1 else (0.3, -0.5))
    ]
    if not named:
        raise Skipped("hello lists no activation that takes one")
    loss = candidate.loss()
    return _prove(
        candidate, [Network((4, 6, 2), name, loss, 0.01, _output(candidate, loss), dtype)
                  for dtype in DTYPES for name in named]
    )  # fmt: skip


@MATHEMATICS.claim(
    "training by every further optimizer that hello lists",
    "compare one step with the formulas of the page's table, then two: the state goes on over steps and calls",
)
def _optimizers(candidate: Candidate) -> str:
    named = [name for name in candidate.description.optimizers if name != "sgd"]
    if not named:
        raise Skipped("hello lists no optimizer but sgd")
    networks = [candidate.network((5, 7, 3), dtype, 0.01) for dtype in DTYPES]
    return "; ".join(f"{name}: {_prove(candidate, networks, optimizer=parse(name))}" for name in named)


@MATHEMATICS.claim(
    "cross-entropies of logits of ±1000 are right and finite",
    "softmax: subtract the row's maximum before exp; sigmoid: compute max(z, 0) − z t + log1p(exp(−|z|))",
)
def _extreme_logits(candidate: Candidate) -> str:
    fused = [name for name in candidate.description.losses if name in losses.TABLE and losses.TABLE[name].fuses]
    if not fused:
        raise Skipped("hello lists no cross-entropy")
    for loss in fused:
        for dtype in DTYPES:
            _require_accurate(candidate, _extreme(Network((3, 4), candidate.activation(), loss, dtype=dtype)))
    return ", ".join(fused)


def _extreme(network: Network) -> Exercise:
    task = exercise(network)
    W, b = network.layers(task.theta)[0]
    W /= 10
    b[:] = (_EXTREME, -_EXTREME, 0.0, _EXTREME - 1)
    return task


def _require_accurate(candidate: Candidate, task: Exercise) -> None:
    model, network = candidate.load(task), task.network
    theta, count = task.theta.astype(np.float64), len(task.x)
    loss, gradient = model.loss_and_gradient(0, count)
    R, dtheta = oracle.loss_and_gradient(network, theta, task.x, task.y)
    values = (
        ("outputs", model.forward(0, count), oracle.forward(network, theta, task.x).A[-1]),
        ("loss", np.asarray([loss]), np.asarray([R])),
        ("gradient", gradient, dtheta),
    )
    for what, got, expected in values:
        error = float(np.linalg.norm(got - expected))
        if not error <= 1e-3 * float(np.linalg.norm(expected)):
            raise Failed(f"{network.loss}, {network.dtype}: error of the {what} {error:.3g}")


@MATHEMATICS.claim("the loss has 17 digits", "print the loss as a double with 17 significant digits, as %.17g does")
def _digits(candidate: Candidate) -> str:
    candidate.load(candidate.exercise(dtype="float64"))
    printed = [candidate.worker.call("gradient", first, 3).get("loss", "") for first in range(8)]
    most = max(len(_significant(text)) for text in printed)
    if most < _DIGITS:
        raise Failed(f"eight losses, none with more than {most} digits: {printed[0]}")
    return printed[0]


def _significant(text: str) -> str:
    return "".join(c for c in text.lower().split("e")[0] if c.isdigit()).lstrip("0")
