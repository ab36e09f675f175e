"""The data that the page's script reads: rows, pairs and samples of all runs, as one JSON value. Computes no statistic.

Numbers have six digits. Samples are in thousandths of their row's median block, which a strip cannot show finer.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from bench.report.notes import is_proven
from bench.report.page.figures import Looks
from bench.report.run_view import RunView
from bench.report.sentences import named
from bench.report.views import BackendView, CaseView
from bench.results.derive import on_clock
from bench.results.schema import BackendResult, Case, Estimate, Sample

MOST_SAMPLES: Final = 400_000  # in a page; about three bytes each
COLUMNS: Final = (
    "case", "backend", "label", "named", "look", "language", "division", "device", "status", "step", "ratio", "verdict",
    "more", "fastest", "gflops", "share", "lines", "threads", "reason", "remedy", "build", "parity", "costs", "process",
    "samples",
)  # fmt: skip
VERDICTS: Final = ("faster", "slower", "same", "undecided")


class Texts:
    """Texts of a page, each kept once; a row holds its number."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {"": 0}

    def number(self, text: str) -> int:
        """Return the number of a text."""
        return self.kept.setdefault(text, len(self.kept))


def page_data(views: Sequence[RunView], hosts: Sequence[int], looks: Looks) -> dict[str, Any]:
    """Return the page's data.

    Parameters
    ----------
    views : sequence of RunView
    hosts : sequence of int
        Number of the host of each run.
    looks : Looks
    """
    texts = Texts()
    count = sum(len(b.samples) for view in views for case in view.results.cases for b in case.backends)
    with_samples = count <= MOST_SAMPLES
    cases: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    for run, view in enumerate(views):
        for case in view.cases:
            places = {backend.name: at for at, backend in enumerate(case.backends)}
            cases.append({"first": len(rows), **_case(run, case, places)})
            rows += [_row(len(cases) - 1, case, b, looks, texts, with_samples) for b in case.backends]
    return {
        "columns": COLUMNS,
        "runs": [_run(view, host) for view, host in zip(views, hosts, strict=True)],
        "cases": cases,
        "rows": rows,
        "texts": list(texts.kept),
        "verdicts": VERDICTS,
        "samples": with_samples,
    }


def _run(view: RunView, host: int) -> dict[str, Any]:
    results = view.results
    return {
        "host": host,
        "cpu": str(results.host.get("cpu_model", "")),
        "created": results.created,
        "pyfnn": str(results.host.get("pyfnn", "")),
    }


def _case(run: int, view: CaseView, places: dict[str, int]) -> dict[str, Any]:
    case = view.case
    return {
        "run": run,
        "title": case.title,
        "workload": case.workload,
        "operation": case.operation,
        "dtype": case.dtype,
        "threads": case.threads,
        "batch": case.batch,
        "members": case.members,
        "clock": case.clock,
        "reference": case.reference,
        "margin": case.margin,
        "launches": _launches(view),
        "pairs": _pairs(case, places),
    }


def _launches(view: CaseView) -> list[int]:
    """Return the fewest and the most launches of a timed backend; nothing where none was timed."""
    counts = {b.result.timing_summary.launches for b in view.backends if b.result.timing_summary}
    return [min(counts), max(counts)] if counts else []


def _pairs(case: Case, places: dict[str, int]) -> list[list[Any]]:
    """Return each pair as two places in the case's rows, ratio, factor of its interval, number of its verdict.

    The interval is from ratio ÷ factor to ratio × factor. Undecided pairs also have their further launches.
    """
    return [
        [
            *(places[p.backend], places[p.than], _short(p.ratio.median), _short(p.ratio.high / p.ratio.median)),
            *(VERDICTS.index(p.verdict), *([p.more_launches] if p.verdict == "undecided" else [])),
        ]
        for p in case.pairs or ()
        if p.verdict and p.backend in places and p.than in places
    ]


def _row(
    number: int, view: CaseView, backend: BackendView, looks: Looks, texts: Texts, with_samples: bool
) -> list[Any]:
    b, ratio, step = backend.result, backend.ratio, backend.step
    build = "; ".join(f"{key}: {value}" for key, value in b.build.items())
    return [
        number,
        b.name,
        texts.number(backend.label),
        texts.number(named(backend)),
        looks.of(b.name),
        texts.number(b.language),
        texts.number(b.division),
        texts.number(b.device),
        b.status,
        _estimate(step) if isinstance(step, Estimate) else [_short(step)] if step else None,
        _estimate(ratio) if ratio else None,
        backend.verdict,
        b.more_launches if ratio else None,
        b.fastest,
        _short(b.gflops),
        _short(b.ceiling_share),
        b.source_lines,
        b.threads_seen,
        texts.number(b.reason),
        texts.number(b.remedy),
        texts.number(build),
        _parity(b, texts),
        [_short(value) for value in (b.build_seconds, b.startup_seconds, b.first_step_seconds, b.warmup_seconds)]
        + [b.peak_rss_bytes],
        _process(backend),
        _samples(on_clock(b.samples, view.case.clock)) if with_samples and step else None,
    ]


def _parity(result: BackendResult, texts: Texts) -> list[Any] | None:
    """Return proven or not, comparisons, number of the text on the nearest to its bound, error, bound; or None."""
    parity = result.parity
    worst = parity.get("worst")
    if not parity or not isinstance(worst, dict):
        return None
    what = f"{worst.get('what', '')} of the {worst.get('trial', '')} network"
    return [is_proven(result), parity.get("checks"), texts.number(what), worst.get("error"), worst.get("bound")]


def _process(backend: BackendView) -> list[Any] | None:
    """Return launches, blocks, outliers, turns repeated, CPU per wall second, switches a second, share off the CPU."""
    summary = backend.result.timing_summary
    if summary is None:
        return None
    rates = (summary.cpu_per_wall_second, summary.switches_per_second, summary.off_cpu_share)
    return [summary.launches, summary.blocks, summary.outliers, summary.retries, *(_short(rate, 3) for rate in rates)]


def _samples(samples: Sequence[Sample]) -> list[Any] | None:
    """Return the median step time, the places of outliers, and for each launch the blocks in thousandths above it."""
    if not samples:
        return None
    ordered = sorted(samples, key=lambda sample: (sample.launch, sample.round))
    middle = median(sample.seconds / sample.steps for sample in ordered)
    launches: dict[int, list[int]] = {}
    for sample in ordered:
        launches.setdefault(sample.launch, []).append(round(1000 * (sample.seconds / sample.steps / middle - 1)))
    return [_short(middle), [i for i, sample in enumerate(ordered) if sample.outlier], *launches.values()]


def _estimate(estimate: Estimate, digits: int = 6) -> list[float | None]:
    return [_short(value, digits) for value in (estimate.median, estimate.low, estimate.high)]


def _short(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")
