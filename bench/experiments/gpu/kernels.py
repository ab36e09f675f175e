"""Writes the manifest of the kernels' variants, and links those that exist already: for a rehearsal, on the CPU.

Needs nothing but Python's standard library.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.gpu.plan import VARIANTS

_ROW = """[[backend]]
name = "{name}"
language = "CUDA"
division = "tuned"
device = "{device}"
host = "pyfnn.backends.c:Library"
library = "{name}.so"

"""


def write_manifest(manifest: Path, device: str) -> None:
    """Write the rows of all variants; their libraries lie beside the manifest."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("".join(_ROW.format(name=name, device=device) for name in VARIANTS), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    p = argparse.ArgumentParser(prog="python -m bench.experiments.gpu.kernels", description=__doc__)
    p.add_argument("--backend", type=Path, required=True, metavar="PATH", help="manifest to write")
    p.add_argument("--from", type=Path, dest="source", metavar="DIR", help="libraries for the CPU")
    p.add_argument("--small", action="store_true", help="rehearse")
    arguments = p.parse_args(argv)
    write_manifest(arguments.backend, "cpu" if arguments.source else "cuda")
    if arguments.source:
        for name in VARIANTS:
            # Tiles are chosen by cost in a rehearsal: every tile is that of the variant "spread".
            library = arguments.source / f"{'persistent' if name == 'persistent' else 'spread'}.so"
            (arguments.backend.parent / f"{name}.so").symlink_to(library.resolve(strict=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
