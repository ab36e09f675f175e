"""Claims about the experiment on pathologies: illnesses show, cures help, a training that overflows ends."""

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.experiments import pathologies, ranges
from bench.experiments.engine.cell import Finished, Settings, Values, finite
from bench.experiments.engine.report import Report
from bench.experiments.pathologies import EXPERIMENT, checkpoints
from bench.experiments.pathologies.arms import PATHOLOGIES
from pyfnn.errors import PyfnnError

SETTINGS = Settings("numpy", 1, Path("unused"), options={"data": "diabetes"})  # comes with scikit-learn


def parameters_of(pathology: str, arm: str) -> dict[str, Any]:
    cells = (dict(cell.parameters) for cell in EXPERIMENT.cells(SETTINGS))
    (found,) = (own for own in cells if (own["pathology"], own["arm"]) == (pathology, arm))
    return found


@cache
def computed(pathology: str, arm: str, *steps: int) -> Values:
    """Return the values of an arm at few checkpoints."""
    return EXPERIMENT.compute(parameters_of(pathology, arm) | {"checkpoints": [0, *steps]})


def test_checkpoints_start_before_the_first_step_and_end_with_the_last() -> None:
    assert checkpoints(10) == [0, 1, 2, 3, 4, 6, 7, 10]
    assert checkpoints(2000)[-1] == 2000
    assert len(checkpoints(2000)) < 30


def test_gradients_vanish_in_sigmoid_layers_and_not_in_those_of_tanh_and_relu() -> None:
    shares = {}
    for arm in PATHOLOGIES["vanishing"].arms:
        norms = computed("vanishing", arm.name, 1)["gradient_norm"][0]
        assert len(norms) == 9
        shares[arm.name] = norms[0] / norms[-1]
    assert shares["sigmoid, U(0,1)"] < shares["sigmoid, fan-in"] < 1e-4
    assert min(shares["tanh, fan-in"], shares["relu, fan-in"]) > 0.1


def test_gradients_explode_with_weights_of_one_sign_and_with_raw_inputs() -> None:
    norms = {
        arm.name: computed("exploding", arm.name, 1, 5)["gradient_norm"][0][0] for arm in PATHOLOGIES["exploding"].arms
    }
    worst, sign, raw, cured = norms.values()
    assert worst > 1e3 * max(sign, raw) > 1e3 * cured


def test_a_training_that_overflows_ends_with_its_last_finite_checkpoint() -> None:
    own = parameters_of("exploding", "standardized, fan-in")
    leaky = own["network"] | {"activation": "leaky_relu(0.5)"}  # its units never die, so that nothing stops the growth
    values = EXPERIMENT.compute(own | {"network": leaky, "rate": 10.0, "checkpoints": [0, 1, 50]})
    assert values["overflow"] in (1, 50)
    assert len(values["steps"]) == len(values["loss"]) == len(values["gradient_norm"]) < 3
    assert computed("exploding", "standardized, fan-in", 1, 5)["overflow"] is None


def test_a_large_rate_kills_relu_units_and_both_cures_keep_them_alive_and_train() -> None:
    found = [computed("dead-units", arm.name, 800) for arm in PATHOLOGIES["dead-units"].arms]
    ill, *cures, leaky = found
    assert max(ill["dead"][-1][:-1]) > 0.3
    assert ill["loss"][-1] > 0.3
    for cure in cures:
        assert cure["overflow"] is None
        assert max(cure["dead"][-1][:-1]) < 0.1
        assert cure["loss"][-1] < 0.01
    assert all(share == 0 for dead in leaky["dead"] for share in dead[:-1])


def test_other_rows_than_the_cells_are_refused() -> None:
    with pytest.raises(PyfnnError, match="digits: other rows"):
        EXPERIMENT.compute(parameters_of("vanishing", "tanh, fan-in") | {"data_hash": "0"})


def test_the_report_has_a_row_for_each_arm_and_a_figure_for_each_pathology(tmp_path: Path) -> None:
    steps = {"vanishing": (1,), "exploding": (1, 5), "dead-units": (800,)}
    finished = []
    for cell in EXPERIMENT.cells(SETTINGS):
        name, arm = cell.parameters["pathology"], cell.parameters["arm"]
        values = finite(computed(name, arm, *steps[name]))
        overflow = {"overflow": 5} if arm == "raw inputs, U(0,1)" else {}
        finished += [Finished(cell, values | overflow, 0.0)] * ranges.FEWEST  # as of so many seeds
    report = Report(tmp_path)
    pathologies.report(finished, report, SETTINGS)
    assert sum(finding.kind == "note" for finding in report.findings) == len(PATHOLOGIES)
    cured = next(finding for finding in report.findings if "“tanh, rate 1”" in finding.text)
    assert cured.text.startswith("Dead units: the last loss of “tanh, rate 1” is lower than that of “relu, rate 1”")
    rows = list(csv.DictReader((tmp_path / "pathologies.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["pathology"], row["arm"]) for row in rows] == [
        (name, arm.name) for name, pathology in PATHOLOGIES.items() for arm in pathology.arms
    ]
    assert next(row for row in rows if row["arm"] == "raw inputs, U(0,1)")["overflows"] == "4 of 4, by step 5"
    assert next(row for row in rows if row["arm"] == "tanh, fan-in")["overflows"] == "none"
    for name in PATHOLOGIES:
        assert all((tmp_path / f"pathologies-{name}{suffix}").stat().st_size > 10_000 for suffix in (".png", ".svg"))


def test_a_curve_is_the_median_of_the_seeds_that_got_so_far() -> None:
    seeds = [
        {"steps": [0, 1], "loss": [1.0, 5.0]},
        {"steps": [0], "loss": [3.0]},
        {"steps": [0, 1], "loss": [8.0, None]},
    ]
    (curve,) = pathologies.figures.curves(seeds, "loss")
    np.testing.assert_array_equal(curve, [3.0, np.nan])
