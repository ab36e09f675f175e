"""The sizes of the arrays that a bandwidth probe reads and writes: in memory, of CPU and device, and in each cache."""

import math
from collections.abc import Mapping

CACHES = 4  # times the last-level cache, as STREAM's rules ask
LEAST, MOST = 2**28, 2**30  # bytes; 1 GiB exceeds a core's part of a server's cache of hundreds of MiB
OF_FREE = 0.25  # share of the free memory
_SHARED = 3  # the first level of cache that cores share


def sweep_size(cache: int, free_memory: int) -> int:
    """Return four caches, at least 256 MiB, at most 1 GiB and at most a quarter of the free memory; all in bytes."""
    return min(max(CACHES * cache, LEAST), MOST, int(OF_FREE * free_memory))


def cache_sizes(caches: Mapping[str, int], threads: int) -> dict[str, int]:
    """Return the bytes that `threads` threads together sweep in each cache, by the cache's name.

    That is half of the first level, and of each further level the geometric mean of its size and that of the level
    above it: too much for the one and well within the other. A level that holds less than twice as much as the one
    above it is left out.

    Parameters
    ----------
    caches : mapping of str to int
        Bytes of the first CPU's caches by level, ``"1"`` and so on. Cores share the third level, and no other.
    threads : int
    """
    sizes, above = dict[str, int](), 0
    for level, held in sorted(caches.items()):
        size = held if int(level) >= _SHARED else held * threads
        if size >= 2 * above:
            sizes[f"L{level}"] = math.isqrt(size * above) if above else size // 2
            above = size
    return sizes
