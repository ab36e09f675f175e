"""Claims about the worked example: its numbers are right, as printed, and a wrong formula is refused."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.experiments import worked_example
from bench.experiments.engine.cell import Finished, Settings, Values
from bench.experiments.engine.report import Report
from bench.experiments.worked_example import EXPERIMENT
from bench.experiments.worked_example.formulas import HEADS, NUMBERS, PARAMETERS, Formula, evaluate, primed
from pyfnn import oracle
from pyfnn.errors import PyfnnError
from pyfnn.network import Network

SETTINGS = Settings("numpy", 1, Path("unused"))
# M. Mazur, "A Step by Step Backpropagation Example", 2015: as printed there, to nine or eight digits.
PUBLISHED = {
    "A_1[1]": 0.593269992, "A_1[2]": 0.596884378, "Y[1]": 0.75136507, "Y[2]": 0.772928465, "R": 0.298371109,
    "W_2'[1,1]": 0.35891648, "W_2'[2,1]": 0.408666186, "W_2'[1,2]": 0.511301270, "W_2'[2,2]": 0.561370121,
    "W_1'[1,1]": 0.149780716, "W_1'[2,1]": 0.19956143, "W_1'[1,2]": 0.24975114, "W_1'[2,2]": 0.29950229,
}  # fmt: skip


def values_of(head: str) -> Values:
    (cell,) = (cell for cell in EXPERIMENT.cells(SETTINGS) if cell.parameters["head"] == head)
    return EXPERIMENT.compute(cell.parameters)


def test_sigmoid_outputs_have_the_published_numbers() -> None:
    known = values_of("sigmoid")["known"]
    assert {name: known[name] for name in PUBLISHED} == pytest.approx(PUBLISHED, abs=5e-9)


@pytest.mark.parametrize(("head", "loss"), [("sigmoid", "half_squared_error"), ("softmax", "softmax_cross_entropy")])
def test_the_step_is_the_oracles(head: str, loss: str) -> None:
    output = "sigmoid" if head == "sigmoid" else None
    network = Network((2, 2, 2), "sigmoid", loss, output_activation=output, dtype="float64")
    theta = np.array([NUMBERS[name] for name in PARAMETERS])
    x, y = (np.array([[NUMBERS[f"{name}[1]"], NUMBERS[f"{name}[2]"]]]) for name in "XT")
    values = values_of(head)
    after = oracle.train(network, theta, x, y, np.zeros(1, np.int64), 1, NUMBERS["α"])
    assert [values["known"][primed(name)] for name in PARAMETERS] == pytest.approx(after, abs=1e-14)
    assert values["before"] == pytest.approx(oracle.loss(network, theta, x, y), abs=1e-14)
    assert values["after"] == pytest.approx(oracle.loss(network, after, x, y), abs=1e-14)


@pytest.mark.parametrize("head", HEADS)
def test_every_line_agrees_with_its_check_and_with_its_printed_numbers(head: str) -> None:
    lines = values_of(head)["lines"]
    assert len(lines) > 40
    for line in lines:
        assert line["value"] == pytest.approx(line["check"], abs=1e-14)
        numbers = line["numbers"].replace("·", "*").replace("²", "**2")
        assert evaluate(numbers, {}) == pytest.approx(line["value"], abs=2e-5), line
    assert {line["by"] for line in lines} == {"oracle", "complex step"}


@pytest.mark.parametrize(
    ("field", "formulas"),
    [
        ("outputs", (Formula("Y[1]", "1/(1 + exp(Z_2[1]))"), Formula("Y[2]", "1/(1 + exp(-Z_2[2]))"))),
        ("backward", (Formula("dY[1]", "Y[1] + T[1]", ("R", "Y[1]")),)),
        ("backward", (Formula("dY[1]", "1.0000001*(Y[1] - T[1])", ("R", "Y[1]")),)),
    ],
)
def test_a_wrong_formula_is_refused_by_name(
    field: str, formulas: tuple[Formula, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HEADS, "sigmoid", replace(HEADS["sigmoid"], **{field: formulas}))  # type: ignore[arg-type]
    with pytest.raises(PyfnnError, match=r"Y\[1\] = .*: the (oracle|complex step) gives"):
        values_of("sigmoid")


def test_the_long_and_the_short_way_through_softmax_agree() -> None:
    for head, dZ in (("softmax", "δ_2"), ("softmax-of-sigmoid", "dS")):
        lines = [line for line in values_of(head)["lines"] if line["quantity"].startswith(f"{dZ}[1] = ")]
        assert [line["formula"] for line in lines] == ["dY[1]·J[1,1] + dY[2]·J[2,1]", "Y[1] - T[1]"]
        assert lines[0]["value"] == pytest.approx(lines[1]["value"], abs=1e-15)


def test_the_report_has_a_table_and_a_figure_for_each_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished = [Finished(cell, EXPERIMENT.compute(cell.parameters), 0.0) for cell in EXPERIMENT.cells(SETTINGS)]
    report = Report(tmp_path)
    worked_example.report(finished, report, SETTINGS)
    assert len(report.findings) == len(report.figures) == len(report.tables) == len(HEADS)
    assert "numbers agree with their checks" in report.findings[0].text
    printed = capsys.readouterr().out
    for one in finished:
        stem = tmp_path / f"worked-example-{one.cell.parameters['head']}"
        rows = list(csv.DictReader(stem.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
        assert [row["formula"] for row in rows] == [line["formula"] for line in one.values["lines"]]
        assert f"from {one.values['before']:.9f}" in stem.with_suffix(".md").read_text(encoding="utf-8")
        assert all(stem.with_suffix(suffix).stat().st_size > 10_000 for suffix in (".png", ".svg"))
        assert HEADS[one.cell.parameters["head"]].title in printed
