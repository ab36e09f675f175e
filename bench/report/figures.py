"""Chooses the figures of a run, names their files and saves them. Draws none itself; `views` decides what they show."""

import gc
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from bench.report.dots import NEEDS, RATIO, SHARE, STEP_TIME, dots, paginate
from bench.report.drawing import DPI, STYLE
from bench.report.loss_curves import curve_of, loss_curves
from bench.report.overview import PANELS, effort, overview
from bench.report.roofline import roofline
from bench.report.run_view import RunView
from bench.report.scaling import scaling
from bench.report.sweeps import SweepView
from bench.report.views import CaseView, roofs_of
from bench.results.schema import Results

Key = tuple[str, str, int]
_FILES: dict[str, dict[str, Any]] = {  # how each kind is saved
    ".png": {"pil_kwargs": {"compress_level": 3}},  # a third less time than 6 for 4 % more bytes
    ".svg": {"metadata": {"Date": None}},
}


def draw(view: RunView, folder: Path) -> list[Path]:
    """Draw every figure, save it as PNG and SVG, and return the files.

    A sweep has one file, ``sweep_<along>_<workload>_<operation>_<dtype>_<threads>t`` (along threads without the last
    part), and its cases are in no other figure. Files of the other cases:

    - ``overview_<operation>_<threads>t``
    - ``effort_<operation>_<dtype>_<threads>t``
    - ``step_time_<operation>_<dtype>_<threads>t``, and ``ratio_…`` and ``share_…`` where there are any
    - ``roofline_<operation>_<dtype>_<threads>t`` where the machine was probed
    - ``curve_<workload>_<dtype>_<threads>t`` for each workload with training curves; ``curve_<workload>_train_with_…``
      for an optimizer other than gradient descent

    A figure that is too tall for a page continues in ``…_2``.
    """
    return save(figures(view), folder)


def save(named: Iterable[tuple[str, Figure]], folder: Path) -> list[Path]:
    """Save figures as PNG and SVG in the style of reports, and return the files.

    Parameters
    ----------
    named : iterable of (str, Figure)
        Stems of the files' names, and the figures. It is consumed in that style, so a generator draws in it.
    folder : Path
    """
    written = []
    with style.context(["default", STYLE]), _frozen():
        for stem, figure in named:
            for suffix in _FILES:
                path = folder / (re.sub(r"[^\w+-]", "_", stem) + suffix)
                figure.savefig(path, dpi=DPI, **_FILES[suffix])
                written.append(path)
    return written


@contextmanager
def _frozen() -> Iterator[None]:
    """Leave what exists now out of garbage collection: figures make much garbage, and results are large."""
    of_caller = gc.get_freeze_count()  # what the caller has frozen stays so
    if not of_caller:
        gc.freeze()
    try:
        yield
    finally:
        if not of_caller:
            gc.unfreeze()


def figures(run: RunView) -> Iterator[tuple[str, Figure]]:
    """Yield each figure of a run with the stem of its file's name."""
    source, cases = _source(run.results), run.cases_of_no_sweep
    yield from _sweep_figures(run.sweeps, source)
    yield from _overview_figures(cases, source)
    for (operation, dtype, threads), group in groupby(sorted(cases, key=_key), key=_key):
        panels = list(group)
        name = f"{operation}_{dtype}_{threads}t"
        for kind in (STEP_TIME, RATIO, SHARE):
            needed = NEEDS.get(kind.stem)
            if needed and not any(needed(backend) for view in panels for backend in view.backends):
                continue
            for page, some in enumerate(paginate(panels), 1):
                stem = f"{kind.stem}_{name}" + (f"_{page}" if page > 1 else "")
                yield stem, dots(kind, some, [source, *_data_notes(some)])
        roofs = roofs_of(run.results, dtype, threads)
        if roofs and any(view.intensity and backend.result.gflops for view in panels for backend in view.backends):
            yield f"roofline_{name}", roofline(panels, roofs, [source])
    for view in cases:
        if any(curve_of(backend) for backend in view.backends):
            case = view.case
            work = "" if case.operation == "train" else f"_{case.operation}"
            yield (
                f"curve_{case.workload}{work}_{case.dtype}_{case.threads}t",
                loss_curves(view, [source, *_data_notes([view])]),
            )


def _sweep_figures(sweeps: Sequence[SweepView], source: str) -> Iterator[tuple[str, Figure]]:
    for sweep in sweeps:
        case = sweep.points[0].view.case
        data = [f"Data: {case.data.rstrip('.')}."] if case.data else []
        figure = scaling(sweep, [source, *data])
        threads = "" if sweep.along == "threads" else f"_{case.threads}t"
        if figure:
            yield f"sweep_{sweep.along}_{sweep.workload}_{case.operation}_{case.dtype}{threads}", figure


def _overview_figures(cases: Sequence[CaseView], source: str) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of all workloads together, over the cases that have ratios."""
    compared = [view for view in cases if any(backend.ratio for backend in view.backends)]
    for (operation, threads), group in groupby(
        sorted(compared, key=_operation_and_threads), key=_operation_and_threads
    ):
        some = list(group)
        names = list(dict.fromkeys(view.case.workload for view in some))
        for page, first in enumerate(range(0, len(names), PANELS), 1):
            shown = [view for view in some if view.case.workload in names[first : first + PANELS]]
            stem = f"overview_{operation}_{threads}t" + (f"_{page}" if page > 1 else "")
            yield stem, overview(shown, [source, *_data_notes(shown)])
        for dtype in dict.fromkeys(view.case.dtype for view in some):
            figure = effort([view for view in some if view.case.dtype == dtype], [source])
            if figure:
                yield f"effort_{operation}_{dtype}_{threads}t", figure


def _key(view: CaseView) -> Key:
    return view.case.operation, view.case.dtype, view.case.threads


def _operation_and_threads(view: CaseView) -> tuple[str, int]:
    return view.case.operation, view.case.threads


def _source(results: Results) -> str:
    """Return the CPU and the version of pyfnn, or that they were not recorded."""
    cpu = results.host.get("cpu_model") or "CPU not recorded"
    version = results.host.get("pyfnn")
    return f"{cpu}; pyfnn {version or '(version not recorded)'}."


def _data_notes(panels: Sequence[CaseView]) -> list[str]:
    workloads: dict[str, dict[str, None]] = {}  # workloads by data
    for panel in panels:
        if panel.case.data:
            workloads.setdefault(panel.case.data.rstrip("."), {})[panel.case.workload] = None
    return [f"Data of {', '.join(names)}: {data}." for data, names in workloads.items()]
