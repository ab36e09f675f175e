"""Claims about tests/foreign: a Perl program that implements only the worker protocol serves as a backend."""

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
def test_a_program_that_knows_only_the_protocol_passes_the_battery(
    foreign: Backend, activation: str, loss: str, dtype: str
) -> None:
    network, rng = Network((5, 7, 4, 3), activation, loss, dtype=dtype), np.random.default_rng(1)
    x = rng.normal(size=(60, 5)).astype(dtype)
    battery = parity.battery(network, initialize(network, 2), x, targets(network, 60, rng), 4)
    evidence = parity.examine(foreign.create, battery)
    assert evidence.passed, evidence.worst


def test_the_program_describes_its_arithmetic_as_double(foreign: Backend) -> None:
    assert foreign.description.arithmetic == "float64"
    assert foreign.description.language == "Perl"


def test_a_function_that_the_program_lacks_is_rejected_by_name(foreign: Backend) -> None:
    network = Network((2, 2, 1), "softplus", "squared_error")
    with pytest.raises(Unsupported, match="foreign has no activation 'softplus'"):
        foreign.create(network, initialize(network, 0))


def test_an_error_of_the_program_reaches_the_driver(foreign: Backend) -> None:
    network = Network((2, 2, 1), "tanh", "squared_error")
    with foreign.create(network, initialize(network, 0)) as model:
        model.load(np.ones((2, 2), "f4"), np.ones((2, 1), "f4"), np.arange(2))
        (model._worker.workdir / "order.bin").unlink()  # type: ignore[attr-defined]
        with pytest.raises(PyfnnError, match=r"order\.bin: No such file"):
            model._worker.call("init")  # type: ignore[attr-defined]
        assert model.forward(0, 2).shape == (2, 1)
