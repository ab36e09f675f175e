"""The tables of a run, for the summary and the page. Show what `views` decides; compute nothing."""

from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from bench.format import centre_of, number, threads_text, unit_of, with_interval, with_margin
from bench.report.render import ReportTable
from bench.report.sweeps import SweepView, crossings, leads, pairs_examined
from bench.report.views import BackendView, CaseView, NotTimed, PairMatrix, pair_matrices
from bench.results.schema import BackendResult, Ceilings, Estimate, HostState, Pool, Results, Verdict
from bench.terms import When

READING = (
    "Step time: the centre of the launch means with its 95 % interval. Ratio: the step time of the reference over that "
    "of the backend, paired round by round; above 1 is faster.",
    "The verdicts of a table hold together: at most 1 table in 20 calls any two backends faster or slower that are "
    "equally fast, and at most 1 in 20 calls any two the same that differ by the margin. An interval, in contrast, is "
    "for one ratio alone. Undecided means that neither is shown yet; the number of launches is an estimate.",
    "Ranks hold only within a division. Textbook is the triple loop as a textbook has it, plain compares languages, "
    "tuned compares what each language can reach, and framework compares what users would choose instead. The ratio of "
    "a backend of another division to a plain reference shows the cost or the gain against plain code, not which "
    "language is faster.",
)

COSTS = (
    "Build: compiling the program, once for these sources and this compiler. Other times are medians over launches. "
    "Start: from launching the process to its first reply. To first step: from launching the process to the end of its "
    "first step, including reading the data and compiling. Warm-up: untimed blocks until the steady state."
)

PROCESSES = (
    "Over all timed blocks of all launches. CPU per wall second: CPU time of all threads, by the system's clocks. "
    "Switches: how often the system took a CPU away from the process. CPUs: those that the process may run on. Turns "
    "repeated: taken again, because the clock or the CPU time of the worker did not match the driver's. Pools: BLAS "
    "and OpenMP libraries in the process with their kernels and threads, known only for backends that Python hosts; "
    "for others see their build in the table of backends."
)

PAIRS = (
    "In a table of pairs, each cell says how many times faster the row is than the column. ± is the 95 % interval as a "
    "factor, to multiply and to divide by. = marks a pair that is the same within the margin, and ? an "
    "undecided one. Pairs of different divisions are only in results.json."
)


_MARKS: dict[Verdict, str] = {"faster": "", "slower": "", "same": "= ", "undecided": "? "}


OFF_CPU = (
    "Off-CPU: the share of a backend's timed blocks in which its process did not run. It waited for a CPU that other "
    "processes used, it slept, or the hypervisor ran another machine. Step times are CPU time and leave it out."
)


def case_table(view: CaseView) -> ReportTable:
    """Return the step times, ratios and verdicts of one case, one section per division."""
    many = view.case.members > 1
    columns = (
        "backend",
        f"{'network-step' if many else 'step'} time, {view.unit.name} [95 %]",
        *(("network-steps/s",) if many else ()),
        f"ratio to {view.case.reference} [95 %]" if view.case.reference else "ratio",
        "verdict",
    )

    def cells(backend: BackendView) -> tuple[str, ...]:
        if backend.step is None:
            return (backend.label, backend.status, *[""] * (len(columns) - 2))
        return (
            backend.label,
            with_interval(backend.step, view.unit.seconds),
            *((backend.rate,) if many else ()),
            with_interval(backend.ratio) if backend.ratio else "",
            backend.verdict,
        )

    sections = tuple((division, tuple(cells(one) for one in group)) for division, group in view.groups)
    return ReportTable(view.case.title, columns, sections)


def rates_table(view: CaseView) -> ReportTable:
    """Return rates, shares and threads of the timed backends of a case, with all its notes."""
    shares = any(backend.result.ceiling_share is not None for backend in view.backends)
    columns = (
        "backend",
        *((f"by the device's clock, {view.unit.name} [95 %]",) if view.by_device else ()),
        "GFLOP/s",
        *(("of peak",) if shares else ()),
        *(("off-CPU",) if view.off_cpu else ()),
        "threads",
    )

    def cells(backend: BackendView) -> tuple[str, ...]:
        b, on_device = backend.result, backend.on_device
        return (
            backend.label,
            *((with_interval(on_device, view.unit.seconds) if on_device else "",) if view.by_device else ()),
            "" if b.gflops is None else number(b.gflops),
            *((_percent(b.ceiling_share),) if shares else ()),
            *((_percent(view.off_cpu.get(backend.label)),) if view.off_cpu else ()),
            "not read" if b.threads_seen is None else str(b.threads_seen),
        )

    lines = tuple(cells(backend) for backend in view.backends if backend.step)
    notes = (*view.notes, *((OFF_CPU,) if view.off_cpu else ()))
    return ReportTable("Rates, threads, checks", columns, (("", lines),), notes)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{number(100 * share, 2)} %"


