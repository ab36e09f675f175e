"""The journal of a run, journal.jsonl: one event a line, on disk before the call that wrote it returns.

Results are built from the journal, so that a killed run loses at most the sample it was timing.
"""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.results.events import Event, parse_event
from bench.results.schema import ResultsError


class Journal:
    """Appends events to journal.jsonl in a folder, which is created if it is absent. A context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "journal.jsonl").open("a", encoding="utf-8")

    def write(self, event: Event) -> None:
        """Append one event and sync it to the disk.

        Raises
        ------
        OSError
            The disk is full or cannot be written.
        ValueError
            The event holds a NaN or an infinity, which JSON lacks.
        """
        self._file.write(json.dumps(event.line(), allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


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
        Naming the line that holds no event, and why.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    events: list[Event] = []
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
            events.append(parse_event(fields))
        except ResultsError as error:
            raise ResultsError(f"{path}, line {number}: {error}") from None
    return events


NOT_JSON = (ValueError, RecursionError)  # raised by `parse_json`


def parse_json(text: str) -> Any:
    """Parse JSON strictly: NaN and infinities, which Python's parser accepts, are errors."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)
