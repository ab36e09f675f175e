"""Settings of runs that are over in seconds."""

import functools

from bench.measure.arm import Settings

# Less of everything: two launches and short blocks, which are still long enough to catch who lies about them.
SHORT = functools.partial(Settings, min_launches=2, rounds=2, block_seconds=0.02, burst_seconds=0.002)
