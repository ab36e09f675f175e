"""The sources that a backend's manifest names: their hashes, and their lines of code, the effort of writing them.

Runs nothing.
"""

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.token import Comment, String
from pygments.util import ClassNotFound

from pyfnn import programs
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import PACKAGE, Row

OWN_CODE = "code of pyfnn"  # the name of the digest of the library and this harness
_HARNESS = Path(__file__).parents[1]


def origins(rows: Iterable[Row]) -> dict[str, str]:
    """Return a digest of what each backend is made of, by its name, and of the code of pyfnn itself.

    What a Python package contributes is not in it: see the versions of the packages.
    """
    return {OWN_CODE: _digest(_own_code()), **{row.name: _digest(_parts(row)) for row in rows}}


def _own_code() -> list[bytes]:
    return [path.read_bytes() for folder in (PACKAGE, _HARNESS) for path in sorted(folder.rglob("*.py"))]


def _parts(row: Row) -> list[bytes]:
    """Return the row in the manifest, its sources, its library, and the key of its build."""
    parts = [f"{key}={value}" for key, value in vars(row).items() if key != "manifest"]
    parts += [f"{path}={digest}" for path, digest in hashes(row).items()]
    if row.build is not None:
        try:
            parts.append(programs.build_key(row))
        except BackendUnavailable as error:
            parts.append(error.reason)
    library = row.folder / row.library if row.library else None
    content = [library.read_bytes()] if library and library.is_file() else []
    return [*(part.encode() for part in parts), *content]


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(str(len(part)).encode() + b" " + part)
    return digest.hexdigest()[:16]


def hashes(row: Row) -> dict[str, str]:
    """Return the sha256 of a backend's sources, by their paths relative to the manifest's folder."""
    return {
        os.path.relpath(path, row.folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in row.source_files()
    }


def lines_of_code(row: Row) -> int | None:
    """Count the lines of a backend's sources that hold code; None where its manifest names no source.

    Blank lines and lines that hold only a comment or a docstring do not count. Pygments finds comments and docstrings
    by the row's language; in a language unknown to it, every line that is not blank counts.
    """
    files = row.source_files()
    if not files:
        return None
    return sum(_count(row.language, path.read_text(encoding="utf-8", errors="replace")) for path in files)


def _lexer(language: str) -> Lexer:
    plain = {"stripnl": False, "ensurenl": False}
    try:
        return get_lexer_by_name(language.lower(), **plain)
    except ClassNotFound:
        return TextLexer(**plain)


@lru_cache(maxsize=1024)  # every arm of every case asks, and Pygments takes 0.1 s for a thousand lines
def _count(language: str, text: str) -> int:
    held: set[int] = set()
    line = 0
    for kind, value in _lexer(language).get_tokens(text):
        if _is_code(kind):
            held.update(line + at for at, part in enumerate(value.split("\n")) if part.strip())
        line += value.count("\n")
    return len(held)


def _is_code(kind: object) -> bool:
    """Return True for code. Preprocessor directives are code, though Pygments classifies them as comments."""
    if kind in Comment:
        return kind in Comment.Preproc or kind in Comment.PreprocFile
    return kind not in String.Doc
