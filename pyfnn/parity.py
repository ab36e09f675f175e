"""What "agrees with the oracle" means: the battery of trials, the bound on each difference, the evidence it leaves.

A difference is judged against how far rounding alone can carry a correct implementation: ‖T − T̂‖ ≤ c·u·k·‖M‖ for each
tensor T that a step computes. u·k·M is `pyfnn.rounding`'s; c is one constant for everything, see `C`.

Nothing here knows a backend: it examines any `Model`, and any `Ensemble`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn import oracle
from pyfnn.activations import Array
from pyfnn.backend import OPERATIONS, Model
from pyfnn.ensemble import Ensemble
from pyfnn.errors import Diverged, Unsupported
from pyfnn.network import Network, initialize
from pyfnn.rounding import UNIT_ROUNDOFF, clear_of_kinks, elementwise, has_kinks, norm, scale, tensor_norms

C = 2.0
"""The constant of the bound: twice the largest error that calibration saw of a correct implementation, rounded up.

    python -m bench.experiments.calibrate_parity --networks 1000 --seed 1
    python -m bench.experiments.calibrate_parity --networks 1000 --seed 2001

find that error. Over those 2000 random networks a dtype, each computed by c, cpp, numpy, the oracle in the network's
dtype and the oracle with strictly sequential sums, errors were at most 0.72 u·k·‖M‖ (float32 0.71, float64 0.72); the
median of every kind of tensor lies below 0.1. With 100 times this constant, every bug planted in the tests is still
caught.
"""

STEPS = 20  # of the long trajectory
PROOF_STEPS = 50  # about how many steps of the workload's own it takes to examine a model: what a proof costs
MANY_STEPS = 6  # of each member's trajectory in an ensemble
MANY_TIMES = 2  # that an ensemble walks it in an examination
AFFORDABLE = 1e9  # operations up to which the oracle runs in longdouble

_SIBLING_BATCH = 7
_SIBLING_SHORT = 3  # rows in its last, short minibatch
_SIBLING_WIDTHS = (5, 9, 3, 7, 11, 13)
_TIMED_REPEATS = 3
_STEADY = 2.0  # how far a trajectory may amplify rounding errors before it is walked more slowly
_SLOWER = (1, 4, 16, 64)
_SAMPLED = 3.0  # the shadows sample the errors so many times: an implementation's may be that many times the largest
_SHADOWS = {"longdouble": 6, "float64": 2}  # large networks average more, and cost more
_MANY_SHADOWS = 2  # of each member: there are many, and a tenth of the proof's time is theirs
_MANY_TRIED = 4  # batches for a member's rate: one of them may have next to no gradient
_MANY_SIBLINGS = 5
_MANY_WALKED = 256  # unlike networks; where an ensemble has more members, each of those is one of these again
_MANY_MARGIN = 3  # entries of each order before and after those that are walked


# ---------------------------------------------------------------------------------------------------------------------
# The battery
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """`steps` minibatch steps over order[0 : count], and where the oracle ends.

    bound: how far from there an implementation may end, by tensor name.
    """

    count: int
    batch_size: int
    steps: int
    learning_rate: float
    theta: Array
    bound: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One network, its data, and all that the oracle says of it.

    The rows [first, first + count) are those of outputs, loss and gradient, and of the first step.
    """

    name: str
    network: Network
    theta: Array
    x: Array
    y: Array
    order: NDArray[np.int64]
    first: int
    count: int
    precision: str
    outputs: Array
    loss: float
    gradient: Array
    bounds: dict[str, float]
    checksums: dict[str, float]
    walks: tuple[Walk, ...] = ()


