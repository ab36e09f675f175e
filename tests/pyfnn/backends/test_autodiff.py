"""Claims about gradients of our own backends: they are those of automatic differentiation, for every activation.

No mathematics of pyfnn is involved: support/autodiff.py has the network, autograd its derivatives.
"""

import importlib.util
from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import pytest
from support import autodiff
from support.requirements import require
from support.strategies import HIDDEN, OWN_LAYOUT, clear_of_kinks, targets

import pyfnn
from pyfnn import losses
from pyfnn.activations import parse
from pyfnn.errors import BackendUnavailable
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.validation import Array

BACKENDS = ["numpy", "c", "cpp", "cpp-blas", "cpp-tuned"]
NEAR = {"float32": 1e-5, "float64": 1e-12}  # relative to the norm of the gradient
FEW, SOAK = 4, 200  # random networks
Case = tuple[Network, Array, Array, Array]


def drawn(activation: str, loss: str, dtype: str) -> Iterator[Case]:
    """Yield random networks of two to four layers that have an activation in a hidden layer, at least, without end."""
    for seed in count():
        rng = np.random.default_rng(seed)
        widths = rng.integers(1, 12, rng.integers(2, 5)).tolist()
        sizes = (*widths, int(rng.integers(2, 12)))  # the softmax of a single output has no gradient
        hidden = [activation, *map(str, rng.choice(HIDDEN, len(sizes) - 3))]
        free = losses.TABLE[loss].fuses is None and not parse(activation).row.hidden_only
        output = activation if free and rng.random() < 0.5 else None
        lam = float(rng.choice([0.0, 0.1]))
        network = Network(sizes, tuple(rng.permutation(hidden).tolist()), loss, lam, output, dtype)
        theta = (initialize(network, seed) + rng.normal(0, 0.2, network.n_parameters)).astype(dtype)
        rows = int(rng.integers(1, 20))
        x, y = rng.normal(size=(rows, sizes[0])).astype(dtype), targets(network, rows, rng)
        if clear_of_kinks(network, theta.astype(np.float64), x.astype(np.float64)):
            yield network, theta, x, y


def check(name: str, case: Case) -> None:
    network, theta, x, y = case
    wide, T = x.astype(np.float64), y.astype(np.float64)
    loss, gradient = autodiff.loss_and_gradient(network, theta, wide, T)
    with pyfnn.load_backend(name).create(network, theta) as model:
        model.load(x, y, np.zeros(1, np.int64))
        found_loss, found = model.loss_and_gradient(0, len(x))
    near = NEAR[network.dtype]
    assert abs(found_loss - loss) <= near * abs(loss), network
    assert np.linalg.norm(found - gradient) <= near * np.linalg.norm(gradient), network


def available(name: str) -> None:
    require("autograd", importlib.util.find_spec("autograd") is not None, "pip install autograd")
    try:
        pyfnn.load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", losses.TABLE)
@pytest.mark.parametrize("activation", OWN_LAYOUT)
@pytest.mark.parametrize("name", BACKENDS)
def test_the_gradient_is_that_of_automatic_differentiation(name: str, activation: str, loss: str, dtype: str) -> None:
    available(name)
    for case in islice(drawn(activation, loss, dtype), FEW):
        check(name, case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", losses.TABLE)
@pytest.mark.parametrize("activation", HIDDEN)
def test_the_gradient_of_many_networks_is_that_of_automatic_differentiation(
    activation: str, loss: str, dtype: str
) -> None:
    for name in BACKENDS:
        available(name)
    for case in islice(drawn(activation, loss, dtype), SOAK):
        for name in BACKENDS:
            check(name, case)
