"""The values that the page's template shows: runs by host, cases, charts, evidence, machine. Writes no markup."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bench.format import number, threads_text, with_interval
from bench.report.facts import flat
from bench.report.notes import arithmetic_note, work_note
from bench.report.page.data import page_data
from bench.report.page.figures import Chart, Looks, StepPlot, curves, effort, roofline, step_plot, sweep_chart
from bench.report.render import ReportTable
from bench.report.run_view import RunView
from bench.report.sentences import (
    Sentence,
    case_sentences,
    fastest_of,
    findings,
    lead,
    leading,
    listed,
    named,
    rows_text,
    story_case,
    trust,
)
from bench.report.tables import (
    READING,
    backends_table,
    ceilings_table,
    device_table,
    host_table,
    sweep_tables,
    where,
)
from bench.report.views import DIVISIONS, BackendView, CaseView, NotTimed, device_warnings, roofs_of
from bench.results.changes import MACHINE
from bench.results.crossing import CrossingCosts, SignedEstimate
from bench.results.schema import Results

ALL_SHOWN = 4  # cases; a page of more shows one at a time


@dataclass(frozen=True)
class Source:
    """A run of the page: its view, the costs of calls measured beside it, and where it was read from."""

    view: RunView
    folder: str = ""
    crossing: CrossingCosts | None = None


def _subtitle(view: CaseView) -> str:
    case = view.case
    many = f", {case.members} networks at once" if case.members > 1 else ""
    return f"{case.operation}, {rows_text(case)}, {case.dtype}, {threads_text(case.threads)}{many}"


@dataclass(frozen=True)
class CaseSection:
    """A case of the page; `number` counts the cases of all runs, as the page's data do."""

    number: int
    view: CaseView
    work: str
    arithmetic: str
    sentences: tuple[Sentence, ...]
    plot: StepPlot
    curves: Chart | None

    @property
    def subtitle(self) -> str:
        """Operation, rows of a step, dtype and threads."""
        return _subtitle(self.view)


@dataclass(frozen=True)
class CaseLine:
    """A line of the table of cases: the fastest of the leading division, and of the others."""

    number: int
    view: CaseView
    best: str
    decided: bool
    time: str
    ratio: str
    others: str

    @property
    def subtitle(self) -> str:
        """Operation, rows of a step, dtype and threads."""
        return _subtitle(self.view)


@dataclass(frozen=True)
class Proof:
    """The comparisons of one backend with the oracle, over all cases of a run."""

    name: str
    checks: str
    cases: int
    nearest: str
    error: str
    bound: str
    share: str
    failed: tuple[str, ...]


