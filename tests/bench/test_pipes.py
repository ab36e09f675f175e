"""Claims about the end of a pipe: whichever command writes into it, it ends as it would have, without a message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.reports import environment
from support.sample_results import sample_results

from bench.results.store import save_results
from pyfnn.cli import COMMANDS

EVERY = [
    *([command.module, "--help"] for command in COMMANDS.values()),
    ["bench.experiments", "moons", "--help"],  # all that consist of cells have this command
    ["bench.experiments.cliffs", "--help"],  # and the others share one, too
    ["bench.experiments.gpu", "--list"],
    ["bench.experiments.sharpness", "--help"],
    ["bench.export", "--to", "schema"],
    ["pyfnn", "--help"],
    ["pyfnn", "export", "--to", "experiment-schema"],
]


def ended(words: list[str]) -> tuple[int, str]:
    """Run a command whose output nobody reads; return its exit status and its errors."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", *words]
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment())
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_a_command_whose_output_nobody_reads_ends_quietly(words: list[str]) -> None:
    assert ended(words) == (0, "")


def test_a_report_is_written_whole_though_nobody_reads_its_name(tmp_path: Path) -> None:
    save_results(sample_results(), tmp_path)
    assert ended(["bench.report", str(tmp_path)]) == (0, "")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_without_room_for_the_schema_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "bench.export", "--to", "schema"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
    assert done.returncode == 2
    assert done.stderr.startswith("bench.export: ")
    assert "No space left" in done.stderr
