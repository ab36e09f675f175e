"""The report of a made-up experiment in a folder, plain or hostile in every text, for tests of its page."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.experiments.engine.figures import figure_style
from bench.experiments.engine.report import Report
from bench.results.experiment_report import REPORT
from support.pages import HOSTILE

QUESTION = "Which half is larger?"
FIGURE_TEXT = "halves of every whole"
FIXED = {"schema", "kind", "name"}  # texts that the schema restricts


def write_report(folder: Path, rows: int = 3) -> Report:
    """Write a report with sentences of each kind, tables and two figures; return it."""
    folder.mkdir(exist_ok=True)
    report = Report(folder)
    report.say("The left half is larger: 1.23 ± 0.01.")
    report.say("It is undecided on Sundays.", "undecided")
    report.say("2 of 9 cells failed.", "attention")
    report.say("Halves are of equal names.", "note")
    entries: list[list[Any]] = [[f"row {at}", 1 / (at + 3), at, None] for at in range(rows)]
    report.table("halves", ["half", "share", "count", "absent"], entries, title="Halves", notes=["of one whole"])
    report.table("long", ["n", "n²"], [[n, n * n] for n in range(60)], title="Many rows")
    for name in ("halves", "again"):
        with figure_style():
            figure = Figure(figsize=(7.2, 2.5))
            axes = figure.add_subplot()
            axes.plot([1, 2, 3], [1, 4, 9], "o-", clip_on=True)
            axes.set_xlabel(FIGURE_TEXT)
            report.figure(figure, name, f"A rising line, {name}.")
    report.save("halves", QUESTION, {"backend": "numpy", "seeds": 3}, {"cells": 9, "packages": {"numpy": "2"}})
    return report


def spoil(folder: Path) -> None:
    """Put markup and script into every text of report.json, and into the figures."""
    path = folder / REPORT
    path.write_text(json.dumps(_spoilt(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    svg = folder / "again.svg"
    text = svg.read_text(encoding="utf-8")
    bad = (
        '<script>pwned=1</script><g onclick="pwned=1" onload="pwned=1"><text x="1" y="9">seen</text></g>'
        '<foreignObject><div xmlns="http://www.w3.org/1999/xhtml">no</div></foreignObject>'
        '<a xlink:href="javascript:pwned=1"><rect width="9" height="9"/></a>'
        '<image width="9" height="9" xlink:href="https://example.org/x.png"/>'
        '<use xlink:href="https://example.org/x.svg#a"/><style>main{display:none}</style>'
        '<rect width="9" height="9" style="fill:url(https://example.org/#p);position:fixed;stroke:red"/>'
        '<animate attributeName="href" to="javascript:pwned=1"/>'
    )
    svg.write_text(text.replace("</svg>", f"{bad}</svg>"), encoding="utf-8")


def _spoilt(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        free = key in ("settings", "facts", "packages")
        return {f"{name}{HOSTILE}" if free else name: _spoilt(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_spoilt(one, key) for one in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) and key not in FIXED else value
