"""The tables of a run, for the terminal and as Markdown: one model, two renderers. Decides nothing: see `rows`."""

from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from rich.console import Console
from rich.text import Text

from bench.format import Quantity, number, unit_of, with_interval, with_margin
from bench.report.render import Table, rich_table
from bench.report.rows import Absence, BackendView, CaseView, Matrix, case_views, matrices, not_timed
from bench.report.sweeps import SweepView, crossings, intervals_seen, leads, sweeps_of
from bench.results.schema import BackendResult, Ceilings, HostState, Pool, Results
from bench.terms import When

READING = (
    "A step time is the centre of the launches' means with its 95 % interval; a ratio is the reference's step time "
    "over the backend's, paired round by round, and above 1 is faster.",
    "Faster or slower is said only where the whole interval clears 1 and the noise floor, which is how far two "
    "instances of one backend came apart.",
    "Ranks hold within a division alone: plain compares languages, tuned what each can be brought to, framework what a "
    "user would pick instead; a ratio of a tuned or framework backend to a plain reference tells what leaving plain "
    "buys, not which language is faster.",
)


COSTS = (
    "Build: of a program, once for these sources and this compiler. The rest are medians over launches. To first step: "
    "from the launch of the process to the end of its first step, reading the data and compiling included. Warm-up: "
    "untimed blocks until they had stopped getting faster."
)


PROCESSES = (
    "Over the timed blocks, all launches. CPU per wall second: of all threads, by the system's clocks. Switches: how "
    "often the system took a CPU away from it, a second. CPUs: those it was kept to, by number. Turns taken again: "
    "refused once, since its clock or its CPU time did not fit ours. Pools: the BLAS and OpenMP that its process has "
    "loaded, each with the kernels it chose and its threads; known of what Python hosts, others tell theirs under "
    "Backends."
)


PAIRS = (
    "In a table of any two, the row is so many times faster than the column; ± is the 95 % interval, by which to "
    "multiply and to divide. ≈: no difference shown, since the interval does not clear 1 and the noise floor. Pairs of "
    "different divisions are not shown; results.json has them."
)


def case_table(rows: CaseView) -> Table:
    """Times, ratios and verdicts of one case, a section a division."""
    many = rows.case.members > 1
    shares = any(row.backend.ceiling_share is not None for row in rows.rows)
    columns = (
        "backend",
        f"{'network-step' if many else 'step'} time, {rows.unit.name} [95 %]",
        *((f"by its device's clock, {rows.unit.name}",) if rows.by_device else ()),
        *(("network-steps/s",) if many else ()),
        f"ratio to {rows.case.reference} [95 %]" if rows.case.reference else "ratio",
        "verdict",
        "GFLOP/s",
        *(("of peak",) if shares else ()),
        "threads",
    )
    sections = tuple(
        (division, tuple(_cells(row, rows, shares, len(columns)) for row in group)) for division, group in rows.groups
    )
    return Table(rows.case.title, columns, sections, rows.notes)


def _cells(row: BackendView, rows: CaseView, shares: bool, width: int) -> tuple[str, ...]:
    if row.step is None:
        return (row.label, row.status, *[""] * (width - 2))
    b = row.backend
    share = "" if b.ceiling_share is None else f"{number(100 * b.ceiling_share, 2)} %"
    return (
        row.label,
        with_interval(row.step, rows.unit.seconds),
        *((with_interval(row.on_device, rows.unit.seconds) if row.on_device else "",) if rows.by_device else ()),
        *((row.rate,) if row.rate else ()),
        with_interval(row.ratio) if row.ratio else "",
        row.verdict,
        "" if b.gflops is None else number(b.gflops),
        *((share,) if shares else ()),
        "not read" if b.threads_seen is None else str(b.threads_seen),
    )


def costs_table(rows: CaseView) -> Table | None:
    """What each backend cost beside its steps; None where nothing of it was recorded."""

    def cells(b: BackendResult) -> tuple[str, ...]:
        seconds = (b.build_seconds, b.startup_seconds, b.first_step_seconds, b.warmup_seconds)
        memory = "" if b.peak_rss_bytes is None else number(b.peak_rss_bytes / 2**20)
        return *("" if value is None else number(value) for value in seconds), memory

    columns = ("backend", "build, s", "start, s", "to first step, s", "warm-up, s", "peak memory, MiB")
    return _of_timed(rows, "Beside the steps", columns, cells, COSTS)


