"""The journal of a run, journal.jsonl: one event a line, written before the call returns, and on disk but for samples.

Results are built from the journal, so that a killed run loses at most the launch that it was measuring. Its samples are
on disk with its end: a sync takes milliseconds, and a case has hundreds of samples. It claims the folder for a run.
"""

import json
from contextlib import suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

from bench.results.events import Event, SampleEvent, parse_event
from bench.results.files import FolderTaken, Lines
from bench.results.order import Order
from bench.results.schema import ResultsError
from pyfnn.errors import InvalidInput
from pyfnn.regular import read_regular

JOURNAL, RESULTS = "journal.jsonl", "results.json"


class Journal(Lines):
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
        if again and not (folder / JOURNAL).exists():
            raise InvalidInput(f"{folder}: holds no {JOURNAL} that could be continued")
        super().__init__(folder / JOURNAL, again=again)

    def check(self, again: bool, begun: bool) -> None:
        """Raise `FolderTaken` where the folder of a new run holds one already."""
        if not again and (begun or (self.folder / RESULTS).exists()):
            remedy = f"name another folder, or continue it with --resume {self.folder}"
            raise FolderTaken(f"--out {self.folder}: holds the results of a run already; {remedy}")

    def write(self, event: Event) -> None:
        """Append one event and sync it to the disk; a sample is synced with the event that ends its launch.

        Raises
        ------
        CannotWrite
            The disk is full or cannot be written. The journal ends with the event before.
        ValueError
            The event holds a NaN or an infinity, which JSON lacks.
        """
        self.append([event.line()], syncs=not isinstance(event, SampleEvent))

    def __enter__(self) -> "Journal":
        return self


def numbered(parent: Path, name: str) -> Journal:
    """Return a journal in the first of the folders `name`, name-2, name-3 and so on that belongs to no run."""
    for number in count(1):
        with suppress(FolderTaken):
            return Journal(parent / (name if number == 1 else f"{name}-{number}"))
    raise AssertionError  # count does not end


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
