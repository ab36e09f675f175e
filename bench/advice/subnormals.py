"""Whether a workload's θ drifts into denormals, on which a CPU may take a hundred times as long. Times nothing.

All backends that are timed walk one trajectory: one of them, walked again, tells of all.
"""

import time
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from pyfnn import registry
from pyfnn.errors import Diverged, PyfnnError
from pyfnn.model import Model

_WALKERS = ("cpp-tuned", "numpy")  # the first that can
_PIECES = 20


def share(theta: NDArray[Any]) -> float:
    """The share of its values that are denormal: not 0, and nearer to it than the least normal number."""
    few = (theta != 0) & (np.abs(theta) < np.finfo(theta.dtype).tiny)
    return np.count_nonzero(few) / max(theta.size, 1)


def greatest_subnormal_share(key: CaseKey, steps: int, seconds: float = 0.5) -> float:
    """The greatest share in θ at the start and on the way, over so many steps or as many as that time allows.

    Of many networks at once, the way of the first is walked.
    """
    problem = make_problem(key.workload, key.dtype)
    found = share(problem.thetas)
    model = _model(key, problem) if key.operation == "train" else None
    if model is None:
        return found
    batch = key.workload.batch
    order = problem.orders[0]
    rows = min(steps * batch, order.size)
    piece = max(batch, rows // _PIECES // batch * batch)
    with model:
        model.load(problem.x, problem.y, order)
        end = time.monotonic() + seconds
        with suppress(Diverged):  # told elsewhere
            for first in range(0, rows, piece):
                model.train(first, min(piece, rows - first), batch, key.workload.learning_rate)
                found = max(found, share(model.theta()))
                if time.monotonic() > end:
                    break
    return found


def _model(key: CaseKey, problem: Problem) -> Model | None:
    """A model of the workload; None where no walker is here, or can compute it."""
    for name in _WALKERS:
        try:
            return registry.load_backend(name).create(problem.network, problem.theta, key.threads)
        except PyfnnError:
            continue
    return None
