"""Batteries of random networks, for several test modules; each is made once. No claims."""

from collections.abc import Iterator
from functools import cache
from itertools import count, islice

from bench.experiments.calibrate_parity import random_case
from pyfnn.errors import Unsupported
from pyfnn.parity.battery import Trial

CHUNKS, CHUNK = 5, 40  # their product is the number of random networks per dtype
APART = 100_000  # distance of the first seeds of two chunks


def drawn(chunk: int, dtype: str) -> Iterator[tuple[int, list[Trial]]]:
    """Yield batteries of random networks that parity can judge, each with its seed, without end."""
    for seed in count(chunk * APART):
        try:
            yield seed, random_case(seed, dtype, wide=seed % 20 == 0).battery()
        except Unsupported:  # rounding errors grow at every rate, or too few rows are clear of kinks
            continue


@cache
def random_batteries(chunk: int, dtype: str) -> list[tuple[int, list[Trial]]]:
    """Return the batteries of the first networks of a chunk, each with its seed."""
    return list(islice(drawn(chunk, dtype), CHUNK))
