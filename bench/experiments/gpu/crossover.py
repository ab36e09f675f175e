"""The step of square networks over widths and batches: by one block or spread over the device, and with each tile.

Writes crossover.csv and crossover.md. Nothing here has an interval: each size counts with its best time.
"""

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.experiments.cliffs import CliffSearch, Size, flops_of, survey
from bench.experiments.gpu.common import child_parser
from bench.experiments.gpu.plan import VARIANTS
from bench.machine.cpus import choose_cpus
from pyfnn import registry
from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker

SIZES = [(width, batch) for width in (8, 16, 32, 64, 96, 128, 256, 512, 1024) for batch in (1, 8, 32, 128, 512)]
_REHEARSED = [(4, 1)]
_TILES = ("large", "medium", "small")
_ASSUMED = 1e4  # GFLOP/s of a step, at most; only the number of steps in a call depends on it
_NEAR = 1.05  # times as long as the best choice takes one that counts as right

Table = Mapping[str, Mapping[Size, float]]  # variant -> size -> seconds of a step


def write(folder: Path, table: Table) -> None:
    """Write what was measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "crossover.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("variant", "width", "batch", "operations", "seconds"))
        for name, seconds in table.items():
            rows.writerows((name, *size, flops_of(*size), each) for size, each in sorted(seconds.items()))
    (folder / "crossover.md").write_text("\n".join([*crossovers(table), "", *tiles(table)]) + "\n", encoding="utf-8")


def crossovers(table: Table) -> list[str]:
    """Return for each batch the sizes between which spreading over the device becomes the faster way, as Markdown."""
    block, spread = table.get("persistent", {}), table.get("spread", {})
    lines = ["| batch | widest network that one block trains faster | operations | next width | operations |"]
    lines.append("|---|---|---|---|---|")
    both = sorted(block.keys() & spread.keys())
    for batch in sorted({batch for _, batch in both}):
        widths = [width for width, each in both if each == batch]
        faster = [width for width in widths if block[width, batch] < spread[width, batch]]
        last = max(faster, default=None)
        after = min((width for width in widths if last is None or width > last), default=None)
        ends = [f"{n} | {flops_of(n, batch):.3g}" if n else "none | " for n in (last, after)]
        lines.append(f"| {batch} | {ends[0]} | {ends[1]} |")
    return lines


def tiles(table: Table) -> list[str]:
    """Return the sizes at which the chosen tile takes over 5 % longer than the best one, as Markdown."""
    chosen, alone = table.get("spread", {}), {name: table.get(name, {}) for name in _TILES}
    sizes = sorted(size for size in chosen if all(size in seconds for seconds in alone.values()))
    lines = ["| width | batch | best tile | chosen tile ÷ best |", "|---|---|---|---|"]
    for size in sizes:
        best = min(_TILES, key=lambda name, size=size: alone[name][size])  # type: ignore[misc]
        ratio = chosen[size] / alone[best][size]
        if ratio > _NEAR:
            lines.append(f"| {size[0]} | {size[1]} | {best} | {ratio:.2f} |")
    return [f"Wrong tile at {len(lines) - 2} of {len(sizes)} sizes.", "", *lines]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; return 1 where a variant failed."""
    p = child_parser("crossover", __doc__)
    p.add_argument("--seconds", type=float, required=True, metavar="N", help="time for all variants")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    arguments = p.parse_args(argv)
    sizes, end = (_REHEARSED if arguments.small else SIZES), time.monotonic() + arguments.seconds
    table: dict[str, Mapping[Size, float]] = {}
    failed = False
    variants = [*VARIANTS][:2] if arguments.small else [*VARIANTS]
    for number, name in enumerate(variants):
        share = (end - time.monotonic()) / (len(variants) - number)
        try:
            table[name] = timed(registry.find(name, [arguments.backend]), sizes, share)
        except PyfnnError as error:
            print(f"{name}: {error}")
            failed = True
        write(arguments.out, table)
    return int(failed)


def timed(row: Row, sizes: Sequence[Size], seconds: float) -> Mapping[Size, float]:
    """Return the seconds of a step of each size that was reached."""
    begun = time.monotonic()
    with Worker(command_of(row), cpus=choose_cpus(1), threads=1) as worker:
        search = CliffSearch(row.name, worker, "float32", 1, _ASSUMED)
        search.prove()
        survey(search, sizes, seconds - (time.monotonic() - begun))
    print(f"{row.name}: {len(search.seconds)} of {len(sizes)} sizes")
    return search.seconds


if __name__ == "__main__":
    sys.exit(main())