def costs_table(view: CaseView) -> ReportTable | None:
    """Return what each backend costs besides its steps; None where nothing was recorded."""

    def cells(b: BackendResult) -> tuple[str, ...]:
        seconds = (b.build_seconds, b.startup_seconds, b.first_step_seconds, b.warmup_seconds)
        memory = "" if b.peak_rss_bytes is None else number(b.peak_rss_bytes / 2**20)
        return *("" if value is None else number(value) for value in seconds), memory

    columns = ("backend", "build, s", "start, s", "to first step, s", "warm-up, s", "peak memory, MiB")
    return _of_timed(view, "Costs besides the steps", columns, cells, COSTS)


def processes_table(view: CaseView) -> ReportTable | None:
    """Return how the process of each backend ran while it was timed; None where no backend was timed."""

    def cells(b: BackendResult) -> tuple[str, ...]:
        summary = b.timing_summary
        if summary is None:
            return ("", "", _ranges(b.cpus or ()), "", "", "")
        return (
            "" if summary.cpu_per_wall_second is None else number(summary.cpu_per_wall_second, 2),
            "" if summary.switches_per_second is None else number(summary.switches_per_second, 2),
            _ranges(b.cpus or ()),
            f"{summary.outliers} of {summary.blocks}",
            str(summary.retries),
            "; ".join(map(_pool_text, b.pools or ())),
        )

    columns = ("backend", "CPU per wall second", "switches/s", "CPUs", "outliers (kept)", "turns repeated", "pools")
    return _of_timed(view, "Processes while timed", columns, cells, PROCESSES)


def _of_timed(
    view: CaseView, title: str, columns: tuple[str, ...], cells: Callable[[BackendResult], tuple[str, ...]], note: str
) -> ReportTable | None:
    """Return a table with one line per timed backend, without the lines that would be empty."""
    found = [(backend.label, cells(backend.result)) for backend in view.backends if backend.step]
    lines = tuple((label, *texts) for label, texts in found if any(texts))
    return ReportTable(title, columns, (("", lines),), (note,)) if lines else None


def _pool_text(pool: Pool) -> str:
    kernels = f" {pool.kernels}" if pool.kernels else ""
    return f"{pool.library}{kernels}, {threads_text(pool.threads)}"


