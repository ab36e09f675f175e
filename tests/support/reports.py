"""Helpers for tests of reports: views, figures, summary and terminal output of results, and edited results."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from rich.console import Console

from bench.report import bars, figures, render, summary
from bench.report.drawing import STYLE
from bench.report.render import ReportTable
from bench.report.run_view import run_view
from bench.report.views import BackendView, CaseView, case_views
from bench.results.derive import with_verdicts
from bench.results.schema import Ceilings, Results
from support.places import TESTS
from support.sample_results import BACKENDS, FAILURES, ceilings_line

QUICK = ("numpy", "cpp", "c", "cpp-tuned", "torch")
ALL_BACKENDS = tuple(BACKENDS)
STATUS_OF = dict(
    zip([name for name in ALL_BACKENDS if name not in ("numpy", "cpp", "cpp-tuned")], FAILURES, strict=True)
)
OVERVIEW, EFFORT = "overview_train_1t", "effort_train_float32_1t"


def environment(*folders: Path) -> dict[str, str]:
    """Return an environment in which Python imports from these folders and from the repository."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*folders, TESTS.parent]))}


def drawn(results: Results) -> dict[str, Figure]:
    """Return the figures of a run by the stem of the file name."""
    with style.context(["default", STYLE]):
        return dict(figures.figures(run_view(results)))


def panel(results: Results, stem: str) -> Axes:
    """Return the first panel of a figure."""
    axes: Axes = drawn(results)[stem].axes[0]
    return axes


def texts(figure: Figure) -> list[Text]:
    """Return the visible texts of a figure."""
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible() and text.get_text()]


def data(line: Line2D) -> tuple[list[float], list[float]]:
    """Return the x and y values of a line."""
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def summary_of(results: Results) -> str:
    """Return the text of summary.md, without figures."""
    return summary.text(run_view(results), [])


def printed(what: Results | ReportTable) -> str:
    """Return what the terminal shows of a run or a table."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    if isinstance(what, Results):
        bars.show(run_view(what), console)
    else:
        console.print(render.rich_table(what))
    return text.getvalue()


def edited(results: Results, changes: Mapping[str, Mapping[str, Any]], **case: Any) -> Results:
    """Return the results with fields of some backends, and of all cases, replaced, and with verdicts that follow."""
    cases = [
        with_verdicts(
            c.model_copy(
                update={
                    **case,
                    "backends": [b.model_copy(update=dict(changes.get(b.instance, {}))) for b in c.backends],
                }
            )
        )
        for c in results.cases
    ]
    return results.model_copy(update={"cases": cases})


def probed(results: Results) -> Results:
    """Return the results with the peaks of `ceilings_line`, and with bytes a step, so that they have a roofline."""
    line = {key: value for key, value in ceilings_line(None).items() if key != "event"}
    cases = [
        case.model_copy(update={"bytes_per_step": case.flops_per_step / 2.0 / (1 + at)})
        for at, case in enumerate(results.cases)
    ]
    return results.model_copy(update={"ceilings": [Ceilings.model_validate(line)], "cases": cases})


def only_case(results: Results) -> CaseView:
    """Return the view of the only case."""
    (case,) = case_views(results)
    return case


def backend_view(results: Results, name: str) -> BackendView:
    """Return the view of a backend in the only case."""
    return next(backend for backend in only_case(results).backends if backend.name == name)
