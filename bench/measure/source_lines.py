"""How much a backend's author had to write: the lines of code of the sources that its manifest names. Runs nothing."""

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.token import Comment, String
from pygments.util import ClassNotFound

from pyfnn.manifest import Row


def lines_of_code(row: Row) -> int | None:
    """Lines of a backend's sources that hold code; None where it names none.

    Blank lines do not count, nor do those that hold nothing but a comment or a docstring, as Pygments tells them in the
    row's language; in a language that it does not know, every line that is not blank counts.
    """
    files = row.source_files()
    if not files:
        return None
    lexer = _lexer(row.language)
    return sum(_count(lexer, path.read_text(encoding="utf-8", errors="replace")) for path in files)


def _lexer(language: str) -> Lexer:
    plain = {"stripnl": False, "ensurenl": False}
    try:
        return get_lexer_by_name(language.lower(), **plain)
    except ClassNotFound:
        return TextLexer(**plain)


def _count(lexer: Lexer, text: str) -> int:
    held: set[int] = set()
    line = 0
    for kind, value in lexer.get_tokens(text):
        if _is_code(kind):
            held.update(line + at for at, part in enumerate(value.split("\n")) if part.strip())
        line += value.count("\n")
    return len(held)


def _is_code(kind: object) -> bool:
    """Directives to a preprocessor are code, though Pygments files them under comments."""
    if kind in Comment:
        return kind in Comment.Preproc or kind in Comment.PreprocFile
    return kind not in String.Doc
