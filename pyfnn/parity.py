"""What "agrees with the oracle" means: the battery of trials, the bound on each difference, the evidence it leaves.

A difference is judged against how far rounding alone can carry a correct implementation. For each tensor T that a
step computes, ‖T − T̂‖ ≤ c·u·k·‖M‖, with u the unit roundoff of the network's dtype, k = Σ √n over the reductions
passed on the way to T, and M the size of what was added up: T computed with root-sum-squares in place of sums, so that
cancellation is allowed for and nothing else is. c is one constant for everything; see `C`.

Nothing here knows a backend: it examines any `Model`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses, oracle
from pyfnn.activations import Array, parse
from pyfnn.backend import OPERATIONS, Model
from pyfnn.errors import Diverged, Unsupported
from pyfnn.network import Network, initialize

C = 2.0
"""The constant of the bound.

About twice the largest that bench/experiments/calibrate_parity found: CALFIGURES
"""

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}
STEPS = 20  # of the long trajectory
AFFORDABLE = 1e9  # operations up to which the oracle runs in longdouble

_SIBLING_BATCH = 7
_SIBLING_SHORT = 3  # rows in its last, short minibatch
_SIBLING_WIDTHS = (5, 9, 3, 7, 11, 13)
_TIMED_REPEATS = 3
_STEADY = 10.0  # how far a trajectory may carry rounding errors beyond their sum before it is walked more slowly
_SLOWER = (1, 4, 16, 64)


# ---------------------------------------------------------------------------------------------------------------------
# How large rounding errors may be
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """How large the rounding errors of everything that one batch computes may be, in units of u: k·M.

    Z[l-1]: (batch, m_l), of which k_Z[l-1] and M_Z[l-1] are apart; outputs: (batch, m_L); gradient: (n_parameters,).
    """

    k_Z: list[float]  # noqa: N815
    M_Z: list[Array]
    outputs: Array
    loss: float
    gradient: Array


def scale(network: Network, theta: Array, x: Array, y: Array) -> Scale:
    """k·M for one batch, in float64; the recursion is that of the oracle, term by term.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x : ndarray, shape (batch, m_0)
    y : ndarray, shape (batch, m_L)
    """
    theta, x, T = (array.astype(np.float64) for array in (theta, x, y))
    batch, u = len(x), UNIT_ROUNDOFF[network.dtype]
    layers = network.layers(theta)
    run = oracle.forward(network, theta, x)

    k = 0.0
    M_A, M_Z, k_Z = [np.abs(x)], [], []
    for at, (W, b) in enumerate(layers):
        M_Z.append(np.sqrt(M_A[at] ** 2 @ W**2 + b**2 + run.Z[at] ** 2))
        k += math.sqrt(W.shape[0])
        k_Z.append(k)
        M_A.append(_through_activation(network, at, run.Z[at], run.A[at + 1], M_Z[at]))
    if network.loss == "softmax_cross_entropy":
        k += math.sqrt(network.sizes[-1])

    residual = np.hypot(M_A[-1], T)  # of Y - T
    slope = losses.TABLE[network.loss].slope(run.A[-1], T)
    k_loss = k + math.sqrt(T.size)
    loss = k_loss * _loss_size(network, run, T, M_Z[-1], residual, u * k).sum() / batch
    M_delta, delta = residual / batch, slope / batch
    if not network.fused:
        factor = 2.0 if network.loss == "squared_error" else 1.0
        M_delta, delta = _through_slope(str(network.output_activation), run.Z[-1], M_Z[-1], delta, factor * M_delta)

    gradient = np.zeros_like(theta)
    slots = network.layers(gradient)
    for at in reversed(range(network.n_layers)):
        W = layers[at].W
        squares = (M_A[at] ** 2).T @ delta**2 + (run.A[at] ** 2).T @ M_delta**2 + (run.A[at].T @ delta) ** 2
        slots[at].W[:] = (k + math.sqrt(batch)) * np.sqrt(squares + (network.l2 * W) ** 2)
        slots[at].b[:] = (k + math.sqrt(batch)) * np.sqrt((M_delta**2).sum(axis=0) + delta.sum(axis=0) ** 2)
        loss += network.l2 / 2 * math.sqrt(W.size) * float((W * W).sum())
        if at > 0:
            k += math.sqrt(W.shape[1])
            name, G = network.hidden_activations[at - 1].name, delta @ W.T
            M_G = np.sqrt(M_delta**2 @ (W**2).T + G**2)
            M_delta, delta = _through_slope(name, run.Z[at - 1], M_Z[at - 1], G, M_G)
    k_out = k_Z[-1] + (math.sqrt(network.sizes[-1]) if network.fused else 0.0)
    return Scale(k_Z, M_Z, k_out * M_A[-1], float(loss), gradient)


def _through_activation(network: Network, at: int, Z: Array, A: Array, M_Z: Array) -> Array:
    """M of A = f(Z): its own rounding, and that of Z through f'."""
    if at < network.n_layers - 1:
        return np.asarray(np.hypot(A, network.hidden_activations[at].derivative(Z) * M_Z))
    if network.output_activation == "softmax":
        spread = np.sqrt((A**2 * M_Z**2).sum(axis=1, keepdims=True))
        return np.asarray(A * np.sqrt(1 + M_Z**2 + spread**2))
    return np.asarray(np.hypot(A, parse(str(network.output_activation)).derivative(Z) * M_Z))