@dataclass(frozen=True)
class Check:
    """One comparison: what was compared, how far apart, how far apart it may be."""

    trial: str
    what: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Written so that NaN fails."""
        return self.error <= self.bound

    @property
    def share(self) -> float:
        """The error as a share of its bound; inf where the bound is 0 and the error is not."""
        if self.error == 0:
            return 0.0
        return self.error / self.bound if self.bound > 0 else math.inf

    def __str__(self) -> str:
        return f"{self.what} of the {self.trial} network: error {self.error:.3g}, allowed {self.bound:.3g}"


@dataclass(frozen=True)
class Evidence:
    """The outcome of a battery."""

    checks: tuple[Check, ...] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every check passed, and there were any."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @cached_property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, in the order made."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def worst(self) -> Check:
        """The most telling check: the failed one that names the cause best; if none failed, that nearest to its bound.

        A wrong tensor spoils those computed from it. Values come before gradients, and a gradient is wrong from the
        layer at fault downwards: of several wrong gradients the last layer's is named.
        """
        if not self.failures:
            return max(self.checks, key=lambda check: check.share)
        gradients = [check for check in self.failures if check.what.startswith(("dW_", "db_"))]
        if gradients and self.failures[0] in gradients:
            trial = [check for check in gradients if check.trial == gradients[0].trial]
            return max(trial, key=lambda check: int(check.what.split("_")[1]))
        return self.failures[0]

    def summary(self) -> dict[str, Any]:
        """What the results file keeps."""
        worst = self.worst
        return {
            "passed": self.passed,
            "checks": len(self.checks),
            "c": C,
            "worst": {
                "trial": worst.trial,
                "what": worst.what,
                "error": _finite(worst.error),
                "bound": worst.bound,
                "share": _finite(worst.share),
            },
            "failures": [str(check) for check in self.failures[:10]],
        }


def _finite(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else str(value)


def battery(network: Network, theta: Array, x: Array, y: Array, batch_size: int, seed: int = 0) -> list[Trial]:
    """The trials that a backend must pass before it may be timed on this workload.

    The workload's own network and batch; a small sibling (odd widths, batch 7 with a short last minibatch, λ = 0.01,
    biases that are not zero: batch 1 hides a missing 1/B, zero biases hide λ on them); and, for each layer whose
    activation has a kink at 0, a row that lies exactly on it.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x, y : ndarray, shapes (rows, m_0), (rows, m_L)
        The workload's data, from which the own trial draws.
    batch_size : int
    seed : int
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    kinked = [at for at, f in enumerate(elementwise(network)) if 0.0 in f.kinks]
    return [
        _own(network, theta, x, y, batch_size, rng),
        sibling(network, rng),
        *(_on_the_kink(network, at, rng) for at in kinked),
    ]


def _own(network: Network, theta: Array, x: Array, y: Array, batch_size: int, rng: np.random.Generator) -> Trial:
    batch_size = min(batch_size, len(x))
    return _trial("own", network, theta, x, y, batch_size, 0, rng)


def sibling(network: Network, rng: np.random.Generator) -> Trial:
    """The small sibling: same depth and functions, odd widths, a short last minibatch, λ = 0.01, biases."""
    small = _small(network, rng)
    theta = initialize(small, int(rng.integers(2**31)))
    for _, b in small.layers(theta):
        b[:] = rng.normal(0, 0.5, b.shape)
    x = rng.normal(size=(8 * _SIBLING_BATCH, small.sizes[0])).astype(network.dtype)
    return _trial("sibling", small, theta, x, targets(small, len(x), rng), _SIBLING_BATCH, _SIBLING_SHORT, rng)


def _small(network: Network, rng: np.random.Generator) -> Network:
    widths = rng.permutation(_SIBLING_WIDTHS)
    return replace(network, sizes=tuple(int(m) for m in np.resize(widths, len(network.sizes))), l2=0.01)


def _on_the_kink(network: Network, at: int, rng: np.random.Generator) -> Trial:
    """W and b of layer `at` are 0: its Z are exactly 0. In all others everything is positive: far from any kink at 0,
    which would hide this one. Their W are divided by the inputs, lest what comes above saturates.
    """
    small = _small(network, rng)
    theta = np.abs(initialize(small, int(rng.integers(2**31))))
    for layer, (W, b) in enumerate(small.layers(theta)):
        W /= len(W)
        b[:] = rng.uniform(0.5, 1, b.shape)
        if layer == at:
            W[:], b[:] = 0, 0
    x = np.abs(rng.normal(size=(1, small.sizes[0]))).astype(small.dtype)
    return _judged("kink", small, theta, x, targets(small, 1, rng), np.zeros(1, np.int64), 0, 1)


