"""The coverage of intervals and verdicts on this machine: python -m bench.experiments.proof measures known ratios.

Compares numpy with itself, a copy of `c` with one slowed by 3 %, and both beside a load that comes and goes. trials.py
measures; this module counts, draws and writes proof.json, with all samples, and two figures. `coverage` does the same
on simulated machines.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from scipy.stats import binomtest

from bench.experiments.command import run_command
from bench.experiments.proof.trials import (
    AGAIN,
    EXPERIMENTS,
    METHODS,
    NO_PRECISION,
    PLAIN,
    PLANTED,
    SLOWDOWN,
    SLOWED_TRUTH,
    SLOWER,
    Comparison,
    Experiment,
    Proof,
    ProofPlan,
    prove,
)
from bench.format import with_interval
from bench.machine.cpus import choose_cpus
from bench.machine.description import describe_machine
from bench.measure.settings import Settings
from bench.report.drawing import DPI, EDGE, FAINT, LINE, MUTED, SHADE, STYLE, WIDE
from bench.report.render import ReportTable, rich_table
from bench.report.style import BLACK, BLUE, VERMILION
from bench.statistics import intervals
from bench.statistics.stopping import MOST_LAUNCHES
from bench.statistics.verdicts import MARGIN
from pyfnn import registry
from pyfnn.errors import PyfnnError

_RUN = Settings()  # of bench.run
_BURST = _RUN.burst_seconds / _RUN.block_seconds  # untimed work before a block, as a share of the block


# Counts and tables ---------------------------------------------------------------------------------------------------


def share_of(found: Sequence[bool]) -> str:
    """Return the count and the share's 95 % interval (Clopper and Pearson): ``39 of 40 (98 % [87, 100])``."""
    if not found:
        return "0 of 0"
    interval = binomtest(sum(found), len(found)).proportion_ci(intervals.CONFIDENCE)
    percent = (100 * bound for bound in (fmean(found), interval.low, interval.high))
    return "{} of {} ({:.0f} % [{:.0f}, {:.0f}])".format(sum(found), len(found), *percent)


def is_called_different(comparison: Comparison) -> bool:
    """Return True if the verdict is `faster` or `slower`."""
    return comparison.verdict in ("faster", "slower")


def equal_table(proof: Proof) -> ReportTable:
    """Return the table of how often an equal backend is called equal."""
    own = proof.of("equal")
    lines = (
        (AGAIN, "verdict over the whole table", share_of([not is_called_different(t) for t in own])),
        (AGAIN, "interval alone", share_of([t.holds() for t in own])),
        ("numpy@2", "interval alone", share_of([t.holds("numpy@2") for t in own])),
    )
    notes = (f"{AGAIN} is numpy under another name, and an arm of its own; numpy@2 is the second instance.",)
    return ReportTable("Called equal to numpy", ("backend", "by", "cases"), (("", lines),), notes)


def slowed_table(proof: Proof) -> ReportTable:
    """Return the table of slowed copies, narrowest intervals first, with the count of those found."""
    own = sorted(proof.of("slowed"), key=half_width)
    lines = [_slowed_line(comparison) for comparison in own]
    lines.append(("found", "", "", share_of([comparison.verdict == "slower" for comparison in own])))
    holding = share_of([comparison.holds() for comparison in own])
    note = f"The truth is 1/{1 + SLOWDOWN:g} = {SLOWED_TRUTH:.4f}; intervals that contain it: {holding}."
    columns = ("case", "launches", f"times as fast as {PLAIN}", "verdict")
    return ReportTable(f"A copy of c, slowed by {100 * SLOWDOWN:g} %", columns, (("", tuple(lines)),), (note,))


def _slowed_line(comparison: Comparison) -> tuple[str, ...]:
    found = comparison.estimate()
    assert found is not None
    return comparison.title, str(comparison.launches), with_interval(found), comparison.verdict or ""


