"""Intervals and verdicts on simulated machines with known ratios: python -m bench.experiments.coverage.

Compares `bench.statistics`, with its stopping rule, with the usual timing of one backend after the other. Prints the
tables of docs/statistics.md. No real machine is measured.

The truth is the ratio of two backends' step times, each the mean over all launches and rounds that the machine could
produce: arithmetic within a launch, geometric between launches. It consists of the backends' own factors and of the
difference in what load bursts cost them. Drift cancels because turns are shuffled.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console

from bench.experiments.command import run_command
from bench.experiments.coverage.machines import LIMITS, MACHINES, ROUNDS
from bench.experiments.coverage.tally import (
    AIMED,
    BY_BUDGET,
    BY_PRECISION,
    COUNTS,
    Coverage,
    Findings,
    examine,
)
from bench.experiments.coverage.whole_tables import headline, power_table
from bench.report.drawing import DPI, EDGE, FAINT, LEGEND, LINE, SHADE, STYLE, WIDE
from bench.report.render import ReportTable, markdown
from bench.report.style import BLACK, BLUE, GREEN, VERMILION
from pyfnn.errors import PyfnnError


def paired_table(found: Mapping[str, Findings], title: str = "Paired, as reported") -> ReportTable:
    """Return the table of the reported intervals."""
    lines = []
    for name, own in found.items():
        shares = {schedule: tally.coverage() for schedule, tally in own.tallies.items()}
        chosen = tuple(f"{shares[schedule]} ({shares[schedule].launches:.0f})" for schedule in BY_PRECISION)
        every = [bound for share in shares.values() for bound in (share.least, share.most)]
        spanned = f"{100 * min(every):.1f} to {100 * max(every):.1f}"
        lines.append((name, *(str(shares[schedule]) for schedule in BY_BUDGET), *chosen, spanned))
    budgets = (f"{count} launches" for count in COUNTS)
    precisions = (f"precision of about {count} (made)" for count in AIMED)
    return ReportTable(title, ("machine", *budgets, *precisions, "any pair"), (("", tuple(lines)),))


def naive_table(found: Mapping[str, Findings]) -> ReportTable:
    """Return the table of the intervals from timing one backend after the other."""
    lines = tuple(
        (name, *(f"{100 * share.share:.0f}" for share in (*own.one_process, *own.fresh))) for name, own in found.items()
    )
    samples = (f"one process each, {count * ROUNDS} samples" for count in COUNTS)
    processes = (f"{count} processes each" for count in COUNTS)
    return ReportTable("One backend after the other", ("machine", *samples, *processes), (("", lines),))


def compared_table(found: Mapping[str, Findings]) -> ReportTable:
    """Return the table that compares Stein's, Student's and the reported intervals."""
    lines = []
    for name, own in found.items():
        schedules = [own.tallies[schedule] for schedule in (BY_BUDGET[-1], BY_PRECISION[-1])]
        shares = [tally.coverage(of) for tally in schedules for of in ("by_stein", "bare", "held")]
        lines.append((name, *(f"{100 * share.share:.1f} ({100 * share.least:.1f})" for share in shares)))
    columns = (f"{how}: {of}" for how in ("20 launches", "precision") for of in ("Stein's", "Student's", "reported"))
    return ReportTable("Kinds of interval", ("machine", *columns), (("", tuple(lines)),))


def draw(found: Mapping[str, Findings]) -> Figure:
    """Draw the coverage of the reported intervals and of timing one backend after the other, a row a machine."""
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
        shares = [own.tallies[schedule].coverage() for schedule in (*BY_BUDGET, *BY_PRECISION)]
        for axes in panels:
            axes.axhline(at, color=FAINT, linewidth=0.5, zorder=0.5)
        _marks(panels[0], at - 0.26, shares[:3], "o", BLUE)
        _marks(panels[0], at + 0.13, shares[3:], "D", GREEN)
        _marks(panels[1], at - 0.30, own.one_process, "s", VERMILION)
        _marks(panels[1], at + 0.06, own.fresh, "^", BLACK)
    for axes, limits in zip(panels, ((90, 100), (0, 100)), strict=True):
        axes.axvspan(93, 97, color=SHADE, linewidth=0, zorder=0)
        axes.axvline(95, color=BLACK, linewidth=0.4, zorder=1)
        axes.set(xlim=limits, ylim=(len(names) - 0.5, -0.5), xlabel="Intervals that contain the truth (%)")
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
    note = f"Simulated: {machines} machines a row. Bars: 95 % interval of the share. Shaded: 93 to 97 %."
    figure.text(EDGE / WIDE, EDGE / height, note, color="#555555", va="bottom")
    return figure


def _marks(axes: Axes, first: float, shares: Sequence[Coverage], marker: str, colour: str) -> None:
    """Draw shares below each other, the first at height `first`."""
    for i, share in enumerate(shares):
        y = first + 0.12 * i
        low, high = share.interval
        axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=0.9, zorder=2)
        axes.plot([100 * share.share], [y], marker=marker, markersize=3, color=colour, zorder=3)


def _parser() -> argparse.ArgumentParser:
    description = "Measure the share of 95 % intervals that contain the true ratio, on simulated machines."
    p = argparse.ArgumentParser(prog="python -m bench.experiments.coverage", description=description)
    p.add_argument("--machines", type=int, default=2000, metavar="N", help="number of machines of each kind (2000)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the simulation (0)")
    p.add_argument("--out", type=Path, metavar="FILE", help="file of a figure of the intervals, such as coverage.png")
    return p


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Simulate, print the tables and draw the figure."""
    machines, seed = arguments.machines, arguments.seed
    for name, least, most in (("machines", 1, 1_000_000), ("seed", 0, 2**32)):
        if not least <= getattr(arguments, name) <= most:
            raise PyfnnError(f"--{name} {getattr(arguments, name)}: must be from {least} to {most}")
    if arguments.out:  # an error here comes before the minutes of simulation
        formats = Figure().canvas.get_supported_filetypes()
        if arguments.out.suffix[1:].lower() not in formats:
            raise PyfnnError(f"--out {arguments.out}: must end with one of .{', .'.join(sorted(formats))}")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.touch()
    for make_table in (headline, power_table):
        table = make_table(machines, seed)
        print(f"{table.title}\n\n{markdown(table)}", flush=True)
    found = {name: examine(machine, machines, seed) for name, machine in MACHINES.items()}
    limits = {name: examine(machine, machines, seed) for name, machine in LIMITS.items()}
    tables = [make(found) for make in (paired_table, naive_table, compared_table)]
    for table in [*tables, paired_table(limits, "Machines on which it fails")]:
        print(f"{table.title}\n\n{markdown(table)}", flush=True)
    if arguments.out:
        with style.context(["default", STYLE]):
            draw(found).savefig(arguments.out, dpi=DPI)
        console.print(f"written: {arguments.out}", highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status (see `run_command`)."""
    return run_command("coverage", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
