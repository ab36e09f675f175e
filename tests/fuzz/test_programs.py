"""Claims about every worker program, Python's host included: no line and no file ends it, hangs it, or goes unanswered.

The inputs are drawn from seeds (see `lines`). `FUZZ_LINES` sets the number of lines of the soak, `FUZZ_SEED` its seed.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.requirements import require
from support.rogue import HELLO, ROGUE

from fuzz.lines import ENTRIES, FILES, ROWS, Draws
from fuzz.stream import Broken, Stream
from pyfnn import registry
from pyfnn.errors import BackendUnavailable, BuildFailed
from pyfnn.process.program import command_of

COMPILED = ("csharp", "d", "fortran", "go", "java", "nim", "ocaml", "rust", "zig")
NAMES = [*(name for name, row in registry.rows().items() if row.host is None), "numpy"]
WITHOUT_NUL = ("octave",)  # its `input` reads lines as strings of C, and has no way to read others
BATCH = 500  # lines for one set of files
_CHECK = (b"init", b"reset", b"forward 0 %d" % ROWS, b"train 0 %d 4 0.1" % ENTRIES, b"theta")


def command(name: str) -> list[str]:
    """Return the command line of a backend's worker; skip the test without its toolchain."""
    row = registry.find(name)
    try:
        return command_of(row)
    except BuildFailed:
        raise
    except BackendUnavailable:
        require(name, False, row.remedy)
        raise


def state(stream: Stream, folder: Path) -> tuple[bytes, bytes]:
    """Load the sound files and train; return the bytes of outputs before it and of theta after it."""
    stream.write_files(FILES)
    assert stream.answers(_CHECK) == ["ok"] * len(_CHECK)
    return (folder / "outputs.bin").read_bytes(), (folder / "theta_out.bin").read_bytes()


def fuzz(name: str, stream: Stream, folder: Path, count: int, seed: int) -> Counter[str]:
    """Send so many lines in batches, each with files of its own; return the number of replies by status."""
    nul = b"?" if name in WITHOUT_NUL else b"\0"
    draws, sound, found = Draws(seed), state(stream, folder), Counter[str]()
    for _ in range(0, count, BATCH):
        stream.write_files(draws.files())
        lines = [line.replace(b"\0", nul) for line in draws.lines(BATCH - 1)]
        found.update(stream.answers([b"init", *lines]))
        assert state(stream, folder) == sound
    assert stream.end() == 0
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_answers_every_line_and_ends_with_status_0(name: str, tmp_path: Path) -> None:
    with Stream(command(name), tmp_path) as stream:
        found = fuzz(name, stream, tmp_path, 2 * BATCH, seed=1)
    assert found["ok"] > BATCH / 10
    assert found["error"] > BATCH / 10


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*NAMES, "cpp-tuned"])
def test_a_worker_answers_a_hundred_thousand_lines_a_compiled_one_a_million(name: str, tmp_path: Path) -> None:
    count = int(os.environ.get("FUZZ_LINES") or (1_000_000 if name in COMPILED else 100_000))
    with Stream(command(name), tmp_path) as stream:
        found = fuzz(name, stream, tmp_path, count, seed=int(os.environ.get("FUZZ_SEED", "2")))
    assert found.total() >= count
    print(f"{name}: {found.total()} lines, {dict(found)}")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("sys.exit('a bad line')", "has no reply; exit status 1; stderr: a bad line"),
        ("time.sleep(60)", "has no reply; exit status -9"),
        ("reply('ok'); reply('ok')", "replies that do not match"),
        ("reply('well')", "starts with neither ok nor error"),
        ("reply('error')", "an error without a message"),
    ],
)
def test_a_worker_that_ends_hangs_or_answers_wrongly_is_found(behaviour: str, words: str, tmp_path: Path) -> None:
    script = ROGUE.format(hello=HELLO, behaviour=behaviour)
    worker = [sys.executable, "-I", "-S", "-c", script]
    patience = 2.0 if "sleep" in behaviour else 60.0
    with Stream(worker, tmp_path, patience) as stream, pytest.raises(Broken) as caught:
        stream.answers([b"theta", b"theta"])
    assert words in str(caught.value)