def loaded_table(proof: Proof, dwell: float) -> ReportTable:
    """Return the table of how often intervals contain the truth beside a load, by method."""
    lines = []
    for method in METHODS:
        own = proof.of("loaded", method)
        by_truth = (share_of([t.holds() for t in own if t.truth == truth]) for truth in (1.0, SLOWED_TRUTH))
        width = f"±{100 * math.expm1(median(map(half_width, own))):.3g} %" if own else ""
        lines.append((method, *by_truth, share_of([t.holds() for t in own]), width))
    load = "" if proof.load is None else f" It had {100 * proof.load:.0f} % of the CPU's time, shared when busy."
    notes = (
        f"The load runs on the measured CPU, on and off at random for {dwell:g} s on average.{load}",
        "Interleaved: shuffled rounds, as in bench.run. Fresh processes: all launches of one backend, then all of the "
        "other, the same number of launches and blocks; Welch's t interval over launches. One process: the same number "
        "of blocks, all in one process of each backend, one after the other; Welch's t interval over blocks.",
    )
    columns = ("method", "truth 1", f"truth 1/{1 + SLOWDOWN:g}", "both", "median half-width")
    return ReportTable("Intervals that contain the truth, beside a load", columns, (("", tuple(lines)),), notes)


def half_width(comparison: Comparison) -> float:
    """Return the interval's half-width, on the log scale."""
    found = comparison.estimate()
    assert found is not None
    return math.log(found.high / found.low) / 2


def tables(proof: Proof, plan: ProofPlan) -> list[ReportTable]:
    """Return a table for each experiment that ran, and one of the comparisons without an interval."""
    made = {comparison.experiment for comparison in proof.comparisons}
    all_of_them: dict[Experiment, Callable[[], ReportTable]] = {
        "equal": lambda: equal_table(proof),
        "slowed": lambda: slowed_table(proof),
        "loaded": lambda: loaded_table(proof, plan.dwell),
    }
    found = [make() for experiment, make in all_of_them.items() if experiment in made]
    lost = tuple(
        (t.experiment, t.title, t.method, t.lost or "no interval") for t in proof.comparisons if not t.estimate()
    )
    if lost:
        found.append(ReportTable("Without an interval", ("experiment", "case", "method", "why"), (("", lost),)))
    return found


# Figures -------------------------------------------------------------------------------------------------------------


def draw_loaded(proof: Proof, note: str) -> Figure:
    """Draw the intervals of all repetitions relative to the truth, a panel for each method, misses in red."""
    panels, own = {}, {method: proof.of("loaded", method) for method in METHODS}
    figure, (low, high) = _blank(max(map(len, own.values()), default=1), note)
    wide = (WIDE - 0.5) / len(METHODS)
    for i, (method, some) in enumerate(own.items()):
        axes = panels[method] = figure.add_axes(((0.3 + i * wide) / WIDE, low, (wide - 0.2) / WIDE, high - low))
        _bars(axes, some, lambda comparison: comparison.truth)
        axes.set_title(f"{method}: {sum(t.holds() for t in some)} of {len(some)} contain it", fontsize="medium", pad=3)
        axes.set_xlabel("Ratio off the truth (100 log)")
    _same_scale(list(panels.values()), [bound for some in own.values() for t in some for bound in _bounds(t, t.truth)])
    return figure


def draw_verdicts(proof: Proof, note: str) -> Figure:
    """Draw the intervals of equal and of slowed backends without a load, the margin of sameness shaded."""
    shown = ((f"{AGAIN} against numpy: equal", "equal", 1.0), (f"{SLOWER} against {PLAIN}", "slowed", SLOWED_TRUTH))
    own = [proof.of(experiment) for _, experiment, _ in shown]  # type: ignore[arg-type]
    figure, (low, high) = _blank(max(map(len, own)), note)
    wide = (WIDE - 0.5) / 2
    every = []
    for i, ((title, _, truth), some) in enumerate(zip(shown, own, strict=True)):
        axes = figure.add_axes(((0.3 + i * wide) / WIDE, low, (wide - 0.2) / WIDE, high - low))
        margin = 100 * math.log1p(MARGIN)
        axes.axvspan(-margin, margin, color=SHADE, alpha=0.5, linewidth=0, zorder=0)
        _bars(axes, sorted(some, key=half_width), lambda _: 1.0, truth)
        axes.set_title(title, fontsize="medium", pad=3)
        axes.set_xlabel("Times as fast (100 log)")
        every.append(axes)
    reach = 1.1 * max((abs(100 * bound) for some in own for t in some for bound in _bounds(t, 1.0)), default=1.0)
    for axes in every:
        axes.set_xlim(-reach, reach)
    return figure


