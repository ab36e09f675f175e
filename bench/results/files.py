"""Files of results: lines of JSON that claim their folder, and files that are replaced as a whole.

A line is on disk before the call that wrote it returns. Exclusive creation of the file and a lock on it claim a folder.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from pyfnn.errors import InvalidInput
from pyfnn.regular import read_regular

if sys.platform != "win32":
    import fcntl

_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)


class CannotWrite(OSError):
    """Results that the disk does not take."""


class FolderTaken(InvalidInput):
    """A folder that belongs to another run."""


class Lines:
    """A file of JSON lines that claims its folder, which is created if it is absent. A context manager.

    No other process can open the file meanwhile. Where no line was written, the file is removed at the end, and the
    folders that were created for it. A last line that was cut short is removed at the start.

    Parameters
    ----------
    path : Path
    again : bool
        True where the file may hold lines already.

    Raises
    ------
    FolderTaken
        Another process is writing to the file, or `check` refuses the folder.
    CannotWrite
    """

    def __init__(self, path: Path, *, again: bool) -> None:
        self.folder, self._path = path.parent, path
        try:
            self._created = _create(self.folder)
            self._file = _open_claimed(path, again)
        except OSError as error:
            raise CannotWrite(error.errno, error.strerror, str(self.folder)) from None
        try:
            self.check(again, bool(os.fstat(self._file).st_size))
            os.ftruncate(self._file, _whole_bytes(path))
        except BaseException:
            self.close()
            raise

    def check(self, again: bool, begun: bool) -> None:
        """Raise an error where this run may not write to the folder; `begun`: the file holds something."""

    def append(self, lines: Iterable[Mapping[str, Any]], *, syncs: bool = True) -> None:
        """Append lines and sync them to the disk, with all that were written before.

        Without `syncs` they outlive this process, however it ends, but not a crash of the system before the next sync.

        Raises
        ------
        CannotWrite
            The disk is full or cannot be written. The file ends with the line before.
        ValueError
            A line holds a NaN or an infinity, which JSON lacks.
        """
        left = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()
        end = os.fstat(self._file).st_size
        try:
            while left:
                left = left[os.write(self._file, left) :]
            if syncs:
                os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, end)
            raise CannotWrite(error.errno, error.strerror) from None

    def close(self) -> None:
        """Release the folder; remove what was created where no line was written. A second call does nothing."""
        if self._file < 0:
            return
        if os.fstat(self._file).st_size == 0:
            with suppress(OSError):
                self._path.unlink()
                for folder in self._created:
                    folder.rmdir()
        os.close(self._file)
        self._file = -1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def replace(path: Path, text: str) -> None:
    """Write a file. An existing one is replaced as a whole or kept.

    Raises
    ------
    CannotWrite
        The disk is full or cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CannotWrite(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _create(folder: Path) -> list[Path]:
    """Create a folder with its parents; return those that did not exist, the innermost first."""
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return absent


def _open_claimed(path: Path, again: bool) -> int:
    """Open a file that no other process has open, and return its descriptor; raise `FolderTaken` where one has.

    A file that a killed run has left is unlocked. Where a file system has no locks, only creation claims it.
    """
    while True:
        try:
            file, created = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            try:
                file, created = os.open(path, _FLAGS), False
            except FileNotFoundError:  # its owner removed it between the two calls
                continue
        locked = _lock(file)
        if locked is False or (locked is None and not (created or again)):
            os.close(file)
            raise FolderTaken(f"{path.parent}: another run is writing to it; name another folder")
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            return file
        os.close(file)


def _lock(file: int) -> bool | None:
    """Lock a file until it is closed. False: another process has locked it; None: there are no locks here."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _whole_bytes(path: Path) -> int:
    """Return the length of the file without a last line that was cut short."""
    return read_regular(path).rfind(b"\n") + 1
