"""What does it cost to cross a language border? python -m bench.experiments.crossing drives the same steps by one call
and by one call each, through pybind11, cffi and a pipe. Writes crossing.json and a figure: nanoseconds a crossing.

How each way does its steps: ways.py. Which implementation computes faster is not asked here: `bench.run` tells that.
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from bench.experiments.command import run_command
from bench.experiments.crossing.drivers import (
    DRIVERS,
    HOSTED,
    ROUNDS,
    TINY,
    TRIAL,
    Passing,
    Plan,
    Route,
    Way,
    cpus,
    drivers,
)
from bench.format import number, with_interval
from bench.machine.description import describe_machine
from bench.report.drawing import BLUE, DPI, LEGEND, LINE, MUTED, ROW, STYLE, VERMILION, WIDTH, log_axis
from bench.report.render import Table, rich_table
from bench.statistics import intervals
from bench.statistics.intervals import Estimate
from bench.suites import load
from pyfnn import registry
from pyfnn.errors import BackendUnavailable, PyfnnError, WorkerDied
from pyfnn.process.program import command_of
from pyfnn.worker import scattered_heap

STEPS, LAUNCHES, SECONDS = 10_000, intervals.MIN_LAUNCHES, 180.0
_LEAST = 100  # calls of a block, however dear
_OVERHEAD = 1.6  # times the single calls: the one call, the burst, the models
NOTES = (
    "A crossing: (N steps by N calls - the same N by one call) / (N - 1). Every pair ended at the same bits of θ.",
    "Binding: the extension's own method; the library's own function; a line down a pipe and one back. Contract: what "
    "pyfnn's Model adds: checks of the arguments and of the whole θ after each call, and its own Python around the "
    "binding. Over a pipe θ is fetched for that, by another line and a file.",
    "x, y: each call is handed its minibatch first. Over a pipe it goes by files, and θ with it, there and back.",
    "Native step: the one call / N, its one crossing included.",
    "Intervals: 95 %, Student's t over launches, each launch the median of its rounds.",
)


@dataclass(frozen=True)
class Sample:
    """One turn of a way: `steps` steps by one call, and by a call each, in seconds by Python's clock."""

    way: Way
    launch: int
    round: int
    steps: int
    whole: float
    single: float

    @property
    def crossing(self) -> float:
        """Seconds that each call added; the one call crosses once, too."""
        return (self.single - self.whole) / (self.steps - 1)


@dataclass(frozen=True)
class Line:
    """What was found of one route: seconds a crossing at the binding and at the public method, and their difference."""

    workload: str
    route: Route
    passing: Passing
    binding: Estimate
    contract: Estimate
    public: Estimate
    step: Estimate
    steps: tuple[int, int]  # in a block, at the binding and at the public method


def costs(plan: Plan) -> dict[Way, float]:
    """About how many seconds a call takes, for each way."""
    with drivers(plan) as ways:
        return {way: driver.block(TRIAL, way.passing)[0] / TRIAL for way, driver in ways.items()}


def launch(plan: Plan, number: int) -> list[Sample]:
    """Rounds, each way once in each, in a fresh shuffle; at least one round, however short the time."""
    held = scattered_heap()
    shuffle, start, samples = random.Random(f"{plan.seed} {number}"), time.perf_counter(), []
    with drivers(plan) as ways:
        for turn in range(plan.rounds):
            for way in shuffle.sample(list(ways), len(ways)):
                steps = plan.steps[way]
                samples.append(Sample(way, number, turn, steps, *ways[way].turn(way, steps, shuffle)))
            if (time.perf_counter() - start) * (turn + 2) / (turn + 1) > plan.seconds:
                break
    del held
    return samples


def blocks(seconds_a_call: Mapping[Way, float], seconds: float, most: int) -> dict[Way, int]:
    """Calls in a block of each way: `most`, but where those do not fit into `seconds` for all, the dearest are cut."""
    found: dict[Way, int] = {}
    for way, cost in sorted(seconds_a_call.items(), key=lambda item: item[1]):
        fair = seconds / (len(seconds_a_call) - len(found))
        found[way] = min(most, max(_LEAST, int(fair / (cost * _OVERHEAD))))
        seconds = max(0.0, seconds - found[way] * cost * _OVERHEAD)
    return found


def measure(plan: Plan, launches: int, seconds: float, most: int) -> Iterator[Sample]:
    """Every launch in a process of its own, the first of them to find out what fits into `seconds`."""
    end = time.perf_counter() + seconds
    fitting = blocks(_afresh(costs, plan), max(0.0, end - time.perf_counter()) / launches / plan.rounds, most)
    for i in range(launches):
        share = max(0.0, end - time.perf_counter()) / (launches - i)
        yield from _afresh(launch, replace(plan, steps=fitting, seconds=share), i)


def _afresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a new Python, started from nothing."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise WorkerDied(f"the process that measured ended: {error}") from None


