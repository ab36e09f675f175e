"""Samples and statistics of a run as rows of plain values, for CSV, Parquet and data frames. Writes no file."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from bench.results.derive import on_clock
from bench.results.schema import BackendResult, Case, Estimate, Results

TableName = Literal["samples", "statistics"]


class SampleRow(NamedTuple):
    """One timed block. Times are in seconds; `Sample` has the meaning of each field.

    `forced` is True in a run that was continued although something had changed, as `Results.differences` says.
    `step_seconds` is the time of a step by the clock that gives the case's step times, named in `clock`.
    """

    created: str
    forced: bool
    workload: str
    operation: str
    dtype: str
    threads: int
    members: int
    clock: str
    backend: str
    instance: str
    copy_of: str | None
    division: str
    status: str
    launch: int
    round: int
    steps: int
    step_seconds: float | None
    seconds: float
    cpu_seconds: float
    work_cpu_seconds: float | None
    wall_seconds: float
    device_seconds: float | None
    involuntary_switches: int | None
    retries: int
    proven_steps: int | None
    outlier: bool


class StatisticRow(NamedTuple):
    """One instance of a backend in one case. `…_low` and `…_high` bound a 95 % interval.

    Times are in seconds; `BackendResult` has the meaning of each field, `SampleRow` that of `forced`.
    """

    created: str
    forced: bool
    cpu_model: str | None
    workload: str
    operation: str
    dtype: str
    threads: int
    members: int
    batch: int
    clock: str
    flops_per_step: float
    backend: str
    instance: str
    copy_of: str | None
    language: str
    division: str
    device: str
    status: str
    reason: str
    step_seconds: float | None
    step_seconds_low: float | None
    step_seconds_high: float | None
    reference: str | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    verdict: str | None
    fastest: bool | None
    gflops: float | None
    ceiling_share: float | None
    launches: int | None
    blocks: int | None
    build_seconds: float | None
    startup_seconds: float | None
    first_step_seconds: float | None
    warmup_seconds: float | None
    peak_rss_bytes: int | None
    source_lines: int | None


Row = SampleRow | StatisticRow
KINDS: dict[TableName, type[SampleRow] | type[StatisticRow]] = {"samples": SampleRow, "statistics": StatisticRow}


def rows(results: Results, table: TableName) -> list[Row]:
    """Return the rows of a table of a run: all instances, second ones and slowed copies included."""
    return list(_samples(results) if table == "samples" else _statistics(results))


def _backends(results: Results) -> Iterator[tuple[Case, BackendResult]]:
    for case in results.cases:
        yield from ((case, backend) for backend in (*case.backends, *([case.planted] if case.planted else [])))


def _samples(results: Results) -> Iterator[SampleRow]:
    for case, backend in _backends(results):
        judged = {(s.launch, s.round): s.seconds / s.steps for s in on_clock(backend.samples, case.clock)}
        for sample in backend.samples:
            yield SampleRow(
                created=results.created,
                forced=bool(results.differences),
                workload=case.workload,
                operation=case.operation,
                dtype=case.dtype,
                threads=case.threads,
                members=case.members,
                clock=case.clock,
                backend=backend.name,
                instance=backend.instance,
                copy_of=backend.copy_of,
                division=backend.division,
                status=backend.status,
                step_seconds=judged.get((sample.launch, sample.round)),
                **sample.model_dump(),
            )


def _statistics(results: Results) -> Iterator[StatisticRow]:
    model = results.host.get("cpu_model")
    for case, backend in _backends(results):
        step, step_low, step_high = _numbers(backend.step_seconds)
        ratio, ratio_low, ratio_high = _numbers(backend.ratio)
        summary = backend.timing_summary
        yield StatisticRow(
            created=results.created,
            forced=bool(results.differences),
            cpu_model=None if model is None else str(model),
            workload=case.workload,
            operation=case.operation,
            dtype=case.dtype,
            threads=case.threads,
            members=case.members,
            batch=case.batch,
            clock=case.clock,
            flops_per_step=case.flops_per_step,
            backend=backend.name,
            instance=backend.instance,
            copy_of=backend.copy_of,
            language=backend.language,
            division=backend.division,
            device=backend.device,
            status=backend.status,
            reason=backend.reason,
            step_seconds=step,
            step_seconds_low=step_low,
            step_seconds_high=step_high,
            reference=case.reference,
            ratio=ratio,
            ratio_low=ratio_low,
            ratio_high=ratio_high,
            verdict=backend.verdict,
            fastest=backend.fastest,
            gflops=backend.gflops,
            ceiling_share=backend.ceiling_share,
            launches=summary.launches if summary else None,
            blocks=summary.blocks if summary else None,
            build_seconds=backend.build_seconds,
            startup_seconds=backend.startup_seconds,
            first_step_seconds=backend.first_step_seconds,
            warmup_seconds=backend.warmup_seconds,
            peak_rss_bytes=backend.peak_rss_bytes,
            source_lines=backend.source_lines,
        )


def _numbers(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (estimate.median, estimate.low, estimate.high) if estimate else (None, None, None)
