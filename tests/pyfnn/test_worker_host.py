"""Claims about `pyfnn.worker.Host`, which executes the protocol's commands on a Python backend. Starts no process."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted.model import PlantedBackend

from pyfnn.network import Network, initialize
from pyfnn.process import protocol
from pyfnn.worker import Host

NETWORK = Network((3, 4, 2), "tanh", "squared_error")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(PlantedBackend(), tmp_path)


def _prepare(folder: Path, network: Network = NETWORK) -> None:
    (folder / "network.txt").write_text(protocol.format_setup(protocol.Setup(network, 5, 5, 1)))
    arrays = {
        "theta.bin": initialize(network, 0),
        "x.bin": np.ones((5, network.sizes[0]), network.dtype),
        "y.bin": np.ones((5, network.sizes[-1]), network.dtype),
        "order.bin": np.arange(5),
    }
    for name, array in arrays.items():
        protocol.write_array(folder / name, array)


def _ask(host: Host, line: str) -> tuple[str, dict[str, str]]:
    return protocol.parse_reply(host.answer(line + "\n"))


def test_the_host_answers_every_command(host: Host, tmp_path: Path) -> None:
    assert _ask(host, "hello")[1]["name"] == "planted-None"
    _prepare(tmp_path)
    assert _ask(host, "init") == ("ok", {"threads": "1"})
    assert _ask(host, "forward 1 3") == ("ok", {})
    assert (tmp_path / "outputs.bin").stat().st_size == 3 * 2 * 4
    status, fields = _ask(host, "gradient 0 5")
    assert status == "ok"
    assert math.isfinite(float(fields["loss"]))
    assert (tmp_path / "gradient.bin").stat().st_size == NETWORK.n_parameters * 4
    assert _ask(host, "train 0 5 2 0.1")[0] == "ok"
    protocol.write_array(tmp_path / "probes.bin", np.array([3, 0]))
    assert set(_ask(host, "time forward 0 2 3 2")[1]) == {"seconds", "cpu_seconds", "checksum"}
    assert _ask(host, "theta") == ("ok", {})
    assert (tmp_path / "theta_out.bin").read_bytes() != (tmp_path / "theta.bin").read_bytes()
    assert _ask(host, "reset") == ("ok", {})
    _ask(host, "theta")
    assert (tmp_path / "theta_out.bin").read_bytes() == (tmp_path / "theta.bin").read_bytes()


@pytest.mark.parametrize("activation", ["elu", "prelu", "maxout"])
def test_a_function_that_the_backend_lacks_is_refused_before_theta_is_read(
    host: Host, tmp_path: Path, activation: str
) -> None:
    _prepare(tmp_path)
    lacking = replace(NETWORK, activation=activation)
    (tmp_path / "network.txt").write_text(protocol.format_setup(protocol.Setup(lacking, 5, 5, 1)))
    status, fields = _ask(host, "init")
    assert (status, fields["kind"]) == ("error", "unsupported")
    assert fields["message"] == f"planted-None has no activation '{activation}'"


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("forwards 0 1", "invalid", "unknown command 'forwards'; known: hello, init"),
        ("forward 0 1", "invalid", "no model yet: init comes first"),
        ("init", "invalid", "network.txt: No such file"),
        ("forward", "invalid", "forward FIRST COUNT"),
        ("forward 0 1 2", "invalid", "forward FIRST COUNT"),
    ],
)
def test_an_invalid_command_gets_an_error_reply(host: Host, line: str, kind: str, words: str) -> None:
    status, fields = _ask(host, line)
    assert (status, fields["kind"]) == ("error", kind)
    assert words in fields["message"]
    assert _ask(host, "hello")[0] == "ok"


@pytest.mark.parametrize("line", ["forward zero 1", "train 0 5 2 fast", "time sideways 0 1 1", "forward 0 6"])
def test_an_invalid_argument_gets_an_error_reply(host: Host, tmp_path: Path, line: str) -> None:
    _prepare(tmp_path)
    _ask(host, "init")
    status, fields = _ask(host, line)
    assert (status, fields["kind"]) == ("error", "invalid")
    assert _ask(host, "forward 0 5")[0] == "ok"


@pytest.mark.parametrize("name", ["network.txt", "theta.bin", "x.bin", "y.bin", "order.bin"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_after_a_damaged_file_the_host_keeps_its_model(host: Host, tmp_path: Path, name: str, damage: str) -> None:
    _prepare(tmp_path)
    _ask(host, "init")
    _ask(host, "forward 0 5")
    before = (tmp_path / "outputs.bin").read_bytes()
    if damage == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    status, fields = _ask(host, "init")
    assert status == "error"
    assert name in fields["message"]
    assert _ask(host, "forward 0 5")[0] == "ok"
    assert (tmp_path / "outputs.bin").read_bytes() == before


def test_init_can_be_repeated_with_another_network(host: Host, tmp_path: Path) -> None:
    _prepare(tmp_path)
    _ask(host, "init")
    _prepare(tmp_path, Network((2, 3), (), "softmax_cross_entropy", dtype="float64"))
    protocol.write_array(tmp_path / "y.bin", np.eye(3)[[0, 1, 2, 0, 1]])
    assert _ask(host, "init")[0] == "ok"
    _ask(host, "forward 0 1")
    assert (tmp_path / "outputs.bin").stat().st_size == 3 * 8


def test_an_unsupported_network_and_a_divergence_are_errors_of_their_own_kinds(host: Host, tmp_path: Path) -> None:
    _prepare(tmp_path, replace(NETWORK, activation="elu"))
    assert _ask(host, "init")[1]["kind"] == "unsupported"
    _prepare(tmp_path, replace(NETWORK, activation="identity"))
    _ask(host, "init")
    with np.errstate(all="ignore"):
        assert _ask(host, "train 0 5 1 1e30")[1]["kind"] == "diverged"
