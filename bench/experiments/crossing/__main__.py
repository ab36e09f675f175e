"""The cost of a call from Python into compiled code: python -m bench.experiments.crossing.

Drives the same steps in one call and in one call each, through pybind11, cffi and a pipe (drivers.py). Writes
crossing.json and a figure, in nanoseconds a crossing. `bench.run` compares the speed of the implementations.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
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
    CrossingPlan,
    Passing,
    Route,
    Transport,
    cpus,
    drivers,
)
from bench.experiments.new_process import in_new_process
from bench.format import number, with_interval
from bench.machine.description import describe_machine
from bench.report.drawing import DPI, LEGEND, LINE, MUTED, ROW, STYLE, WIDTH, log_axis
from bench.report.render import ReportTable, rich_table
from bench.report.style import BLUE, VERMILION
from bench.statistics import intervals
from bench.statistics.intervals import Estimate
from bench.suites import load
from pyfnn import registry
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.process.program import command_of
from pyfnn.worker import scattered_heap

STEPS, LAUNCHES, SECONDS = 10_000, intervals.MIN_LAUNCHES, 180.0
_LEAST = 100  # calls in a block, at least
_OVERHEAD = 1.6  # time of a turn relative to its single calls: the batched call, the untimed calls, the models
NOTES = (
    "A crossing: (N steps in N calls - the same steps in one call) / (N - 1). Every pair ended at the same bits of θ.",
    "Binding: a method of the pybind11 extension, a function of the C library, or a line down a pipe and one back. "
    "Contract: cost of pyfnn's Model around the binding, which checks the arguments and, after each call, all of θ. "
    "Over a pipe the check fetches θ, by another line and a file.",
    "x, y: each call gets its minibatch first. Over a pipe the minibatch goes by files, and θ with it, both ways.",
    "Native step: time of the one call / N, its one crossing included.",
    "Intervals: 95 %, Student's t over launches, each launch the median of its rounds.",
)


@dataclass(frozen=True)
class TimedPair:
    """One turn of a route: seconds of `steps` steps in one call and in one call each, by Python's clock."""

    route: Route
    launch: int
    round: int
    steps: int
    batched: float
    one_call_each: float

    @property
    def crossing(self) -> float:
        """Seconds that each further call adds; the batched call has one crossing, too."""
        return (self.one_call_each - self.batched) / (self.steps - 1)


@dataclass(frozen=True)
class CrossingCost:
    """The cost of a crossing, in seconds: at the binding, at the public method, and the difference (the contract)."""

    workload: str
    transport: Transport
    passing: Passing
    binding: Estimate
    contract: Estimate
    public: Estimate
    step: Estimate
    steps: tuple[int, int]  # N at the binding and at the public method


def call_costs(plan: CrossingPlan) -> dict[Route, float]:
    """Return the approximate seconds of a call, for each route."""
    with drivers(plan) as routes:
        return {route: driver.block(TRIAL, route.passing)[0] / TRIAL for route, driver in routes.items()}


def run_launch(plan: CrossingPlan, number: int) -> list[TimedPair]:
    """Run the rounds of one launch, each with every route in random order; the first round has no time limit."""
    held = scattered_heap()
    shuffle, start, samples = random.Random(f"{plan.seed} {number}"), time.perf_counter(), []
    with drivers(plan) as routes:
        for turn in range(plan.rounds):
            for route in shuffle.sample(list(routes), len(routes)):
                steps = plan.steps[route]
                samples.append(TimedPair(route, number, turn, steps, *routes[route].turn(route, steps, shuffle)))
            if (time.perf_counter() - start) * (turn + 2) / (turn + 1) > plan.seconds:
                break
    del held
    return samples


def block_lengths(seconds_a_call: Mapping[Route, float], seconds: float, most: int) -> dict[Route, int]:
    """Return the calls in a block of each route: `most`, or fewer for slow routes so that all fit into `seconds`."""
    found: dict[Route, int] = {}
    for route, cost in sorted(seconds_a_call.items(), key=lambda item: item[1]):
        fair = seconds / (len(seconds_a_call) - len(found))
        found[route] = min(most, max(_LEAST, int(fair / (cost * _OVERHEAD))))
        seconds = max(0.0, seconds - found[route] * cost * _OVERHEAD)
    return found


def measure(plan: CrossingPlan, launches: int, seconds: float, most: int) -> Iterator[TimedPair]:
    """Run every launch in a new process, after one process that finds the block lengths that fit into `seconds`."""
    end = time.perf_counter() + seconds
    fitting = block_lengths(
        in_new_process(call_costs, plan), max(0.0, end - time.perf_counter()) / launches / plan.rounds, most
    )
    for i in range(launches):
        share = max(0.0, end - time.perf_counter()) / (launches - i)
        yield from in_new_process(run_launch, replace(plan, steps=fitting, seconds=share), i)


