"""Claims about files that a user names: a pipe, a device, a folder or an endless file is refused by name, at once."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pyfnn
from bench.results.journal import JOURNAL, RESULTS, read_journal
from bench.results.store import load_results
from bench.suites.load import load_suite
from pyfnn.manifest import read_manifest
from pyfnn.regular import MOST_BYTES, open_regular, read_regular

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes among files here"),
    pytest.mark.timeout(300),  # of a call that waits for a pipe
]


def _in_folder(name: str) -> Callable[[Path], object]:
    def load(path: Path) -> object:
        path.rename(path.with_name(name))
        return load_results(path.parent)

    return load


READERS: dict[str, Callable[[Path], object]] = {
    "a manifest": read_manifest,
    "a suite": lambda path: load_suite(str(path)),
    "results": _in_folder(RESULTS),
    "a journal": _in_folder(JOURNAL),
    "events": read_journal,
    "a network": pyfnn.load,
}


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (os.mkfifo, "not a regular file"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a folder": (Path.mkdir, "Is a directory"),
    "a sparse file": (_sparse, "larger than 1 GiB"),
}


# The arrays of a network are read one by one, as large as their headers say.
CASES = [(what, kind) for what in READERS for kind in KINDS if (what, kind) != ("a network", "a sparse file")]


@pytest.mark.parametrize(("what", "kind"), CASES)
def test_what_is_no_regular_file_is_refused_by_name(what: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    KINDS[kind][0](path)
    with pytest.raises((pyfnn.PyfnnError, OSError), match=KINDS[kind][1]) as caught:
        READERS[what](path)
    assert str(tmp_path) in str(caught.value)


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x00" * 100_000)
    assert read_regular(tmp_path / "file") == bytes(100_000)
    with open_regular(tmp_path / "file") as file:
        assert len(file.read()) == 100_000
