"""Results -> tables, figures, summary. Never measures, and never changes the results."""

from pathlib import Path

from bench.report import figures, summary
from bench.results.schema import Results


def write(results: Results, folder: Path) -> list[Path]:
    """Write summary.md and every figure, as PNG and SVG, into `folder`.

    Returns
    -------
    list of Path
        What was written, the summary first.

    Raises
    ------
    OSError
        The folder will not take them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures.draw(results, folder)
    path = folder / "summary.md"
    path.write_text(summary.text(results, drawn), encoding="utf-8")
    return [path, *drawn]
