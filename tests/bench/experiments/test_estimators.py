"""Claims about the time to equal validation error: settings, the common error, the same work, and its files."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.requirements import require

from bench.experiments.estimators import __main__ as command
from bench.experiments.estimators import trials
from bench.experiments.estimators.arms import ARMS, DEFAULT_BATCH, Arm, Setting, Watch
from bench.experiments.estimators.problems import Predict, Problem
from bench.experiments.estimators.summary import HEADER, lines
from bench.experiments.estimators.trials import (
    DEFAULT,
    ENTRANTS,
    PYFNN,
    SAME,
    SKLEARN,
    SLACK,
    TORCH,
    UNTUNED,
    UNTUNED_PYFNN,
    Curve,
    TimedFit,
    Tried,
    choose,
    follow,
)
from bench.experiments.new_process import threads_of_new_processes
from bench.results.experiment_report import load_experiment_report
from pyfnn.errors import PyfnnError, WorkerDied
from pyfnn.validation import Array

SETTING = Setting(0.01, 50, "fused")


@pytest.fixture(scope="module")
def digits() -> Problem:
    whole = Problem.make("digits", 3)
    return replace(whole, train=replace(whole.train, x=whole.train.x[:300], y=whole.train.y[:300]))


def regression() -> Problem:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((90, 4)).astype("f4")
    y = np.tanh(x[:, 0] * x[:, 1])
    parts = [slice(0, 50), slice(50, 70), slice(70, 90)]
    from bench.experiments.estimators.problems import Rows

    return Problem("made up", 0, *(Rows(x[part].copy(), y[part].copy()) for part in parts))


@pytest.fixture(params=list(ARMS))
def arm(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "PyTorch":
        require_torch()
    return name


def require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        require("torch", False, str(error))


@pytest.mark.parametrize("classes", [True, False])
def test_a_training_that_is_followed_and_one_that_is_timed_end_with_the_same_bits(
    arm: str, classes: bool, digits: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = digits if classes else regression()
    monkeypatch.setattr(trials, "MOST_EPOCHS", 4)
    curve = follow(arm, problem, SETTING, 5)
    assert len(curve.errors) == len(curve.seconds) == 4
    assert all(np.diff([0.0, *curve.seconds]) > 0)
    for epochs in (1, 3):
        assert problem.error(ARMS[arm].train(problem, SETTING, epochs, 5)) == curve.errors[epochs - 1]
    assert problem.error(ARMS[arm].train(problem, SETTING, 3, 6)) != curve.errors[2]


def test_all_arms_learn_the_digits(arm: str, digits: Problem) -> None:
    predict = ARMS[arm].train(digits, SETTING, 20, 1)
    assert digits.score(predict) > 0.85
    np.testing.assert_allclose(predict(digits.test.x).sum(axis=1), 1, rtol=1e-5)


def test_errors_and_scores_are_those_of_their_names(digits: Problem) -> None:
    problem = regression()
    truth = problem.test.y.astype("f8")
    assert problem.score(lambda _: problem.test.y) == 1
    assert problem.score(lambda x: np.full(len(x), truth.mean())) == pytest.approx(0)
    assert problem.error(lambda _: problem.validation.y + 2) == pytest.approx(4)

    def surely(labels: Array) -> Array:
        return np.eye(10)[labels]

    assert digits.score(lambda _: surely(digits.test.y)) == 1
    assert digits.error(lambda _: surely(digits.validation.y)) == 0
    assert digits.error(lambda x: np.full((len(x), 10), 0.1)) == pytest.approx(np.log(10))
    assert np.isfinite(digits.error(lambda _: surely((digits.validation.y + 1) % 10)))


class Scripted(Arm):
    """An arm whose validation errors are given; its time is not real."""

    name = "scripted"

    def __init__(self, errors: list[float]) -> None:
        self.errors, self.epochs = errors, 0

    def train(self, problem: Problem, setting: Setting, epochs: int, seed: int, watch: Watch | None = None) -> Predict:
        """Return predictions with the error of the last epoch."""
        del setting, seed
        for at in range(min(epochs, len(self.errors))):
            self.epochs = at + 1
            error = self.errors[at]

            def predict(x: Array, error: float = error) -> Array:
                y = problem.validation.y if x is problem.validation.x else problem.test.y
                return np.add(y, np.sqrt(error))

            if watch and watch(predict):
                break
        return predict


def test_a_training_is_followed_until_ten_epochs_bring_no_lower_error(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [5.0, 3.0, 2.0, *[2.5] * 9, 1.0, *[1.5] * 30]
    monkeypatch.setitem(ARMS, "scripted", Scripted(errors))
    curve = follow("scripted", regression(), SETTING, 0)
    assert curve.errors == pytest.approx(errors[:23])
    assert curve.best == pytest.approx(1.0)
    assert (curve.epochs_to(3.1), curve.epochs_to(1.5), curve.epochs_to(0.5)) == (2, 13, None)
    assert curve.seconds_to(3.1) == curve.seconds[1]


def tried(arm: str, rate: float, batch: int, errors: list[float], second: float, seed: int = 0) -> Tried:
    seconds = tuple(second * epoch for epoch in range(1, len(errors) + 1))
    return Tried("made up", arm, Setting(rate, batch), seed, Curve(tuple(errors), seconds))


def test_each_gets_the_setting_that_is_fastest_to_the_error_of_the_default_batch() -> None:
    default = [
        tried("scikit-learn", 0.1, DEFAULT_BATCH, [4, 2, 1.5], 1.0),
        tried("scikit-learn", 0.2, DEFAULT_BATCH, [3, 1.0, 9], 1.1),
    ]
    others = [
        tried("scikit-learn", 0.1, 25, [1.0, 0.5], 3.0),
        tried("pyfnn", 0.1, 25, [1.0 * SLACK], 0.5),
        tried("pyfnn", 0.2, 25, [1.0], 0.6),
        tried("pyfnn", 0.3, 25, [SLACK + 0.01] * 9, 0.1),  # too high
        tried("PyTorch", 0.1, 25, [7, 1.0], 5.0),
    ]
    chosen = choose([*default, *others])
    assert chosen[DEFAULT] == chosen[SAME] == chosen[SKLEARN] == Setting(0.2, DEFAULT_BATCH)
    assert chosen[PYFNN] == Setting(0.1, 25)
    assert chosen[UNTUNED] == chosen[UNTUNED_PYFNN] == Setting(0.001, 200)
    assert chosen[TORCH] == Setting(0.1, 25)
    again = [replace(each, seed=1) for each in [*default, tried("pyfnn", 0.2, 25, [1.0], 0.6)]]
    assert choose([*default, *others, *again])[PYFNN] == Setting(0.2, 25)  # reaches it from both seeds
    with pytest.raises(PyfnnError, match="pyfnn does not reach scikit-learn's error on made up"):
        choose([*default, *others[:1], *others[3:]])


def test_a_timed_training_that_ends_at_another_error_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, curve = regression(), Curve((3.0, 2.0), (1.0, 2.0))
    monkeypatch.setitem(ARMS, "scikit-learn", Scripted([3.0, 2.0]))
    fit = trials._timed(problem, DEFAULT, SETTING, curve, 2.5, (4, 1))
    assert (fit.epochs, fit.launch, fit.round, fit.target, fit.best) == (2, 4, 1, 2.5, 2.0)
    assert fit.error == pytest.approx(2.0)
    monkeypatch.setitem(ARMS, "scikit-learn", Scripted([3.0, 2.1]))
    with pytest.raises(PyfnnError, match="2 epochs end at another error"):
        trials._timed(problem, DEFAULT, SETTING, curve, 2.5, (4, 1))


def made_fits() -> list[TimedFit]:
    """Return fits of three launches: pyfnn takes 1 ms, with the same settings 2 ms, others 10 ms."""
    seconds = {PYFNN: 1e-3, SAME: 2e-3}
    slow = (1.0, 1.5, 2.0)  # by launch, for all
    return [
        TimedFit("d", entrant, at, turn, seconds.get(entrant, 1e-2) * slow[at], 3 + at, 0.5, 0.5, 0.9 - 0.1 * at, 0.4)
        for at in range(3)
        for turn in range(2)
        for entrant in ENTRANTS
    ]


def test_ratios_are_paired_by_launch_and_scores_compared_with_scikit_learns() -> None:
    found = {line.entrant: line for line in lines(made_fits())}
    assert list(found) == list(ENTRANTS)
    assert found[PYFNN].slower is found[PYFNN].slower_at_same is found[TORCH].slower_at_same is None
    assert found[DEFAULT].gain is None
    ratio = found[TORCH].slower
    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((10, 10, 10))
    ratio = found[DEFAULT].slower_at_same
    assert ratio is not None
    assert ratio.median == pytest.approx(5)
    assert found[DEFAULT].seconds.median == pytest.approx(1e-2 * 3 ** (1 / 3))
    assert found[DEFAULT].epochs == 4
    gain = found[PYFNN].gain
    assert gain is not None
    assert (gain.low, gain.median, gain.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_new_processes_get_the_threads_and_this_one_keeps_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with threads_of_new_processes(1):
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_a_run_writes_table_figure_and_every_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_torch()

    def here(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(command, "in_new_process", here)
    monkeypatch.setattr(trials, "pin", lambda: None)
    monkeypatch.setattr(trials, "RATES", (0.01,))
    monkeypatch.setattr(trials, "BATCHES", (DEFAULT_BATCH,))
    monkeypatch.setattr(trials, "MOST_EPOCHS", 2)
    monkeypatch.setattr(trials, "SLACK", 2.0)
    brief = ["--datasets", "digits", "--launches", "2", "--rounds", "1", "--tuning-seeds", "1"]
    assert command.main([*brief, "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "estimators.json").read_text(encoding="utf-8"))
    assert len(content["fits"]) == 2 * 1 * len(ENTRANTS)
    assert {fit["entrant"] for fit in content["fits"]} == set(ENTRANTS)
    for fit in content["fits"]:
        assert fit["error"] <= fit["target"]
    rows = list(csv.reader((tmp_path / "estimators.csv").read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == HEADER
    assert len(rows) == 1 + len(ENTRANTS)
    report = load_experiment_report(tmp_path)
    others = [entrant for entrant, arm in ENTRANTS.items() if arm != "pyfnn"]
    assert len(report.findings) == len(others)
    assert all(f"digits: {name} takes" in finding.text for name, finding in zip(others, report.findings, strict=True))
    assert (tmp_path / "report.html").exists()
    for name in ("estimators.md", "estimators.png", "estimators.svg"):
        assert (tmp_path / name).stat().st_size > 500


@pytest.mark.parametrize("wrong", [["--launches", "1"], ["--rounds", "0"], ["--tuning-seeds", "0"]])
def test_a_count_out_of_range_is_refused(wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*wrong, "--out", str(tmp_path / "none")]) == 2
    assert wrong[0] in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_process_that_dies_loses_only_its_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_torch()
    fits = made_fits()

    def scripted(function: Any, *arguments: Any) -> Any:
        if function is not trials.launch:
            return []
        if arguments[1] == 2:
            raise WorkerDied("killed")
        return [replace(fit, dataset="digits") for fit in fits if fit.launch == arguments[1]]

    monkeypatch.setattr(command, "in_new_process", scripted)
    monkeypatch.setattr(command, "choose", lambda _: {entrant: Setting(0.01, 32) for entrant in ENTRANTS})
    assert command.main(["--datasets", "digits", "--launches", "3", "--tuning-seeds", "1", "--out", str(tmp_path)]) == 2
    content = json.loads((tmp_path / "estimators.json").read_text(encoding="utf-8"))
    assert content["cut_short"]
    assert {fit["launch"] for fit in content["fits"]} == {0, 1}