def interval(values: Sequence[float]) -> Estimate:
    """Student's t interval of the mean of differences, which may be negative: `bench.intervals`', but for logs that
    are none, scaled so that no exponential of them is too large.
    """
    scale = max(map(abs, values)) or 1.0
    found = intervals.t_interval([value / scale for value in values])
    if found is None:
        raise PyfnnError("an interval needs two launches")
    return Estimate(*(scale * math.log(bound) for bound in (found.median, found.low, found.high)))


def _over_launches(values: Iterable[tuple[int, float]]) -> Estimate:
    """The median of each launch's rounds, since a slice of time lost to another process is no crossing; then over
    launches.
    """
    by_launch: dict[int, list[float]] = {}
    for number_of_launch, value in values:
        by_launch.setdefault(number_of_launch, []).append(value)
    return interval([median(found) for found in by_launch.values()])


def lines(samples: Iterable[Sample]) -> list[Line]:
    """One a workload, route and passing, in the order of the table; the contract's share is paired within rounds."""
    by_way: dict[Way, dict[tuple[int, int], Sample]] = {}
    for s in samples:
        by_way.setdefault(s.way, {})[s.launch, s.round] = s
    found = []
    for way, below in by_way.items():
        if way.level == "public":
            continue
        above = by_way[way._replace(level="public")]
        found.append(
            Line(
                *(way.workload, way.route, way.passing),
                binding=_over_launches((at[0], s.crossing) for at, s in below.items()),
                contract=_over_launches((at[0], above[at].crossing - s.crossing) for at, s in below.items()),
                public=_over_launches((at[0], s.crossing) for at, s in above.items()),
                step=_over_launches((at[0], s.whole / s.steps) for at, s in below.items()),
                steps=(next(iter(below.values())).steps, next(iter(above.values())).steps),
            )
        )
    workloads = list(dict.fromkeys(line.workload for line in sorted(found, key=lambda line: line.step.median)))
    return sorted(found, key=lambda n: (workloads.index(n.workload), n.passing == "arrays", [*DRIVERS].index(n.route)))


def table(found: Sequence[Line], routes: Mapping[Route, str]) -> Table:
    """Nanoseconds a crossing, a section a workload."""
    columns = ("through", "handed", "binding, ns [95 %]", "contract, ns", "Model, ns", "native step, ns", "N")
    sections: dict[str, list[tuple[str, ...]]] = {}
    for line in found:
        estimates = map(_caption, (line.binding, line.contract, line.public, line.step))
        counts = " / ".join(map(str, dict.fromkeys(line.steps)))
        handed = "x, y" if line.passing == "arrays" else "-"
        sections.setdefault(line.workload, []).append((_name(line.route, routes), handed, *estimates, counts))
    parts = tuple((workload, tuple(rows)) for workload, rows in sections.items())
    return Table("Nanoseconds a crossing", columns, parts, NOTES)


def _name(route: Route, routes: Mapping[Route, str]) -> str:
    return f"{route} ({routes[route]})"


def _caption(estimate: Estimate) -> str:
    """In nanoseconds; only a bound of what cannot be told from nothing."""
    if estimate.low > 0:
        return with_interval(estimate, 1e-9)
    return f"below {number(estimate.high / 1e-9, 2)}" if estimate.high > 0 else "none shown"


def draw(found: Sequence[Line], routes: Mapping[Route, str], footnote: str) -> Figure:
    """Dots with intervals on a log axis, a panel a workload: the binding alone, and the public method above it."""
    workloads = list(dict.fromkeys(line.workload for line in found))
    most = max(sum(line.workload == name for line in found) for name in workloads)
    panel = (most + 1) * 1.6 * ROW + 0.3
    figure = Figure(figsize=(WIDTH, len(workloads) * panel + 0.5 + 3 * LINE), layout="constrained")
    marks = (("binding", "o", BLUE), ("public", "s", VERMILION))
    bounds = [
        bound / 1e-6 for line in found for e in (line.binding, line.public) for bound in (e.low, e.high) if bound > 0
    ]
    panels = figure.subplots(len(workloads), 1, sharex=True, squeeze=False)[:, 0]
    for axes, workload in zip(panels, workloads, strict=True):
        own = [line for line in found if line.workload == workload]
        for level, marker, colour in marks:
            shown = [(at, getattr(line, level)) for at, line in enumerate(own) if getattr(line, level).low > 0]
            for at, line in enumerate(own):
                if getattr(line, level).low <= 0:
                    _say_instead(axes, at, level, getattr(line, level), colour)
            for at, e in shown:
                axes.plot([e.low / 1e-6, e.high / 1e-6], [at, at], color=colour, linewidth=1.0)
            label = "binding" if level == "binding" else "with the contract (pyfnn's Model)"
            middles = [e.median / 1e-6 for _, e in shown]
            axes.plot(middles, [at for at, _ in shown], marker, color=colour, markersize=3.8, ls="none", label=label)
        step = own[0].step.median / 1e-9
        names = [f"{_name(line.route, routes)}{', x y' * (line.passing == 'arrays')}" for line in own]
        axes.set_yticks(range(len(own)), names)
        axes.set_ylim(len(own) - 0.4, -0.6)
        axes.set_title(f"{workload}: a step takes {number(step, 2)} ns ({routes[own[0].route]})", fontsize=7)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.4)
        log_axis(axes, "x", bounds)
    panels[-1].set_xlabel("µs a crossing, 95 % intervals over launches")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, **LEGEND)
    figure.supxlabel(footnote, fontsize=6, color=MUTED, x=0.02, ha="left")
    return figure


