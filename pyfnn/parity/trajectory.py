"""The oracle's trajectory in training, and how far rounding may carry a correct implementation from it.

The module draws no trials: `battery` and `ensembles` do.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pyfnn import oracle
from pyfnn.activations import Array
from pyfnn.errors import Unsupported
from pyfnn.network import Network
from pyfnn.optimizers import DESCENT, Named
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, clear_of_kinks, has_kinks, kink_allowance, norm, scale, tensor_norms
from pyfnn.parity.updates import Point, errors_of_step, moved

STEPS = 20  # of the long trajectory
AFFORDABLE = 1e9  # operations up to which the oracle runs in longdouble
_STEADY = 2.0  # growth of rounding errors along a trajectory above which its learning rate is lowered
_RATE_DIVISORS = (1, 4, 16, 64, 256, 1024)
_KINKS = 0.1  # share of the gradient that rows near a kink may change
_VANISHED = 1e-4  # length of a gradient, relative to θ, below which its rounding errors limit the rate
_ABOVE_ROUNDING = 100.0  # least length of a step, in units of the rounding error of the gradient
_SAMPLING_MARGIN = 3.0  # an implementation's error may be this many times the largest of a few sampled ones
_PERTURBED = {"longdouble": 6, "float64": 2}  # perturbed trajectories; large networks average more, and cost more


@dataclass(frozen=True)
class Trajectory:
    """Minibatch steps over order[0 : count], and where the oracle is after them.

    Attributes
    ----------
    count, batch_size, steps : int
        Rows in all, rows of a full minibatch, and the number of minibatches.
    learning_rate : float
    theta : ndarray, shape (n_parameters,)
        The oracle's θ after the last step.
    bound : dict of str to float
        Allowed ‖difference‖ from theta, by tensor name.
    optimizer : SGD, Momentum or Adam
    state : dict of str to ndarray
        The vectors of the optimizer's state, by their names: (n_parameters,) each.
    state_bound : dict of str to dict of str to float
        Allowed ‖difference‖ from each of them, by tensor name.
    """

    count: int
    batch_size: int
    steps: int
    learning_rate: float
    theta: Array
    bound: dict[str, float]
    optimizer: Named = DESCENT
    state: dict[str, Array] = field(default_factory=dict)
    state_bound: dict[str, dict[str, float]] = field(default_factory=dict)


@np.errstate(over="ignore", invalid="ignore")  # a trajectory that leaves the finite numbers is not steady
def long_trajectory(
    network: Network,
    theta: Array,
    rate: float,
    precision: str,
    data: tuple[Array, Array],
    counts: list[int],
    rng: np.random.Generator,
    perturbed: int | None = None,
    optimizer: Named = DESCENT,
) -> tuple["OracleTrajectory", NDArray[np.int64]]:
    """Compute a steady trajectory with one step for each of `counts`, and the rows that it uses.

    Where nearby trajectories diverge, the bound would be as large as the displacement that it must judge; the rate is
    then divided by 4, again and again, down to 1/1024.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,), of dtype `precision`
    rate : float
        Learning rate, before any division.
    precision : {"longdouble", "float64"}
    data : (x, y)
        Arrays of shapes (rows, m_0) and (rows, m_L), from which the rows are drawn.
    counts : list of int
        Rows of each step.
    rng : numpy.random.Generator
    perturbed : int, optional
        Number of perturbed trajectories; by default as the precision allows.
    optimizer : SGD, Momentum or Adam

    Raises
    ------
    Unsupported
        Rounding errors grow even at the lowest rate, or too few rows are clear of kinks.
    """
    for divisor in _RATE_DIVISORS:
        trajectory = OracleTrajectory(
            network, Point.of(optimizer, theta), rate / divisor, precision, perturbed, optimizer
        )
        try:
            rows = trajectory.pick(*data, counts, rng)
        except Unsupported as error:  # at a lower rate θ errs by less, and more rows are clear of kinks
            reason = str(error)
            continue
        if trajectory.steady:
            return trajectory, rows
        reason = f"rounding errors grow even at learning_rate = {trajectory.rate}"
    raise Unsupported(f"{reason}: parity cannot be judged on this network")


def full_rate(network: Network, theta: Array, x: Array, y: Array, optimizer: Named = DESCENT, steps: int = 1) -> float:
    """Return the rate at which so many steps with the gradient of these rows move θ by a tenth of its norm.

    Where the gradient has vanished, as in a saturated network, the rate is lower: steps of that length would move θ by
    rounding errors alone.
    """
    gradient = oracle.loss_and_gradient(network, theta, x, y)[1]
    length = norm(gradient)
    if length < _VANISHED * norm(theta):
        u = UNIT_ROUNDOFF[network.dtype]
        length = max(length, _ABOVE_ROUNDING * u * norm(scale(network, theta, x, y).gradient))
    return 0.1 * norm(theta) / (length * _gain(optimizer, gradient, steps) or 1.0) / steps


def _gain(optimizer: Named, gradient: Array, steps: int) -> float:
    """Return how far a mean step with this gradient moves θ at a rate of 1, as a multiple of the gradient's length."""
    if not optimizer.vectors or not norm(gradient):
        return 1.0
    point = start = Point.of(optimizer, np.zeros_like(gradient))
    for _ in range(steps):
        point = moved(optimizer, point, gradient, 1.0)
    return norm(point.theta - start.theta) / (steps * norm(gradient))


