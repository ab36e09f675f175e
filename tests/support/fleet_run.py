"""A run of `bench.run` that ends within seconds, as the fleet starts it on a host.

It leaves its process id and its parent's in the file that WITNESS names, and waits while the file exists that HOLD
names.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any


def main() -> int:
    with Path(os.environ["WITNESS"]).open("a") as file:
        file.write(f"{os.getpid()} {os.getppid()}\n")
    while Path(os.environ["HOLD"]).exists():
        time.sleep(0.02)
    if "fails" in sys.argv:
        print("it fails")
        return 3
    from bench import run, stages
    from bench.measure.settings import Settings
    from bench.report import figures

    short: dict[str, Any] = {
        "min_launches": 1,
        "launches": 1,
        "rounds": 2,
        "block_seconds": 0.004,
        "burst_seconds": 0.001,
    }
    vars(stages).update(Settings=partial(Settings, **short), _probe=lambda *_: None)
    figures.draw = lambda *_: []
    return run.main()
