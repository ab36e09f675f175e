"""Measures the share of subnormal values in a workload's θ during training. Times nothing.

A CPU can be a hundred times slower with subnormal values. One backend stands for all, because all backends compute the
same trajectory.
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

_BACKENDS = ("cpp-tuned", "numpy")  # the first that is available trains the workload
_PIECES = 20  # number of inspections of θ


def share(theta: NDArray[Any]) -> float:
    """Return the share of values that are subnormal: not 0, but smaller than the smallest normal number."""
    subnormal = (theta != 0) & (np.abs(theta) < np.finfo(theta.dtype).tiny)
    return np.count_nonzero(subnormal) / max(theta.size, 1)


def greatest_subnormal_share(key: CaseKey, steps: int, seconds: float = 0.5) -> float:
    """Return the greatest share of subnormals in θ, at the start and during training.

    Of many networks at once only the first is trained.

    Parameters
    ----------
    key : CaseKey
    steps : int
        Number of steps to train; fewer where the sample order ends or the time is over.
    seconds : float
        Limit of the training time.
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
        with suppress(Diverged):  # the status of the backends reports it
            for first in range(0, rows, piece):
                model.train(first, min(piece, rows - first), batch, key.learning_rate, key.optimizer)
                found = max(found, share(model.theta()))
                if time.monotonic() > end:
                    break
    return found


def _model(key: CaseKey, problem: Problem) -> Model | None:
    """Return a model of the workload; None where no backend is available that can compute it."""
    for name in _BACKENDS:
        try:
            return registry.load_backend(name).create(problem.network, problem.theta, key.threads)
        except PyfnnError:
            continue
    return None