def targets(network: Network, rows: int, rng: np.random.Generator) -> Array:
    """(rows, m_L): classes, probabilities or numbers, as the loss wants them."""
    shape = (rows, network.sizes[-1])
    if network.loss == "softmax_cross_entropy":
        return np.eye(shape[1], dtype=network.dtype)[rng.integers(shape[1], size=rows)]
    if network.loss == "sigmoid_cross_entropy":
        return rng.random(shape).astype(network.dtype)
    return rng.normal(size=shape).astype(network.dtype)


def _trial(
    name: str,
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    batch_size: int,
    short: int,
    rng: np.random.Generator,
) -> Trial:
    """A trial whose rows are picked from (x, y) step by step, clear of kinks along the oracle's own trajectory."""
    precision = _precision(network, batch_size)
    exact = theta.astype(precision)
    full = _full_rate(network, exact, x[:batch_size], y[:batch_size])
    counts = [batch_size] * (STEPS - 1) + [short or batch_size]
    long_walk, rows = _long_walk(network, exact, full / STEPS, precision, (x, y), counts, rng)

    # Store the rows in another order than that of their use, those of the first step in one block.
    used, first_use = np.unique(rows, return_index=True)
    begin = set(rows[:batch_size].tolist())
    others = rng.permutation([row for row in used[np.argsort(first_use)].tolist() if row not in begin])
    block = rng.permutation(sorted(begin))
    first = len(others) // 2
    stored = np.concatenate([others[:first], block, others[first:]]).astype(np.int64)
    place = {int(row): at for at, row in enumerate(stored)}
    order = np.array([place[int(row)] for row in rows], np.int64)

    walks = [long_walk.walk(sum(counts), batch_size)]
    for count in {batch_size, short or batch_size}:
        single = _Walker(network, exact, full, precision)
        single.step(x[rows[:count]], y[rows[:count]])
        walks.append(single.walk(count, batch_size))
    return _judged(name, network, theta, x[stored], y[stored], order, first, len(block), tuple(walks))


@np.errstate(over="ignore", invalid="ignore")  # a trajectory that leaves the finite numbers is not steady
def _long_walk(
    network: Network,
    theta: Array,
    rate: float,
    precision: str,
    data: tuple[Array, Array],
    counts: list[int],
    rng: np.random.Generator,
    shadows: int | None = None,
) -> tuple["_Walker", NDArray[np.int64]]:
    """A steady trajectory of a step for each of `counts`, and its rows. Slower where it pulls apart: there the bound
    would be as large as what it is to judge.
    """
    for slower in _SLOWER:
        walker = _Walker(network, theta, rate / slower, precision, shadows)
        rows = walker.pick(*data, counts, rng)
        if walker.steady:
            return walker, rows
    raise Unsupported(f"rounding errors grow even at learning_rate = {walker.rate}: no judging")


def _full_rate(network: Network, theta: Array, x: Array, y: Array) -> float:
    """The rate at which one step on these rows moves θ by a tenth of its norm."""
    gradient = oracle.loss_and_gradient(network, theta, x, y)[1]
    return 0.1 * norm(theta) / (norm(gradient) or 1.0)


def _precision(network: Network, batch_size: int) -> str:
    return "longdouble" if network.flops_per_row * batch_size * STEPS < AFFORDABLE else "float64"


def _slack(precision: str) -> float:
    """An oracle in float64 is itself rounded: twice the bound, and only then."""
    return 1.0 if precision == "longdouble" else 2.0