def interval(values: Sequence[float]) -> Estimate:
    """Return `bench.statistics.intervals.mean_interval`, and raise `PyfnnError` for fewer than two values."""
    found = intervals.mean_interval(values)
    if found is None:
        raise PyfnnError("an interval needs two launches")
    return found


def _over_launches(values: Iterable[tuple[int, float]]) -> Estimate:
    """Return the interval over launches of the median of each launch's rounds.

    The median leaves out rounds in which another process took the CPU.
    """
    by_launch: dict[int, list[float]] = {}
    for number_of_launch, value in values:
        by_launch.setdefault(number_of_launch, []).append(value)
    return interval([median(found) for found in by_launch.values()])


def crossing_costs(samples: Iterable[TimedPair]) -> list[CrossingCost]:
    """Return a cost for each workload, transport and passing, in the table's order; the contract is paired by round."""
    by_route: dict[Route, dict[tuple[int, int], TimedPair]] = {}
    for s in samples:
        by_route.setdefault(s.route, {})[s.launch, s.round] = s
    found = []
    for route, below in by_route.items():
        if route.level == "public":
            continue
        above = by_route[route._replace(level="public")]
        found.append(
            CrossingCost(
                *(route.workload, route.transport, route.passing),
                binding=_over_launches((at[0], s.crossing) for at, s in below.items()),
                contract=_over_launches((at[0], above[at].crossing - s.crossing) for at, s in below.items()),
                public=_over_launches((at[0], s.crossing) for at, s in above.items()),
                step=_over_launches((at[0], s.batched / s.steps) for at, s in below.items()),
                steps=(next(iter(below.values())).steps, next(iter(above.values())).steps),
            )
        )
    workloads = list(dict.fromkeys(line.workload for line in sorted(found, key=lambda line: line.step.median)))
    return sorted(
        found, key=lambda n: (workloads.index(n.workload), n.passing == "arrays", [*DRIVERS].index(n.transport))
    )


def table(found: Sequence[CrossingCost], transports: Mapping[Transport, str]) -> ReportTable:
    """Return the table of nanoseconds a crossing, with a section for each workload."""
    columns = ("through", "handed", "binding, ns [95 %]", "contract, ns", "Model, ns", "native step, ns", "N")
    sections: dict[str, list[tuple[str, ...]]] = {}
    for line in found:
        estimates = map(_caption, (line.binding, line.contract, line.public, line.step))
        counts = " / ".join(map(str, dict.fromkeys(line.steps)))
        passed = "x, y" if line.passing == "arrays" else "-"
        sections.setdefault(line.workload, []).append((_name(line.transport, transports), passed, *estimates, counts))
    parts = tuple((workload, tuple(rows)) for workload, rows in sections.items())
    return ReportTable("Nanoseconds a crossing", columns, parts, NOTES)


def _name(transport: Transport, transports: Mapping[Transport, str]) -> str:
    return f"{transport} ({transports[transport]})"


def _caption(estimate: Estimate) -> str:
    """Return the estimate in nanoseconds with its interval, or only its upper bound if the interval includes 0."""
    if estimate.low > 0:
        return with_interval(estimate, 1e-9)
    return f"below {number(estimate.high / 1e-9, 2)}" if estimate.high > 0 else "none shown"


def draw(found: Sequence[CrossingCost], transports: Mapping[Transport, str], footnote: str) -> Figure:
    """Draw dots with intervals on a log axis, a panel for each workload: the binding and the public method."""
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
                    _write_bound(axes, at, level, getattr(line, level), colour)
            for at, e in shown:
                axes.plot([e.low / 1e-6, e.high / 1e-6], [at, at], color=colour, linewidth=1.0)
            label = "binding" if level == "binding" else "with the contract (pyfnn's Model)"
            middles = [e.median / 1e-6 for _, e in shown]
            axes.plot(middles, [at for at, _ in shown], marker, color=colour, markersize=3.8, ls="none", label=label)
        step = own[0].step.median / 1e-9
        names = [f"{_name(line.transport, transports)}{', x y' * (line.passing == 'arrays')}" for line in own]
        axes.set_yticks(range(len(own)), names)
        axes.set_ylim(len(own) - 0.4, -0.6)
        axes.set_title(f"{workload}: a step takes {number(step, 2)} ns ({transports[own[0].transport]})", fontsize=7)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.4)
        log_axis(axes, "x", bounds)
    panels[-1].set_xlabel("µs a crossing, 95 % intervals over launches")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, **LEGEND)
    figure.supxlabel(footnote, fontsize=6, color=MUTED, x=0.02, ha="left")
    return figure


def _write_bound(axes: Axes, at: int, level: str, estimate: Estimate, colour: str) -> None:
    """Write an estimate whose interval includes 0 in words at the left end of the logarithmic axis."""
    words = f"{level}: {_caption(estimate)}{' ns' * (estimate.high > 0)}"
    above = "bottom" if level == "binding" else "top"
    axes.text(0.01, at, words, transform=axes.get_yaxis_transform(), va=above, fontsize=6, color=colour)


