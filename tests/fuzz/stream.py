"""A worker program that gets many lines at once, and the error for one that does not answer each of them."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pyfnn import launch
from pyfnn.errors import ProtocolError
from pyfnn.process import protocol


class Broken(AssertionError):
    """A program that ended, hung, or did not write the reply that was due."""


class Stream:
    """A worker program with its WORKDIR. A context manager, which ends it.

    Parameters
    ----------
    command : sequence of str
        Without WORKDIR.
    workdir : Path
    patience : float
        Seconds for the replies to one batch of lines.
    """

    def __init__(self, command: Sequence[str], workdir: Path, patience: float = 300.0) -> None:
        self._workdir, self._patience = workdir, patience
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (`__exit__` closes it)
        self._process = subprocess.Popen(
            [*command, str(workdir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **dict.fromkeys(launch.THREAD_VARIABLES, "1")},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands, self._replies = self._process.stdin, self._process.stdout

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Put these files, and no others, into WORKDIR."""
        for path in self._workdir.iterdir():
            path.unlink()
        for name, data in files.items():
            (self._workdir / name).write_bytes(data)

    def answers(self, lines: Sequence[bytes]) -> list[str]:
        """Send lines, and `hello` after them; return the status in the reply to each line.

        Raises
        ------
        Broken
            A reply is missing, one too many, or not of the protocol; the message quotes the line.
        """
        sender = threading.Thread(target=self._send, args=(b"\n".join([*lines, b"hello", b""]),))
        watchdog = threading.Timer(self._patience, self._process.kill)
        sender.start()
        watchdog.start()
        try:
            found = [self._status(line) for line in lines]
            if b"\tprotocol=1\t" not in (last := self._replies.readline()):
                raise self._broken(lines[-1], f"and hello after it, has replies that do not match; the last: {last!r}")
        except Broken:
            self._process.kill()  # so that the sender ends
            raise
        finally:
            watchdog.cancel()
            sender.join()
        return found

    def _send(self, data: bytes) -> None:
        with suppress(OSError):  # the process has ended: the missing reply shows it
            self._commands.write(data)
            self._commands.flush()

    def _status(self, line: bytes) -> str:
        """Read a reply, and return its status."""
        reply = self._replies.readline()
        if not reply.endswith(b"\n"):
            raise self._broken(line, "has no reply")
        try:
            status, fields = protocol.parse_reply(reply.decode(errors="replace"))
        except ProtocolError as error:
            raise self._broken(line, str(error)) from None
        if status == "error" and not fields.get("message", "").strip():
            raise self._broken(line, f"has an error without a message: {reply!r}")
        return status

    def _broken(self, line: bytes, what: str) -> Broken:
        self._process.kill()
        status = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read()[-2000:].decode(errors="replace")
        return Broken(f"the line {line[:200]!r} {what}; exit status {status}; stderr: {words}")

    def end(self) -> int:
        """End its input, and return its exit status."""
        self._commands.close()
        return self._process.wait(self._patience)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._commands, self._replies, self._errors):
            with suppress(OSError):  # an unread command is in the pipe
                pipe.close()
