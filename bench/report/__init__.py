"""Results -> tables, figures, summary. Never measures and never changes the results."""

from pathlib import Path

from bench.report import summary
from bench.report.run_view import RunView
from bench.report.run_view import run_view as run_view  # part of this package's interface


def write(view: RunView, folder: Path, *, drawing: bool = True) -> list[Path]:
    """Write summary.md and every figure, as PNG and SVG, into `folder`.

    Parameters
    ----------
    view : RunView
    folder : Path
    drawing : bool
        False to write the summary alone.

    Returns
    -------
    list of Path
        The files written, the summary first.

    Raises
    ------
    OSError
        The folder cannot be created or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    if drawing:
        from bench.report import figures  # Matplotlib takes half a second to import; --help and errors need none of it

        drawn = figures.draw(view, folder)
    path = folder / "summary.md"
    path.write_text(summary.text(view, drawn), encoding="utf-8")
    return [path, *drawn]