def _judged(
    name: str,
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    order: NDArray[np.int64],
    first: int,
    count: int,
    walks: tuple[Walk, ...] = (),
) -> Trial:
    """The trial with what the oracle says of its outputs, loss, gradient and timed passes."""
    precision = _precision(network, count)
    exact = theta.astype(precision)
    here = slice(first, first + count)
    outputs = oracle.forward(network, exact, x[here]).A[-1]
    loss, gradient = oracle.loss_and_gradient(network, exact, x[here], y[here])
    size = scale(network, theta, x[here], y[here])
    unit = C * UNIT_ROUNDOFF[network.dtype] * _slack(precision)
    bounds = {"outputs": unit * norm(size.outputs), "loss": unit * size.loss}
    bounds |= {f"d{tensor}": unit * error for tensor, error in tensor_norms(network, size.gradient).items()}
    sums, sizes = np.zeros(2, precision), np.zeros(2)
    for rows in _rotation(len(x), first, count):
        size = scale(network, theta, x[rows], y[rows])
        Y = oracle.forward(network, exact, x[rows]).A[-1]
        R, dtheta = oracle.loss_and_gradient(network, exact, x[rows], y[rows])
        terms = np.array([(Y[0, 0], Y[-1, -1]), (R, dtheta[0])])
        errors = [(size.outputs[0, 0], size.outputs[-1, -1]), (size.loss, size.gradient[0])]
        sums += terms.sum(1)
        sizes += np.sum(errors + abs(terms), 1).astype(np.float64)  # adding up is rounded too
    checksums: dict[str, float] = {operation: float(total) for operation, total in zip(OPERATIONS, sums, strict=True)}
    bounds |= {operation: float(unit * size) for operation, size in zip(OPERATIONS, sizes, strict=True)}
    floor = float(np.finfo(network.dtype).tiny)  # below it, numbers lose their relative precision
    bounds = {what: bound + floor * math.sqrt(network.n_parameters) for what, bound in bounds.items()}
    return Trial(
        name,
        network,
        theta,
        x,
        y,
        order,
        first,
        count,
        precision,
        outputs,
        float(loss),
        gradient,
        bounds,
        checksums,
        walks,
    )


def _rotation(rows: int, first: int, count: int) -> Iterator[slice]:
    """The row ranges that `Model.time` walks."""
    for repeat in range(_TIMED_REPEATS):
        start = (first + repeat * count) % (rows - count + 1)
        yield slice(start, start + count)


