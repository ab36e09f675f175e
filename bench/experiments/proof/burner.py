"""A script that keeps a CPU busy, on and off at random: python -I -S burner.py PARENT SEED MEAN_SECONDS.

Ends when the process PARENT has ended. Uses the standard library only, so that it starts at once. load.py starts it.
"""

import os
import random
import sys
import time

_LOOK = 0.05  # seconds between two checks that the parent is still running


def main() -> None:
    """Alternate busy and idle times, exponentially distributed; the first state is random, too."""
    parent, seed, mean_seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    drawn = random.Random(seed)
    busy = drawn.random() < 0.5
    while os.getppid() == parent:
        _pass(busy, drawn.expovariate(1 / mean_seconds), parent)
        busy = not busy


def _pass(busy: bool, seconds: float, parent: int) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and os.getppid() == parent:
        if not busy:
            time.sleep(min(left, _LOOK))
            continue
        pause = time.monotonic() + min(left, _LOOK)
        while time.monotonic() < pause:
            pass


if __name__ == "__main__":
    main()
