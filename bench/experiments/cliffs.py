"""The cost of a training step over widths and batches: python -m bench.experiments.cliffs finds sizes that are slow.

Writes sweep.csv, sweep.json, a figure for each backend, with shares of the multiply-add ceiling, and a page. Each size
counts with its best time; ratios between backends with intervals are the task of `bench.run`.
"""

import argparse
import csv
import json
import math
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from rich.console import Console

from bench.experiments.command import run_command
from bench.experiments.engine.figures import figure_style
from bench.experiments.engine.report import Report
from bench.machine.ceilings import measure_ceilings
from bench.machine.cpus import all_threads, choose_cpus
from bench.machine.description import describe_machine
from bench.results.derive import IMPLAUSIBLE
from bench.results.schema import Ceilings
from pyfnn import oracle, parity, registry
from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity.evidence import Check
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, clear_of_kinks, scale, tensor_norms
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker

WIDTHS, BATCHES = (4, 2048), (1, 512)  # least and most
CLIFF = 1.5  # ratio of GFLOP/s between neighbours
SHOWN_BATCHES = (1, 4, 16, 64, 512)  # lines of the figure
_REPEATS = 8  # further visits to the sizes beside an apparent cliff
_PRINTED = 20  # cliffs, at most
_CALLS, _LONG_CALLS = 6, 3  # calls in a visit, of several steps and of one step; the best counts
_CALL_SECONDS = 0.002  # duration of a call, if `order` is long enough
_LEAST_STEP = 5e-8  # seconds; assumed for steps whose products take less
_ORDER = 1 << 17  # entries of order, at most, unless one step needs more
_RATE = 1e-3  # ÷ width: so small that θ, and with it the time of a step, does not change

QUESTION = "At which sizes does a training step suddenly get slower?"
HEADER = ("backend", "width", "batch", "next width", "next batch", "factor of speed")

Size = tuple[int, int]  # width, batch


@dataclass(frozen=True)
class SizeTiming:
    """The best time of a size: seconds a step, GFLOP/s of the products, their share of the ceiling."""

    backend: str
    width: int
    batch: int
    seconds: float
    gflops: float
    share: float


@dataclass(frozen=True)
class Cliff:
    """Two neighbours in size, the smaller first, and the ratio of their GFLOP/s (above 1)."""

    backend: str
    smaller: Size
    larger: Size
    factor: float

    def __str__(self) -> str:
        (n, B), (n2, B2) = self.smaller, self.larger
        return f"{self.backend}: width {n}, batch {B} to width {n2}, batch {B2}: {self.factor:.2f}×"


def widths(most: int = WIDTHS[1]) -> list[int]:
    """Return the powers of two up to `most`, their neighbours 2^k ± 1 and the midpoints 3·2^k."""
    every = {near for p in _powers(most) for near in (p - 1, p, p + 1, 3 * p)}
    return sorted(width for width in every if WIDTHS[0] <= width <= most)


def batches() -> list[int]:
    """Return the powers of two, and 2^k + 1, whose last row is odd."""
    every = {near for p in _powers(BATCHES[1]) for near in (p, p + 1)}
    return sorted(batch for batch in every if BATCHES[0] <= batch <= BATCHES[1])


def _powers(most: int) -> list[int]:
    return [2**k for k in range(most.bit_length())]


def network_of(width: int, dtype: str) -> Network:
    """Return a network of two square layers with relu, whose cost is negligible beside the products."""
    return Network((width, width, width), "relu", "half_squared_error", dtype=dtype)


def flops_of(width: int, batch: int) -> int:
    """Return the operations of a training step's products: five of (batch, width) by (width, width)."""
    return 10 * batch * width**2


