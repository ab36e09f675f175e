"""Claims about the tables and figures of experiments: Markdown for readers, CSV with every digit, PNG and SVG."""

import csv
from pathlib import Path

from matplotlib.figure import Figure

from bench.experiments.engine.figures import figure_style, save_figure
from bench.experiments.engine.tables import write_table

ROWS = [["relu|tanh", 0.1234567, 3, None], ["sigmoid", 1 / 3, 20, 2e-7]]


def test_a_table_has_four_digits_for_readers_and_all_of_them_in_csv(tmp_path: Path) -> None:
    page, sheet = write_table(tmp_path, "wine", ["a", "b", "n", "c"], ROWS, title="Wine", notes=["20 seeds"])
    assert page.read_text(encoding="utf-8") == (
        "# Wine\n\n| a | b | n | c |\n| --- | --- | --- | --- |\n| relu\\|tanh | 0.1235 | 3 | – |\n"
        "| sigmoid | 0.3333 | 20 | 2.000e-07 |\n\n- 20 seeds\n"
    )
    with sheet.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["a", "b", "n", "c"],
            ["relu|tanh", "0.1234567", "3", ""],
            ["sigmoid", str(1 / 3), "20", "2e-07"],
        ]


def test_equal_figures_give_equal_files_as_png_and_svg(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        with figure_style():
            figure = Figure(figsize=(2, 1))
            figure.add_subplot().plot([1, 2, 3])
        (tmp_path / name).mkdir()
        written.append([path.read_bytes() for path in save_figure(figure, tmp_path / name, "loss")])
    assert written[0] == written[1]
    assert [content[:5] for content in written[0]] == [b"\x89PNG\r", b"<?xml"]
