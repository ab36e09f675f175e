"""The console of the commands: printing to it never raises, and text in brackets is text, never markup."""

import os
import sys
from contextlib import suppress
from typing import IO, Any, Literal, cast

from rich.console import Console


def console(stream: Literal["stdout", "stderr"] = "stdout") -> Console:
    """Return a console on a standard stream as it is now."""
    file = cast(IO[str], UnfailingStream(getattr(sys, stream)))
    return Console(file=file, markup=False, emoji=False, highlight=False)


class UnfailingStream:
    """A text stream whose writes never raise, since the end of a terminal or a pipe must not end a measurement.

    Characters that the stream's encoding lacks become question marks. After an error of the system, for instance of a
    full disk or a closed pipe, all output is dropped.

    Parameters
    ----------
    stream : text stream or None
        None, as Python has it where a process was started without one, drops all output.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what the stream takes; return the length of the text."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self.write(text.encode(error.encoding, "replace").decode(error.encoding))
            except (OSError, ValueError):  # ValueError: it is closed
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def _give_up(self) -> None:
        """Drop all further output, also that which Python writes out when it ends."""
        stream, self._stream = self._stream, None
        with suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, cast(IO[str], stream).fileno())
            os.close(null)

    def isatty(self) -> bool:
        """Return True for a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """Return the file descriptor; raise `OSError` where there is none."""
        if self._stream is None:
            raise OSError("there is no stream")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """Encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