def _blank(rows: int, note: str) -> tuple[Figure, tuple[float, float]]:
    """Return a figure with a note, and the bottom and top of its panels as shares of its height."""
    height = max(1.6, 0.07 * rows) + 8 * LINE
    figure = Figure(figsize=(WIDE, height))
    figure.text(EDGE / WIDE, EDGE / height, note, color=MUTED, va="bottom")
    return figure, (5.8 * LINE / height, 1 - 1.8 * LINE / height)


def _bounds(comparison: Comparison, centre: float) -> tuple[float, float]:
    found = comparison.estimate()
    assert found is not None
    return math.log(found.low / centre), math.log(found.high / centre)


def _bars(axes: Axes, some: Sequence[Comparison], centre: Callable[[Comparison], float], truth: float = 1.0) -> None:
    """Draw an interval a row relative to `centre`, in units of 100 log, and the truth as a line."""
    for at, comparison in enumerate(some):
        colour = BLUE if comparison.holds() else VERMILION
        low, high = (100 * bound for bound in _bounds(comparison, centre(comparison)))
        axes.plot([low, high], [at, at], color=colour, linewidth=1.2, solid_capstyle="butt", zorder=2)
        axes.plot((low + high) / 2, at, ".", color=colour, markersize=3, zorder=3)
    axes.axvline(100 * math.log(truth), color=BLACK, linewidth=0.6, zorder=1)
    axes.set(ylim=(max(len(some), 1) - 0.5, -0.5), yticks=[])


def _same_scale(panels: Sequence[Axes], bounds: Sequence[float]) -> None:
    """Set one scale: linear within 1 %, logarithmic beyond, so that intervals of very different widths fit."""
    reach = max((abs(100 * bound) for bound in bounds), default=1.0)
    ticks = [tick for tick in (1, 10, 100, 1000) if tick <= 1.2 * reach]
    for axes in panels:
        axes.set_xscale("symlog", linthresh=1.0, linscale=0.6)
        axes.set_xlim(-1.3 * max(reach, 1.0), 1.3 * max(reach, 1.0))
        axes.set_xticks([*(-tick for tick in reversed(ticks)), 0, *ticks])
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(axis="x", color=FAINT, linewidth=0.4, zorder=0)


# The command ---------------------------------------------------------------------------------------------------------


def write(folder: Path, proof: Proof, plan: ProofPlan) -> Iterator[Path]:
    """Write all measurements to proof.json, and the figures; yield the paths."""
    host = describe_machine()
    content = {
        "settings": {**asdict(plan), "cpus": choose_cpus(1)},
        "host": host,
        "load_taken": proof.load,
        "cut_short": proof.cut_short,
        "trials": [_as_json(comparison) for comparison in proof.comparisons],
    }
    path = folder / "proof.json"
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    yield path
    source = f"{host['cpu_model']}; {plan.settings.min_launches} launches"
    hues = "95 % intervals, red if they miss the truth (the line). 100 log of a ratio is about percent."
    figures = {
        "verdicts": (draw_verdicts, ("equal", "slowed"), f"{hues}\nShaded: the margin of sameness. {source} at least."),
        "load": (draw_loaded, ("loaded",), f"{hues}\nLinear within 1 %, logarithmic beyond. {source}."),
    }
    with style.context(["default", STYLE]):
        for name, (draw, needs, note) in figures.items():
            if any(comparison.experiment in needs for comparison in proof.comparisons):
                path = folder / f"proof-{name}.png"
                draw(proof, note).savefig(path, dpi=DPI)
                yield path


def _as_json(comparison: Comparison) -> dict[str, Any]:
    found = comparison.estimate()
    return {
        **{
            name: getattr(comparison, name)
            for name in ("experiment", "method", "reference", "other", "truth", "verdict")
        },
        "estimate": {"median": found.median, "low": found.low, "high": found.high} if found else None,
        "holds": comparison.holds(),
        "cases": [case.model_dump() for case in comparison.cases],
    }


