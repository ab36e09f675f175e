"""Do the intervals hold on this machine what they promise? python -m bench.experiments.proof measures what is known:
numpy against itself, a copy of `c` against one that is slowed by 3 %, and these beside a load that comes and goes.

What is here counts, draws and is the command; trials.py measures. Writes proof.json, with all samples, and two figures.
The same on made-up machines: `coverage`.
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
    Experiment,
    Plan,
    Proof,
    Trial,
    prove,
)
from bench.format import with_interval
from bench.machine.cpus import choose_cpus
from bench.machine.description import describe_machine
from bench.measure.arm import Settings
from bench.report.drawing import BLACK, BLUE, DPI, EDGE, FAINT, LINE, MUTED, SHADE, STYLE, VERMILION, WIDE
from bench.report.render import Table, rich_table
from bench.statistics import intervals
from bench.statistics.stopping import MOST_LAUNCHES
from pyfnn import registry
from pyfnn.errors import PyfnnError

LOW_FLOOR = 0.01  # under which a slowdown of 3 % has to be found
_BURST = 0.2  # of a block, untimed, before it: as bench.run has it


# What is told --------------------------------------------------------------------------------------------------------


def share_of(found: Sequence[bool]) -> str:
    """How many, and the share's 95 % interval (Clopper and Pearson's): ``39 of 40 (98 % [87, 100])``."""
    if not found:
        return "0 of 0"
    interval = binomtest(sum(found), len(found)).proportion_ci(intervals.CONFIDENCE)
    percent = (100 * bound for bound in (fmean(found), interval.low, interval.high))
    return "{} of {} ({:.0f} % [{:.0f}, {:.0f}])".format(sum(found), len(found), *percent)


def same(trial: Trial, of: str | None = None, *, floor: bool) -> bool:
    """Whether no difference is shown: by interval and noise floor, or by the interval alone."""
    found = trial.estimate(of)
    return found is not None and intervals.verdict(found, trial.floor if floor else None) == "no difference shown"


def found_slower(trial: Trial) -> bool:
    """Whether the verdict is that it is slower."""
    found = trial.estimate()
    return found is not None and intervals.verdict(found, trial.floor) == "slower"


def is_low(trial: Trial) -> bool:
    """Whether the noise floor is so low that a slowdown of 3 % has to be found."""
    return trial.floor is not None and trial.floor < LOW_FLOOR


def equal_table(proof: Proof) -> Table:
    """How often the same is called equal; the second instance cannot be called anything else, and that is said."""
    own = proof.of("equal")
    lines = (
        (AGAIN, "interval and noise floor", share_of([same(t, floor=True) for t in own])),
        (AGAIN, "interval alone", share_of([same(t, floor=False) for t in own])),
        ("numpy@2", "interval alone", share_of([same(t, "numpy@2", floor=False) for t in own])),
        ("numpy@2", "interval and noise floor", share_of([same(t, "numpy@2", floor=True) for t in own])),
    )
    notes = (
        f"{AGAIN} is numpy under another name: its interval is no part of the noise floor, which is made of numpy@2 "
        "(and of the fastest's second instance). The last line could not be otherwise: the floor is the farther bound "
        "of that very interval.",
    )
    return Table("Called equal to numpy", ("backend", "by its", "cases"), (("", lines),), notes)


def slowed_table(proof: Proof) -> Table:
    """A line a case, lowest floors first; and how many were found."""
    own = sorted(proof.of("slowed"), key=lambda trial: trial.floor or math.inf)
    sections = []
    for name, wanted in ((f"floor under {100 * LOW_FLOOR:g} %", True), ("floor above", False)):
        some = [trial for trial in own if is_low(trial) == wanted]
        lines = [_slowed_line(trial) for trial in some]
        lines.append(("found", "", "", "", share_of([found_slower(trial) for trial in some])))
        sections.append((name, tuple(lines)))
    holding = share_of([trial.holds() for trial in own])
    note = f"The truth is 1/{1 + SLOWDOWN:g} = {SLOWED_TRUTH:.4f}; intervals that hold it: {holding}."
    columns = ("case", "launches", "noise floor", f"times as fast as {PLAIN}", "verdict")
    return Table(f"A copy of c, slowed by {100 * SLOWDOWN:g} %", columns, tuple(sections), (note,))


def _slowed_line(trial: Trial) -> tuple[str, ...]:
    found = trial.estimate()
    assert found is not None
    floor = "none" if trial.floor is None else f"{100 * trial.floor:.2f} %"
    ratio = with_interval(found)
    return trial.title, str(trial.launches), floor, ratio, intervals.verdict(found, trial.floor)


def loaded_table(proof: Proof, dwell: float) -> Table:
    """How often intervals hold the truth beside a load, by method."""
    lines = []
    for method in METHODS:
        own = proof.of("loaded", method)
        by_truth = (share_of([t.holds() for t in own if t.truth == truth]) for truth in (1.0, SLOWED_TRUTH))
        width = f"±{100 * math.expm1(median(map(half_width, own))):.3g} %" if own else ""
        lines.append((method, *by_truth, share_of([t.holds() for t in own]), width))
    load = "" if proof.load is None else f" It had {100 * proof.load:.0f} % of the CPU's time, sharing it when busy."
    notes = (
        f"The load is on and off at random, {dwell:g} s on average, on the CPU that is measured on.{load}",
        "Interleaved: in shuffled rounds, as bench.run does. Fresh processes: all launches of the one, then all of the "
        "other, as many launches and blocks; Welch's t interval over launches. One process: as many blocks, all of the "
        "one's in one process, then all of the other's; Welch's t interval over blocks.",
    )
    columns = ("method", "truth 1", f"truth 1/{1 + SLOWDOWN:g}", "both", "median half-width")
    return Table("Intervals that hold the truth, beside a load", columns, (("", tuple(lines)),), notes)


def half_width(trial: Trial) -> float:
    """Of the interval, on the log scale."""
    found = trial.estimate()
    assert found is not None
    return math.log(found.high / found.low) / 2


def tables(proof: Proof, plan: Plan) -> list[Table]:
    """One an experiment, of those that were made; and one of the trials that came to nothing."""
    made = {trial.experiment for trial in proof.trials}
    all_of_them: dict[Experiment, Callable[[], Table]] = {
        "equal": lambda: equal_table(proof),
        "slowed": lambda: slowed_table(proof),
        "loaded": lambda: loaded_table(proof, plan.dwell),
    }
    found = [make() for experiment, make in all_of_them.items() if experiment in made]
    lost = tuple((t.experiment, t.title, t.method, t.lost or "no interval") for t in proof.trials if not t.estimate())
    if lost:
        found.append(Table("Without an interval", ("experiment", "case", "method", "why"), (("", lost),)))
    return found


# Figures -------------------------------------------------------------------------------------------------------------


def draw_loaded(proof: Proof, note: str) -> Figure:
    """The intervals of all repetitions around the truth, a panel a method, all on one scale; misses stand out."""
    panels, own = {}, {method: proof.of("loaded", method) for method in METHODS}
    figure, (low, high) = _blank(max(map(len, own.values()), default=1), note)
    wide = (WIDE - 0.5) / len(METHODS)
    for i, (method, some) in enumerate(own.items()):
        axes = panels[method] = figure.add_axes(((0.3 + i * wide) / WIDE, low, (wide - 0.2) / WIDE, high - low))
        _bars(axes, some, lambda trial: trial.truth)
        axes.set_title(f"{method}: {sum(t.holds() for t in some)} of {len(some)} hold it", fontsize="medium", pad=3)
        axes.set_xlabel("Ratio off the truth (100 log)")
    _same_scale(list(panels.values()), [bound for some in own.values() for t in some for bound in _bounds(t, t.truth)])
    return figure


def draw_verdicts(proof: Proof, note: str) -> Figure:
    """What is said where nothing runs beside: of the same, and of what is slowed; noise floors shaded."""
    told = ((f"{AGAIN} against numpy: the same", "equal", 1.0), (f"{SLOWER} against {PLAIN}", "slowed", SLOWED_TRUTH))
    own = [proof.of(experiment) for _, experiment, _ in told]  # type: ignore[arg-type]
    figure, (low, high) = _blank(max(map(len, own)), note)
    wide = (WIDE - 0.5) / 2
    every = []
    for i, ((title, _, truth), some) in enumerate(zip(told, own, strict=True)):
        axes = figure.add_axes(((0.3 + i * wide) / WIDE, low, (wide - 0.2) / WIDE, high - low))
        ranked = sorted(some, key=lambda trial: trial.floor or math.inf)
        for at, trial in enumerate(ranked):
            floor = 100 * math.log1p(trial.floor or 0.0)
            axes.barh(at, 2 * floor, left=-floor, height=1.0, color=SHADE, alpha=0.5, linewidth=0, zorder=0)
        _bars(axes, ranked, lambda _: 1.0, truth)
        axes.set_title(title, fontsize="medium", pad=3)
        axes.set_xlabel("Times as fast (100 log)")
        every.append(axes)
    reach = 1.1 * max((abs(100 * bound) for some in own for t in some for bound in _bounds(t, 1.0)), default=1.0)
    for axes in every:
        axes.set_xlim(-reach, reach)
    return figure


def _blank(rows: int, note: str) -> tuple[Figure, tuple[float, float]]:
    """A figure with a note, and where its panels start and end, of its height."""
    height = max(1.6, 0.07 * rows) + 8 * LINE
    figure = Figure(figsize=(WIDE, height))
    figure.text(EDGE / WIDE, EDGE / height, note, color=MUTED, va="bottom")
    return figure, (5.8 * LINE / height, 1 - 1.8 * LINE / height)


def _bounds(trial: Trial, centre: float) -> tuple[float, float]:
    found = trial.estimate()
    assert found is not None
    return math.log(found.low / centre), math.log(found.high / centre)


def _bars(axes: Axes, some: Sequence[Trial], centre: Callable[[Trial], float], truth: float = 1.0) -> None:
    """An interval a row, in percent on the log scale, off `centre`; the truth a line."""
    for at, trial in enumerate(some):
        colour = BLUE if trial.holds() else VERMILION
        low, high = (100 * bound for bound in _bounds(trial, centre(trial)))
        axes.plot([low, high], [at, at], color=colour, linewidth=1.2, solid_capstyle="butt", zorder=2)
        axes.plot((low + high) / 2, at, ".", color=colour, markersize=3, zorder=3)
    axes.axvline(100 * math.log(truth), color=BLACK, linewidth=0.6, zorder=1)
    axes.set(ylim=(max(len(some), 1) - 0.5, -0.5), yticks=[])


def _same_scale(panels: Sequence[Axes], bounds: Sequence[float]) -> None:
    """Linear within a percent, logarithmic beyond, so that intervals ten times as wide as others can be compared."""
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


def write(folder: Path, proof: Proof, plan: Plan) -> Iterator[Path]:
    """Save everything that was measured, and draw it; the paths."""
    host = describe_machine()
    told = {
        "settings": {**asdict(plan), "cpus": choose_cpus(1)},
        "host": host,
        "load_taken": proof.load,
        "cut_short": proof.cut_short,
        "trials": [_as_json(trial) for trial in proof.trials],
    }
    path = folder / "proof.json"
    path.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    yield path
    source = f"{host['cpu_model']}; {plan.settings.min_launches} launches"
    hues = "Intervals of 95 %; red: without the truth, which is the line. 100 log of a ratio: about percent."
    figures = {
        "verdicts": (draw_verdicts, ("equal", "slowed"), f"{hues}\nShaded: the noise floor. {source} at least."),
        "load": (draw_loaded, ("loaded",), f"{hues}\nLinear within 1 %, logarithmic beyond. {source}."),
    }
    with style.context(["default", STYLE]):
        for name, (draw, needs, note) in figures.items():
            if any(trial.experiment in needs for trial in proof.trials):
                path = folder / f"proof-{name}.png"
                draw(proof, note).savefig(path, dpi=DPI)
                yield path


def _as_json(trial: Trial) -> dict[str, Any]:
    found = trial.estimate()
    return {
        **{name: getattr(trial, name) for name in ("experiment", "method", "reference", "other", "truth", "floor")},
        "estimate": asdict(found) if found else None,
        "holds": trial.holds(),
        "cases": [case.model_dump() for case in trial.cases],
    }


USUAL: dict[str, Any] = {
    "equal": 40,
    "slowed": 8,
    "loaded": 12,
    "seconds": 840.0,
    "block": 0.02,
    "rounds": 3,
    "launches": intervals.MIN_LAUNCHES,
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
"""Options that are not given, as usual and with --quick."""


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.experiments.proof", description="Do the intervals hold on this machine what they promise?"
    )
    p.add_argument("--equal", type=int, metavar="N", help=f"cases of numpy against itself ({USUAL['equal']})")
    p.add_argument("--slowed", type=int, metavar="N", help=f"cases of a slowed copy of c ({USUAL['slowed']})")
    p.add_argument("--loaded", type=int, metavar="N", help=f"repetitions beside a load ({USUAL['loaded']})")
    p.add_argument("--seconds", type=float, metavar="SECONDS", help=f"for all of it ({USUAL['seconds']:g})")
    p.add_argument("--block", type=float, metavar="SECONDS", help=f"least length of a block ({USUAL['block']:g})")
    p.add_argument("--rounds", type=int, metavar="N", help=f"in a launch ({USUAL['rounds']})")
    p.add_argument("--launches", type=int, metavar="N", help=f"the least of them ({USUAL['launches']})")
    p.add_argument("--precision", type=float, metavar="SHARE", help="to which slowed copies are measured (0.01)")
    p.add_argument(
        "--dwell", type=float, default=4.0, metavar="SECONDS", help="mean of the load's busy and idle times (4)"
    )
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of shuffles and load (0)")
    p.add_argument("--quick", action="store_true", help="one case of each, short: whether it works")
    p.add_argument("--out", type=Path, metavar="DIR", help="results/proof-<timestamp> if not given")
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


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What the command line asks for.

    Raises
    ------
    PyfnnError
        Naming the option, the value and the rule.
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
        block_seconds=chosen["block"],
        burst_seconds=_BURST * chosen["block"],
        seed=chosen["seed"],
    )
    counts: dict[Experiment, int] = {name: chosen[name] for name in EXPERIMENTS}
    return Plan(counts, chosen["seconds"], settings, chosen["precision"], chosen["dwell"])


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure, print the tables, write."""
    plan = plan_of(arguments)
    for name in dict.fromkeys(of for of, _ in PLANTED.values()):
        registry.load_backend(name)

    def tell(line: str) -> None:
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)

    folder = arguments.out or Path("results") / datetime.now().strftime("proof-%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)  # or the run would be for nothing
    proof = prove(plan, tell)
    if not proof.trials:
        raise KeyboardInterrupt
    console.print()
    for table in tables(proof, plan):
        console.print(rich_table(table))
    for path in write(folder, proof, plan):
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if proof.cut_short:
        raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status 0, or another and the reason: see `perform`."""
    return run_command("proof", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