def _through_slope(name: str, Z: Array, M_Z: Array, G: Array, M_G: Array) -> tuple[Array, Array]:
    """M and value of δ = f'(Z) ⊙ G. A smooth f' is rounded on the scale of its terms, which is 1 (as in 1 − A²)."""
    f = parse(name)
    slope, curvature = f.derivative(Z), f.curvature(Z)
    own = np.abs(slope) if f.row.piecewise_linear else np.maximum(np.abs(slope), 1.0)
    M_slope = np.hypot(own, curvature * M_Z)
    return np.hypot(slope * M_G, M_slope * G), slope * G


def _loss_size(network: Network, run: oracle.Pass, T: Array, M_Z: Array, residual: Array, relative: float) -> Array:
    """M of each row's loss: (batch,)."""
    Z, Y = run.Z[-1], run.A[-1]
    if network.loss == "softmax_cross_entropy":
        top = Z.max(axis=1, keepdims=True)
        log_sum = np.abs(top) + np.log(np.exp(Z - top).sum(axis=1, keepdims=True))
        return np.asarray((T * (M_Z + np.abs(Z) + log_sum) + Y * M_Z).sum(axis=1))
    if network.loss == "sigmoid_cross_entropy":
        return np.asarray((np.abs(Y - T) * M_Z + np.abs(Z) + 1).sum(axis=1))
    terms = 2 * np.abs(Y - T) * residual + relative * residual**2  # of d², to second order: d may be 0
    return np.asarray((terms if network.loss == "squared_error" else terms / 2).sum(axis=1))


def clear_of_kinks(network: Network, run: oracle.Pass, size: Scale, drift: float) -> NDArray[np.bool_]:
    """Which rows keep every pre-activation farther from a kink than rounding can move it: (batch,).

    Parameters
    ----------
    drift : float
        Relative error that θ may carry by now, in units of u.
    """
    unit = C * UNIT_ROUNDOFF[network.dtype]
    clear = np.ones(len(run.A[0]), bool)
    names = [f.name for f in network.hidden_activations]
    if not network.fused:
        names.append(str(network.output_activation))
    for name, Z, M, k in zip(names, run.Z, size.M_Z, size.k_Z, strict=False):
        for kink in parse(name).kinks:
            clear &= (np.abs(Z - kink) > unit * (k + drift) * M).all(axis=1)
    return clear


# ---------------------------------------------------------------------------------------------------------------------
# The battery
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """`steps` minibatch steps over order[0 : count], and where the oracle ends.

    displacement and bound: by tensor name.
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
        """The failed check that names the cause best, or the passed one that came nearest to its bound.

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
    biases that are not zero: batch 1 hides a missing 1/B, zero biases hide λ on them); and, for activations with a
    kink at 0, a row that lies exactly on it.

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
    trials = [_own(network, theta, x, y, batch_size, rng), sibling(network, rng)]
    if any(0.0 in f.kinks for f in network.hidden_activations):
        trials.append(_on_the_kink(network, rng))
    return trials


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
    return _trial("sibling", small, theta, x, _targets(small, len(x), rng), _SIBLING_BATCH, _SIBLING_SHORT, rng)


