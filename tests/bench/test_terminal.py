"""Claims about the console of the commands: it never raises, and it shows names as they are."""

import io
import os
import subprocess
import sys

import pytest

from bench.terminal import UnfailingStream, console

TALKS = """
from bench.terminal import console
out = console()
for number in range(100):
    out.print(f"line {number}: ± [bold]")
"""


def talk(**settings: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", TALKS]
    return subprocess.run(command, check=False, stderr=subprocess.PIPE, **settings)  # type: ignore[call-overload, no-any-return]


def test_a_closed_pipe_and_a_full_disk_end_no_process() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for stdout in (writing, os.open("/dev/full", os.O_WRONLY)):
        ended = talk(stdout=stdout)
        os.close(stdout)
        assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_terminal_of_ascii_shows_question_marks_and_names_in_brackets_are_shown_as_they_are() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        console().print("± [bold]name[/] :smile: [/]")
    stream.flush()
    assert raw.getvalue() == b"? [bold]name[/] :smile: [/]\n"


def test_a_stream_that_is_closed_or_absent_takes_everything() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (UnfailingStream(None), UnfailingStream(closed)):
        assert stream.write("text") == 4
        stream.flush()
        assert not stream.isatty()
