"""Claims about the encoding of the worker protocol: replies, network.txt, hello and arrays. Starts no process."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.strategies import networks

from pyfnn.backend import Description
from pyfnn.errors import ProtocolError
from pyfnn.network import Network
from pyfnn.process import protocol

NETWORK = Network((3, 4, 2), "tanh", "squared_error")
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1)
DESCRIPTION = Description("n", "l", "c", "", "k", ("tanh", "elu"), ("squared_error",), "float64", deterministic=False)


@given(
    fields=st.dictionaries(KEYS, st.text(st.characters(exclude_categories=["Cs"]))),
    status=st.sampled_from(["ok", "error"]),
)
@example(fields={"message": "100%25 of\tit"}, status="error")
def test_any_text_can_be_sent_in_a_reply(fields: dict[str, str], status: str) -> None:
    line = protocol.format_reply(status, fields)
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert protocol.parse_reply(line) == (status, fields)


@pytest.mark.parametrize("line", ["", "ko\n", "OK\tloss=1\n", "okay\n", "hello world\n", "1.5\n"])
def test_a_reply_that_starts_with_neither_ok_nor_error_is_rejected_and_quoted(line: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(repr(line))):
        protocol.parse_reply(line)


def test_a_field_without_an_equals_sign_is_rejected_and_quoted() -> None:
    with pytest.raises(ProtocolError, match=r"a field without '=' in the reply 'ok\\tloss\\n'"):
        protocol.parse_reply("ok\tloss\n")


def test_a_value_may_contain_equals_signs_or_be_empty() -> None:
    assert protocol.parse_reply("ok\tflags=-O3 -march=native\tempty=\r\n") == (
        "ok",
        {"flags": "-O3 -march=native", "empty": ""},
    )


@given(network=networks(), rows=st.integers(1, 10**6), order=st.integers(1, 10**6), threads=st.integers(1, 64))
def test_any_setup_can_be_written_and_read(network: Network, rows: int, order: int, threads: int) -> None:
    setup = protocol.Setup(network, rows, order, threads)
    read = protocol.parse_setup(protocol.format_setup(setup))
    hidden = tuple(f.name for f in network.hidden_activations)
    assert read == replace(setup, network=replace(network, activation=hidden))


@pytest.mark.parametrize("key", ["sizes", "activations", "loss", "l2", "dtype", "rows", "order", "threads"])
def test_a_setup_that_lacks_a_line_is_rejected_by_its_key(key: str) -> None:
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
        ("activations tanh", "activations tanh tanh", "one name per hidden layer, of which there are 1"),
        ("l2 0.0", "l2 -1", "l2 = -1.0"),
        ("rows 1", "rows many", "invalid literal"),
    ],
)
def test_a_malformed_setup_is_rejected_with_the_value(line: str, instead: str, words: str) -> None:
    text = protocol.format_setup(protocol.Setup(NETWORK, 1, 1, 1))
    assert line in text
    with pytest.raises(ProtocolError, match=words):
        protocol.parse_setup(text.replace(line, instead))


def test_unknown_lines_of_a_setup_are_ignored() -> None:
    setup = protocol.Setup(replace(NETWORK, activation=("tanh",)), 1, 1, 1)
    assert protocol.parse_setup(protocol.format_setup(setup) + "\ncolour blue\n") == setup


def test_a_description_can_be_sent_by_hello() -> None:
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
def test_a_hello_that_breaks_the_protocol_is_rejected_with_the_field(change: dict[str, Any], words: str) -> None:
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


def test_files_that_are_missing_or_of_another_size_are_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"a\.bin: No such file"):
        protocol.read_array(tmp_path / "a.bin", (2,), "float32")
    for size in (0, 7, 9):
        (tmp_path / "a.bin").write_bytes(b"\0" * size)
        with pytest.raises(ProtocolError, match=rf"a\.bin has {size} bytes: \(2,\) of float32 takes 8"):
            protocol.read_array(tmp_path / "a.bin", (2,), "float32")
