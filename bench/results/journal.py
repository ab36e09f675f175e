"""The journal of a run, journal.jsonl: one event a line, on disk before the call that wrote it returns.

Results are built from the journal, so that a killed run loses at most the launch that it was measuring. Its exclusive
creation and a lock on it claim a folder for a run.
"""

import json
import os
import sys
from contextlib import suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.results.events import Event, parse_event
from bench.results.order import Order
from bench.results.schema import ResultsError
from pyfnn.errors import InvalidInput
from pyfnn.regular import read_regular

if sys.platform != "win32":
    import fcntl

JOURNAL, RESULTS = "journal.jsonl", "results.json"
_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)


class CannotWrite(OSError):
    """Results that the disk does not take."""


class FolderTaken(InvalidInput):
    """A folder that belongs to another run."""


class Journal:
    """Appends events to journal.jsonl in a folder, which is created if it is absent. A context manager.

    The folder belongs to this run: no other process can open the journal meanwhile, and no other run later. Where no
    event was written, the file is removed at the end, and the folders that were created for it.

    Parameters
    ----------
    folder : Path
    again : bool
        True to continue the run that the folder holds. A last line that was cut short is removed.

    Raises
    ------
    FolderTaken
        The folder holds a run already, or another process is writing to it.
    InvalidInput
        With `again`: the folder holds no run.
    CannotWrite
    """

    def __init__(self, folder: Path, *, again: bool = False) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        if again and not self._path.exists():
            raise InvalidInput(f"{folder}: holds no {JOURNAL} that could be continued")
        try:
            self._created = _create(folder)
            self._file = _open_claimed(self._path, again)
        except OSError as error:
            raise CannotWrite(error.errno, error.strerror, str(folder)) from None
        try:
            if not again and (os.fstat(self._file).st_size or (folder / RESULTS).exists()):
                remedy = f"name another folder, or continue it with --resume {folder}"
                raise FolderTaken(f"--out {folder}: holds the results of a run already; {remedy}")
            os.ftruncate(self._file, _whole_bytes(self._path))
        except BaseException:
            self.close()
            raise

    def write(self, event: Event) -> None:
        """Append one event and sync it to the disk.

        Raises
        ------
        CannotWrite
            The disk is full or cannot be written. The journal ends with the event before.
        ValueError
            The event holds a NaN or an infinity, which JSON lacks.
        """
        line = (json.dumps(event.line(), allow_nan=False) + "\n").encode()
        end = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, end)
            raise CannotWrite(error.errno, error.strerror) from None

    def close(self) -> None:
        """Release the folder; remove what was created where no event was written. A second call does nothing."""
        if self._file < 0:
            return
        if os.fstat(self._file).st_size == 0:
            with suppress(OSError):
                self._path.unlink()
                for folder in self._created:
                    folder.rmdir()
        os.close(self._file)
        self._file = -1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def numbered(parent: Path, name: str) -> Journal:
    """Return a journal in the first of the folders `name`, name-2, name-3 and so on that belongs to no run."""
    for number in count(1):
        with suppress(FolderTaken):
            return Journal(parent / (name if number == 1 else f"{name}-{number}"))
    raise AssertionError  # count does not end


def _create(folder: Path) -> list[Path]:
    """Create a folder with its parents; return those that did not exist, the innermost first."""
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return absent


def _open_claimed(path: Path, again: bool) -> int:
    """Open a journal that no other process has open, and return its descriptor; raise `FolderTaken` where one has.

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


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_journal(path: Path) -> list[Event]:
    """Return the events of a journal. A last line that was cut short is left out.

    Raises
    ------
    OSError
        The file cannot be read.
    ResultsError
        Naming the line that holds no event or one that cannot follow those before it, and why.
    """
    text = read_regular(path).decode(errors="replace")
    lines = text.split("\n")
    events, order = list[Event](), Order()
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            fields = parse_json(line)
        except NOT_JSON as error:
            if number == len(lines):
                break
            raise ResultsError(f"{path}, line {number}: {error}") from None
        if not isinstance(fields, dict) or "event" not in fields:
            raise ResultsError(f"{path}, line {number}: not an event of a pyfnn journal")
        try:
            event = parse_event(fields)
            order.check(event)
        except ResultsError as error:
            raise ResultsError(f"{path}, line {number}: {error}") from None
        events.append(event)
    return events


NOT_JSON = (ValueError, RecursionError)  # raised by `parse_json`


def parse_json(text: str) -> Any:
    """Parse JSON strictly: NaN, infinities and halves of surrogate pairs, which Python's parser accepts, are errors."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    data = json.loads(text, parse_constant=refuse)
    if "\\ud" in text.lower():
        json.dumps(data, ensure_ascii=False).encode()  # half of a surrogate pair raises UnicodeEncodeError
    return data
