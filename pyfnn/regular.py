"""Reading of files that a user or a worker names: regular ones, of bounded size.

A pipe in place of the file would make the reader wait for ever, and an endless or sparse one would exhaust its memory.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

MOST_BYTES: Final = 1 << 30


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting; raise `OSError` where it is anything else."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file; raise `OSError` where it is no such file, or larger than `MOST_BYTES`."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, f"larger than {MOST_BYTES >> 30} GiB", str(path))
        return file.read()
