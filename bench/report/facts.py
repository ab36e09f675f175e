"""Nested facts of a run as lines of name and value, for the summary and the page."""

from collections.abc import Iterator, Mapping
from typing import Any


def flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each fact as name and text; a name within another is joined by a dot."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{prefix}{key}", shown