def processes_table(rows: CaseView) -> Table | None:
    """How each backend's process ran while it was timed; None where nothing was."""

    def cells(b: BackendResult) -> tuple[str, ...]:
        wall = sum(sample.wall_seconds for sample in b.samples)
        switches = [s.involuntary_switches for s in b.samples if s.involuntary_switches is not None]
        retries = sum(sample.retries for sample in b.samples)
        return (
            number(sum(sample.cpu_seconds for sample in b.samples) / wall, 2) if wall else "",
            number(sum(switches) / wall, 2) if switches and wall else "",
            _ranges(b.cpus or ()),
            f"{sum(sample.outlier for sample in b.samples)} of {len(b.samples)}" if b.samples else "",
            str(retries) if b.samples else "",
            "; ".join(map(_pool_text, b.pools or ())),
        )

    columns = ("backend", "CPU per wall second", "switches/s", "CPUs", "outliers (kept)", "turns taken again", "pools")
    return _of_timed(rows, "While it was timed", columns, cells, PROCESSES)


def _of_timed(
    rows: CaseView, title: str, columns: tuple[str, ...], cells: Callable[[BackendResult], tuple[str, ...]], note: str
) -> Table | None:
    """A line a backend that was timed, of those with anything to say."""
    found = [(row.label, cells(row.backend)) for row in rows.rows if row.step]
    lines = tuple((label, *said) for label, said in found if any(said))
    return Table(title, columns, (("", lines),), (note,)) if lines else None


def _pool_text(pool: Pool) -> str:
    kernels = f" {pool.kernels}" if pool.kernels else ""
    return f"{pool.library}{kernels}, {pool.threads} thread{'s' * (pool.threads != 1)}"


def _ranges(numbers: Sequence[int]) -> str:
    """``0-3, 6``: what is next to each other together."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def matrix_tables(rows: CaseView) -> tuple[Table, ...]:
    """Any two backends of a division, a table a division."""
    return tuple(_matrix_table(matrix) for matrix in matrices(rows))


def _matrix_table(matrix: Matrix) -> Table:
    lines = tuple(
        (label, *(_pair_text(cell) if cell else "" for cell in line))
        for label, line in zip(matrix.labels, matrix.cells, strict=True)
    )
    missed = f"about {round(matrix.pairs / 20)}" if matrix.pairs >= 30 else "one"
    notes = (f"{matrix.pairs} intervals, each right 19 times of 20, not all at once: {missed} may well miss.",)
    title, columns = f"Any two of {matrix.division}", ("row over column", *matrix.labels)
    return Table(title, columns, (("", lines),), notes if matrix.pairs > 1 else ())


def _pair_text(cell: tuple[Quantity, str]) -> str:
    quantity, verdict = cell
    return f"{'' if verdict in ('faster', 'slower') else '≈ '}{with_margin(quantity)}"


def sweep_tables(sweep: SweepView) -> tuple[Table, ...]:
    """Who leads at each value, and where two backends change places."""
    return _leads_table(sweep), _crossings_table(sweep)


def _leads_table(sweep: SweepView) -> Table:
    every = leads(sweep)
    sections = []
    for division in sweep.divisions:
        lines = tuple(
            (
                f"{lead.value}",
                lead.leader.label,
                f"{with_interval(lead.leader.step, unit.seconds)} {unit.name}",
                "no noise floor" if lead.level is None else ", ".join(lead.level) or "nobody",
            )
            for lead in every
            if lead.division == division and lead.leader.step
            for unit in [unit_of([lead.leader.step.value])]
        )
        sections.append((division, lines))
    time = "network-step time" if sweep.points[0].rows.case.members > 1 else "step time"
    columns = (sweep.along, "fastest", f"{time} [95 %]", "not shown to be slower")
    return Table(f"Who leads: {sweep.title}", columns, tuple(section for section in sections if section[1]))


def _crossings_table(sweep: SweepView) -> Table:
    sections: dict[str, list[tuple[str, ...]]] = {}
    for found in crossings(sweep):
        sections.setdefault(found.division, []).append(
            (
                f"{sweep.labels[found.overtaker]} overtakes {sweep.labels[found.overtaken]}",
                f"{found.before} and {found.after}",
                with_margin(found.behind),
                with_margin(found.ahead),
            )
        )
    columns = ("who", f"between {sweep.along}", "times as fast before", "and after")
    told = tuple((division, tuple(lines)) for division, lines in sections.items())
    seen = f"{intervals_seen(sweep)} intervals were looked at, each right 19 times of 20, not all at once."
    sides = "Each is faster on its side, the whole interval clear of 1 and of the noise floor there."
    nobody = (("", (("nobody is shown to overtake anybody", "", "", ""),)),)
    return Table(f"Where they cross: {sweep.title}", columns, told or nobody, (sides, seen) if told else (seen,))


def ceilings_table(ceilings: Iterable[Ceilings]) -> Table | None:
    """What the machine could do, before and after the measurement; None where nothing was probed."""
    peaks: dict[tuple[str, ...], dict[str, str]] = {}
    traffic: dict[tuple[str, ...], dict[str, str]] = {}
    for probed in ceilings:
        for p in probed.peaks:
            key = (f"multiply-adds, {p.dtype}, {p.level}", _on(p.device, p.threads), "GFLOP/s")
            peaks.setdefault(key, {})[probed.when] = number(p.gflops)
        for b in probed.bandwidths:
            key = (f"memory, {b.traffic} over {b.bytes / 2**20:.0f} MiB", _on(b.device, b.threads), "GB/s")
            traffic.setdefault(key, {})[probed.when] = number(b.gigabytes_per_second)
    lines = {**peaks, **traffic}
    times = [when for when in get_args(When) if any(when in values for values in lines.values())]
    cells = tuple((*key, *(values.get(when, "") for when in times)) for key, values in lines.items())
    return Table("Ceilings", ("probe", "threads", "unit", *times), (("", cells),)) if lines else None


def _available(state: HostState) -> float | None:
    return None if state.memory_available_bytes is None else state.memory_available_bytes / 2**20


def host_table(states: Sequence[HostState]) -> Table | None:
    """What the machine was doing before and after the measurement; None where nobody looked."""
    quantities: dict[str, Callable[[HostState], float | None]] = {
        "busy CPUs": lambda state: state.busy_cpus,
        "steal, %": lambda state: None if state.steal is None else 100 * state.steal,
        "load, 1 minute": lambda state: state.load_1min,
        "temperature, °C": lambda state: state.celsius,
        "available memory, MiB": _available,
    }
    lines = []
    for title, read in quantities.items():
        values = [read(state) for state in states]
        if any(value is not None for value in values):
            lines.append((title, *("" if value is None else number(value, 2) for value in values)))
    columns = ("", *(state.when for state in states))
    return Table("Host", columns, (("", tuple(lines)),)) if lines else None


def device_table(results: Results) -> Table | None:
    """What the device's sensors said; None where nobody asked them."""
    quantities = {
        "SM clock, MHz": "sm_mhz",
        "memory clock, MHz": "memory_mhz",
        "power, W": "watts",
        "temperature, °C": "celsius",
    }
    lines = []
    for title, name in quantities.items():
        values = [value for state in results.device_states if (value := getattr(state, name)) is not None]
        if values:
            lines.append((title, *(number(value) for value in (values[0], min(values), max(values), values[-1]))))
    columns = ("between timed blocks (idle)", "at first", "least", "greatest", "at last")
    return Table("Device", columns, (("", tuple(lines)),)) if lines else None


