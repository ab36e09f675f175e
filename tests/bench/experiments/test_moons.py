"""Claims about the moons: the passes of gradient descent, the counts of gradients, the table and the figures."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.experiments import moons
from bench.experiments.engine.cell import Finished, Settings, finite
from bench.experiments.engine.report import Report
from bench.experiments.moons import EXPERIMENT, POINTS, network, points
from pyfnn import oracle
from pyfnn.network import initialize
from pyfnn.registry import load_backend

X, Y = points(POINTS, 0)


def test_gradient_descent_makes_full_batch_steps_of_the_sources_rate_and_lambda() -> None:
    net = network(3)
    theta = initialize(net, 2)
    with load_backend("numpy").create(net, theta) as model:
        marks, losses = moons.descend(model, X, Y, 7)
        end = model.theta()
    assert marks == list(range(8))
    for step in range(7):
        assert losses[step] == pytest.approx(float(oracle.loss(net, theta, X, Y)))
        summed = POINTS * oracle.loss_and_gradient(replace(net, l2=0.0), theta, X, Y)[1]
        for (dW, _), (W, _) in zip(net.layers(summed), net.layers(theta), strict=True):
            dW += 0.01 * W
        theta = theta - 0.01 * summed
    np.testing.assert_allclose(end, theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["CG", "L-BFGS-B"])
def test_a_search_counts_every_gradient_and_ends_at_its_lowest_loss(method: str) -> None:
    net = network(3)
    with load_backend("numpy").create(net, initialize(net, 0)) as model:
        evaluations, losses = moons.search(method)(model, X, Y, 12)
        end = float(oracle.loss_and_gradient(net, model.theta(), X, Y)[0])
    assert len(evaluations) == len(losses) == 13
    assert evaluations[0] == 0
    assert all(b > a for a, b in itertools.pairwise(evaluations))
    assert evaluations[-1] >= 12
    assert end == pytest.approx(min(losses))
    assert losses[-1] < 0.7 * losses[0]


def test_the_report_has_a_row_for_each_width_and_method_and_draws_boundaries_and_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moons, "WIDTHS", (1, 3))
    settings = Settings("numpy", 1, tmp_path, options={"steps": 3, "iterations": 3})
    found = [Finished(cell, finite(EXPERIMENT.compute(cell.parameters)), 0.1) for cell in EXPERIMENT.cells(settings)]
    report = Report(tmp_path)
    EXPERIMENT.report(found, report, settings)
    assert report.findings[0].text.endswith("(medians of 1) (after 4 evaluations of the gradient, and 3).")
    assert [figure.name for figure in report.figures] == ["moons_boundaries", "moons_losses"]
    lines = (tmp_path / "moons.md").read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[1].strip() for line in lines if "| gradient descent" in line] == ["1", "3"]
    assert sum("conjugate gradient |" in line or "L-BFGS |" in line for line in lines) == 4
    for name in ("moons_boundaries", "moons_losses"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_each_cell_is_one_of_its_kind_and_names_its_data(tmp_path: Path) -> None:
    settings = Settings("numpy", 5, tmp_path, options={"steps": 3, "iterations": 3})
    found = EXPERIMENT.cells(settings)
    assert len({cell.key for cell in found}) == len(found) == 3 * len(moons.WIDTHS) * 5
    assert all(len(cell.parameters["data"]) == 64 for cell in found)
