"""Text of other programs, made safe for terminals, Markdown and files; names of the signals that end them."""

import re
import signal
import unicodedata
from typing import Final

MOST: Final = 4000  # characters
_SEQUENCE = re.compile(
    r"\x1b(\[[0-9:;<=>?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])"
)  # of a terminal (ECMA-48)
_KEPT = "\n\t"


def cleaned(text: str) -> str:
    """Return text without sequences for terminals, with ? for other control characters, cut to `MOST` characters."""
    shown = "".join(map(_character, _SEQUENCE.sub("", text[: 2 * MOST])))
    return shown if len(text) <= 2 * MOST and len(shown) <= MOST else f"{shown[:MOST]}…"


def signal_name(number: int) -> str:
    """Return the name of a signal, for instance SIGKILL or SIGRTMIN+1."""
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals, which only Linux has
        return f"SIGRTMIN{number - getattr(signal, 'SIGRTMIN', 0):+d}"


def _character(character: str) -> str:
    is_plain = character in _KEPT or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return character if is_plain else "?"
