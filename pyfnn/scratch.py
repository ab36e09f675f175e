"""Temporary folders that do not outlive their process for long.

A process that is killed cannot remove its folders. So each process has one folder of its own in a place, with a file
that it keeps locked; the system releases the lock when the process ends, however it ends. The next process that needs a
folder in that place removes those whose lock is free. A process that may need none calls `remove_abandoned`.
"""

import atexit
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

if sys.platform != "win32":
    import fcntl

_LOCK = "lock"
_PATIENCE = 2.0  # seconds for the lock of a place, which is held for milliseconds
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes free there, at least: every process of a case has its data in files
_homes: dict[Path, tuple[int, Path]] = {}  # process id and folder of this process, by place


class Scratch:
    """A temporary folder; `close`, or the end of the process, removes it. A context manager, which closes it.

    A forked child inherits the object; nothing that it does removes the folder of its parent.

    Parameters
    ----------
    place : Path, optional
        Folder in which the folder is made; by default one of the user in the system's folder of temporary files.

    Raises
    ------
    OSError
        The folder cannot be made.
    """

    def __init__(self, place: Path | None = None) -> None:
        self._owner = os.getpid()
        self.path = Path(tempfile.mkdtemp(dir=_home(_of_user() if place is None else place)))

    def close(self) -> None:
        """Remove the folder with all that it holds. A second call does nothing."""
        if self._owner == os.getpid():
            _remove(self.path)

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def in_memory() -> Path | None:
    """Return the user's place in memory, for files that are read soon; None where `TMPDIR` is set or room is scarce.

    A worker's answer through a file of 10 KB takes 0.3 ms there, and 2 ms on a disk (ext4, AMD EPYC, busy machine).
    """
    with suppress(OSError):
        if not os.environ.get("TMPDIR") and shutil.disk_usage(_MEMORY).free >= _ROOM and os.access(_MEMORY, os.W_OK):
            return _of_user(_MEMORY)
    return None


def remove_abandoned(*places: Path) -> None:
    """Remove the folders of dead processes, as a process does before it makes its own folder in a place.

    Parameters
    ----------
    places : Path
        By default the user's, in the folder of temporary files and in memory. One that does not exist, that others may
        write, or that stays locked is left as it is.
    """
    for place in places or (_of_user(), _of_user(_MEMORY)):
        _remove_dead_alone(place)


def _remove_dead_alone(place: Path) -> None:
    if sys.platform != "win32" and place.is_dir() and _is_private(place):
        with _locked(place / _LOCK) as alone:
            if alone:
                _remove_dead(place)


def _of_user(folder: Path | None = None) -> Path:
    """Return the user's place in a folder, by default that of temporary files: no other user can put anything there."""
    name = f"pyfnn-{os.getuid()}" if hasattr(os, "getuid") else "pyfnn"
    return (folder or Path(tempfile.gettempdir())) / name


def _home(place: Path) -> Path:
    """Return the folder of this process in a place. The first call makes it, and removes those of dead processes."""
    known = _homes.get(place)
    if known and known[0] == os.getpid() and known[1].is_dir():
        return known[1]
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = sys.platform != "win32" and _is_private(place)
    home = _make_home(place) if private else Path(tempfile.mkdtemp(prefix="pyfnn-"))
    _homes[place] = os.getpid(), home
    atexit.register(_remove_at_exit, os.getpid(), home)
    return home


def _make_home(place: Path) -> Path:
    """Make a locked folder in a place, after removing those of dead processes.

    A folder with a number has a lock, and is made under the lock of the place. So one that has none is of a process
    that was killed as it made or removed it. Where the place stays locked, or the file system has no locks, the folder
    has no number, and no other process removes it.
    """
    with _locked(place / _LOCK) as alone:
        if alone:
            _remove_dead(place)
            home = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=place))
            if _lock(home / _LOCK) is not None:  # the descriptor stays open until this process ends
                return home
            _remove(home)
    return Path(tempfile.mkdtemp(prefix="pyfnn-", dir=place))


def _remove_at_exit(owner: int, home: Path) -> None:
    if owner == os.getpid():
        _remove(home)


def _is_private(place: Path) -> bool:
    """Return True for a folder, no link, that this user owns and that no other user may write."""
    status = place.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _remove_dead(place: Path) -> None:
    """Remove the folders of dead processes in a place. The caller holds the lock of the place."""
    for home in place.iterdir():
        if not home.name[:1].isdecimal() or not home.is_dir():
            continue
        if not (home / _LOCK).exists():
            _remove(home)
        elif (descriptor := _lock(home / _LOCK)) is not None:
            _remove(home)
            os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Lock a file and return its descriptor; None where another process has locked it, or nothing can be locked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock of a place; yield False where it cannot be had in time."""
    deadline = time.monotonic() + _PATIENCE
    while (descriptor := _lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove a folder with all that it holds, folders that forbid writing included."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for inner in (Path(name) for name, _, _ in os.walk(folder)):
            with suppress(OSError):
                inner.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