def oracle_precision(network: Network, batch_size: int) -> str:
    """Return the dtype in which the oracle computes trajectories of this network: longdouble where it is affordable."""
    return "longdouble" if network.flops_per_row * batch_size * STEPS < AFFORDABLE else "float64"


def oracle_slack(precision: str) -> float:
    """Return the factor on bounds that allows for the oracle's own rounding: 2 in float64, 1 in longdouble."""
    return 1.0 if precision == "longdouble" else 2.0


def sufficient_precision(network: Network, batch_size: int) -> str:
    """Return the oracle's dtype for what is computed once: for a float32 network float64 is as good as longdouble."""
    return "float64" if network.dtype == "float32" else oracle_precision(network, batch_size)


def sufficient_unit(network: Network, precision: str) -> float:
    """Return the size of an error of k·M = 1, c·u, with the rounding of an oracle of `sufficient_precision`."""
    slack = oracle_slack(precision) if network.dtype == "float64" else 1.0
    return C * UNIT_ROUNDOFF[network.dtype] * slack


def least_error(network: Network) -> float:
    """Return an error that any implementation may make: numbers below the smallest normal one have fewer digits."""
    return float(np.finfo(network.dtype).tiny) * math.sqrt(network.n_parameters)


class OracleTrajectory:
    """The oracle's training, step by step, with a bound on the rounding error of an implementation after each step.

    The error of a tensor after a step is that before it, plus that of the displacement (α times that of the gradient in
    gradient descent; see `updates`), plus the rounding of the update itself. Where nearby trajectories diverge, errors
    grow beyond that sum. Perturbed trajectories measure this: each starts at the same θ, trains on the same rows and
    has such errors injected at every step.

    Parameters
    ----------
    network : Network
    start : Point
        θ, of dtype `precision`, and the state of the optimizer.
    learning_rate : float
    precision : {"longdouble", "float64"}
    perturbed : int, optional
        Number of perturbed trajectories; by default as the precision allows.
    optimizer : SGD, Momentum or Adam

    Attributes
    ----------
    rate : float
        The learning rate.
    at : Point
        The oracle's, after the steps so far.
    """

    def __init__(
        self,
        network: Network,
        start: Point,
        learning_rate: float,
        precision: str,
        perturbed: int | None = None,
        optimizer: Named = DESCENT,
    ) -> None:
        self._network, self.rate, self._precision, self._optimizer = network, learning_rate, precision, optimizer
        self.at = start
        count = _PERTURBED[precision] if perturbed is None else perturbed
        shape = (count, network.n_parameters)
        stacks = (np.broadcast_to(vector, shape) for vector in start.vectors)
        self._perturbed = replace(start, theta=np.broadcast_to(start.theta, shape), vectors=tuple(stacks))
        # Of all errors injected so far, for each: their sum, and its norm were they all orthogonal.
        self._sums = np.zeros(shape)
        self._injected = [0.0] * count
        self._rng = np.random.default_rng(0)
        self._steps = 0
        self._summed = dict.fromkeys(network.tensor_names(), 0.0)
        self._of_state = tuple(np.zeros(vector.shape) for vector in start.vectors)  # errors of the state

    @property
    def theta(self) -> Array:
        """The oracle's θ after the steps so far: (n_parameters,)."""
        return self.at.theta

    @property
    def errors(self) -> dict[str, float]:
        """Largest rounding error of each tensor so far, by its name, in units of u."""
        return self._errors(self._summed, self._perturbed.theta - self.theta)

    @property
    def state_errors(self) -> dict[str, dict[str, float]]:
        """The same of each vector of the optimizer's state, by its name."""
        return {
            name: self._errors(
                tensor_norms(self._network, self._of_state[k]),
                self._perturbed.vectors[k] - self.at.vectors[k],
            )
            for k, name in enumerate(self._optimizer.vectors)
        }

    def _errors(self, summed: dict[str, float], deviations: Array) -> dict[str, float]:
        u = UNIT_ROUNDOFF[self._network.dtype]
        sampled = [tensor_norms(self._network, deviation) for deviation in deviations]
        return {
            name: max([error, *(_SAMPLING_MARGIN * norms[name] / u for norms in sampled)])
            for name, error in summed.items()
        }

    @property
    def steady(self) -> bool:
        """True where no perturbed trajectory deviates far beyond the errors injected into it.

        In a small network the errors of several steps may point the same way by chance, and add up to more than their
        root-sum-square. That is no growth: the deviation is compared with the norm of their sum as well.
        """
        deviations = map(norm, self._perturbed.theta - self.theta)
        return all(
            deviation <= _STEADY * max(injected, norm(total)) < math.inf
            for deviation, injected, total in zip(deviations, self._injected, self._sums, strict=True)
        )

    @property
    def drift(self) -> float:
        """Relative error of θ, in units of u."""
        return math.hypot(*self.errors.values()) / norm(self.theta)

    def step(self, x: Array, y: Array) -> None:
        """Take one step of training on this batch. x: (batch, m_0); y: (batch, m_L)."""
        network, optimizer, before = self._network, self._optimizer, self.at
        size = scale(network, self.theta, x, y, self.drift if has_kinks(network) else 0.0)
        gradient = oracle.loss_and_gradient(network, self.theta, x, y)[1]
        self.at = moved(optimizer, before, gradient, self.rate)
        of_all = (size.gradient + size.kinks, *self._of_state)
        unit = C * UNIT_ROUNDOFF[network.dtype]
        of_displacement, self._of_state = errors_of_step(optimizer, before, self.at, gradient, self.rate, of_all, unit)
        added = of_displacement + np.abs(before.theta.astype(np.float64))
        for name, error in tensor_norms(network, added).items():
            self._summed[name] += error
        if self._injected:
            noise = self._noise(added, gradient)
            there = oracle.loss_and_gradient(network, self._perturbed.theta, x, y)[1]
            end = moved(optimizer, self._perturbed, there, self.rate)
            self._perturbed = replace(end, theta=end.theta + noise)
            self._sums += noise
            self._injected = list(map(math.hypot, self._injected, map(norm, noise)))
        self._steps += 1

    def _noise(self, added: Array, gradient: Array) -> Array:
        """Draw errors of size u·added: one independent per parameter, plus one per tensor along its gradient.

        The result has a row for each perturbed trajectory: (perturbed, n_parameters).
        """
        network, n = self._network, added.size
        sizes = np.array(list(tensor_norms(network, added).values()))
        lengths = np.array(list(tensor_norms(network, gradient).values()))
        draws = self._rng.normal(size=(len(self._injected), n + sizes.size))
        of_tensors = draws[:, n:] * sizes / np.where(lengths == 0, 1.0, lengths)
        along = np.repeat(of_tensors, network.tensor_sizes, axis=1) * gradient.astype(np.float64)
        return np.asarray(UNIT_ROUNDOFF[network.dtype] * (added * draws[:, :n] + along))

    def pick(self, x: Array, y: Array, counts: list[int], rng: np.random.Generator) -> NDArray[np.int64]:
        """Take a step for each of `counts`, on that many random rows of (x, y) clear of kinks; return the rows.

        The method stops early where the trajectory becomes unsteady.

        Raises
        ------
        Unsupported
            Too few rows are clear of this network's kinks.
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
        """Return `count` random rows: those clear of kinks, and others only where these are too few.

        Rows near a kink widen the bound. Where they widen it by more than a tenth of the gradient, parity cannot be
        judged.
        """
        network, theta = self._network, self.theta
        candidates = rng.permutation(len(x))
        if not has_kinks(network):
            return candidates[:count]
        unit = C * UNIT_ROUNDOFF[network.dtype]
        clear_rows: list[int] = []
        others: list[int] = []
        for at in range(0, len(candidates), count):
            rows = candidates[at : at + count]
            clear = clear_of_kinks(network, theta, x[rows], unit, self.drift)
            clear_rows.extend(rows[clear].tolist())
            others.extend(rows[~clear].tolist())
            if len(clear_rows) >= count:
                return np.array(clear_rows[:count], np.int64)
        rows = np.array((clear_rows + others)[:count], np.int64)
        allowance = norm(kink_allowance(network, theta, x[rows], y[rows], unit, self.drift))
        if not allowance <= _KINKS * norm(oracle.loss_and_gradient(network, theta, x[rows], y[rows])[1]):
            raise Unsupported(
                f"only {len(clear_rows)} of {len(x)} rows are clear of this network's kinks: {count} are needed"
            )
        return rows

    def end(self, count: int, batch_size: int) -> Trajectory:
        """Return the trajectory so far, which has used `count` rows, with the allowed difference from its end."""
        unit = C * UNIT_ROUNDOFF[self._network.dtype] * oracle_slack(self._precision)
        bound, *bounds = (
            {name: unit * error for name, error in errors.items()}
            for errors in (self.errors, *self.state_errors.values())
        )
        names = self._optimizer.vectors
        tiny = least_error(self._network)  # moments are squares, and may be small
        state = dict(zip(names, self.at.vectors, strict=True))
        state_bound = {of: {t: b + tiny for t, b in each.items()} for of, each in zip(names, bounds, strict=True)}
        return Trajectory(
            count, batch_size, self._steps, self.rate, self.theta, bound, self._optimizer, state, state_bound
        )