def _small(network: Network, rng: np.random.Generator) -> Network:
    widths = rng.permutation(_SIBLING_WIDTHS)
    return replace(network, sizes=tuple(int(m) for m in np.resize(widths, len(network.sizes))), l2=0.01)


def _on_the_kink(network: Network, rng: np.random.Generator) -> Trial:
    """Zero biases and a row of zeros: every pre-activation is exactly 0, whatever the order of summation."""
    small = _small(network, rng)
    theta = initialize(small, int(rng.integers(2**31)))
    x = np.zeros((1, small.sizes[0]), small.dtype)
    y = _targets(small, 1, rng)
    return _judged(Trial("kink", small, theta, x, y, np.zeros(1, np.int64), 0, 1, *_UNJUDGED))


_UNJUDGED: Any = ("", np.empty(0), math.nan, np.empty(0), {}, {})


def _targets(network: Network, rows: int, rng: np.random.Generator) -> Array:
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
    gradient = oracle.loss_and_gradient(network, exact, x[:batch_size], y[:batch_size])[1]
    full = 0.1 * _norm(exact) / (_norm(gradient) or 1.0)
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
    trial = Trial(name, network, theta, x[stored], y[stored], order, first, len(block), *_UNJUDGED)

    walks = [long_walk.walk(sum(counts), batch_size)]
    for count in {batch_size, short or batch_size}:
        single = _Walker(network, exact, full, precision)
        single.step(trial.x[order[:count]], trial.y[order[:count]])
        walks.append(single.walk(count, batch_size))
    return replace(_judged(trial), walks=tuple(walks))


def _long_walk(
    network: Network,
    theta: Array,
    rate: float,
    precision: str,
    data: tuple[Array, Array],
    counts: list[int],
    rng: np.random.Generator,
) -> tuple["_Walker", NDArray[np.int64]]:
    """A steady trajectory of a step for each of `counts`, and its rows. Slower where it pulls apart: there the bound
    would be as large as what it is to judge.
    """
    for slower in _SLOWER:
        walker = _Walker(network, theta, rate / slower, precision)
        rows = walker.pick(*data, counts, rng)
        if walker.steady:
            return walker, rows
    raise Unsupported(f"rounding errors grow even at learning_rate = {walker.rate}: no judging")


def _precision(network: Network, batch_size: int) -> str:
    return "longdouble" if network.flops_per_row * batch_size * STEPS < AFFORDABLE else "float64"


def _slack(precision: str) -> float:
    """An oracle in float64 is itself rounded: twice the bound, and only then."""
    return 1.0 if precision == "longdouble" else 2.0


def _judged(trial: Trial) -> Trial:
    """The trial with what the oracle says of its outputs, loss, gradient and timed passes."""
    network, precision = trial.network, trial.precision or _precision(trial.network, trial.count)
    theta = trial.theta.astype(precision)
    x, y = trial.x[trial.first : trial.first + trial.count], trial.y[trial.first : trial.first + trial.count]
    outputs = oracle.forward(network, theta, x).A[-1]
    loss, gradient = oracle.loss_and_gradient(network, theta, x, y)
    size = scale(network, trial.theta, x, y)
    unit = C * UNIT_ROUNDOFF[network.dtype] * _slack(precision)
    bounds = {"outputs": unit * _norm(size.outputs), "loss": unit * size.loss}
    bounds |= {f"d{name}": unit * error for name, error in tensor_norms(network, size.gradient).items()}
    sums, sizes = np.zeros(2, precision), np.zeros(2)
    for rows in _rotation(trial):
        size = scale(network, trial.theta, trial.x[rows], trial.y[rows])
        output = oracle.forward(network, theta, trial.x[rows]).A[-1][0, 0]
        value = oracle.loss_and_gradient(network, theta, trial.x[rows], trial.y[rows])[0]
        sums += output, value
        sizes += size.outputs[0, 0] + abs(output), size.loss + abs(value)  # adding up is rounded too
    checksums: dict[str, float] = {name: float(total) for name, total in zip(OPERATIONS, sums, strict=True)}
    bounds |= {name: float(unit * size) for name, size in zip(OPERATIONS, sizes, strict=True)}
    floor = float(np.finfo(network.dtype).tiny)  # below it, numbers lose their relative precision
    bounds = {name: bound + floor * math.sqrt(network.n_parameters) for name, bound in bounds.items()}
    return replace(
        trial,
        precision=precision,
        outputs=outputs,
        loss=float(loss),
        gradient=gradient,
        bounds=bounds,
        checksums=checksums,
    )