class CliffSearch:
    """A search for cliffs in one backend's process; keeps the best seconds of each size.

    Parameters
    ----------
    name : str
    worker : Worker
    dtype : str
    threads : int
    ceiling : float
        Assumed GFLOP/s of a step; used only to choose the number of steps in a call.
    """

    def __init__(self, name: str, worker: Worker, dtype: str, threads: int, ceiling: float) -> None:
        self.name = name
        self.seconds: dict[Size, float] = {}
        self._worker, self._dtype, self._threads, self._ceiling = worker, dtype, threads, ceiling

    def prove(self) -> None:
        """Run the small variant of the parity battery; raise `PyfnnError` if the backend fails it."""
        small = parity.small_variant(network_of(8, self._dtype), np.random.default_rng(0))
        evidence = parity.examine(self._model, [small])
        if not evidence.passed:
            raise PyfnnError(f"{self.name}: {evidence.worst}")

    def _model(self, network: Network, theta: Any) -> ProcessModel:
        return ProcessModel(self._worker, network, theta, self._threads)

    def visit(self, width: int, batch: int) -> None:
        """Time one size. The first visit compares a step with the oracle before any timing."""
        network = network_of(width, self._dtype)
        rng = np.random.default_rng((width, batch))
        theta = initialize(network, width)
        x, y = self._rows(network, theta, batch, rng)
        estimated = max(flops_of(width, batch) / (1e9 * self._ceiling), _LEAST_STEP)
        most = max(1, min(round(_CALL_SECONDS / estimated), _ORDER // batch))
        order = np.concatenate([np.arange(batch), rng.integers(len(x), size=(most - 1) * batch)])
        rate = _RATE / width
        with self._model(network, theta) as model:
            model.load(x, y, order)
            if (width, batch) not in self.seconds:
                self._check(model, theta, x[:batch], y[:batch])
            steps, seconds = 1, 0.0
            while seconds < _CALL_SECONDS / 2 and steps < most:  # also the warm-up
                seconds = model.train(0, steps * batch, batch, rate)
                longer = math.ceil(steps * _CALL_SECONDS / max(seconds, 1e-9))
                steps = min(most, max(steps, min(longer, 16 * steps)))
            calls = _CALLS if steps > 1 else _LONG_CALLS
            best = min(model.train(0, steps * batch, batch, rate) for _ in range(calls)) / steps
        if best <= 0:
            raise PyfnnError(f"{self.name}: reports {best} s for a step of width {width}, batch {batch}")
        self.seconds[width, batch] = min(best, self.seconds.get((width, batch), best))

    def _rows(self, network: Network, theta: Any, batch: int, rng: np.random.Generator) -> tuple[Any, Any]:
        """Return x and y, each (rows, width) with at least `batch` rows, all clear of relu's kink."""
        unit, clear = C * UNIT_ROUNDOFF[self._dtype], np.empty((0, network.sizes[0]), self._dtype)
        while len(clear) < batch:
            drawn = rng.normal(size=(batch + 8, network.sizes[0])).astype(self._dtype)
            clear = np.concatenate([clear, drawn[clear_of_kinks(network, theta, drawn, 2 * unit)]])
        return clear, rng.normal(size=(len(clear), network.sizes[-1])).astype(self._dtype)

    def _check(self, model: ProcessModel, theta: Any, x: Any, y: Any) -> None:
        """Compare one step that clearly moves θ with the oracle in float64, within twice the parity bound."""
        network = model.network
        gradient = oracle.loss_and_gradient(network, theta.astype(np.float64), x, y)[1]
        rate = 0.1 * float(np.linalg.norm(theta) / np.linalg.norm(gradient))
        model.train(0, len(x), len(x), rate)
        deviations = tensor_norms(network, model.theta() - (theta - rate * gradient))
        model.reset()
        allowed = tensor_norms(network, rate * scale(network, theta, x, y).gradient + np.abs(theta))
        for tensor, error in deviations.items():
            bound = 2 * C * UNIT_ROUNDOFF[self._dtype] * allowed[tensor]
            check = Check(f"{network.sizes[0]} wide, batch {len(x)}", f"displacement of {tensor}", error, bound)
            if not check.passed:
                raise PyfnnError(f"{self.name}: {check}")

    def cliffs(self) -> list[Cliff]:
        """Return the pairs of neighbours that are cliffs (see `is_cliff`), the highest ratio first."""
        sizes = sorted(self.seconds)
        across, up = sorted({n for n, _ in sizes}), sorted({B for _, B in sizes})
        pairs = [((a, B), (b, B)) for a, b in pairwise(across) for B in up]
        pairs += [((n, a), (n, b)) for a, b in pairwise(up) for n in across]
        found = []
        for a, b in pairs:
            if a in self.seconds and b in self.seconds:
                factor = (flops_of(*a) / self.seconds[a]) / (flops_of(*b) / self.seconds[b])
                if is_cliff(factor, self.seconds[a], self.seconds[b]):
                    found.append(Cliff(self.name, a, b, factor if factor > 1 else 1 / factor))
        return sorted(found, key=lambda cliff: -cliff.factor)

    def points(self, ceiling: float) -> list[SizeTiming]:
        """Return the timings in order of size, with shares of this ceiling in GFLOP/s."""
        rated = [(size, flops_of(*size) / s / 1e9, s) for size, s in sorted(self.seconds.items())]
        return [SizeTiming(self.name, n, B, s, gflops, gflops / ceiling) for (n, B), gflops, s in rated]


def is_cliff(factor: float, smaller_seconds: float, larger_seconds: float) -> bool:
    """Return True if two neighbours are a cliff.

    `factor` is the ratio of the smaller's GFLOP/s to the larger's. It is a cliff above `CLIFF`, and below 1 / `CLIFF`
    if the smaller step even takes longer. Fewer GFLOP/s alone are no cliff, because every step has a fixed cost.
    """
    return factor > CLIFF or (factor < 1 / CLIFF and smaller_seconds > larger_seconds)


def survey(search: CliffSearch, sizes: Sequence[Size], seconds: float, seed: int = 0) -> None:
    """Visit all sizes in random order, powers of two first; then revisit those beside cliffs, `_REPEATS` times.

    The repetitions remove cliffs that are noise. After `seconds` the remaining sizes stay without a time.
    """
    shuffle, end = random.Random(seed), time.perf_counter() + seconds
    todo = sorted(shuffle.sample(sizes, len(sizes)), key=lambda size: sum(number & (number - 1) > 0 for number in size))
    for _ in range(1 + _REPEATS):
        for width, batch in todo:
            if time.perf_counter() > end:
                return
            search.visit(width, batch)
        doubtful = dict.fromkeys(size for cliff in search.cliffs() for size in (cliff.smaller, cliff.larger))
        todo = shuffle.sample([*doubtful], len(doubtful))


def draw(points: Sequence[SizeTiming], cliffs: Sequence[Cliff], title: str) -> Figure:
    """Draw a map of the shares of the ceiling over width and batch, and lines of the shares of some batches.

    Cliffs are lines between the map's cells.
    """
    across, up = sorted({p.width for p in points}), sorted({p.batch for p in points})
    shares = np.full((len(up), len(across)), np.nan)
    for p in points:
        shares[up.index(p.batch), across.index(p.width)] = 100 * p.share
    figure = Figure(figsize=(7.0, 6.6), layout="constrained")
    figure.suptitle(title, fontsize=8, weight="bold")
    map_axes, axes = figure.subplots(2, 1, height_ratios=(3, 2))
    image = map_axes.pcolormesh(shares, cmap="viridis", vmin=0, vmax=100)
    map_axes.set_facecolor("#DDDDDD")  # not measured
    for cliff in cliffs:
        (n, B), (n2, _) = cliff.smaller, cliff.larger
        i, j = across.index(n), up.index(B)
        ends = ([i + 1, i + 1], [j, j + 1]) if n != n2 else ([i, i + 1], [j + 1, j + 1])
        map_axes.plot(*ends, color="#D55E00", linewidth=1.8, solid_capstyle="butt")
    for axis, values in ((map_axes.xaxis, across), (map_axes.yaxis, up)):
        labelled = [value for value in values if value & (value - 1) == 0] or values
        axis.set_ticks([values.index(value) + 0.5 for value in labelled], [str(value) for value in labelled])
    counted = f"{len(cliffs)} cliffs over {CLIFF}× between neighbours, marked" if cliffs else "no cliff over 1.5×"
    map_axes.set(xlabel=f"width; between powers of two: 2^k + 1, 3·2^(k-1), 2^(k+1) - 1 ({counted})", ylabel="batch")
    figure.colorbar(image, ax=map_axes, label="% of the multiply-add ceiling")
    for batch in [B for B in SHOWN_BATCHES if B in up] or up[:1]:
        line = [(p.width, 100 * p.share) for p in points if p.batch == batch]
        axes.plot(*zip(*line, strict=True), marker=".", markersize=3, linewidth=0.9, label=f"batch {batch}")
    axes.set(xscale="log", xlabel="width (log)", ylabel="% of the ceiling", ylim=(0, 105))
    axes.xaxis.set_major_locator(FixedLocator([n for n in across if n & (n - 1) == 0] or across))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.axhline(100, color="black", linewidth=0.4)
    figure.legend(frameon=False, ncols=5, loc="outside lower left")
    return figure


def write(
    folder: Path,
    points: Sequence[SizeTiming],
    cliffs: Sequence[Cliff],
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Iterator[Path]:
    """Write the table, the facts, the figures and the page, with notes on what went wrong; yield their paths."""
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(SizeTiming.__dataclass_fields__))
        table.writeheader()
        table.writerows(asdict(point) for point in points)
    yield folder / "sweep.csv"
    facts = {"settings": settings, "host": describe_machine(), "cliffs": [asdict(cliff) for cliff in cliffs]}
    (folder / "sweep.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    yield folder / "sweep.json"
    report = Report(folder)
    for note in notes:
        report.say(f"{note}.", "attention")
    for name in dict.fromkeys(point.backend for point in points):
        own = [point for point in points if point.backend == name], [c for c in cliffs if c.backend == name]
        say(name, *own, report)
        title = f"{name}: a training step of n-n-n relu, {settings['dtype']}, {settings['threads']} thread(s)"
        with figure_style():
            figure = draw(*own, f"{title}; ceiling {settings['ceiling_gflops']:.4g} GFLOP/s")
            stem = f"sweep_{name}_{settings['dtype']}_{settings['threads']}t"
            yield from report.figure(figure, stem, f"Shares of the ceiling that {name} reaches, by width and batch")
    yield from report.table(
        "cliffs",
        HEADER,
        [row(cliff) for cliff in sorted(cliffs, key=lambda cliff: -cliff.factor)],
        title="Cliffs, the highest first",
    )
    yield from report.save("cliffs", QUESTION, settings, {})


def say(name: str, points: Sequence[SizeTiming], cliffs: Sequence[Cliff], report: Report) -> None:
    """Add sentences on a backend: its cliffs, the highest of them, and its best and worst shares of the ceiling."""
    count = f"{len(cliffs)} cliff{'s' * (len(cliffs) != 1)}" if cliffs else "no cliff"
    report.say(f"{name} has {count} over {CLIFF}× between neighbours among {len(points)} sizes.")
    if cliffs:
        (n, B), (n2, B2) = cliffs[0].smaller, cliffs[0].larger
        report.say(
            f"The highest of {name}: from width {n}, batch {B} to width {n2}, batch {B2} the speeds in GFLOP/s differ "
            f"by a factor of {cliffs[0].factor:.2f}."
        )
    for which, point in (("most", max(points, key=_share)), ("least", min(points, key=_share))):
        report.say(
            f"{name} reaches the {which} of the ceiling, {100 * point.share:.2g} %, at width {point.width}, batch "
            f"{point.batch}."
        )


def _share(point: SizeTiming) -> float:
    return point.share


def row(cliff: Cliff) -> list[object]:
    """Return the row of a cliff in the table."""
    return [cliff.backend, *cliff.smaller, *cliff.larger, f"{cliff.factor:.2f}"]


def _ceiling(probed: Sequence[Ceilings]) -> float:
    """Return the best probe; raise `PyfnnError` where none succeeded."""
    if all(found.absent for found in probed):
        raise PyfnnError(f"no ceiling to compare with: {probed[0].absent}")
    return max(peak.gflops for found in probed for peak in found.peaks)


def _parser() -> argparse.ArgumentParser:
    description = "Time a training step over widths and batches, and find cliffs: sizes much slower than a neighbour."
    p = argparse.ArgumentParser(prog="python -m bench.experiments.cliffs", description=description)
    p.add_argument("--backend", default="cpp-tuned", metavar="NAME[,NAME]", help="backends to time (cpp-tuned)")
    p.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    p.add_argument("--threads", type=int, default=1, metavar="N")
    p.add_argument("--widest", type=int, default=WIDTHS[1], metavar="N", help=f"the largest width ({WIDTHS[1]})")
    p.add_argument(
        "--budget", type=float, default=300.0, metavar="SECONDS", help="time for all backends together (300)"
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="output folder (results/sweep-<timestamp>)")
    return p


class _Measured(NamedTuple):
    """The searches that have times, errors of other backends by name, the ceiling; cut_short: by Ctrl-C."""

    searches: list[CliffSearch]
    lost: dict[str, PyfnnError]
    ceiling: float
    cut_short: bool


def _measure(rows: Sequence[Row], sizes: Sequence[Size], arguments: argparse.Namespace) -> _Measured:
    """Search each backend for cliffs. An error, or Ctrl-C, keeps what was measured of the backends before it.

    Raises
    ------
    PyfnnError, KeyboardInterrupt
        Nothing was measured.
    """
    dtype, threads = arguments.dtype, arguments.threads
    probed = [measure_ceilings("before", [dtype], [threads])]
    _ceiling(probed)  # or an error now
    found, lost, cut_short = dict[str, CliffSearch](), dict[str, PyfnnError](), True
    with suppress(KeyboardInterrupt):
        for row in rows:
            try:
                with Worker(command_of(row), cpus=choose_cpus(threads), threads=threads) as worker:
                    found[row.name] = search = CliffSearch(row.name, worker, dtype, threads, _ceiling(probed))
                    search.prove()
                    survey(search, sizes, arguments.budget / len(rows))
            except PyfnnError as error:  # none of its times counts
                found.pop(row.name, None)
                lost[row.name] = error
        probed.append(measure_ceilings("after", [dtype], [threads]))
        cut_short = False
    searches = [search for search in found.values() if search.seconds]
    if not searches:
        raise next(iter(lost.values()), KeyboardInterrupt())
    return _Measured(searches, lost, _ceiling(probed), cut_short)


def _notes(found: _Measured, rows: Sequence[Row], sizes: int) -> list[str]:
    """Return a note on each backend of which some sizes, or all, were not measured."""
    interrupted = "the measurement was interrupted"
    measured = {search.name: len(search.seconds) for search in found.searches}
    some = [
        f"{name}: {sizes - count} of {sizes} sizes not measured; {interrupted if found.cut_short else 'raise --budget'}"
        for name, count in measured.items()
        if count < sizes
    ]
    none = [row.name for row in rows if row.name not in measured]
    return [*some, *(f"{name}: not measured: {found.lost.get(name, interrupted)}" for name in none)]


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure, print the cliffs and write the files."""
    for name, least, most in (("threads", 1, all_threads()), ("widest", WIDTHS[0], WIDTHS[1]), ("budget", 1, 86400)):
        if not least <= getattr(arguments, name) <= most:
            raise PyfnnError(f"--{name} {getattr(arguments, name):g}: must be from {least} to {most}")
    rows = [registry.find(name.strip()) for name in arguments.backend.split(",")]
    sizes = [(n, B) for n in widths(arguments.widest) for B in batches()]
    folder = arguments.out or Path("results") / datetime.now().strftime("sweep-%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)  # an error here comes before the measurement
    found = _measure(rows, sizes, arguments)
    searches, ceiling = found.searches, found.ceiling
    points = [point for search in searches for point in search.points(ceiling)]
    cliffs = [cliff for search in searches for cliff in search.cliffs()]
    notes = _notes(found, rows, len(sizes))
    above = sum(point.share > IMPLAUSIBLE for point in points)
    if above:
        why = "other processes disturbed the probe, or a clock is wrong"
        notes.append(f"{above} sizes are above {IMPLAUSIBLE} of the ceiling: {why}")
    for note in notes:
        console.print(note, style="yellow", highlight=False)
    console.print(f"{len(cliffs) or 'no'} cliffs over {CLIFF}× between neighbours", highlight=False)
    for cliff in cliffs[:_PRINTED]:
        console.print(f"  {cliff}", highlight=False)
    if len(cliffs) > _PRINTED:
        console.print("  lower ones: see sweep.json", highlight=False)
    settings = {name: getattr(arguments, name) for name in ("dtype", "threads", "budget")}
    settings |= {"ceiling_gflops": ceiling, "cut_short": found.cut_short}
    for path in write(folder, points, cliffs, settings, notes):
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if found.cut_short:
        raise KeyboardInterrupt
    if found.lost:
        raise next(iter(found.lost.values()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status (see `run_command`)."""
    return run_command("cliffs", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
