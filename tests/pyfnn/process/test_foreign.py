"""Claims about tests/foreign: a program in Perl that knows only the protocol takes part like any backend."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.requirements import require
from support.strategies import targets

import pyfnn
from pyfnn import parity
from pyfnn.backend import CORE_LOSSES, Backend
from pyfnn.errors import PyfnnError, Unsupported
from pyfnn.network import DTYPES, Network, initialize

MANIFEST = Path(__file__).parents[2] / "foreign" / "backend.toml"


@pytest.fixture(scope="module")
def foreign() -> Backend:
    require("perl", shutil.which("perl") is not None, "install Perl 5.22 or later")
    return pyfnn.load_backend("foreign", [MANIFEST])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", CORE_LOSSES)
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_the_protocol_suffices(foreign: Backend, activation: str, loss: str, dtype: str) -> None:
    network, rng = Network((5, 7, 4, 3), activation, loss, dtype=dtype), np.random.default_rng(1)
    x = rng.normal(size=(60, 5)).astype(dtype)
    battery = parity.battery(network, initialize(network, 2), x, targets(network, 60, rng), 4)
    evidence = parity.examine(foreign.create, battery)
    assert evidence.passed, evidence.worst


def test_it_says_that_it_computes_in_double(foreign: Backend) -> None:
    assert foreign.description.arithmetic == "float64"
    assert foreign.description.language == "Perl"


def test_what_it_lacks_is_refused_by_name(foreign: Backend) -> None:
    network = Network((2, 2, 1), "softplus", "squared_error")
    with pytest.raises(Unsupported, match="foreign has no activation 'softplus'"):
        foreign.create(network, initialize(network, 0))


def test_its_own_errors_come_through(foreign: Backend) -> None:
    network = Network((2, 2, 1), "tanh", "squared_error")
    with foreign.create(network, initialize(network, 0)) as model:
        model.load(np.ones((2, 2), "f4"), np.ones((2, 1), "f4"), np.arange(2))
        (model._worker.workdir / "order.bin").unlink()  # type: ignore[attr-defined]
        with pytest.raises(PyfnnError, match=r"order\.bin: No such file"):
            model._worker.call("init")  # type: ignore[attr-defined]
        assert model.forward(0, 2).shape == (2, 1)
