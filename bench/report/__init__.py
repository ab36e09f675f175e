"""Results -> page, tables, figures, summary. Never measures and never changes the results."""

from pathlib import Path

from bench.report import summary
from bench.report.run_view import RunView
from bench.report.run_view import run_view as run_view  # part of this package's interface
from bench.results.crossing import load_crossing

PAGE = "report.html"


def write(view: RunView, folder: Path, *, drawing: bool = True) -> list[Path]:
    """Write the page, summary.md and every figure, as PNG and SVG, into `folder`.

    Parameters
    ----------
    view : RunView
    folder : Path
    drawing : bool
        False to leave out the figures.

    Returns
    -------
    list of Path
        The files written: the summary, the page, the figures.

    Raises
    ------
    OSError
        The folder cannot be created or written.
    ResultsError
        The folder holds a crossing.json that cannot be read.
    """
    from bench.report import figures  # with the page, a second of imports that --help need not take
    from bench.report.page import Source, write_page

    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures.draw(view, folder) if drawing else []
    path, page = folder / "summary.md", folder / PAGE
    path.write_text(summary.text(view, [page, *drawn]), encoding="utf-8")
    write_page([Source(view, crossing=load_crossing(folder))], page)
    return [path, page, *drawn]
