"""The memory of a process, as the claims about leaks read it."""

import psutil


def own_memory(process: psutil.Process) -> int:
    """Return the resident bytes that a process has allocated.

    Mapped files do not count, where the system reports them apart: their pages come and go at its will.
    """
    info = process.memory_info()
    return int(info.rss - getattr(info, "shared", 0))