def _say_instead(axes: Axes, at: int, level: str, estimate: Estimate, colour: str) -> None:
    """What a logarithmic axis has no place for, in words at its left end."""
    words = f"{level}: {_caption(estimate)}{' ns' * (estimate.high > 0)}"
    above = "bottom" if level == "binding" else "top"
    axes.text(0.01, at, words, transform=axes.get_yaxis_transform(), va=above, fontsize=6, color=colour)


def write(
    folder: Path,
    samples: Sequence[Sample],
    found: Sequence[Line],
    routes: Mapping[Route, str],
    facts: Mapping[str, Any],
) -> Iterator[Path]:
    """Save samples, estimates and facts, and the figure; their paths."""
    host = describe_machine()
    told = {
        **facts,
        "routes": dict(routes),
        "host": host,
        "lines": [asdict(n) for n in found],
        "samples": [{**asdict(s), "way": s.way._asdict()} for s in samples],
    }
    path = folder / "crossing.json"
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    yield path
    launches = len({s.launch for s in samples})
    with style.context(["default", STYLE]):
        path = folder / "crossing.png"
        draw(found, routes, f"{host['cpu_model']}; Python {host['python']}; {launches} launches").savefig(path, dpi=DPI)
    yield path


def programs_of_their_own() -> list[str]:
    """Those in the plain division, by name; last the library that cffi reaches, which Python hosts."""
    return [r.name for r in registry.rows().values() if r.host is None and r.division == "plain"] + [HOSTED["cffi"]]


def routes_here(program: str | None) -> tuple[dict[Route, str], dict[str, str]]:
    """What stands behind each route, and why others do not."""
    routes: dict[Route, str] = {}
    absent: dict[str, str] = {}
    for route, name in HOSTED.items():
        try:
            registry.load_backend(name)
            routes[route] = name
        except BackendUnavailable as error:
            absent[name] = str(error)
    for name in programs_of_their_own() if program is None else (program,):
        try:
            command_of(registry.find(name))
        except BackendUnavailable as error:
            absent[name] = str(error)
            continue
        if name not in absent:
            routes["pipe"] = name
            break
    return routes, absent


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.experiments.crossing", description="What a call from Python costs, in nanoseconds."
    )
    p.add_argument("--program", metavar="NAME", help="behind the pipe (the first program that is here)")
    p.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"in a block, where time allows ({STEPS})")
    p.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help=f"fresh processes ({LAUNCHES})")
    p.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        metavar="SECONDS",
        help=f"for all of it; one round of each launch is always made ({SECONDS:g})",
    )
    p.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"in a launch, at most ({ROUNDS})")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the shuffles (0)")
    p.add_argument("--out", type=Path, metavar="DIR", help="results/crossing-<timestamp> if not given")
    return p


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure, print the table, write."""
    limits = (("steps", _LEAST, 1_000_000), ("launches", 2, 100), ("rounds", 1, 100), ("seconds", 1, 86400))
    for name, least, most in limits:
        if not least <= getattr(arguments, name) <= most:
            raise PyfnnError(f"--{name} {getattr(arguments, name):g}: must be from {least} to {most}")
    routes, absent = routes_here(arguments.program)
    for name, why in absent.items():
        console.print(f"{name}: {why}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if not routes:
        raise PyfnnError("nothing to cross to: neither a compiled backend nor a program is here")
    plan = Plan((TINY, load.built_in_workloads()["wine-deep"]), routes, arguments.seed, rounds=arguments.rounds)
    folder = arguments.out or Path("results") / datetime.now().strftime("crossing-%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)  # or the run would be for nothing
    samples, cut_short = list[Sample](), True
    with suppress(KeyboardInterrupt):
        samples.extend(measure(plan, arguments.launches, arguments.seconds, arguments.steps))
        cut_short = False
    if len({sample.launch for sample in samples}) < 2:  # which have no interval
        raise KeyboardInterrupt
    found = lines(samples)
    console.print(rich_table(table(found, routes)))
    ours, theirs = cpus()
    settings = {k: v for k, v in vars(arguments).items() if k != "out"}
    facts = {
        "settings": {**settings, "dtype": plan.dtype},
        "cut_short": cut_short,
        "absent": absent,
        "cpus": {"python": ours, "worker": theirs},
    }
    for path in write(folder, samples, found, routes, facts):
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if cut_short:
        raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status 0, or another and the reason: see `perform`."""
    return run_command("crossing", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
