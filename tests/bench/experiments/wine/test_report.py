"""Claims about the cells of the wine experiment and about its report, on values that were never trained."""

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.wine_rows import require_wine

from bench.experiments.engine.cell import Cell, Finished, Settings, finite
from bench.experiments.engine.report import Report
from bench.experiments.wine import EXPERIMENT, cost
from bench.experiments.wine.cells import cells
from bench.experiments.wine.compute import compute
from bench.experiments.wine.published import SETTINGS
from pyfnn.errors import BackendUnavailable

OPTIONS = {"epochs": 2, "batch_normalization": True, "dtype": "float64"}


def settings_for(folder: Path, backend: str = "numpy", seeds: int = 2) -> Settings:
    return Settings(backend, seeds, folder, options=OPTIONS)


def pretended(cell: Cell) -> Finished:
    """Return the cell with values as its kind has them, some of them NaN."""
    p, rng = cell.parameters, random.Random(cell.key)
    nan = p["seed"] == 1 and p.get("activation") == "relu"
    if p["kind"] == "baselines":
        values: dict[str, Any] = {"constant": 0.66, "least_squares": rng.uniform(0.4, 0.45), "sklearn": 0.5}
    elif p["kind"] == "trajectories":
        values = {name: {"distance": [1e-15], "allowed": [1e-14], "of_bound": [0.1]} for name in p["backends"]}
    elif p["kind"] == "right":
        errors = [None if nan else rng.uniform(0.35, 0.45) for _ in p["l2"]]
        values = {"validation": errors, "test": errors, "spread": errors, "epoch": [1 for _ in errors], "steps": 10}
    else:
        values = {"test": None if nan else rng.choice([0.7, 1e40]), "spread": 0.0, "steps": 10}
    return Finished(cell, values, 0.1)


def test_there_is_a_cell_for_every_setting_wine_treatment_and_seed_each_once(tmp_path: Path) -> None:
    found = cells(settings_for(tmp_path, seeds=20))
    assert len({cell.key for cell in found}) == len(found)
    p = [cell.parameters for cell in found]
    kinds = Counter((each["kind"], each.get("normalize")) for each in p if each["table"] == "settings")
    each_kind = 15 * 2 * 2 * 20  # settings, wines, with and without duplicates, seeds
    assert kinds == dict.fromkeys(
        [("published", False), ("published", True), ("corrected", None), ("right", None)], each_kind
    )
    assert sum(each["table"] == "baselines" for each in p) == 2 * 2 * 20


def test_numpy_trains_as_published_too_where_it_is_the_backend(tmp_path: Path) -> None:
    used = {
        backend: {c.parameters.get("implementation") for c in cells(settings_for(tmp_path, backend))} - {None}
        for backend in ("numpy", "cpp-tuned")
    }
    assert used == {"numpy": {"numpy"}, "cpp-tuned": {"c"}}


def test_a_cell_of_each_kind_computes_values_that_json_can_hold(tmp_path: Path) -> None:
    require_wine()
    first: dict[str, Cell] = {}
    for cell in reversed(cells(settings_for(tmp_path, seeds=1))):  # small networks last
        if cell.parameters["kind"] not in ("trajectories", "baselines"):  # other tests have these
            first.setdefault(cell.parameters["kind"], cell)
    assert set(first) == {"published", "corrected", "right"}
    for cell in first.values():
        p = {**cell.parameters, "epochs": 1, "activation": "tanh", "rate": 0.01}
        values = finite(compute(p))
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert np.all(np.array(values["test"]) < 2)


def test_the_baselines_are_ordered_as_published_results_of_wine_are() -> None:
    require_wine()
    p = {"kind": "baselines", "wine": "red", "duplicates": True, "seed": 0}
    found = compute(p)
    assert found["least_squares"] < found["constant"]
    assert 0.35 < found["least_squares"] < 0.5
    assert 0.3 < found["sklearn"] < 0.7


def test_the_report_shows_every_setting_with_the_articles_number_and_draws_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "_STEPS", {"numpy": 2})
    settings = settings_for(tmp_path)
    report = Report(tmp_path)
    EXPERIMENT.report([pretended(cell) for cell in cells(settings)], report, settings)
    texts = [finding.text for finding in report.findings]
    assert texts[0].startswith("As published, 30 of 30 networks end as a constant or as NaN. Done right, ")
    assert sum(" wine: networks selected by validation have " in text for text in texts) == 2
    assert "Red wine, as published: 15 of 15 settings end as a constant" in " ".join(texts)
    assert (
        "Backends follow the oracle's trajectory: they differ from it by at most 10 % of what rounding allows." in texts
    )
    with (tmp_path / "wine.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["setting"] for row in rows] == [setting.name for setting in SETTINGS] * 2
    assert rows[0]["the article"] == "0.790"
    assert rows[17]["the article"] == "NaN"
    assert "NaN in 1 of 2" in rows[1]["done right, λ chosen"]
    tables = {"wine", "wine_without_duplicates", "wine_values", "wine_selected", "wine_choices", "wine_rates"}
    tables |= {"wine_agreement", "wine_cost"}
    assert {path.stem for path in tmp_path.glob("*.md")} == {path.stem for path in tmp_path.glob("*.csv")} == tables
    for name in ("wine_settings", "wine_spread", "wine_rates", "wine_selected"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        assert (tmp_path / f"{name}.svg").exists()
    assert "NumPy would take" in capsys.readouterr().out


def test_a_report_of_some_cells_leaves_the_others_blank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_STEPS", {"numpy": 2})
    settings = settings_for(tmp_path, seeds=1)
    some = [pretended(cell) for cell in cells(settings) if cell.parameters["table"] == "agreement"]
    EXPERIMENT.report(some, Report(tmp_path), settings)
    assert (tmp_path / "wine_settings.png").exists()


def test_a_distance_that_is_not_finite_is_shown_as_infinite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_STEPS", {"numpy": 2})
    settings = settings_for(tmp_path, seeds=1)
    some = [pretended(cell) for cell in cells(settings) if cell.parameters["table"] == "agreement"]
    for one in some:
        if one.cell.parameters["kind"] == "trajectories":
            for found in one.values.values():
                found["distance"] = [None]
    EXPERIMENT.report(some, Report(tmp_path), settings)
    assert "inf" in (tmp_path / "wine_agreement.md").read_text(encoding="utf-8")


def test_a_report_of_cells_that_another_machine_computed_needs_not_their_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> float:
        raise BackendUnavailable("no C compiler", "install one")

    monkeypatch.setattr(cost, "seconds_per_step", absent)
    settings = settings_for(tmp_path, seeds=1)
    report = Report(tmp_path)
    EXPERIMENT.report([pretended(cell) for cell in cells(settings)], report, settings)
    texts = [finding.text for finding in report.findings]
    assert any("was not measured here: no C compiler" in text for text in texts)
    assert (tmp_path / "wine_settings.png").exists()
