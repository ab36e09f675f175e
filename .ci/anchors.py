#!/usr/bin/env python3
"""Keeps links to lines of code right: `python .ci/anchors.py` finds each line again and writes its number.

Such a link has the code of its line as its title, [oracle.py](../pyfnn/oracle.py#L53 "A[-1] @ W + b"); the code occurs
in one line of the file alone.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r'\]\((?P<path>[^)\s#]+)#L(?P<line>\d+) "(?P<code>[^"]+)"\)')


def line_of(code: str, path: Path) -> int:
    """Return the number of the only line that contains the code, from 1.

    Raises
    ------
    LookupError
        No line contains it, or several do.
    """
    found = [number for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if code in line]
    if len(found) != 1:
        raise LookupError(f"{path.name} has {code!r} in {len(found)} lines: {found}")
    return found[0]


def updated(page: Path) -> str:
    """Return the text of a page with the right number in each link to a line."""

    def right(match: re.Match[str]) -> str:
        path, code = match["path"], match["code"]
        return f']({path}#L{line_of(code, (page.parent / path).resolve())} "{code}")'

    return LINK.sub(right, page.read_text("utf-8"))


def main() -> int:
    """Write every page of docs/ again whose links are out of date; return 1 where a line cannot be found."""
    status = 0
    for page in sorted((ROOT / "docs").glob("*.md")):
        try:
            text = updated(page)
        except LookupError as error:
            print(f"{page.relative_to(ROOT)}: {error}")
            status = 1
            continue
        if text != page.read_text("utf-8"):
            page.write_text(text, "utf-8")
            print(f"written: {page.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