class _Walker:
    """The oracle going step by step, with the rounding error that an implementation may have gathered by then.

    The error of a tensor after a step is that before it, plus α times that of its gradient, plus the rounding of the
    update itself. Where the trajectory pulls apart what starts close together, errors grow beyond that sum; hence the
    shadows, which walk along, have such errors added to them at each step, and show what becomes of them.
    """

    def __init__(
        self, network: Network, theta: Array, learning_rate: float, precision: str, shadows: int | None = None
    ) -> None:
        self._network, self.rate, self._precision = network, learning_rate, precision
        self.theta = theta
        self._shadows = [theta] * (shadows or _SHADOWS[precision])
        self._put_in = [0.0] * len(self._shadows)
        self._rng = np.random.default_rng(0)
        self._steps = 0
        self._summed = dict.fromkeys(network.tensor_names(), 0.0)

    @property
    def errors(self) -> dict[str, float]:
        """Of each tensor by now, in units of u."""
        u = UNIT_ROUNDOFF[self._network.dtype]
        strayed = [tensor_norms(self._network, shadow - self.theta) for shadow in self._shadows]
        return {
            name: max(error, *(_SAMPLED * norms[name] / u for norms in strayed)) for name, error in self._summed.items()
        }

    @property
    def steady(self) -> bool:
        """Whether the trajectory carries no shadow's errors far beyond what was put in."""
        strayed = (norm(shadow - self.theta) for shadow in self._shadows)
        return all(far <= _STEADY * put_in < math.inf for far, put_in in zip(strayed, self._put_in, strict=True))

    @property
    def drift(self) -> float:
        """Relative error of θ, in units of u."""
        return math.hypot(*self.errors.values()) / norm(self.theta)

    def step(self, x: Array, y: Array) -> None:
        """One step of gradient descent on this batch."""
        network = self._network
        added = self.rate * scale(network, self.theta, x, y).gradient + np.abs(self.theta.astype(np.float64))
        for name, error in tensor_norms(network, added).items():
            self._summed[name] += error
        gradient = oracle.loss_and_gradient(network, self.theta, x, y)[1]
        rate = self.theta.dtype.type(self.rate)
        self.theta = self.theta - rate * gradient
        for at, shadow in enumerate(self._shadows):
            noise = self._noise(added, gradient)
            self._shadows[at] = shadow - rate * oracle.loss_and_gradient(network, shadow, x, y)[1] + noise
            self._put_in[at] = math.hypot(self._put_in[at], norm(noise))
        self._steps += 1

    def _noise(self, added: Array, gradient: Array) -> Array:
        """Errors of that size: in each parameter for itself, and in all of a tensor along its gradient."""
        noise = added * self._rng.normal(size=added.shape)
        tensors = zip(*map(self._network.layers, (noise, added, gradient.astype(np.float64))), strict=True)
        for layer in tensors:
            for to, size, along in zip(*layer, strict=True):
                to += self._rng.normal() * norm(size) * along / (norm(along) or 1.0)
        return UNIT_ROUNDOFF[self._network.dtype] * noise

    def pick(self, x: Array, y: Array, counts: list[int], rng: np.random.Generator) -> NDArray[np.int64]:
        """Walk a step for each of `counts`, taking that many rows of (x, y), at random, clear of kinks. Stops short
        where the trajectory becomes unsteady.
        """
        picked = []
        for count in counts:
            rows = self._clear_rows(x, count, rng)
            self.step(x[rows], y[rows])
            picked.append(rows)
            if not self.steady:
                break
        return np.concatenate(picked)

    def _clear_rows(self, x: Array, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        candidates = rng.permutation(len(x))
        if not has_kinks(self._network):
            return candidates[:count]
        unit = C * UNIT_ROUNDOFF[self._network.dtype]
        chosen: list[int] = []
        for at in range(0, len(candidates), count):
            rows = candidates[at : at + count]
            clear = clear_of_kinks(self._network, self.theta, x[rows], unit, self.drift)
            chosen.extend(rows[clear].tolist())
            if len(chosen) >= count:
                return np.array(chosen[:count], np.int64)
        raise Unsupported(f"only {len(chosen)} of {len(x)} rows are clear of this network's kinks: {count} are needed")

    def walk(self, count: int, batch_size: int) -> Walk:
        """Where the oracle has come to, and how far from it an implementation may be."""
        unit = C * UNIT_ROUNDOFF[self._network.dtype] * _slack(self._precision)
        bound = {name: unit * error for name, error in self.errors.items()}
        return Walk(count, batch_size, self._steps, self.rate, self.theta, bound)


# ---------------------------------------------------------------------------------------------------------------------
# The examination
# ---------------------------------------------------------------------------------------------------------------------

Maker = Callable[[Network, Array], Model]


def examine(make: Maker, trials: list[Trial], *, deterministic: bool = True) -> Evidence:
    """Put an implementation through a battery.

    Parameters
    ----------
    make : callable
        (network, theta) -> Model; each model is closed again.
    trials : list of Trial
    deterministic : bool
        Whether the implementation says that the same call twice gives the same bits; then it is held to that.
    """
    checks: list[Check] = []
    for trial in trials:
        with make(trial.network, trial.theta) as model:
            # Data and row numbers that must be forgotten again.
            model.load(trial.x[::-1].copy(), trial.y[::-1].copy(), trial.order[::-1].copy())
            model.load(trial.x, trial.y, trial.order)
            once = _everything(model, trial)
            checks.extend(_values(trial, once))
            checks.append(_same(trial.name, "theta after calls that only read it", once.theta, trial.theta))
            model.reset()
            checks.append(_same(trial.name, "theta after reset", model.theta(), trial.theta))
            checks.extend(_timed_values(model, trial))
            checks.append(_same(trial.name, "theta after timed calls", model.theta(), trial.theta))
            for walk, theta in zip(trial.walks, once.ends, strict=True):
                checks.extend(_walked(trial, walk, theta))
            if deterministic:
                checks.extend(_repeated(trial, once, _everything(model, trial)))
    return Evidence(tuple(checks))


@dataclass(frozen=True)
class _Computed:
    """All that a model computes in a trial. `theta`: after the calls that only read it; `ends`: after each walk, None
    where θ left the finite numbers.
    """

    outputs: Array
    loss: float
    gradient: Array
    theta: Array
    ends: tuple[Array | None, ...]


def _everything(model: Model, trial: Trial) -> _Computed:
    model.reset()
    outputs = model.forward(trial.first, trial.count)
    loss, gradient = model.loss_and_gradient(trial.first, trial.count)
    return _Computed(outputs, loss, gradient, model.theta(), tuple(_end(model, walk) for walk in trial.walks))


def _end(model: Model, walk: Walk) -> Array | None:
    model.reset()
    try:
        model.train(0, walk.count, walk.batch_size, walk.learning_rate)
    except Diverged:
        return None
    return model.theta()


def _values(trial: Trial, got: _Computed) -> Iterator[Check]:
    for what, array, wanted in (("outputs", got.outputs, trial.outputs), ("gradient", got.gradient, trial.gradient)):
        good = array.shape == wanted.shape and array.dtype == np.dtype(trial.network.dtype)
        yield Check(trial.name, f"shape and dtype of {what}", 0.0 if good else math.inf, 0.0)
        if not good:
            return
    yield Check(trial.name, "outputs", norm(_minus(got.outputs, trial.outputs)), trial.bounds["outputs"])
    yield Check(trial.name, "loss", abs(got.loss - trial.loss), trial.bounds["loss"])
    for name, error in tensor_norms(trial.network, _minus(got.gradient, trial.gradient)).items():
        yield Check(trial.name, f"d{name}", error, trial.bounds[f"d{name}"])


def _timed_values(model: Model, trial: Trial) -> Iterator[Check]:
    """What `time` computes while it is being timed is what `forward` and `loss_and_gradient` compute."""
    for operation in OPERATIONS:
        model.time(operation, trial.first, trial.count, _TIMED_REPEATS)
        error = abs(model.checksum - trial.checksums[operation])
        yield Check(trial.name, f"checksum of time {operation}", error, trial.bounds[operation])


def _walked(trial: Trial, walk: Walk, theta: Array | None) -> Iterator[Check]:
    steps = "1 step" if walk.steps == 1 else f"{walk.steps} steps"
    short = ", a short one" if walk.count < walk.batch_size else ""
    if theta is None:
        yield Check(trial.name, f"theta after {steps}{short}: not finite", math.inf, 0.0)
        return
    for name, error in tensor_norms(trial.network, _minus(theta, walk.theta)).items():
        yield Check(trial.name, f"displacement of {name} after {steps}{short}", error, walk.bound[name])


def _repeated(trial: Trial, once: _Computed, again: _Computed) -> Iterator[Check]:
    """The same calls, the same bits."""

    def bits(values: _Computed) -> list[Array]:
        ends = [np.empty(0) if theta is None else theta for theta in values.ends]
        return [values.outputs, np.asarray(values.loss), values.gradient, *ends]

    for first, second in zip(bits(once), bits(again), strict=True):
        yield _same(trial.name, "the same call twice", second, first)


def _same(trial: str, what: str, got: Array, wanted: Array) -> Check:
    return Check(trial, what, 0.0 if got.tobytes() == wanted.tobytes() else math.inf, 0.0)


def _minus(got: Array, wanted: Array) -> Array:
    return got.astype(wanted.dtype) - wanted


# ---------------------------------------------------------------------------------------------------------------------
# Many networks at once
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ManyTrial:
    """Networks of one shape, and where the oracle ends with each of them.

    thetas: (K, n_parameters); l2, rates: (K,); orders: (K, n), of which [first, first + walk.count) are walked.
    """

    name: str
    network: Network
    thetas: Array
    l2: NDArray[np.float64]
    x: Array
    y: Array
    orders: NDArray[np.int64]
    first: int
    rates: NDArray[np.float64]
    walks: tuple[Walk, ...]


def many_battery(
    network: Network,
    thetas: Array,
    l2: NDArray[np.float64],
    x: Array,
    y: Array,
    batch_size: int,
    seed: int = 0,
) -> list[ManyTrial]:
    """The trials that a backend must pass, besides `battery`, before it may be timed on many networks at once.

    The networks themselves, each over rows of its own at a rate of its own (of thousands of members the first hundreds,
    in all places by a draw); and a few small siblings, with λ from 0 to
    0.04 and a short last minibatch. Bounds are those of `battery`'s trajectories.

    Parameters
    ----------
    network : Network
    thetas : ndarray, shape (K, n_parameters)
    l2 : ndarray of float64, shape (K,)
    x, y : ndarray, shapes (rows, m_0), (rows, m_L)
        From which every member's rows are drawn.
    batch_size : int
    seed : int
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    small = _small(network, rng)
    siblings = np.stack([initialize(small, int(rng.integers(2**31))) for _ in range(_MANY_SIBLINGS)])
    for theta in siblings:
        for _, b in small.layers(theta):
            b[:] = rng.normal(0, 0.5, b.shape)
    rows = 8 * _SIBLING_BATCH
    inputs = rng.normal(size=(rows, small.sizes[0])).astype(network.dtype)
    data = inputs, targets(small, rows, rng)
    lams = np.linspace(0.0, 0.04, _MANY_SIBLINGS)
    return [
        _many_trial("own ensemble's", network, thetas, l2, (x, y), min(batch_size, len(x)), 0, rng),
        _many_trial("sibling ensemble's", small, siblings, lams, data, _SIBLING_BATCH, _SIBLING_SHORT, rng),
    ]


def _many_trial(
    name: str,
    network: Network,
    thetas: Array,
    l2: NDArray[np.float64],
    data: tuple[Array, Array],
    batch_size: int,
    short: int,
    rng: np.random.Generator,
) -> ManyTrial:
    members, unlike = len(thetas), min(len(thetas), _MANY_WALKED)
    # Which network each member is: by the draw, so that no stride hides one member behind another.
    which = np.concatenate([np.arange(unlike), rng.integers(unlike, size=members - unlike)]).astype(np.int64)
    precision = _precision(network, batch_size * unlike)
    counts = [batch_size] * (MANY_STEPS - 1) + [short or batch_size]
    x, y = data
    orders, walks = [], []
    for theta, lam in zip(thetas[:unlike], l2[:unlike], strict=True):
        own, exact = replace(network, l2=float(lam)), theta.astype(precision)
        tried = (rng.permutation(len(x))[:batch_size] for _ in range(_MANY_TRIED))
        rate = min(_full_rate(own, exact, x[rows], y[rows]) for rows in tried) / MANY_STEPS
        walker, rows = _long_walk(own, exact, rate, precision, data, counts, rng, _MANY_SHADOWS)
        others = rng.integers(len(x), size=2 * _MANY_MARGIN)
        orders.append(np.concatenate([others[:_MANY_MARGIN], rows, others[_MANY_MARGIN:]]))
        walks.append(walker.walk(sum(counts), batch_size))
    rates = np.array([walk.learning_rate for walk in walks])
    ends = tuple(walks[i] for i in which)
    return ManyTrial(
        name, network, thetas[which], l2[which], x, y, np.stack(orders)[which], _MANY_MARGIN, rates[which], ends
    )


ManyMaker = Callable[[Network, Array, NDArray[np.float64]], Ensemble]


@np.errstate(over="ignore", invalid="ignore")  # a member that diverged is as far off as can be
def examine_many(make: ManyMaker, trials: list[ManyTrial], *, deterministic: bool = True) -> Evidence:
    """Put what trains many networks at once through a battery: each member must end where the oracle does.

    Parameters
    ----------
    make : callable
        (network, thetas, l2) -> Ensemble; each is closed again.
    trials : list of ManyTrial
    deterministic : bool
        As for `examine`.
    """
    checks: list[Check] = []
    for trial in trials:
        with make(trial.network, trial.thetas, trial.l2) as ensemble:
            ensemble.load(trial.x[::-1].copy(), trial.y[::-1].copy(), trial.orders[::-1].copy())  # to be forgotten
            ensemble.load(trial.x, trial.y, trial.orders)
            ends = _many_ends(ensemble, trial)
            for member, (walk, end) in enumerate(zip(trial.walks, ends, strict=True)):
                errors = tensor_norms(trial.network, _minus(end, walk.theta))
                for name, error in errors.items():
                    what = f"displacement of {name} after {walk.steps} steps of member {member}"
                    checks.append(Check(trial.name, what, error, walk.bound[name]))
            if deterministic:
                checks.append(_same(trial.name, "the same call twice", _many_ends(ensemble, trial), ends))
            ensemble.reset()
            checks.append(_same(trial.name, "theta after reset", ensemble.thetas(), trial.thetas))
    return Evidence(tuple(checks))


def _many_ends(ensemble: Ensemble, trial: ManyTrial) -> Array:
    ensemble.reset()
    with suppress(Diverged):  # the checks find out with which members
        ensemble.train(trial.first, trial.walks[0].count, trial.walks[0].batch_size, trial.rates)
    return ensemble.thetas()
