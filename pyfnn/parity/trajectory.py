"""The oracle's trajectory, and how far rounding may carry an implementation from it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfnn import oracle
from pyfnn.activations import Array
from pyfnn.errors import Unsupported
from pyfnn.network import Network
from pyfnn.parity.rounding import UNIT_ROUNDOFF, clear_of_kinks, has_kinks, norm, scale, tensor_norms

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
AFFORDABLE = 1e9  # operations up to which the oracle runs in longdouble
_STEADY = 2.0  # how far a trajectory may amplify rounding errors before it is walked more slowly
_SLOWER = (1, 4, 16, 64)
_SAMPLED = 3.0  # the shadows sample the errors so many times: an implementation's may be that many times the largest
_SHADOWS = {"longdouble": 6, "float64": 2}  # large networks average more, and cost more


# ---------------------------------------------------------------------------------------------------------------------
# The battery
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trajectory:
    """`steps` minibatch steps over order[0 : count], and where the oracle ends.

    bound: how far from there an implementation may end, by tensor name.
    """

    count: int
    batch_size: int
    steps: int
    learning_rate: float
    theta: Array
    bound: dict[str, float]


@np.errstate(over="ignore", invalid="ignore")  # a trajectory that leaves the finite numbers is not steady
def long_trajectory(
    network: Network,
    theta: Array,
    rate: float,
    precision: str,
    data: tuple[Array, Array],
    counts: list[int],
    rng: np.random.Generator,
    shadows: int | None = None,
) -> tuple["OracleTrajectory", NDArray[np.int64]]:
    """A steady trajectory of a step for each of `counts`, and its rows. Slower where it pulls apart: there the bound
    would be as large as what it is to judge.
    """
    for slower in _SLOWER:
        walker = OracleTrajectory(network, theta, rate / slower, precision, shadows)
        rows = walker.pick(*data, counts, rng)
        if walker.steady:
            return walker, rows
    raise Unsupported(f"rounding errors grow even at learning_rate = {walker.rate}: no judging")


def full_rate(network: Network, theta: Array, x: Array, y: Array) -> float:
    """The rate at which one step on these rows moves θ by a tenth of its norm."""
    gradient = oracle.loss_and_gradient(network, theta, x, y)[1]
    return 0.1 * norm(theta) / (norm(gradient) or 1.0)


def oracle_precision(network: Network, batch_size: int) -> str:
    return "longdouble" if network.flops_per_row * batch_size * STEPS < AFFORDABLE else "float64"


def oracle_slack(precision: str) -> float:
    """An oracle in float64 is itself rounded: twice the bound, and only then."""
    return 1.0 if precision == "longdouble" else 2.0


class OracleTrajectory:
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

    def walk(self, count: int, batch_size: int) -> Trajectory:
        """Where the oracle has come to, and how far from it an implementation may be."""
        unit = C * UNIT_ROUNDOFF[self._network.dtype] * oracle_slack(self._precision)
        bound = {name: unit * error for name, error in self.errors.items()}
        return Trajectory(count, batch_size, self._steps, self.rate, self.theta, bound)
