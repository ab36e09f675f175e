"""Do 95 % intervals hold the truth 95 % of the time? python -m bench.experiments.coverage times a made-up machine whose
true ratios are known, by `bench.intervals` and its stopping rule, and one backend after the other as is usual.

Prints the tables of docs/method.md and draws its figure. Nothing here is measured.

The truth is the ratio of two backends' step times, each the geometric mean over all the launches and rounds that this
machine could ever give: so the backends' own factors, and what a burst of others' load costs the one more than the
other. Noise and the luck of a launch have a mean of 0 on the log scale, drift cancels since turns are shuffled.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console

from bench.experiments.command import run_command
from bench.experiments.coverage.machines import ALL, LIMITS, MACHINES, MOST, ROUNDS, Machine
from bench.experiments.coverage.tally import (
    AIMED,
    BY_BUDGET,
    BY_PRECISION,
    COUNTS,
    Coverage,
    Findings,
    Plan,
    examine,
    judge,
)
from bench.report.drawing import BLACK, BLUE, DPI, EDGE, FAINT, GREEN, LEGEND, LINE, SHADE, STYLE, VERMILION, WIDE
from bench.report.render import Table, markdown
from pyfnn.errors import PyfnnError


def paired_table(found: Mapping[str, Findings], title: str = "Paired, as reported") -> Table:
    """What is reported."""
    lines = []
    for name, own in found.items():
        shares = {plan: tally.coverage() for plan, tally in own.tallies.items()}
        chosen = tuple(f"{shares[plan]} ({shares[plan].launches:.0f})" for plan in BY_PRECISION)
        every = [bound for share in shares.values() for bound in (share.least, share.most)]
        spanned = f"{100 * min(every):.1f} to {100 * max(every):.1f}"
        lines.append((name, *(str(shares[plan]) for plan in BY_BUDGET), *chosen, spanned))
    budgets = (f"{count} launches" for count in COUNTS)
    precisions = (f"precision of about {count} (made)" for count in AIMED)
    return Table(title, ("machine", *budgets, *precisions, "any pair"), (("", tuple(lines)),))


def naive_table(found: Mapping[str, Findings]) -> Table:
    """What is usual."""
    lines = tuple(
        (name, *(f"{100 * share.share:.0f}" for share in (*own.one_process, *own.fresh))) for name, own in found.items()
    )
    samples = (f"one process each, {count * ROUNDS} samples" for count in COUNTS)
    processes = (f"{count} processes each" for count in COUNTS)
    return Table("One backend after the other", ("machine", *samples, *processes), (("", lines),))


def compared_table(found: Mapping[str, Findings]) -> Table:
    """The intervals that there were to choose from."""
    lines = []
    for name, own in found.items():
        plans = [own.tallies[plan] for plan in (BY_BUDGET[-1], BY_PRECISION[-1])]
        shares = [tally.coverage(of) for tally in plans for of in ("by_stein", "bare", "held")]
        lines.append((name, *(f"{100 * share.share:.1f} ({100 * share.least:.1f})" for share in shares)))
    columns = (f"{how}: {of}" for how in ("20 launches", "precision") for of in ("Stein's", "Student's", "reported"))
    return Table("Intervals to choose from", ("machine", *columns), (("", tuple(lines)),))


DEFAULT = 0.02  # --precision of bench.run, if not given
POWER = {"quiet": Machine(), "quieter": Machine(luck=0.004, noise=0.003), "all of these": ALL}


def power(machines: int, seed: int = 0) -> Table:
    """What is said of a backend as fast as the reference, and of one that is 3 % slower."""
    lines = []
    for name, machine in POWER.items():
        for precision in (DEFAULT, DEFAULT / 2):
            (tally,) = judge(machine, {"": Plan(MOST, precision)}, machines, seed).values()
            low = [floor < 0.01 for floor in tally.floors]
            twin, twin_bare, slowed, slowed_bare = (
                [verdict != "no difference shown" for verdict in tally.verdicts[name]]
                for name in ("twin", "twin, no floor", "slowed", "slowed, no floor")
            )
            there = ([said for said, under in zip(found, low, strict=True) if under] for found in (slowed, slowed_bare))
            about = (name, f"{100 * precision:g} %", f"{fmean(tally.launches):.0f}")
            lines.append((*about, *(_share(found) for found in (twin_bare, twin, slowed, *there))))
    columns = (
        "machine",
        "precision",
        "launches",
        "twin called different by its interval alone",
        "and by the floor",
        "3 % slower found",
        "where the floor is under 1 %",
        "there by its interval alone",
    )
    return Table("Verdicts", columns, (("", tuple(lines)),))


def _share(values: Sequence[bool]) -> str:
    return f"{100 * fmean(values):.1f} % of {len(values)}" if values else "never so low"


def draw(found: Mapping[str, Findings]) -> Figure:
    """Coverage of the intervals reported, beside that of timing one backend after the other; a row a machine."""
    names = list(found)
    height, left, gap, right = 0.36 * len(names) + 8 * LINE, 1.7, 0.35, 0.12
    figure = Figure(figsize=(WIDE, height))
    wide = (WIDE - left - gap - right) / 2
    top, bottom = 3.4 * LINE / height, 4.4 * LINE / height
    panels = [
        figure.add_axes(((left + i * (wide + gap)) / WIDE, bottom, wide / WIDE, 1 - top - bottom)) for i in (0, 1)
    ]
    for at, name in enumerate(names):
        own = found[name]
        shares = [own.tallies[plan].coverage() for plan in (*BY_BUDGET, *BY_PRECISION)]
        for axes in panels:
            axes.axhline(at, color=FAINT, linewidth=0.5, zorder=0.5)
        _marks(panels[0], at - 0.26, shares[:3], "o", BLUE)
        _marks(panels[0], at + 0.13, shares[3:], "D", GREEN)
        _marks(panels[1], at - 0.30, own.one_process, "s", VERMILION)
        _marks(panels[1], at + 0.06, own.fresh, "^", BLACK)
    for axes, limits in zip(panels, ((90, 100), (0, 100)), strict=True):
        axes.axvspan(93, 97, color=SHADE, linewidth=0, zorder=0)
        axes.axvline(95, color=BLACK, linewidth=0.4, zorder=1)
        axes.set(xlim=limits, ylim=(len(names) - 0.5, -0.5), xlabel="Intervals that hold the truth (%)")
        axes.set_yticks(range(len(names)), names if axes is panels[0] else [])
        axes.tick_params(axis="y", length=0)
    panels[0].set_title("paired in shuffled rounds, as reported", fontsize="medium", pad=3)
    panels[1].set_title("one backend after the other", fontsize="medium", pad=3)
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=3.5, linestyle="none", label=label)
        for label, marker, colour in (
            ("stopped by the budget: 5, 10, 20 launches", "o", BLUE),
            ("by precision, at about 10, 20", "D", GREEN),
            ("one process: 15, 30, 60 samples", "s", VERMILION),
            ("5, 10, 20 processes", "^", BLACK),
        )
    ]
    figure.legend(handles=handles, loc="upper left", ncols=4, **LEGEND)
    machines = next(iter(found.values())).one_process[0].machines
    note = f"Simulated: {machines} machines a row. Bars: the share's own 95 % interval. Shaded: 93 to 97 %."
    figure.text(EDGE / WIDE, EDGE / height, note, color="#555555", va="bottom")
    return figure


def _marks(axes: Axes, first: float, shares: Sequence[Coverage], marker: str, colour: str) -> None:
    """Shares below each other, the first at height `first`."""
    for i, share in enumerate(shares):
        y = first + 0.12 * i
        low, high = share.interval
        axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=0.9, zorder=2)
        axes.plot([100 * share.share], [y], marker=marker, markersize=3, color=colour, zorder=3)


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.experiments.coverage", description="Do intervals hold the truth?")
    p.add_argument("--machines", type=int, default=2000, metavar="N", help="of each kind (2000)")
    p.add_argument("--seed", type=int, default=0, metavar="N")
    p.add_argument(
        "--out", type=Path, metavar="FILE", help="draw the figure there, for instance docs/images/coverage.png"
    )
    return p


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Judge, print the tables, draw."""
    machines, seed = arguments.machines, arguments.seed
    for name, least, most in (("machines", 1, 1_000_000), ("seed", 0, 2**32)):
        if not least <= getattr(arguments, name) <= most:
            raise PyfnnError(f"--{name} {getattr(arguments, name)}: must be from {least} to {most}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.touch()  # or the minutes before would be for nothing
    found = {name: examine(machine, machines, seed) for name, machine in MACHINES.items()}
    limits = {name: examine(machine, machines, seed) for name, machine in LIMITS.items()}
    told = [make(found) for make in (paired_table, naive_table, compared_table)]
    for table in [*told, power(machines, seed), paired_table(limits, "Where it fails")]:
        print(f"{table.title}\n\n{markdown(table)}", flush=True)
    if arguments.out:
        with style.context(["default", STYLE]):
            draw(found).savefig(arguments.out, dpi=DPI)
        console.print(f"written: {arguments.out}", highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status 0, or another and the reason: see `perform`."""
    return run_command("coverage", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
