"""The size of the memory that a bandwidth probe reads and writes, for the CPU's probe and the device's."""

CACHES = 4  # times the last-level cache, as STREAM's rules ask
LEAST, MOST = 2**28, 2**30  # bytes; 1 GiB exceeds a core's part of a server's cache of hundreds of MiB
OF_FREE = 0.25  # share of the free memory


def sweep_size(cache: int, free_memory: int) -> int:
    """Return four caches, at least 256 MiB, at most 1 GiB and at most a quarter of the free memory; all in bytes."""
    return min(max(CACHES * cache, LEAST), MOST, int(OF_FREE * free_memory))
