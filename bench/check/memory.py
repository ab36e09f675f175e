"""The memory of a process, as the claims about leaks read it."""

from contextlib import suppress

import psutil

from pyfnn.process.tree import read_proc


def own_memory(process: psutil.Process) -> int:
    """Return the resident bytes of a process, on Linux without those of mapped files.

    The system takes the pages of mapped files away and reads them again at will: their number is nobody's leak.
    """
    with suppress(OSError, ValueError, StopIteration):  # another system, or a kernel that does not report them apart
        lines = read_proc(f"/proc/{process.pid}/status").splitlines()
        of_files = 1024 * int(next(line.split()[1] for line in lines if line.startswith(b"RssFile:")))
        return int(process.memory_info().rss) - of_files
    return int(process.memory_info().rss)
