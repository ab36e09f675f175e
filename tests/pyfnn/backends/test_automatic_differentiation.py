"""Claims about every backend: its gradients are those of automatic differentiation, under each loss and activation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from itertools import count, islice

import pytest
from support import automatic
from support.automatic import Example
from support.requirements import require

from pyfnn import programs, registry
from pyfnn.activations import TABLE
from pyfnn.backend import CORE_LOSSES, Description
from pyfnn.backends import numpy_functions
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.model import Model
from pyfnn.network import DTYPES, Network
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.validation import Array

ROWS = registry.rows()
LIMITS = {"float32": 1e-5, "float64": 1e-12}  # of `automatic.error`
NETWORKS = 200  # of each activation, loss and dtype, in the soak
FEW = 4  # the same outside it
QUICK = ["numpy", "c", "cpp", "cpp-blas", "cpp-tuned"]
Create = Callable[[Network, Array], Model]


@contextmanager
def opened(name: str) -> Iterator[tuple[Description, Create]]:
    """Start a backend; those of frameworks for a device compute on the CPU. Skip the test if it is absent."""
    row = ROWS[name]
    try:
        if row.host is None:
            programs.build(row)
            with Worker(command_of(row)) as worker:
                yield worker.description, partial(ProcessModel, worker)
            return
        backend = registry.load(replace(row, device="cpu") if row.division == "framework" else row)
    except BackendUnavailable as error:
        require("gpu" if row.device == "cuda" else name, False, str(error))
        raise
    yield backend.description, backend.create


@cache
def _drawn(activation: str, loss: str, dtype: str) -> tuple[list[Example], Iterator[Example]]:
    return [], automatic.examples(activation, loss, dtype)


def examples(activation: str, loss: str, dtype: str) -> Iterator[Example]:
    """Yield the examples of `automatic`, each of which is made once."""
    made, further = _drawn(activation, loss, dtype)
    for at in count():
        if at == len(made):
            made.append(next(further))
        yield made[at]


def errors(create: Create, activation: str, loss: str, dtype: str, networks: int) -> list[float]:
    """Return the error on each of so many networks, without those that the backend cannot express."""
    found: list[float] = []
    for example in islice(examples(activation, loss, dtype), 10 * networks):
        with suppress(Unsupported):
            found.append(automatic.error(create, example))
        if len(found) == networks:
            break
    assert len(found) == networks
    return found


def check(name: str, dtype: str, networks: int) -> None:
    """Compare a backend on so many networks of each activation and loss that it has."""
    worst = {}
    with opened(name) as (description, create):
        for activation in [key for key in TABLE if key in description.activations]:
            for loss in [loss for loss in CORE_LOSSES if loss in description.losses]:
                worst[activation, loss] = max(errors(create, activation, loss, dtype, networks))
    assert worst
    assert {pair: found for pair, found in worst.items() if not found <= LIMITS[dtype]} == {}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", QUICK)
def test_gradients_are_those_of_automatic_differentiation(name: str, dtype: str) -> None:
    check(name, dtype, FEW)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROWS)
def test_gradients_are_those_of_automatic_differentiation_on_200_networks_of_each_kind(name: str, dtype: str) -> None:
    check(name, dtype, NETWORKS)


def test_a_wrong_derivative_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = numpy_functions.ACTIVATIONS["elu"]

    def off_by_one(delta: Array, Z: Array, A: Array, p: float) -> None:
        right.derivative(delta, Z, A + 1, p)

    monkeypatch.setitem(numpy_functions.ACTIVATIONS, "elu", right._replace(derivative=off_by_one))
    with opened("numpy") as (_, create):
        assert max(errors(create, "elu", "squared_error", "float32", FEW)) > 1000 * LIMITS["float32"]
