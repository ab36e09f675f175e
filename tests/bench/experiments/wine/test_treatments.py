"""Claims about the networks done right: early stopping, several λ at once, and that the test rows decide nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.wine_rows import small_split

from bench.experiments.wine import treatments
from bench.experiments.wine.data import Split
from bench.experiments.wine.treatments import done_right, epoch_orders, network
from pyfnn import oracle
from pyfnn.network import initialize
from pyfnn.registry import load_backend
from pyfnn.training.data import Data

NET = network((5,), "tanh", 0.0)
GRID = np.array([0.0, 0.03])


def train(split: Split, l2: Any = GRID, rate: float = 0.02, epochs: int = 6, patience: int = 3) -> dict[str, Any]:
    return done_right(load_backend("numpy"), NET, split, 1, rate, np.array(l2, float), epochs, patience)


def decided(values: dict[str, Any]) -> dict[str, Any]:
    """Return what training and validation decide."""
    return {name: values[name] for name in ("validation", "epoch", "steps")}


def with_other_test_labels(split: Split) -> Split:
    return replace(split, y_test=split.y_test[::-1] + 1)


def test_the_test_rows_decide_nothing() -> None:
    split = small_split()
    values, others = train(split), train(with_other_test_labels(split))
    assert decided(values) == decided(others)
    assert values["test"] != others["test"]


def test_a_planted_leak_of_the_test_rows_into_validation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = treatments.train_until_stopped

    def leaking(backend: Any, net: Any, members: Any, split: Split, *rest: Any) -> None:
        honest(backend, net, members, replace(split, x_validation=split.x_test, y_validation=split.y_test), *rest)

    monkeypatch.setattr(treatments, "train_until_stopped", leaking)
    split = small_split()
    assert decided(train(split)) != decided(train(with_other_test_labels(split)))


def test_each_lambda_ends_where_it_would_end_alone() -> None:
    split = small_split()
    together, alone = train(split, GRID), [train(split, [l2]) for l2 in GRID]
    for name in ("validation", "test", "epoch"):
        assert together[name] == [each[name][0] for each in alone]
    assert together["steps"] == sum(each["steps"] for each in alone)


def test_a_network_ends_at_the_epoch_with_the_lowest_validation_error() -> None:
    split, errors = small_split(), []
    theta = initialize(NET, 1)
    for epoch in range(1, 7):
        order = epoch_orders(len(split.x_train), 1, range(epoch, epoch + 1))
        theta = oracle.train(NET, theta, split.x_train, split.y_train, order, 1, 0.2)
        outputs = oracle.forward(NET, theta, split.x_validation).A[-1]
        errors.append(float(np.mean((outputs - split.y_validation) ** 2)))
    values = train(split, [0.0], rate=0.2, patience=6)
    assert values["epoch"] == [1 + int(np.argmin(errors))]
    assert values["validation"] == [pytest.approx(min(errors), rel=1e-9)]


def test_training_stops_after_so_many_epochs_without_improvement() -> None:
    values = train(small_split(), [0.0], rate=0.2, epochs=100, patience=2)
    assert values["steps"] == 40 * (values["epoch"][0] + 2)


def test_a_network_that_diverges_is_nan_and_ends_no_other() -> None:
    values = train(small_split(), [0.0, 1e3], rate=0.02)
    assert np.isfinite(values["validation"][0])
    assert np.isfinite(values["test"][0])
    assert np.isnan(values["validation"][1])
    assert np.isnan(values["test"][1])


def test_epochs_have_the_orders_of_fit() -> None:
    x = np.zeros((9, 1))
    data = Data.make(x, x, None, 4)
    np.testing.assert_array_equal(epoch_orders(9, 4, range(2, 4)), data.orders(4, range(2, 4)))