@dataclass(frozen=True)
class RunSection:
    """A run of the page."""

    number: int
    source: Source
    lead: tuple[Sentence, ...]
    findings: tuple[Sentence, ...]
    trust: tuple[Sentence, ...]
    story: int | None
    cases: tuple[CaseSection, ...]
    lines: tuple[CaseLine, ...]
    sweeps: tuple[tuple[Chart | None, tuple[ReportTable, ...]], ...]
    rooflines: tuple[Chart, ...]
    effort: Chart | None
    proofs: tuple[Proof, ...]
    failures: tuple[tuple[NotTimed, str], ...]
    machine: tuple[ReportTable, ...]
    settings: ReportTable
    builds: ReportTable
    crossing: ReportTable | None

    @property
    def results(self) -> Results:
        """Results of the run."""
        return self.source.view.results

    @property
    def title(self) -> str:
        """CPU, and start of the run."""
        return (
            f"{self.results.host.get('cpu_model') or 'CPU not recorded'}, {self.results.created[:16].replace('T', ' ')}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about a device's clocks; those about machine and run are in `results`."""
        return device_warnings(self.results)


@dataclass(frozen=True)
class Page:
    """Everything that the template shows. Ratios are within a run, and runs are grouped by host."""

    hosts: tuple[tuple[str, tuple[RunSection, ...]], ...]
    looks: Looks
    data: dict[str, Any]
    reading: tuple[str, ...] = READING

    @property
    def divisions(self) -> Mapping[str, str]:
        """A line on each division."""
        return DIVISIONS

    @property
    def runs(self) -> tuple[RunSection, ...]:
        """All runs, in the order of the hosts."""
        return tuple(run for _, runs in self.hosts for run in runs)

    @property
    def cases(self) -> tuple[CaseSection, ...]:
        """All cases of all runs."""
        return tuple(case for run in self.runs for case in run.cases)

    @property
    def one_at_a_time(self) -> bool:
        """True where the page has too many cases to show them all."""
        return len(self.cases) > ALL_SHOWN


def page_of(sources: Sequence[Source]) -> Page:
    """Return the page of some runs, those of one host beside each other."""
    hosts: dict[tuple[Any, ...], list[Source]] = {}
    for source in sources:
        hosts.setdefault(_machine(source.view.results), []).append(source)
    looks, first, sections = Looks(), 0, []
    ordered = [(number, source) for number, group in enumerate(hosts.values()) for source in group]
    for at, (host, source) in enumerate(ordered):
        sections.append((host, _run(at, source, first, looks)))
        first += len(source.view.cases)
    named_hosts = tuple(
        (_host_name(some[0][1].results, host, len(hosts)), tuple(section for _, section in some))
        for host, group in groupby(sections, key=lambda pair: pair[0])
        for some in [list(group)]
    )
    data = page_data([source.view for _, source in ordered], [host for host, _ in ordered], looks)
    return Page(named_hosts, looks, data)


def _machine(results: Results) -> tuple[Any, ...]:
    """Return the facts in which the runs of one host agree."""
    return tuple(str(results.host.get(field)) for field in MACHINE)


def _host_name(results: Results, number: int, count: int) -> str:
    host = results.host
    name = str(host.get("cpu_model") or "CPU not recorded")
    cpus = f", {host['usable_cpus']} CPUs" if host.get("usable_cpus") else ""
    return f"Host {number + 1}: {name}{cpus}" if count > 1 else f"{name}{cpus}"


def _run(at: int, source: Source, first: int, looks: Looks) -> RunSection:
    view = source.view
    story = story_case(view)
    numbers = {id(case): first + place for place, case in enumerate(view.cases)}
    return RunSection(
        number=at,
        source=source,
        lead=lead(view),
        findings=findings(view),
        trust=trust(view),
        story=numbers[id(story)] if story else None,
        cases=tuple(_case(numbers[id(case)], case, looks) for case in view.cases),
        lines=tuple(_line(numbers[id(case)], case) for case in view.cases),
        sweeps=tuple(
            (sweep_chart(f"sweep-{at}-{place}", sweep, looks), sweep_tables(sweep))
            for place, sweep in enumerate(view.sweeps)
        ),
        rooflines=tuple(_rooflines(at, view, looks)),
        effort=effort(f"effort-{at}", story, looks) if story else None,
        proofs=tuple(_proofs(view)),
        failures=tuple((one, where(one, view.results)) for one in view.not_timed),
        machine=tuple(_machine_tables(view.results)),
        settings=_settings(view.results),
        builds=backends_table(view.results),
        crossing=_crossing(source.crossing) if source.crossing else None,
    )


def _case(at: int, view: CaseView, looks: Looks) -> CaseSection:
    chart = curves(f"curves-{at}", view, looks)
    timed = [(backend.label, backend.result) for backend in view.backends if backend.step]
    arithmetic = arithmetic_note(view.case, timed)
    return CaseSection(at, view, work_note(view.case), arithmetic, case_sentences(view), step_plot(view, looks), chart)


def _line(at: int, view: CaseView) -> CaseLine:
    division, timed = leading(view)
    if not timed:
        return CaseLine(at, view, "no backend was timed", False, "", "", "")
    level = fastest_of(timed)
    decided = len(level) == 1 and level[0].result.fastest is True
    step = level[0].step
    assert step is not None
    others = [
        f"{named(best)} ({name})"
        for name, group in view.groups
        if name != division and (best := next((backend for backend in group if backend.step), None))
    ]
    return CaseLine(
        at,
        view,
        listed([named(backend) for backend in level]),
        decided,
        f"{with_interval(step, view.unit.seconds)} {view.unit.name}",
        _to_reference(level[0], view),
        ", ".join(others),
    )


def _to_reference(backend: BackendView, view: CaseView) -> str:
    if backend.ratio:
        return with_interval(backend.ratio)
    return "reference" if backend.name == view.case.reference else ""


def _rooflines(at: int, view: RunView, looks: Looks) -> Iterator[Chart]:
    def key(case: CaseView) -> tuple[str, str, int]:
        return case.case.operation, case.case.dtype, case.case.threads

    for place, (group, panels) in enumerate(groupby(sorted(view.cases, key=key), key=key)):
        chart = roofline(f"roofline-{at}-{place}", list(panels), roofs_of(view.results, *group[1:]), looks)
        if chart:
            yield chart


def _proofs(view: RunView) -> Iterator[Proof]:
    """Yield a line for each backend that was compared with the oracle: its comparison nearest to the bound."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for case in view.cases:
        for backend in case.backends:
            if backend.result.parity:
                found.setdefault(backend.name, []).append(backend.result.parity)
    for name, proofs in found.items():
        known = [proof["worst"] for proof in proofs if proof.get("worst")]
        worst = max(known, key=lambda one: _number(one.get("share")), default=None)
        counts = sorted({int(proof.get("checks") or 0) for proof in proofs})
        yield Proof(
            name,
            f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}",
            len(proofs),
            *_nearest(worst),
            tuple(dict.fromkeys(str(one) for proof in proofs for one in proof.get("failures") or ())),
        )


def _nearest(worst: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    """Return the cells of a comparison: its place, error, bound, and their ratio; empty where there is none."""
    if worst is None:
        return "", "", "", ""
    return (
        f"{worst.get('what', '')} of the {worst.get('trial', '')} network",
        f"{_number(worst.get('error')):.2g}",
        f"{_number(worst.get('bound')):.2g}",
        f"{number(100 * _number(worst.get('share')), 2)} %",
    )


def _number(value: object) -> float:
    """Return a number of the evidence; infinity where it is none, as an error that was not finite is stored."""
    return float(value) if isinstance(value, int | float) else float("inf")


def _machine_tables(results: Results) -> Iterator[ReportTable]:
    tables = (ceilings_table(results.ceilings), host_table(results.host_states), device_table(results))
    yield from (table for table in tables if table)
    yield _facts("Description", results.host)


def _settings(results: Results) -> ReportTable:
    command = {"command": shlex.join(results.command)} if results.command else {}
    return _facts("Settings", {**command, **results.settings, "suite": results.suite})


def _facts(title: str, facts: Mapping[str, Any]) -> ReportTable:
    return ReportTable(title, ("fact", "value"), (("", tuple(flat(facts))),))


def _crossing(costs: CrossingCosts) -> ReportTable:
    columns = ("route", "handed over", "binding, ns [95 %]", "pyfnn's checks, ns", "both, ns", "native step, ns")
    sections: dict[str, list[tuple[str, ...]]] = {}
    for line in costs.lines:
        route = f"{line.route} ({costs.routes[line.route]})" if line.route in costs.routes else line.route
        passing = "x, y" if line.passing == "arrays" else "nothing"
        cells = map(_nanoseconds, (line.binding, line.contract, line.public, line.step))
        sections.setdefault(line.workload, []).append((route, passing, *cells))
    notes = (f"Measured on {costs.host.get('cpu_model') or 'an unrecorded CPU'}, over fresh processes.",)
    return ReportTable(
        "Cost of a call", columns, tuple((name, tuple(lines)) for name, lines in sections.items()), notes
    )


def _nanoseconds(cost: SignedEstimate) -> str:
    """Format a cost with its interval; only its upper bound where the interval reaches 0."""
    if cost.low <= 0:
        return f"below {number(cost.high / 1e-9, 2)}" if cost.high > 0 else "none shown"
    return f"{number(cost.median / 1e-9)} [{number(cost.low / 1e-9)}, {number(cost.high / 1e-9)}]"