USUAL: dict[str, Any] = {
    "equal": 40,
    "slowed": 8,
    "loaded": 12,
    "seconds": 840.0,
    "block": _RUN.block_seconds,
    "rounds": _RUN.rounds,
    "launches": _RUN.min_launches,
    "precision": 0.01,
}
QUICK = USUAL | {
    "equal": 1,
    "slowed": 1,
    "loaded": 1,
    "seconds": 30.0,
    "block": 0.005,
    "rounds": 2,
    "launches": 2,
    "precision": NO_PRECISION,
}
"""The defaults of the options, without and with --quick."""


def _parser() -> argparse.ArgumentParser:
    description = "Measure known ratios on this machine, and count the intervals and verdicts that are right."
    p = argparse.ArgumentParser(prog="python -m bench.experiments.proof", description=description)
    p.add_argument("--equal", type=int, metavar="N", help=f"cases of numpy against itself ({USUAL['equal']})")
    p.add_argument("--slowed", type=int, metavar="N", help=f"cases of a slowed copy of c ({USUAL['slowed']})")
    p.add_argument("--loaded", type=int, metavar="N", help=f"repetitions beside a load ({USUAL['loaded']})")
    p.add_argument("--seconds", type=float, metavar="SECONDS", help=f"total time ({USUAL['seconds']:g})")
    p.add_argument("--block", type=float, metavar="SECONDS", help=f"least length of a block ({USUAL['block']:g})")
    p.add_argument("--rounds", type=int, metavar="N", help=f"rounds in a launch ({USUAL['rounds']})")
    p.add_argument("--launches", type=int, metavar="N", help=f"least number of launches ({USUAL['launches']})")
    p.add_argument("--precision", type=float, metavar="SHARE", help="precision of the slowed cases (0.01)")
    p.add_argument(
        "--dwell", type=float, default=4.0, metavar="SECONDS", help="mean of the load's busy and idle times (4)"
    )
    p.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the shuffles and the load (0)")
    p.add_argument("--quick", action="store_true", help="one short case of each, to see that the experiment works")
    p.add_argument("--out", type=Path, metavar="DIR", help="output folder (results/proof-<timestamp>)")
    return p


_LIMITS = {
    "equal": (0, 10_000),
    "slowed": (0, 10_000),
    "loaded": (0, 10_000),
    "seconds": (1, 86_400),
    "block": (0.001, 1),
    "rounds": (1, 100),
    "launches": (2, MOST_LAUNCHES),
    "precision": (1e-4, NO_PRECISION),
    "dwell": (0.01, 3600),
}


def plan_of(arguments: argparse.Namespace) -> ProofPlan:
    """Return the plan of the command line.

    Raises
    ------
    PyfnnError
        An option is out of range; the message has the option, the value and the rule.
    """
    usual = QUICK if arguments.quick else USUAL
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    chosen = {**usual, **given}
    for name, (least, most) in _LIMITS.items():
        if not least <= chosen[name] <= most:
            raise PyfnnError(f"--{name} {chosen[name]:g}: must be from {least:g} to {most:g}")
    settings = Settings(
        rounds=chosen["rounds"],
        min_launches=chosen["launches"],
        launches=chosen["launches"],
        block_seconds=chosen["block"],
        burst_seconds=_BURST * chosen["block"],
        seed=chosen["seed"],
    )
    counts: dict[Experiment, int] = {name: chosen[name] for name in EXPERIMENTS}
    return ProofPlan(counts, chosen["seconds"], settings, chosen["precision"], chosen["dwell"])


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure, print the tables and write the files."""
    plan = plan_of(arguments)
    for name in dict.fromkeys(of for of, _ in PLANTED.values()):
        registry.load_backend(name)

    def report(line: str) -> None:
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)

    folder = arguments.out or Path("results") / datetime.now().strftime("proof-%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)  # an error here comes before the measurement
    proof = prove(plan, report)
    if not proof.comparisons:
        raise KeyboardInterrupt
    console.print()
    for table in tables(proof, plan):
        console.print(rich_table(table))
    for path in write(folder, proof, plan):
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if proof.cut_short:
        raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status (see `run_command`)."""
    return run_command("proof", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