def _ranges(numbers: Sequence[int]) -> str:
    """Format whole numbers as ranges: ``0-3, 6``."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def pair_tables(view: CaseView) -> tuple[ReportTable, ...]:
    """Return the ratios of every two backends of a division, one table per division."""
    return tuple(_pair_table(matrix) for matrix in pair_matrices(view))


def _pair_table(matrix: PairMatrix) -> ReportTable:
    lines = tuple(
        (label, *(_pair_text(*cell) if cell else "" for cell in line))
        for label, line in zip(matrix.labels, matrix.cells, strict=True)
    )
    missed = (
        f"expect about {round(matrix.pairs / 20)} of them to miss" if matrix.pairs >= 30 else "one of them may miss"
    )
    notes = (f"{matrix.pairs} intervals, each with 95 % confidence on its own: {missed} the true ratio.",)
    title, columns = f"Pairs of {matrix.division}", ("row over column", *matrix.labels)
    return ReportTable(title, columns, (("", lines),), notes if matrix.pairs > 1 else ())


def _pair_text(ratio: Estimate, verdict: Verdict) -> str:
    return f"{_MARKS[verdict]}{with_margin(ratio)}"


def sweep_tables(sweep: SweepView) -> tuple[ReportTable, ...]:
    """Return the table of the fastest backends at each value, and the table of crossings."""
    return _leads_table(sweep), _crossings_table(sweep)


def _leads_table(sweep: SweepView) -> ReportTable:
    found = leads(sweep)
    sections = []
    for division in sweep.divisions:
        lines = tuple(
            (
                f"{lead.value}",
                lead.leader.label,
                f"{with_interval(lead.leader.step, unit.seconds)} {unit.name}",
                "no ratio" if lead.level is None else ", ".join(lead.level) or "none",
            )
            for lead in found
            if lead.division == division and lead.leader.step
            for unit in [unit_of([centre_of(lead.leader.step)])]
        )
        sections.append((division, lines))
    time = "network-step time" if sweep.points[0].view.case.members > 1 else "step time"
    columns = (sweep.along, "fastest", f"{time} [95 %]", "not significantly slower")
    return ReportTable(f"Fastest: {sweep.title}", columns, tuple(section for section in sections if section[1]))


def _crossings_table(sweep: SweepView) -> ReportTable:
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
    columns = ("crossing", f"between {sweep.along}", "times as fast before", "times as fast after")
    compared = f"{pairs_examined(sweep)} pairs were examined."
    if not sections:
        none = (("", (("no significant crossing", "", "", ""),)),)
        return ReportTable(f"Crossings: {sweep.title}", columns, none, (compared,))
    lines = tuple((division, tuple(lines)) for division, lines in sections.items())
    sides = "At both values the verdict holds over the whole table of the case."
    return ReportTable(f"Crossings: {sweep.title}", columns, lines, (sides, compared))


def ceilings_table(ceilings: Iterable[Ceilings]) -> ReportTable | None:
    """Return the peak rates of the machine before and after all measurement; None where nothing was probed."""
    peaks: dict[tuple[str, ...], dict[str, str]] = {}
    products: dict[tuple[str, ...], dict[str, str]] = {}
    traffic: dict[tuple[str, ...], dict[str, str]] = {}
    for probed in ceilings:
        for p in probed.peaks:
            key = (f"multiply-adds, {p.dtype}, {p.level}", _on(p.device, p.threads), "GFLOP/s")
            peaks.setdefault(key, {})[probed.when] = number(p.gflops)
        for b in probed.bandwidths:
            key = (f"{b.cache or 'memory'}, {b.traffic} over {_size(b.bytes)}", _on(b.device, b.threads), "GB/s")
            traffic.setdefault(key, {})[probed.when] = number(b.gigabytes_per_second)
        for step in probed.products:
            sizes = "-".join(map(str, step.sizes))
            rows = "1 row" if step.batch == 1 else f"{step.batch} rows"
            what = f"products of {sizes}, {rows}, {step.dtype}, {step.library}"
            products.setdefault((what, _on("cpu", step.threads), "GFLOP/s"), {})[probed.when] = number(step.gflops)
    lines = {**peaks, **products, **traffic}
    times = [when for when in get_args(When) if any(when in values for values in lines.values())]
    cells = tuple((*key, *(values.get(when, "") for when in times)) for key, values in lines.items())
    return ReportTable("Ceilings", ("probe", "threads", "unit", *times), (("", cells),)) if lines else None


def _size(size: int) -> str:
    return f"{size / 2**20:.0f} MiB" if size >= 10 * 2**20 else f"{size / 2**10:.0f} KiB"


def _available(state: HostState) -> float | None:
    return None if state.memory_available_bytes is None else state.memory_available_bytes / 2**20


def host_table(states: Sequence[HostState]) -> ReportTable | None:
    """Return the load of the machine before and over the measurement; None where it was not recorded."""
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
    return ReportTable("Host", columns, (("", tuple(lines)),)) if lines else None


def device_table(results: Results) -> ReportTable | None:
    """Return the readings of the device's sensors; None where there is none."""
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
    columns = ("between timed blocks (idle)", "first", "least", "greatest", "last")
    return ReportTable("Device", columns, (("", tuple(lines)),)) if lines else None


def _on(device: str, threads: int) -> str:
    return str(threads) if device == "cpu" else device


def backends_table(results: Results) -> ReportTable:
    """Return language, division, lines of code and build of each backend of the run."""
    seen: dict[str, tuple[str, ...]] = {}
    for b in (b for case in results.cases for b in case.backends):
        build = "; ".join(f"{key}: {value}" for key, value in b.build.items())
        if b.name not in seen or (build and not seen[b.name][-1]):
            lines = "" if b.source_lines is None else str(b.source_lines)
            division = b.division if b.device == "cpu" else f"{b.division}, on {b.device}"
            seen[b.name] = (b.name, b.language, division, lines, build)
    return ReportTable(
        "Backends", ("backend", "language", "division", "lines of code", "build"), (("", tuple(seen.values())),)
    )


def where(backend: NotTimed, results: Results) -> str:
    """Format the cases in which a backend was not timed."""
    if len(backend.cases) == len(results.cases):
        return "in every case" if len(results.cases) > 1 else f"in {backend.cases[0]}"
    return f"in {', '.join(backend.cases)}"
