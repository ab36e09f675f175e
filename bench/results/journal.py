"""The journal: appends events to journal.jsonl, each on disk before the call returns, and reads them back."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.results.schema import ResultsError


class Journal:
    """Appends events to journal.jsonl, each on disk before the call returns. A context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "journal.jsonl").open("a", encoding="utf-8")

    def write(self, event: str, **fields: Any) -> None:
        """Append one event. Raises OSError where the disk will not take it."""
        self._file.write(json.dumps({"event": event, **fields}, allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The events of a journal. A last line cut short is the sample that was in flight: it is left out."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    events = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            event = parse_json(line)
        except NOT_JSON as error:
            if number == len(lines):
                break
            raise ResultsError(f"{path}, line {number}: {error}") from None
        if not isinstance(event, dict) or "event" not in event:
            raise ResultsError(f"{path}, line {number}: not an event of a pyfnn journal")
        events.append(event)
    return events


NOT_JSON = (ValueError, RecursionError)


def parse_json(text: str) -> Any:
    """JSON, which has no NaN and no infinities, whatever Python's own reader says."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)
