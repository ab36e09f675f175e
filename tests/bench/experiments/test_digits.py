"""Claims about the digits: both trainers train the same network by the same rule, and the report shows both."""

from pathlib import Path

import numpy as np
import pytest

from bench.experiments import digits
from bench.experiments.digits import EXPERIMENT, SKLEARN, classifier, split
from bench.experiments.engine.cell import Finished, Settings
from bench.experiments.engine.report import Report

SHARED = ("hidden_layer_sizes", "activation", "solver", "alpha", "batch_size", "learning_rate_init", "max_iter", "tol")


@pytest.mark.parametrize("way", digits.WAYS)
def test_both_trainers_have_the_same_network_and_the_same_rule(way: str) -> None:
    ours, theirs = classifier("cpp-tuned", way, 3).get_params(), classifier(SKLEARN, way, 3).get_params()
    shared = ours.keys() & theirs.keys()
    assert set(SHARED) | {"early_stopping", "n_iter_no_change", "validation_fraction", "random_state"} <= shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_the_test_rows_are_15_percent_and_take_no_part_in_standardization() -> None:
    x, labels, x_test, labels_test = split(1)
    assert (len(x), len(labels), len(x_test), len(labels_test)) == (1526, 1526, 271, 271)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    assert abs(x_test.mean(axis=0)).max() > 0.01


def test_a_cell_finds_what_the_estimator_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(digits.WAYS, "early stopping", {"max_iter": 4})
    values = EXPERIMENT.compute({"trainer": "numpy", "way": "early stopping", "seed": 0})
    assert values["epochs"] == 4
    assert 0.6 < values["accuracy"] < 0.99


def test_the_report_compares_times_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "WAYS", {way: {"max_iter": 2} for way in digits.WAYS})
    settings = Settings("numpy", 2, tmp_path, options={"repeats": 2})
    found = [
        Finished(cell, {"accuracy": 0.9 + 0.01 * cell.parameters["seed"], "epochs": 2}, 0.1)
        for cell in EXPERIMENT.cells(settings)
    ]
    report = Report(tmp_path)
    EXPERIMENT.report(found, report, settings)
    assert len(report.findings) == 4  # time and accuracy of both ways
    assert all("numpy" in finding.text for finding in report.findings)
    same = "No difference in accuracy is shown (200 epochs): numpy has +0.00 ± 0.00 percentage points"
    assert report.findings[2].text == f"{same}, paired over 2 splits."
    lines = (tmp_path / "digits.md").read_text(encoding="utf-8").splitlines()
    assert sum("| scikit-learn | 90.5" in line for line in lines) == 2
    assert sum("| numpy | 90.5" in line for line in lines) == 2
    assert (tmp_path / "digits.png").stat().st_size > 10_000
