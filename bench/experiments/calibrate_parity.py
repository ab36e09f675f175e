"""The calibration of `pyfnn.parity.C`: rounding errors of correct implementations on random networks.

    python -m bench.experiments.calibrate_parity [--networks N] [--seed S]

Prints the median, 99th percentile and maximum of error / (u k ‖M‖) for every kind of tensor, and the network of the
maximum. C is about twice the largest value seen.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyfnn
from pyfnn import losses, oracle, parity
from pyfnn.activations import parse
from pyfnn.backend import CORE_ACTIVATIONS, CORE_LOSSES, Backend, Description
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.model import Model, Operation
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.optimizers import DESCENT, Named
from pyfnn.validation import Array, Order

_WIDEST, _WIDE = 60, 2048
_LARGEST_BATCH = 40


class Sequential(np.ndarray[Any, Any]):
    """An array whose sums and products add one term after the other, the worst order of a correct program."""

    def __matmul__(self, other: Any) -> Any:
        """Return (n, k) @ (k, m), with the k products of each entry added in order."""
        total = np.zeros((self.shape[0], other.shape[1]), self.dtype)
        for at in range(self.shape[1]):
            total += np.asarray(self[:, at, None]) * np.asarray(other[None, at])
        return total.view(Sequential)

    def sum(self, axis: Any = None, keepdims: Any = False, **_: Any) -> Any:  # type: ignore[override]
        """Return the sum over the axis, over the last two as a tuple, or over all entries, added in order."""
        terms, along = np.asarray(self), axis
        if axis is None or isinstance(axis, tuple):
            terms, along = terms.reshape(*(terms.shape[:-2] if axis else ()), -1), -1
        total = np.cumsum(terms, axis=along, dtype=self.dtype).take([-1], along)
        return total.view(Sequential) if keepdims else total.squeeze(along).view(Sequential)[()]


class OracleBackend(Backend):
    """The oracle computed in the network's own dtype, with pairwise and BLAS sums or with sequential ones."""

    def __init__(self, *, sequential: bool) -> None:
        self._kind: type[Any] = Sequential if sequential else np.ndarray
        self._name = "oracle, sequential sums" if sequential else "oracle"

    @property
    def description(self) -> Description:
        """The backend's description."""
        return Description(name=self._name, language="Python", compiler="", flags="", clock="none")

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return OracleModel(network, theta, self._kind)


class OracleModel(Model):
    """A model that computes as the oracle does, on arrays of class `kind`."""

    def __init__(self, network: Network, theta: Array, kind: type[Any]) -> None:
        super().__init__(network, theta)
        self._current: Array = theta.copy().view(kind)
        self._kind = kind

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order = x.copy().view(self._kind), y.copy().view(self._kind), order.copy()

    def _forward(self, first: int, count: int) -> Array:
        return np.asarray(oracle.forward(self.network, self._current, self._x[first : first + count]).A[-1])

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        rows = slice(first, first + count)
        loss, gradient = oracle.loss_and_gradient(self.network, self._current, self._x[rows], self._y[rows])
        return float(loss), np.asarray(gradient)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        order = self._order[first : first + count]
        self._current = oracle.train(self.network, self._current, self._x, self._y, order, batch_size, learning_rate)
        return 0.0

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        checksum = 0.0
        for repeat in range(repeats):
            at, probe = (first + repeat * count) % (len(self._x) - count + 1), probes[repeat % len(probes)]
            if operation == "forward":
                checksum += float(self._forward(at, count).flat[probe])
            else:
                loss, gradient = self._loss_and_gradient(at, count)
                checksum += loss + float(gradient[probe])
        return 0.0, checksum

    def _theta(self) -> Array:
        return np.array(self._current)

    def _set_theta(self, theta: Array) -> None:
        self._current = theta.copy().view(self._kind)

    def _close(self) -> None:
        del self._x, self._y


@dataclass(frozen=True)
class RandomCase:
    """A random network with data. theta: (n_parameters,); x: (rows, m_0); y: (rows, m_L)."""

    network: Network
    theta: Array
    x: Array
    y: Array
    batch: int
    seed: int

    def battery(self, optimizer: Named = DESCENT) -> list[parity.Trial]:
        """Return the trials of this case; raise `Unsupported` if parity cannot be judged on them."""
        return parity.battery(self.network, self.theta, self.x, self.y, self.batch, self.seed, optimizer)


