"""The figures of a run, for a journal's column: sweeps, step times, ratios, shares of the peak, rooflines, curves.

What they share is in `drawing`; what they may say is decided in `rows`.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from bench.report.dots import NEEDS, RATIO, SHARE, STEP_TIME, dots, paginate
from bench.report.drawing import DPI, STYLE
from bench.report.loss_curves import curves, has_curve
from bench.report.overview import PANELS, effort, overview
from bench.report.roofline import roofline
from bench.report.rows import CaseView, case_views, roofs_of
from bench.report.scaling import scaling
from bench.report.sweeps import SweepView, sweeps_of
from bench.results.schema import Results

Key = tuple[str, str, int]


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw and save every figure, as PNG and SVG; the files written.

    The files are ``sweep_<along>_<workload>_<operation>_<dtype>_<threads>t`` for each sweep (along threads without the
    last part), whose cases are in no other figure. Of the others they are ``overview_<operation>_<threads>t`` and
    ``effort_<operation>_<dtype>_<threads>t``, ``step_time_<operation>_<dtype>_<threads>t``, ``ratio_…`` and ``share_…``
    likewise (where there are any), each going on in ``…_2`` where it outgrows a page, ``roofline_…`` likewise where the
    machine was probed, and ``curve_<workload>_<dtype>_<threads>t`` for each training curve.
    """
    written = []
    with style.context(["default", STYLE]):
        for stem, figure in figures(results):
            for suffix in (".png", ".svg"):
                path = folder / (re.sub(r"[^\w+-]", "_", stem) + suffix)
                metadata = {"Date": None} if suffix == ".svg" else None
                figure.savefig(path, dpi=DPI, metadata=metadata)
                written.append(path)
    return written


def figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """Every figure of a run by the stem of its file's name."""
    sweeps, cases = sweeps_of(case_views(results))
    source = _source(results)
    yield from _swept(sweeps, source)
    yield from _at_a_glance(cases, source)
    for (operation, dtype, threads), group in groupby(sorted(cases, key=_key), key=_key):
        panels = list(group)
        name = f"{operation}_{dtype}_{threads}t"
        for kind in (STEP_TIME, RATIO, SHARE):
            needed = NEEDS.get(kind.stem)
            if needed and not any(needed(row) for rows in panels for row in rows.rows):
                continue
            for page, some in enumerate(paginate(panels), 1):
                stem = f"{kind.stem}_{name}" + (f"_{page}" if page > 1 else "")
                yield stem, dots(kind, some, [source, *_data_notes(some)])
        roofs = roofs_of(results, dtype, threads)
        if roofs and any(rows.intensity and row.backend.gflops for rows in panels for row in rows.rows):
            yield f"roofline_{name}", roofline(panels, roofs, [source])
    for rows in cases:
        if any(has_curve(row) for row in rows.rows):
            case = rows.case
            yield f"curve_{case.workload}_{case.dtype}_{case.threads}t", curves(rows, [source, *_data_notes([rows])])


def _swept(sweeps: Sequence[SweepView], source: str) -> Iterator[tuple[str, Figure]]:
    for sweep in sweeps:
        case = sweep.points[0].rows.case
        data = [f"Data: {case.data.rstrip('.')}."] if case.data else []
        figure = scaling(sweep, [source, *data])
        threads = "" if sweep.along == "threads" else f"_{case.threads}t"
        if figure:
            yield f"sweep_{sweep.along}_{sweep.workload}_{case.operation}_{case.dtype}{threads}", figure


def _at_a_glance(cases: Sequence[CaseView], source: str) -> Iterator[tuple[str, Figure]]:
    """All workloads together, of those that have ratios."""
    compared = [rows for rows in cases if any(row.ratio for row in rows.rows)]
    for (operation, threads), group in groupby(sorted(compared, key=_together), key=_together):
        some = list(group)
        names = list(dict.fromkeys(rows.case.workload for rows in some))
        for page, first in enumerate(range(0, len(names), PANELS), 1):
            shown = [rows for rows in some if rows.case.workload in names[first : first + PANELS]]
            stem = f"overview_{operation}_{threads}t" + (f"_{page}" if page > 1 else "")
            yield stem, overview(shown, [source, *_data_notes(shown)])
        for dtype in dict.fromkeys(rows.case.dtype for rows in some):
            figure = effort([rows for rows in some if rows.case.dtype == dtype], [source])
            if figure:
                yield f"effort_{operation}_{dtype}_{threads}t", figure


def _key(rows: CaseView) -> Key:
    return rows.case.operation, rows.case.dtype, rows.case.threads


def _together(rows: CaseView) -> tuple[str, int]:
    return rows.case.operation, rows.case.threads


def _source(results: Results) -> str:
    """Machine and version in a line; says so where either is not recorded."""
    cpu = results.host.get("cpu_model") or "CPU not recorded"
    version = results.host.get("pyfnn")
    return f"{cpu}; pyfnn {version or '(version not recorded)'}."


def _data_notes(panels: Sequence[CaseView]) -> list[str]:
    told: dict[str, dict[str, None]] = {}
    for panel in panels:
        if panel.case.data:
            told.setdefault(panel.case.data.rstrip("."), {})[panel.case.workload] = None
    return [f"Data of {', '.join(workloads)}: {sentence}." for sentence, workloads in told.items()]
