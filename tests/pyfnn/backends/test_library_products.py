"""Claims about cpp-blas, cpp-mkl and cpp-xsmm alike: every shape of product, the decay of weights, one thread.

test_blas, test_mkl and test_xsmm have the rest. Agreement on random networks is tested for all backends in test_parity.
"""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from support.requirements import require

import pyfnn
from pyfnn import oracle, parity
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.network import Network, initialize

# Widths for which libraries have separate code: 1 and 2, a vector register, one more and one less, more than a block of
# OpenBLAS (130) and of the products through LIBXSMM (128 or 256); MKL may generate no kernel for the last.
WIDTHS = st.sampled_from([1, 2, 3, 15, 16, 17, 63, 64, 130, 300])
MOST_THREADS = {"cpp-blas": 2, "cpp-mkl": 1, "cpp-xsmm": 1}  # of a network for which two are asked


class Made(NamedTuple):
    """A backend that is here, and how many threads a network has for which two are asked."""

    backend: Backend
    threads: int


@pytest.fixture(scope="module", params=MOST_THREADS)
def made(request: pytest.FixtureRequest) -> Made:
    try:
        return Made(pyfnn.load_backend(request.param), MOST_THREADS[request.param])
    except BackendUnavailable as error:
        require(request.param, False, str(error))
        raise


@settings(max_examples=20)
@given(
    sizes=st.lists(WIDTHS, min_size=2, max_size=4),
    batch=st.sampled_from([1, 2, 7, 16, 33, 129]),
    dtype=st.sampled_from(["float32", "float64"]),
    l2=st.sampled_from([0.0, 0.01]),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 1000),
)
def test_every_shape_of_product_agrees_with_the_oracle(
    made: Made, sizes: list[int], batch: int, dtype: str, l2: float, threads: int, seed: int
) -> None:
    network = Network(tuple(sizes), "tanh", "half_squared_error", l2=l2, dtype=dtype)
    rng, rows = np.random.default_rng(seed), max(80, 2 * batch)
    x, y = rng.normal(size=(rows, sizes[0])).astype(dtype), rng.normal(size=(rows, sizes[-1])).astype(dtype)
    try:
        battery = parity.battery(network, initialize(network, seed), x, y, batch)
    except Unsupported:  # rounding errors grow too fast for a verdict
        reject()
    evidence = parity.examine(lambda network, theta: made.backend.create(network, theta, threads), battery)
    assert evidence.passed, str(evidence.worst)


def test_a_decay_that_a_factor_of_the_weights_would_round_is_not_left_to_the_product(made: Made) -> None:
    """The factor 1 - rate λ is 1 - 9e-8, which float32 rounds to 1 - 12e-8: after 2000 steps, 6e-5 of each weight."""
    rate, rows, steps = 1e-4, 16, 2000
    network = Network((4, 3), "identity", "half_squared_error", l2=9e-8 / rate)
    theta = 0.5 + initialize(network, 3) ** 2  # far from the smallest loss, and from 0
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(rows, m)).astype("f4") for m in (4, 3))
    order = np.tile(np.arange(rows), steps // 2)
    with made.backend.create(network, theta.astype("f4"), 1) as model:
        model.load(x, y, order)
        model.train(0, 8 * steps, 8, rate)
        found = model.theta()
    expected = oracle.train(network, theta.astype("f4").astype("f8"), x.astype("f8"), y.astype("f8"), order, 8, rate)
    assert np.abs(found / expected - 1)[:12].max() < 2e-5


def test_cpp_blas_has_as_many_threads_as_are_asked_for_and_the_others_one(made: Made) -> None:
    network = Network((3, 2), "tanh", "squared_error")
    with made.backend.create(network, initialize(network, 0), 2) as model:
        assert model.threads == made.threads
