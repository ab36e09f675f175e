#!/usr/bin/env python3
"""Checks the project's prose: words it does not use, and how docstrings open. `python .ci/prose.py` lists each fault.

Ruff's pydocstyle rules check the rest: sentences end, sections have their form, functions open with the imperative.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Words that make a sentence hard to read for people who learned English at school.
UNUSED = re.compile(r"\b(told|tells|whoever|whatever|lest|thereof|whereof|said|wants?|denormals?)\b", re.IGNORECASE)
# "for" in the sense of "because": a clause follows it.
BECAUSE = re.compile(r"[,;:—] for (it|they|he|she|we|there|nothing)\b", re.IGNORECASE)
# Openings of a docstring that start neither with a verb nor with a noun.
OPENINGS = re.compile(
    r"(Who|What|Whether|Whose|Which|By|Of|That|This|Those|These|Where|When|How|Why|As|If|So|To|For|From|In|On|At|It|Likewise)\b"
)
PROSE = {".md", ".toml", ".py", ".c", ".h", ".cpp", ".hpp", ".cu", ".cuh", ".cmake", ".txt", ".inc", ".f90"}
PROSE |= {".cs", ".d", ".go", ".java", ".jl", ".lua", ".m", ".mjs", ".ml", ".nim", ".R", ".rs", ".zig", ".pl", ".in"}
EXEMPT = {".ci/prose.py", "LICENSE", "tests/test_prose.py"}


def tracked() -> list[Path]:
    """Return the text files of the checkout that hold code or documentation."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [ROOT / name for name in names if name not in EXEMPT]
    return [path for path in paths if path.suffix in PROSE and path.is_file()]


def unused_words(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, fault) for each word that the project does not use, quotations aside."""
    for number, line in enumerate(text.splitlines(), 1):
        unquoted = "" if line.startswith("> ") else re.sub("“[^”]*”", "", line)
        for match in UNUSED.finditer(unquoted):
            yield number, f"uses the word {match.group()!r}"
        for match in BECAUSE.finditer(unquoted):
            yield number, f"uses 'for' as 'because' in {match.group()!r}"


def openings(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, fault) for each docstring that opens with neither a verb nor a noun phrase."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        match = OPENINGS.match(text) if text else None
        if match:
            yield (
                getattr(node, "lineno", 1),
                f"opens a docstring with {match.group()!r}: a verb or a noun phrase is due",
            )


def faults(path: Path) -> Iterator[str]:
    """Yield the faults of one file, each with its place."""
    text = path.read_text(encoding="utf-8")
    found = [*unused_words(text), *(openings(text) if path.suffix == ".py" else ())]
    for number, fault in sorted(found):
        yield f"{path.relative_to(ROOT)}:{number}: {fault}"


def main() -> int:
    """List every fault; return 1 if there are any."""
    found = [fault for path in tracked() for fault in faults(path)]
    print("\n".join([*found, f"{len(found)} faults in the prose"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
