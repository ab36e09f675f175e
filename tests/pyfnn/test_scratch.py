"""Claims about temporary folders: whose they are, and when they are removed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyfnn import scratch
from pyfnn.scratch import Scratch, remove_abandoned

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of files here")

PATIENCE = 60.0  # seconds for the lock of a place: on a slow machine another process may hold it for long
HOLDS = f"import sys; from pathlib import Path; from pyfnn import scratch; scratch._PATIENCE = {PATIENCE};" + (
    "print(scratch.Scratch(Path(sys.argv[1])).path, flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_PATIENCE", PATIENCE)


def holder(place: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def folder_of(process: "subprocess.Popen[str]") -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_a_folder_of_a_killed_process_is_removed_by_the_next_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    place = tmp_path / "place"
    dead, living = holder(place), holder(place)
    left, used = folder_of(dead), folder_of(living)
    (left / "locked").mkdir()
    (left / "locked" / "file").touch()
    (left / "locked").chmod(0o500)
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    assert left.is_dir()
    with Scratch(place) as own:
        assert not left.parent.exists()
        assert used.is_dir()
        assert own.path.is_dir()
    assert not own.path.exists()
    living.communicate()
    assert not used.parent.exists()  # removed at its normal end


def test_what_a_killed_process_left_is_removed_without_a_folder_of_ones_own(tmp_path: Path) -> None:
    place = tmp_path / "place"
    remove_abandoned(place)
    assert not place.exists()
    dead, living = holder(place), holder(place)
    left, used = folder_of(dead), folder_of(living)
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    remove_abandoned(place)
    assert not left.parent.exists()
    assert [path for path in place.iterdir() if path.is_dir()] == [used.parent]
    place.chmod(0o777)
    (place / "1-new").mkdir()
    remove_abandoned(place)
    assert (place / "1-new").exists()  # others may have put anything there
    living.communicate()


def test_a_forked_child_removes_nothing_of_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pyfnn.scratch import Scratch\n"
        "own = Scratch(Path(sys.argv[1]))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    own.close(); Scratch(Path(sys.argv[1])); sys.exit()\n"
        "os.waitpid(child, 0); print(own.path.is_dir())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "place")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["lock"]


def test_a_place_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o777)
    with Scratch(place) as own:
        assert place not in own.path.parents
        assert own.path.is_dir()
    assert list(place.iterdir()) == []


def test_a_folder_of_a_process_that_was_killed_as_it_made_it_is_removed_by_the_next(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o700)
    (place / "1-new").mkdir()
    with Scratch(place):
        assert not (place / "1-new").exists()


@pytest.mark.parametrize("locked", ["by another process", "never"])
def test_without_a_lock_a_folder_in_its_place_is_removed_by_no_other_process(
    locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, none = tmp_path / "place", scratch._lock
    place.mkdir(mode=0o700)
    monkeypatch.setattr(scratch, "_PATIENCE", 0.05)
    if locked == "never":  # as on a file system without locks
        monkeypatch.setattr(scratch, "_lock", lambda path: none(path) if path.parent == place else None)
        own = Scratch(place)
    else:
        with scratch._locked(place / "lock"):
            own = Scratch(place)
    monkeypatch.undo()
    assert place in own.path.parents  # of the file system to which builds are renamed
    other = holder(place)
    assert folder_of(other).is_dir()
    other.communicate()
    assert own.path.is_dir()
    own.close()
    assert not own.path.exists()


def test_files_that_are_read_soon_are_in_memory_unless_tmpdir_is_set_or_room_is_scarce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path)
    monkeypatch.setattr(scratch, "_ROOM", 1)
    monkeypatch.delenv("TMPDIR", raising=False)
    place = scratch.in_memory()
    assert place is not None
    assert place.parent == tmp_path
    monkeypatch.setattr(scratch, "_ROOM", 1 << 60)
    assert scratch.in_memory() is None
    monkeypatch.setattr(scratch, "_ROOM", 1)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert scratch.in_memory() is None
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path / "absent")
    assert scratch.in_memory() is None
