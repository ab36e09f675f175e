"""Claims about the check after a training: in place, of every number of θ, and of nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from support.requirements import require
from support.tuned import backend_at, levels, random_data

from pyfnn import registry
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, Diverged
from pyfnn.model import Model
from pyfnn.network import Network, initialize

IN_PLACE = ("numpy", "c", "cpp", "cpp-blas", *(f"cpp-tuned {level}" for level in levels()))
NETWORKS = (
    Network((3, 5, 2), "tanh", "squared_error"),
    Network((3, 17, 9, 1), ("prelu(0.25)", "maxout(3)"), "squared_error"),  # with slopes, and pieces of units
)


def backend(name: str) -> Backend:
    if name.startswith("cpp-tuned"):
        return backend_at(name.split()[1])
    try:
        return registry.load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise


@pytest.fixture(params=product(IN_PLACE, ("float32", "float64"), range(len(NETWORKS))), ids=str)
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    name, dtype, number = request.param
    network = replace(NETWORKS[number], dtype=dtype)
    with backend(name).create(network, initialize(network, 1)) as made:
        made.load(*random_data(network, 40))
        yield made


def test_every_single_number_that_is_not_finite_is_found_and_no_other(model: Model) -> None:
    theta = initialize(model.network, 2)
    theta[::2] = np.finfo(theta.dtype).max
    theta[1::4] = -np.finfo(theta.dtype).smallest_subnormal
    model._set_theta(theta)
    assert model._is_finite()
    for at, number in product(range(len(theta)), (np.nan, np.inf, -np.inf)):
        changed = theta.copy()
        changed[at] = number
        model._set_theta(changed)
        assert not model._is_finite(), f"theta[{at}] = {number}"
    model._reset()
    assert model._is_finite()


@pytest.mark.parametrize("batch", [1, 7])
def test_a_training_that_diverges_is_an_error_and_after_a_reset_the_next_one_is_none(model: Model, batch: int) -> None:
    def until_it_diverges() -> None:
        for _ in range(20):
            model.train(0, 80, batch, 1e30)

    with pytest.raises(Diverged, match=r"theta is not finite after \d+ steps at learning_rate = 1e\+30"):
        until_it_diverges()
    model.reset()
    assert model.train(0, 80, batch, 1e-3) > 0
    assert np.isfinite(model.theta()).all()


def test_no_training_copies_theta(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def copied() -> None:
        raise AssertionError("theta was copied")

    monkeypatch.setattr(model, "_theta", copied)
    assert model.train(0, 80, 7, 1e-3) > 0