def _rotation(trial: Trial) -> Iterator[slice]:
    """The row ranges that `Model.time` walks."""
    places = len(trial.x) - trial.count + 1
    for repeat in range(_TIMED_REPEATS):
        start = (trial.first + repeat * trial.count) % places
        yield slice(start, start + trial.count)


class _Walker:
    """The oracle going step by step, with the rounding error that an implementation may have gathered by then.

    The error of a tensor after a step is that before it, plus α times that of its gradient, plus the rounding of the
    update itself. Where the trajectory pulls apart what starts close together, errors grow beyond that sum; hence the
    shadow, which walks along, has such errors added to it at each step, and shows what becomes of them.
    """

    def __init__(self, network: Network, theta: Array, learning_rate: float, precision: str) -> None:
        self._network, self.rate, self._precision = network, learning_rate, precision
        self.theta = self._shadow = theta
        self._noise = np.random.default_rng(0)
        self._steps = 0
        self._summed = dict.fromkeys(network.tensor_names(), 0.0)

    @property
    def errors(self) -> dict[str, float]:
        """Of each tensor by now, in units of u."""
        u = UNIT_ROUNDOFF[self._network.dtype]
        strayed = tensor_norms(self._network, self._shadow - self.theta)
        return {name: max(error, strayed[name] / u) for name, error in self._summed.items()}

    @property
    def steady(self) -> bool:
        """Whether the errors added on the way have not grown far beyond their sum."""
        strayed = _norm(self._shadow - self.theta) / UNIT_ROUNDOFF[self._network.dtype]
        return strayed <= _STEADY * math.hypot(*self._summed.values())

    @property
    def drift(self) -> float:
        """Relative error of θ, in units of u."""
        return math.hypot(*self.errors.values()) / _norm(self.theta)

    def step(self, x: Array, y: Array) -> None:
        """One step of gradient descent on this batch."""
        network, u = self._network, UNIT_ROUNDOFF[self._network.dtype]
        added = self.rate * scale(network, self.theta, x, y).gradient + np.abs(self.theta.astype(np.float64))
        for name, error in tensor_norms(network, added).items():
            self._summed[name] += error
        noise = u * added * self._noise.normal(size=added.shape)
        self._shadow = self._stepped(self._shadow, x, y) + noise
        self.theta = self._stepped(self.theta, x, y)
        self._steps += 1

    def _stepped(self, theta: Array, x: Array, y: Array) -> Array:
        gradient = oracle.loss_and_gradient(self._network, theta, x, y)[1]
        return np.asarray(theta - theta.dtype.type(self.rate) * gradient)

    def pick(self, x: Array, y: Array, counts: list[int], rng: np.random.Generator) -> NDArray[np.int64]:
        """Walk a step for each of `counts`, taking that many rows of (x, y), at random, clear of kinks. Stops short
        where the trajectory becomes unsteady.
        """
        picked = []
        for count in counts:
            rows = self._clear_rows(x, y, count, rng)
            self.step(x[rows], y[rows])
            picked.append(rows)
            if not self.steady:
                break
        return np.concatenate(picked)

    def _clear_rows(self, x: Array, y: Array, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        candidates = rng.permutation(len(x))
        if not _has_kinks(self._network):
            return candidates[:count]
        theta = self.theta.astype(np.float64)
        chosen: list[int] = []
        for at in range(0, len(candidates), count):
            rows = candidates[at : at + count]
            run = oracle.forward(self._network, theta, x[rows])
            clear = clear_of_kinks(self._network, run, scale(self._network, theta, x[rows], y[rows]), self.drift)
            chosen.extend(rows[clear].tolist())
            if len(chosen) >= count:
                return np.array(chosen[:count], np.int64)
        raise Unsupported(f"only {len(chosen)} of {len(x)} rows are clear of this network's kinks: {count} are needed")

    def walk(self, count: int, batch_size: int) -> Walk:
        """Where the oracle has come to, and how far from it an implementation may be."""
        unit = C * UNIT_ROUNDOFF[self._network.dtype] * _slack(self._precision)
        bound = {name: unit * error for name, error in self.errors.items()}
        return Walk(count, batch_size, self._steps, self.rate, self.theta, bound)


def _has_kinks(network: Network) -> bool:
    names = [f.name for f in network.hidden_activations]
    if not network.fused:
        names.append(str(network.output_activation))
    return any(parse(name).kinks for name in names)


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array.astype(np.float64).ravel()))


