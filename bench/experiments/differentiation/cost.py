"""The times of the methods on networks of growing width. They are illustrative: no intervals, no proof, no launches."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from bench.experiments.differentiation import symbolic
from bench.experiments.differentiation.methods import Method, Problem, make_problem

WIDEST = 256
DERIVATION = "derivation"  # of SymPy's expressions, apart from their evaluation
LONGEST = 0.1  # seconds; a method that takes longer for a gradient is not tried on wider networks
ENOUGH, FEWEST, MOST = 0.2, 3, 50  # seconds; repeats of a gradient
STEP = 2.0**-20  # h; the time does not depend on it


class Timing(NamedTuple):
    """The seconds of a gradient by so many parameters: the least and the median over the repeats."""

    method: str
    parameters: int
    least: float
    median: float
    repeats: int


def measure(methods: Mapping[str, Method], widest: int) -> list[Timing]:
    """Time every method on networks w-w-w in float64 with one row, w = 2, 4, 8 and so on to `widest`.

    What is done once for a network is not timed, but for the derivation of SymPy's expressions, which has its own
    timings: it takes far longer than their evaluation. NumPy's BLAS has one thread; XLA has its own.
    """
    widths = [2**k for k in range(1, widest.bit_length())]
    found = []
    with threadpool_limits(1):
        for name, method in methods.items():
            tried = widths
            if name == "symbolic":
                derivations = list(_timings(DERIVATION, tried, _derive))
                found += derivations
                tried = tried[: len(derivations)]
            found += _timings(name, tried, partial(_evaluate, method))
    return found


def _derive(problem: Problem) -> list[float]:
    return _repeated(lambda: symbolic.derive_anew(problem.network, len(problem.x)))


def _evaluate(method: Method, problem: Problem) -> list[float]:
    with method.prepare(problem) as gradient:
        return _repeated(lambda: gradient(STEP))


def _timings(name: str, widths: Sequence[int], seconds_of: Callable[[Problem], list[float]]) -> Iterator[Timing]:
    for width in widths:
        problem = make_problem((width, width, width), 1, "float64", seed=0)
        seconds = seconds_of(problem)
        yield Timing(name, problem.network.n_parameters, min(seconds), median(seconds), len(seconds))
        if min(seconds) > LONGEST:
            return


def _repeated(call: Callable[[], object]) -> list[float]:
    """Return the seconds of each repeat of a call; the first call of several is not counted."""
    seconds = [_seconds(call)]
    while len(seconds) <= FEWEST or (sum(seconds) < ENOUGH and len(seconds) < MOST):
        seconds.append(_seconds(call))
    return seconds[1:]


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def growth(timings: Sequence[Timing]) -> float | None:
    """Return the exponent p of time ~ n^p, by least squares over the three largest n; None for fewer."""
    last = timings[-3:]
    if len(last) < 3:
        return None
    return float(np.polyfit(np.log([t.parameters for t in last]), np.log([t.least for t in last]), 1)[0])
