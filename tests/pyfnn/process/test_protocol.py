"""Claims about the protocol's words and files, and about the host that answers them. Processes: test_process."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from planted.model import PlantedBackend
from support.strategies import networks

from pyfnn.backend import Description
from pyfnn.errors import ProtocolError
from pyfnn.network import Network, initialize
from pyfnn.process import protocol
from pyfnn.worker import Host

NETWORK = Network((3, 4, 2), "tanh", "squared_error")
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1)
DESCRIPTION = Description("n", "l", "c", "", "k", ("tanh", "elu"), ("squared_error",), "float64", deterministic=False)


@given(
    fields=st.dictionaries(KEYS, st.text(st.characters(exclude_categories=["Cs"]))),
    status=st.sampled_from(["ok", "error"]),
)
@example(fields={"message": "100%25 of\tit"}, status="error")
def test_any_text_survives_a_reply(fields: dict[str, str], status: str) -> None:
    line = protocol.format_reply(status, fields)
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert protocol.parse_reply(line) == (status, fields)


@pytest.mark.parametrize("line", ["", "ko\n", "OK\tloss=1\n", "okay\n", "hello world\n", "1.5\n"])
def test_a_reply_that_starts_with_neither_ok_nor_error_is_quoted(line: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(repr(line))):
        protocol.parse_reply(line)


def test_a_field_without_equals_is_quoted() -> None:
    with pytest.raises(ProtocolError, match=r"a field without '=' in the reply 'ok\\tloss\\n'"):
        protocol.parse_reply("ok\tloss\n")


def test_a_value_may_hold_equals_and_be_empty() -> None:
    assert protocol.parse_reply("ok\tflags=-O3 -march=native\tempty=\r\n") == (
        "ok",
        {"flags": "-O3 -march=native", "empty": ""},
    )


@given(network=networks(), rows=st.integers(1, 10**6), order=st.integers(1, 10**6), threads=st.integers(1, 64))
def test_any_setup_survives_its_text(network: Network, rows: int, order: int, threads: int) -> None:
    setup = protocol.Setup(network, rows, order, threads)
    read = protocol.parse_setup(protocol.format_setup(setup))
    hidden = tuple(f.name for f in network.hidden_activations)
    assert read == replace(setup, network=replace(network, activation=hidden))


@pytest.mark.parametrize("key", ["sizes", "activations", "loss", "l2", "dtype", "rows", "order", "threads"])
def test_a_setup_without_a_line_names_it(key: str) -> None:
    text = protocol.format_setup(protocol.Setup(NETWORK, 1, 1, 1))
    without = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(key))
    with pytest.raises(ProtocolError, match=f"network.txt has no line '{key}'"):
        protocol.parse_setup(without)


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("sizes 3 4 2", "sizes 3 four 2", "invalid literal"),
        ("sizes 3 4 2", "sizes", "at least two sizes"),
        ("loss squared_error", "loss square_error", "did you mean 'squared_error'"),
        ("loss squared_error", "loss", "network.txt"),
        ("activations tanh", "activations tanh tanh", "activation names 2 layers"),
        ("l2 0.0", "l2 -1", "l2 = -1.0"),
        ("rows 1", "rows many", "invalid literal"),
    ],
)
def test_a_malformed_setup_names_the_value(line: str, instead: str, words: str) -> None:
    text = protocol.format_setup(protocol.Setup(NETWORK, 1, 1, 1))
    assert line in text
    with pytest.raises(ProtocolError, match=words):
        protocol.parse_setup(text.replace(line, instead))


def test_unknown_lines_of_a_setup_are_ignored() -> None:
    setup = protocol.Setup(replace(NETWORK, activation=("tanh",)), 1, 1, 1)
    assert protocol.parse_setup(protocol.format_setup(setup) + "\ncolour blue\n") == setup


def test_a_description_survives_hello() -> None:
    fields = protocol.describe(DESCRIPTION) | {"colour": "blue"}
    assert protocol.parse_description(fields) == DESCRIPTION


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "2"}, "protocol 2: this version speaks 1"),
        ({"protocol": None}, "protocol unstated: this version speaks 1"),
        ({"clock": None, "flags": None}, "the reply to hello lacks flags, clock"),
        ({"arithmetic": "float16"}, "arithmetic=float16: must be native or float64"),
        ({"deterministic": "maybe"}, "deterministic=maybe: must be yes or no"),
    ],
)
def test_a_hello_that_is_not_this_protocols_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    fields = {**protocol.describe(DESCRIPTION), **change}
    with pytest.raises(ProtocolError, match=words):
        protocol.parse_description({key: value for key, value in fields.items() if value is not None})


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_arrays_are_raw_little_endian_and_in_c_order(tmp_path: Path, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for stored in (array, np.asfortranarray(array), array.astype(array.dtype.newbyteorder(">"))):
        protocol.write_array(tmp_path / "a.bin", stored)
        assert (tmp_path / "a.bin").read_bytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()
    read = protocol.read_array(tmp_path / "a.bin", (2, 3), dtype)
    assert read.dtype == np.dtype(dtype)
    assert read.tolist() == array.tolist()
    assert read.flags.writeable


def test_files_that_are_missing_or_of_another_size_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"a\.bin: No such file"):
        protocol.read_array(tmp_path / "a.bin", (2,), "float32")
    for size in (0, 7, 9):
        (tmp_path / "a.bin").write_bytes(b"\0" * size)
        with pytest.raises(ProtocolError, match=rf"a\.bin has {size} bytes: \(2,\) of float32 takes 8"):
            protocol.read_array(tmp_path / "a.bin", (2,), "float32")


# The host -------------------------------------------------------------------------------------------------------------


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


def test_a_host_answers_every_command(host: Host, tmp_path: Path) -> None:
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
    assert set(_ask(host, "time forward 0 2 3")[1]) == {"seconds", "checksum"}
    assert _ask(host, "theta") == ("ok", {})
    assert (tmp_path / "theta_out.bin").read_bytes() != (tmp_path / "theta.bin").read_bytes()
    assert _ask(host, "reset") == ("ok", {})
    _ask(host, "theta")
    assert (tmp_path / "theta_out.bin").read_bytes() == (tmp_path / "theta.bin").read_bytes()


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
def test_a_command_that_makes_no_sense_is_answered_with_an_error(host: Host, line: str, kind: str, words: str) -> None:
    status, fields = _ask(host, line)
    assert (status, fields["kind"]) == ("error", kind)
    assert words in fields["message"]
    assert _ask(host, "hello")[0] == "ok"


@pytest.mark.parametrize("line", ["forward zero 1", "train 0 5 2 fast", "time sideways 0 1 1", "forward 0 6"])
def test_an_argument_that_makes_no_sense_is_answered_with_an_error(host: Host, tmp_path: Path, line: str) -> None:
    _prepare(tmp_path)
    _ask(host, "init")
    status, fields = _ask(host, line)
    assert (status, fields["kind"]) == ("error", "invalid")
    assert _ask(host, "forward 0 5")[0] == "ok"


@pytest.mark.parametrize("name", ["network.txt", "theta.bin", "x.bin", "y.bin", "order.bin"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_file_leaves_the_host_with_the_model_it_had(
    host: Host, tmp_path: Path, name: str, damage: str
) -> None:
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


def test_init_may_come_again_with_another_network(host: Host, tmp_path: Path) -> None:
    _prepare(tmp_path)
    _ask(host, "init")
    _prepare(tmp_path, Network((2, 3), (), "softmax_cross_entropy", dtype="float64"))
    protocol.write_array(tmp_path / "y.bin", np.eye(3)[[0, 1, 2, 0, 1]])
    assert _ask(host, "init")[0] == "ok"
    _ask(host, "forward 0 1")
    assert (tmp_path / "outputs.bin").stat().st_size == 3 * 8


def test_an_unsupported_network_and_a_divergence_are_told_apart(host: Host, tmp_path: Path) -> None:
    _prepare(tmp_path, replace(NETWORK, activation="elu"))
    assert _ask(host, "init")[1]["kind"] == "unsupported"
    _prepare(tmp_path, replace(NETWORK, activation="identity"))
    _ask(host, "init")
    with np.errstate(all="ignore"):
        assert _ask(host, "train 0 5 1 1e30")[1]["kind"] == "diverged"
