"""The page of an experiment: the question, what the data say, figures, tables, settings, from report.json and SVGs."""

import base64
import csv
import io
from dataclasses import dataclass
from pathlib import Path

from bench.format import entry_text
from bench.report.facts import flat
from bench.report.page.svg import Drawing, drawing
from bench.report.page.write import render
from bench.report.render import ReportTable
from bench.results.experiment_report import ExperimentReport, Table, load_experiment_report, load_svg

LONG = 40  # rows; a longer table is folded
_MACHINE = "Machine that wrote the report"


@dataclass(frozen=True)
class Download:
    """A file within the page: its name and its content as a data URL."""

    name: str
    url: str


@dataclass(frozen=True)
class Listed:
    """A table of the page with its CSV."""

    table: ReportTable
    csv: Download

    @property
    def rows(self) -> int:
        """Number of its rows."""
        return len(self.table.sections[0][1])

    @property
    def folded(self) -> bool:
        """Return True for a table that is long."""
        return self.rows > LONG


@dataclass(frozen=True)
class ExperimentPage:
    """The values that the template shows."""

    report: ExperimentReport
    where: str
    figures: tuple[Drawing, ...]
    tables: tuple[Listed, ...]
    details: tuple[ReportTable, ...]
    whole: Download


def write_experiment_page(folder: Path, path: Path) -> Path:
    """Write the page of the experiment in a folder, and return its path, whose folder is made.

    Raises
    ------
    ResultsError
        The report or a figure of the folder cannot be read.
    OSError
        The page cannot be written.
    """
    text = render("experiment.html", page=_page(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _page(folder: Path) -> ExperimentPage:
    report = load_experiment_report(folder)
    facts = (("Settings", report.settings), ("Facts", report.facts), (_MACHINE, report.host))
    return ExperimentPage(
        report,
        _where(report),
        tuple(
            drawing(load_svg(folder, one), f"f{at}-", one.alt, f"{one.name}.svg")
            for at, one in enumerate(report.figures)
        ),
        tuple(Listed(_table(one), Download(f"{one.name}.csv", _url("text/csv", _csv(one)))) for one in report.tables),
        tuple(ReportTable(title, ("name", "value"), (("", tuple(flat(values))),)) for title, values in facts if values),
        Download("report.json", _url("application/json", report.model_dump_json(by_alias=True, indent=1))),
    )


def _where(report: ExperimentReport) -> str:
    """Return experiment, machine and version in one line."""
    host = report.host
    parts = [host.get("cpu_model"), host.get("system"), f"pyfnn {host['pyfnn']}" if host.get("pyfnn") else None]
    machine = "; ".join(str(part) for part in parts if part) or "machine not recorded"
    return f"Experiment {report.experiment}, {machine}."


def _table(table: Table) -> ReportTable:
    rows = tuple(tuple(entry_text(value) for value in row) for row in table.rows)
    return ReportTable(table.title, tuple(table.header), (("", rows),), tuple(table.notes))


def _csv(table: Table) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([table.header, *table.rows])
    return file.getvalue()


def _url(kind: str, text: str) -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