def _on(device: str, threads: int) -> str:
    return str(threads) if device == "cpu" else device


def backends_table(results: Results) -> Table:
    """Who took part: language, division, lines of source, and how it was built."""
    seen: dict[str, tuple[str, ...]] = {}
    for b in (b for case in results.cases for b in case.backends):
        build = "; ".join(f"{key}: {value}" for key, value in b.build.items())
        if b.name not in seen or (build and not seen[b.name][-1]):
            lines = "" if b.source_lines is None else str(b.source_lines)
            division = b.division if b.device == "cpu" else f"{b.division}, on {b.device}"
            seen[b.name] = (b.name, b.language, division, lines, build)
    return Table(
        "Backends", ("backend", "language", "division", "lines of code", "build"), (("", tuple(seen.values())),)
    )


def where(absence: Absence, results: Results) -> str:
    """The cases of an absence in words."""
    if len(absence.cases) == len(results.cases):
        return "in every case" if len(results.cases) > 1 else f"in {absence.cases[0]}"
    return f"in {', '.join(absence.cases)}"


def show(results: Results, console: Console) -> None:
    """Print the run's last word: every case, then who was not timed, why, and what to do about it."""
    if not results.cases:
        console.print(Text("No case was measured."))
    cases = case_views(results)
    for rows in cases:
        console.print(rich_table(case_table(rows)))
    for sweep in sweeps_of(cases)[0]:
        for table in sweep_tables(sweep):
            console.print(rich_table(table))
    for absence in not_timed(results):
        console.print(Text.assemble((absence.instance, "bold"), f": {absence.status} {where(absence, results)}"))
        for line in [*absence.reason.splitlines()[:3], *([f"remedy: {absence.remedy}"] if absence.remedy else [])]:
            console.print(Text(f"  {line}"))
    if results.cases:
        console.print(Text("\n".join(["", *READING]), style="dim"))
