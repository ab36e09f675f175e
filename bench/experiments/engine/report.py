"""The report of an experiment while it is written: sentences, tables and figures, and report.json, which lists them.

Each table is a Markdown and a CSV file, each figure a PNG and an SVG file. The page is made by `bench.report.page`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.experiments.engine.cell import finite
from bench.experiments.engine.figures import save_figure
from bench.experiments.engine.tables import entry, write_table
from bench.machine.description import describe_machine
from bench.report.page.experiment import write_experiment_page
from bench.results import experiment_report as shape
from bench.results.experiment_report import REPORT, ExperimentReport, Kind
from bench.results.files import replace

PAGE = "report.html"


def remove_report(folder: Path) -> None:
    """Remove report.json and the page, if they are there."""
    for name in (REPORT, PAGE):
        (folder / name).unlink(missing_ok=True)


@dataclass
class Report:
    """A report that is being written into a folder; its files are written as they are added.

    Parameters
    ----------
    folder : Path
        It exists.
    """

    folder: Path
    findings: list[shape.Finding] = field(default_factory=list)
    tables: list[shape.Table] = field(default_factory=list)
    figures: list[shape.Figure] = field(default_factory=list)

    def say(self, text: str, kind: Kind = "shown") -> None:
        """Add a sentence on what the data say; the first ones answer the question.

        Parameters
        ----------
        text : str
        kind : str
            shown: the data decide it; undecided: they do not; attention: something failed; note: a remark.
        """
        self.findings.append(shape.Finding(text=text, kind=kind))

    def table(
        self,
        name: str,
        header: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        title: str = "",
        notes: Sequence[str] = (),
    ) -> list[Path]:
        """Add a table and write it (see `write_table`); return the files."""
        entries = [[entry(value) for value in row] for row in rows]
        own = shape.Table(name=name, title=title or name, header=list(header), rows=entries, notes=list(notes))
        self.tables.append(own)
        return write_table(self.folder, name, header, rows, title=title, notes=notes)

    def figure(self, figure: Figure, name: str, alt: str) -> list[Path]:
        """Add a figure and save it; return the files. `alt` says what it shows to those who do not see it."""
        self.figures.append(shape.Figure(name=name, alt=alt))
        return save_figure(figure, self.folder, name)

    def save(self, experiment: str, question: str, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Path]:
        """Write report.json and the page; return both."""
        whole = ExperimentReport(
            schema=shape.EXPERIMENT_REPORT,
            experiment=experiment,
            question=question,
            findings=self.findings,
            tables=self.tables,
            figures=self.figures,
            settings=finite(dict(settings)),
            facts=finite(dict(facts)),
            host=finite(describe_machine()),
        )
        path = self.folder / REPORT
        replace(path, whole.model_dump_json(by_alias=True, indent=1) + "\n")
        return [path, write_experiment_page(self.folder, self.folder / PAGE)]
