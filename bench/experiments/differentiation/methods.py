"""Ways to differentiate the loss of a network: by differences, by packages, by backpropagation; and their error.

All differentiate the oracle's loss, or the same loss in a package's words, of one problem at one θ.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import pyfnn
from bench.experiments.differentiation import automatic, symbolic
from pyfnn import oracle
from pyfnn.network import Network, initialize
from pyfnn.validation import Array

L2 = 1 / 128  # λ: exact in every dtype, so that it adds no rounding error
BACKEND = "backend"  # the method of the backend that --backend names

Gradient = Callable[[float], Array]  # h -> ∂R/∂θ, in the dtype of θ; only a method that takes steps uses h


@dataclass(frozen=True)
class Problem:
    """A network with its parameters and rows. theta: (n_parameters,); x: (rows, m_0); y: (rows, m_L)."""

    network: Network
    theta: Array
    x: Array
    y: Array


@dataclass(frozen=True)
class Method:
    """A way to compute a gradient.

    Attributes
    ----------
    label : str
    work : str
        Its work for n parameters, in passes over the network.
    prepare : callable
        Problem -> a context that gives the function h -> gradient. All that is done once belongs here: deriving
        expressions, compiling, loading rows.
    takes_steps : bool
    package : str or None
        The package that it needs beyond the harness's own.
    """

    label: str
    work: str
    prepare: Callable[[Problem], AbstractContextManager[Gradient]]
    takes_steps: bool = False
    package: str | None = None


def make_problem(sizes: tuple[int, ...], rows: int, dtype: str, seed: int) -> Problem:
    """Draw a problem: tanh, softmax, cross-entropy, biases other than 0, and classes as targets.

    All functions are smooth, so that every method has something to converge to.
    """
    network = Network(sizes, "tanh", "softmax_cross_entropy", l2=L2, dtype=dtype)
    rng = np.random.default_rng(seed)
    theta = initialize(network, seed) + rng.normal(0, 0.2, network.n_parameters)
    x = rng.normal(size=(rows, sizes[0]))
    y = np.eye(sizes[-1])[rng.integers(sizes[-1], size=rows)]
    return Problem(network, *(array.astype(dtype) for array in (theta, x, y)))


def exact(problem: Problem) -> Array:
    """Return the gradient in longdouble, by backpropagation."""
    return oracle.loss_and_gradient(problem.network, problem.theta.astype(np.longdouble), problem.x, problem.y)[1]


def error(problem: Problem, gradient: Array) -> float:
    """Return ‖g - ĝ‖ / ‖ĝ‖, ĝ the gradient in longdouble."""
    right = exact(problem)
    return float(np.linalg.norm(gradient - right) / np.linalg.norm(right))


def forward_difference(problem: Problem, h: float) -> Array:
    """Return (R(θ + h e_i) - R(θ)) / h for every i: n + 1 losses."""
    at, step = _loss(problem, problem.theta), problem.theta.dtype.type(h)
    return np.array([(_loss(problem, moved) - at) / step for moved in _moved(problem.theta, step)])


def central_difference(problem: Problem, h: float) -> Array:
    """Return (R(θ + h e_i) - R(θ - h e_i)) / 2h for every i: 2n losses."""
    step = problem.theta.dtype.type(h)
    pairs = zip(_moved(problem.theta, step), _moved(problem.theta, -step), strict=True)
    return np.array([(_loss(problem, above) - _loss(problem, below)) / (2 * step) for above, below in pairs])


def complex_step(problem: Problem, h: float) -> Array:
    """Return Im R(θ + ih e_i) / h for every i: n losses in complex numbers (Squire and Trapp 1998, SIAM Review 40).

    No difference is taken, so nothing cancels, however small h is. The loss must be analytic where it is computed: tanh
    and softmax are, an absolute value is not.
    """
    step = problem.theta.dtype.type(h)
    wide = problem.theta.astype(np.result_type(problem.theta, np.complex64))
    return np.array([_loss(problem, moved).imag / step for moved in _moved(wide, 1j * step)])


def _loss(problem: Problem, theta: Array) -> Any:
    return oracle.loss(problem.network, theta, problem.x, problem.y)


def _moved(theta: Array, step: Any) -> Iterator[Array]:
    """Yield θ + step e_i for every i."""
    for at in range(theta.size):
        moved = theta.copy()
        moved[at] += step
        yield moved


def _by_steps(method: Callable[[Problem, float], Array]) -> Callable[[Problem], AbstractContextManager[Gradient]]:
    return lambda problem: nullcontext(partial(method, problem))


def _symbolic(problem: Problem) -> AbstractContextManager[Gradient]:
    expressions = symbolic.Gradient(problem.network, len(problem.x))
    return nullcontext(lambda _: expressions(problem.theta, problem.x, problem.y))


def _automatic(mode: automatic.Mode, problem: Problem) -> AbstractContextManager[Gradient]:
    compiled = automatic.gradient(problem.network, problem.x, problem.y, mode)
    compiled(problem.theta)  # JAX compiles at the first call
    return nullcontext(lambda _: compiled(problem.theta))


def _backpropagation(problem: Problem) -> AbstractContextManager[Gradient]:
    network, rows = problem.network, (problem.x, problem.y)
    return nullcontext(lambda _: oracle.loss_and_gradient(network, problem.theta, *rows)[1])


@contextmanager
def _backend(name: str, problem: Problem) -> Iterator[Gradient]:
    rows = len(problem.x)
    with pyfnn.load_backend(name).create(problem.network, problem.theta) as model:
        model.load(problem.x, problem.y, np.arange(rows))
        yield lambda _: model.loss_and_gradient(0, rows)[1]


def methods(backend: str) -> dict[str, Method]:
    """Return every method by its name; the last one is that of a backend of pyfnn."""
    return {
        "forward difference": Method("forward difference", "n + 1 forward", _by_steps(forward_difference), True),
        "central difference": Method("central difference", "2n forward", _by_steps(central_difference), True),
        "complex step": Method("complex step", "n complex forward", _by_steps(complex_step), True),
        "symbolic": Method("symbolic (SymPy)", "an expression for each parameter", _symbolic, package="sympy"),
        "forward mode": Method(
            "automatic, forward mode (JAX)", "n forward, with tangents", partial(_automatic, "forward"), package="jax"
        ),
        "reverse mode": Method(
            "automatic, reverse mode (JAX)", "1 forward, 1 back", partial(_automatic, "reverse"), package="jax"
        ),
        "backpropagation": Method("backpropagation (oracle)", "1 forward, 1 back", _backpropagation),
        BACKEND: Method(f"backpropagation ({backend})", "1 forward, 1 back", partial(_backend, backend)),
    }