def write(
    folder: Path,
    samples: Sequence[TimedPair],
    found: Sequence[CrossingCost],
    transports: Mapping[Transport, str],
    facts: Mapping[str, Any],
) -> Iterator[Path]:
    """Write samples, estimates and facts to crossing.json, and the figure; yield the paths."""
    host = describe_machine()
    content = {
        **facts,
        "routes": dict(transports),
        "host": host,
        "lines": [_cost_as_json(cost) for cost in found],
        "samples": [_pair_as_json(pair) for pair in samples],
    }
    path = folder / "crossing.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    yield path
    launches = len({s.launch for s in samples})
    with style.context(["default", STYLE]):
        path = folder / "crossing.png"
        draw(found, transports, f"{host['cpu_model']}; Python {host['python']}; {launches} launches").savefig(
            path, dpi=DPI
        )
    yield path


def _cost_as_json(cost: CrossingCost) -> dict[str, Any]:
    estimates = {name: getattr(cost, name) for name in ("binding", "contract", "public", "step")}
    return {
        **{"workload": cost.workload, "route": cost.transport, "passing": cost.passing},
        **{name: {"median": e.median, "low": e.low, "high": e.high} for name, e in estimates.items()},
        "steps": cost.steps,
    }


def _pair_as_json(pair: TimedPair) -> dict[str, Any]:
    workload, transport, level, passing = pair.route
    return {
        "way": {"workload": workload, "route": transport, "level": level, "passing": passing},
        **{name: getattr(pair, name) for name in ("launch", "round", "steps")},
        **{"whole": pair.batched, "single": pair.one_call_each},
    }


def plain_programs() -> list[str]:
    """Return the names of the plain division's programs, and last of the library that cffi calls, hosted by Python."""
    return [r.name for r in registry.rows().values() if r.host is None and r.division == "plain"] + [HOSTED["cffi"]]


def available_transports(program: str | None) -> tuple[dict[Transport, str], dict[str, str]]:
    """Return the backend behind each transport, and the reason for each backend that is unavailable."""
    transports: dict[Transport, str] = {}
    absent: dict[str, str] = {}
    for transport, name in HOSTED.items():
        try:
            registry.load_backend(name)
            transports[transport] = name
        except BackendUnavailable as error:
            absent[name] = str(error)
    for name in plain_programs() if program is None else (program,):
        try:
            command_of(registry.find(name))
        except BackendUnavailable as error:
            absent[name] = str(error)
            continue
        if name not in absent:
            transports["pipe"] = name
            break
    return transports, absent


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.experiments.crossing",
        description="Measure the cost of a call from Python, in nanoseconds.",
    )
    p.add_argument("--program", metavar="NAME", help="program behind the pipe (the first one available)")
    p.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"steps in a block, at most ({STEPS})")
    p.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help=f"number of new processes ({LAUNCHES})")
    p.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        metavar="SECONDS",
        help=f"total time; each launch makes at least one round ({SECONDS:g})",
    )
    p.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"rounds in a launch, at most ({ROUNDS})")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the shuffles (0)")
    p.add_argument("--out", type=Path, metavar="DIR", help="output folder (results/crossing-<timestamp>)")
    return p


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure, print the table and write the files."""
    limits = (("steps", _LEAST, 1_000_000), ("launches", 2, 100), ("rounds", 1, 100), ("seconds", 1, 86400))
    for name, least, most in limits:
        if not least <= getattr(arguments, name) <= most:
            raise PyfnnError(f"--{name} {getattr(arguments, name):g}: must be from {least} to {most}")
    transports, absent = available_transports(arguments.program)
    for name, why in absent.items():
        console.print(f"{name}: {why}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if not transports:
        raise PyfnnError("nothing to call: no compiled backend and no program is available")
    plan = CrossingPlan(
        (TINY, load.built_in_workloads()["wine-deep"]), transports, arguments.seed, rounds=arguments.rounds
    )
    folder = arguments.out or Path("results") / datetime.now().strftime("crossing-%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)  # an error here comes before the measurement
    samples, end = list[TimedPair](), None
    try:
        samples.extend(measure(plan, arguments.launches, arguments.seconds, arguments.steps))
    except (KeyboardInterrupt, PyfnnError) as error:  # finished launches are kept
        end = error
    if end and len({sample.launch for sample in samples}) < 2:  # too few for an interval
        raise end
    found = crossing_costs(samples)
    console.print(rich_table(table(found, transports)))
    ours, theirs = cpus()
    settings = {k: v for k, v in vars(arguments).items() if k != "out"}
    facts = {
        "settings": {**settings, "dtype": plan.dtype},
        "cut_short": end is not None,
        "absent": absent,
        "cpus": {"python": ours, "worker": theirs},
    }
    for path in write(folder, samples, found, transports, facts):
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if end:
        raise end


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status (see `run_command`)."""
    return run_command("crossing", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
