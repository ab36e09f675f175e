"""Standard streams of commands whose reader may end first: `pyfnn export --to schema | head -1` is no error.

Output after the end of the pipe is dropped. Any other failure, such as a full disk, raises as before.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast


class PipeStream:
    """A text stream that drops its output from the moment the other end of its pipe is closed.

    Parameters
    ----------
    stream : text stream
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write several texts."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Lead the stream to nowhere, also what it still holds, which Python writes out when it ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def let_readers_end() -> None:
    """Make the standard streams of this process, a command, drop what no reader takes any more."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, PipeStream):
            setattr(sys, name, cast(TextIO, PipeStream(stream)))