def random_case(
    seed: int, dtype: str, *, wide: bool = False, activations: Sequence[str] = CORE_ACTIVATIONS
) -> RandomCase:
    """Draw a random network with data: depth 1 to 5, random activations and loss, magnitudes over a wide range.

    Parameters
    ----------
    seed : int
        Determines the network and the data.
    dtype : str
    wide : bool
        Draw one layer of up to 2048 inputs and few rows, in place of widths up to 60 and batches up to 40.
    activations : sequence of str
        Spellings to choose from.
    """
    rng = np.random.default_rng(seed)
    depth = 1 if wide else int(rng.integers(1, 6))
    sizes = [int(math.exp(rng.uniform(0, math.log(_WIDEST + 1)))) for _ in range(depth + 1)]
    batch = int(math.exp(rng.uniform(0, math.log(_LARGEST_BATCH + 1))))
    if wide:
        sizes, batch = [int(rng.integers(_WIDEST, _WIDE + 1)), *sizes[1:]], 1 + batch % 4
    loss = str(rng.choice(CORE_LOSSES))
    outputs = [name for name in activations if not parse(name).row.hidden_only]
    network = Network(
        sizes=tuple(sizes),
        activation=tuple(map(str, rng.choice(activations, depth - 1))),
        loss=loss,
        l2=float(rng.choice([0.0, 0.0, 0.001, 0.01, 1.0])),
        output_activation=None if losses.TABLE[loss].fuses else str(rng.choice(outputs)),
        dtype=dtype,
    )
    theta = initialize(network, seed, "uniform01" if rng.random() < 0.15 else "fan_in").astype(np.float64)
    for _, b in network.layers(theta):
        b += rng.choice([0.0, 0.3]) * rng.normal(size=b.shape)
    for slopes in network.slopes(theta):
        slopes += rng.normal(0, 0.3, slopes.shape)
    theta *= rng.choice([0.2, 1.0, 1.0, 1.0, 4.0])
    shape = (8 * batch + 20, sizes[0])
    x = rng.random(shape) if rng.random() < 0.3 else rng.normal(size=shape) * rng.choice([0.1, 1.0, 10.0])
    y = _targets(loss, (len(x), sizes[-1]), rng)
    return RandomCase(network, theta.astype(dtype), x.astype(dtype), y.astype(dtype), batch, seed)


def _targets(loss: str, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    if loss == "softmax_cross_entropy":
        if rng.random() < 0.5:
            return np.eye(shape[1])[rng.integers(shape[1], size=shape[0])]
        return rng.dirichlet(np.ones(shape[1]), shape[0])
    return rng.random(shape) if loss == "sigmoid_cross_entropy" else rng.normal(size=shape)


def implementations() -> Iterator[Backend]:
    """Yield every correct implementation that can run here."""
    yield OracleBackend(sequential=False)
    yield OracleBackend(sequential=True)
    for name in ("numpy", "c", "cpp"):
        try:
            yield pyfnn.load_backend(name)
        except BackendUnavailable as error:
            print(f"{name} left out: {error}")


def ratios(backend: Backend, battery: list[parity.Trial]) -> Iterator[tuple[str, float]]:
    """Yield (kind of tensor, error / (u k ‖M‖)) of every check whose bound is not 0."""
    evidence = parity.examine(backend.create, battery)
    for check in evidence.checks:
        if check.bound > 0:
            yield _kind(check.what), check.share * parity.C
        elif not check.passed:
            yield "exact: " + check.what, math.inf


def _kind(what: str) -> str:
    if what.startswith("displacement"):
        return "displacement, " + what.split(" after ")[1].split(",")[0]
    kind = what.split("[")[0]
    kind = kind.split("_")[0] if kind[0] == "d" else kind
    return f"{kind}, entries" if "[" in what else kind


def main(argv: list[str] | None = None) -> None:
    """Run the experiment and print its table."""
    description = "Measure the rounding errors of correct implementations on random networks, to choose pyfnn.parity.C."
    parser = argparse.ArgumentParser(prog="python -m bench.experiments.calibrate_parity", description=description)
    parser.add_argument("--networks", type=int, default=4000, help="number of networks for each dtype (4000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first network (1)")
    arguments = parser.parse_args(argv)
    backends = list(implementations())
    for dtype in DTYPES:
        seen: dict[str, dict[str, list[tuple[float, int]]]] = defaultdict(lambda: defaultdict(list))
        kinked = 0
        for seed in range(arguments.seed, arguments.seed + arguments.networks):
            case = random_case(seed, dtype, wide=seed % 20 == 0)
            try:
                battery = case.battery()
            except Unsupported:
                kinked += 1
                continue
            for backend in backends:
                for kind, ratio in ratios(backend, battery):
                    seen[kind][backend.description.name].append((ratio, seed))
        counted = arguments.networks - kinked
        print(f"\n{dtype}: {counted} networks; {kinked} others left out: parity cannot judge them")
        print(f"{'':24}{'':26}{'median':>9}{'99 %':>9}{'max':>9}  seed of the max")
        for kind, by_backend in sorted(seen.items()):
            for name, found in by_backend.items():
                median, high = np.quantile([ratio for ratio, _ in found], [0.5, 0.99])
                top, seed = max(found)
                print(f"{kind:24}{name:26}{median:9.3f}{high:9.3f}{top:9.3f}  {seed}")
        largest = max(ratio for found in seen.values() for pairs in found.values() for ratio, _ in pairs)
        print(f"largest: {largest:.3f}; C is {parity.C}")


if __name__ == "__main__":
    main()
