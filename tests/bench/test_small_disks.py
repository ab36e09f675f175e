"""Claims about a run on disks that fill up: the cache of programs, the results, the folder of temporary files."""

import json
import subprocess
import sys
from pathlib import Path

import misbehaving
import pytest
from support.drivers import SHORT_RUN
from support.small_disk import with_small_disk

from bench.results.journal import JOURNAL, read_journal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file systems of a process are Linux's")

BUILT = 'build = "head -c 4000000 /dev/zero > {build}/program"\nrun = "{build}/program"'


def command(folder: Path, backends: str, out: Path) -> list[str]:
    """Return the command line of a run of three launches."""
    manifest = misbehaving.manifest(folder / "backend.toml", {"steady": misbehaving.STEADY}, {"built": BUILT})
    suite = misbehaving.suite(folder / "tiny.toml", budget=60.0)
    words = [sys.executable, "-c", SHORT_RUN, "--suite", suite, "--backend", manifest, "--backends", backends]
    return [*map(str, words), "--reference", "steady", "--precision", "1000", "--out", str(out)]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    made = tmp_path / "disk"
    made.mkdir()
    return made


def backends(out: Path) -> dict[str, tuple[str, str]]:
    """Return status and reason of each backend."""
    (case,) = json.loads((out / "results.json").read_text(encoding="utf-8"))["cases"]
    return {backend["name"]: (backend["status"], backend["reason"]) for backend in case["backends"]}


def test_a_cache_without_room_for_a_program_is_named_and_the_other_backends_are_timed(
    tmp_path: Path, disk: Path
) -> None:
    out = tmp_path / "out"
    done = with_small_disk(disk, 400, *command(tmp_path, "steady,built", out), XDG_CACHE_HOME=str(disk))
    assert done.returncode == 0, done.stdout + done.stderr
    assert backends(out)["steady"][0] == "ok"
    status, reason = backends(out)["built"]
    assert status == "unavailable"
    assert reason == f"{disk}/pyfnn/programs takes no build: No space left on device"


def test_results_that_fill_their_disk_end_the_run_with_a_journal_that_can_be_read(tmp_path: Path, disk: Path) -> None:
    whole, kept = tmp_path / "whole", tmp_path / "kept.jsonl"
    subprocess.run(command(tmp_path, "steady", whole), capture_output=True, check=True)
    kib = (whole / JOURNAL).stat().st_size * 7 // 8192 // 4 * 4
    keep = f'"$@"; status=$?; cp {disk}/out/{JOURNAL} {kept}; exit $status'
    done = with_small_disk(disk, kib, "sh", "-c", keep, "sh", *command(tmp_path, "steady", disk / "out"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "pyfnn: cannot write results: [Errno 28] No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert 1 <= len(read_journal(kept)) < len(read_journal(whole / JOURNAL))


def test_temporary_files_that_fill_their_disk_are_not_the_backends_fault(tmp_path: Path, disk: Path) -> None:
    out = tmp_path / "out"
    done = with_small_disk(disk, 1024, *command(tmp_path, "steady", out), TMPDIR=str(disk))
    assert done.returncode == 1, done.stdout + done.stderr
    status, reason = backends(out)["steady"]
    assert status == "not_run"
    assert "takes no data: No space left on device" in reason
    assert "Traceback" not in done.stderr