def tensor_norms(network: Network, flat: Array) -> dict[str, float]:
    """‖·‖ of each tensor in a vector laid out as θ, by the tensor's name."""
    tensors = [tensor for layer in network.layers(flat) for tensor in layer]
    return {name: _norm(tensor) for name, tensor in zip(network.tensor_names(), tensors, strict=True)}


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
            checks.extend(_values(model, trial))
            checks.extend(_timed_values(model, trial))
            checks.append(_same(trial, "theta after calls that only read it", model.theta(), trial.theta))
            for walk in trial.walks:
                checks.extend(_walked(model, trial, walk))
            if deterministic:
                checks.extend(_repeated(model, trial))
    return Evidence(tuple(checks))


def _values(model: Model, trial: Trial) -> Iterator[Check]:
    outputs = model.forward(trial.first, trial.count)
    loss, gradient = model.loss_and_gradient(trial.first, trial.count)
    for what, got, wanted in (("outputs", outputs, trial.outputs), ("gradient", gradient, trial.gradient)):
        good = got.shape == wanted.shape and got.dtype == np.dtype(trial.network.dtype)
        yield Check(trial.name, f"shape and dtype of {what}", 0.0 if good else math.inf, 0.0)
        if not good:
            return
    yield Check(trial.name, "outputs", _norm(_minus(outputs, trial.outputs)), trial.bounds["outputs"])
    yield Check(trial.name, "loss", abs(loss - trial.loss), trial.bounds["loss"])
    for name, error in tensor_norms(trial.network, _minus(gradient, trial.gradient)).items():
        yield Check(trial.name, f"d{name}", error, trial.bounds[f"d{name}"])


def _timed_values(model: Model, trial: Trial) -> Iterator[Check]:
    """What `time` computes while it is being timed is what `forward` and `loss_and_gradient` compute."""
    for operation in OPERATIONS:
        model.time(operation, trial.first, trial.count, _TIMED_REPEATS)
        error = abs(model.checksum - trial.checksums[operation])
        yield Check(trial.name, f"checksum of time {operation}", error, trial.bounds[operation])


def _walked(model: Model, trial: Trial, walk: Walk) -> Iterator[Check]:
    steps = "1 step" if walk.steps == 1 else f"{walk.steps} steps"
    short = ", a short one" if walk.count < walk.batch_size else ""
    model.reset()
    try:
        model.train(0, walk.count, walk.batch_size, walk.learning_rate)
    except Diverged:
        yield Check(trial.name, f"theta after {steps}{short}: not finite", math.inf, 0.0)
        return
    difference = _minus(model.theta(), walk.theta)
    for name, error in tensor_norms(trial.network, difference).items():
        yield Check(trial.name, f"displacement of {name} after {steps}{short}", error, walk.bound[name])


def _repeated(model: Model, trial: Trial) -> Iterator[Check]:
    def all_of_it() -> tuple[Array, ...]:
        model.reset()
        values = [model.forward(trial.first, trial.count), *model.loss_and_gradient(trial.first, trial.count)]
        for walk in trial.walks:
            model.reset()
            model.train(0, walk.count, walk.batch_size, walk.learning_rate)
            values.append(model.theta())
        return tuple(np.asarray(value) for value in values)

    try:
        once, again = all_of_it(), all_of_it()
    except Diverged:
        yield Check(trial.name, "the same call twice: theta not finite", math.inf, 0.0)
        return
    for first, second in zip(once, again, strict=True):
        yield _same(trial, "the same call twice", second, first)
    model.reset()
    yield _same(trial, "theta after reset", model.theta(), trial.theta)


def _same(trial: Trial, what: str, got: Array, wanted: Array) -> Check:
    return Check(trial.name, what, 0.0 if got.tobytes() == wanted.tobytes() else math.inf, 0.0)


def _minus(got: Array, wanted: Array) -> Array:
    return got.astype(wanted.dtype) - wanted
