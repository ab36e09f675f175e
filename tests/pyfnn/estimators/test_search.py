"""Claims about `search`: each network ends where it would alone; table and choice follow from the scores."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import uniform
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import ParameterSampler, train_test_split
from support.odd_values import ODD, attempt

from pyfnn.estimators import FNNClassifier, FNNRegressor, search
from pyfnn.estimators.base import NetworkEstimator
from pyfnn.training import Cosine
from pyfnn.validation import is_whole

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(1)
X = RNG.normal(size=(100, 4))
Y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
PLAIN: Any = {"solver": "sgd", "momentum": 0.0, "hidden_layer_sizes": (8,), "batch_size": 10, "max_iter": 12}
GRID: Any = {
    "alpha": [0.0, 0.1],
    "learning_rate_init": [0.01, 0.1],
    "learning_rate": ["constant", "invscaling"],
}


def trained_alone(estimator: NetworkEstimator, y: Any, seed: int, params: dict[str, Any]) -> Any:
    """Return the estimator that `search` trains from this seed, and set its score on the validation rows aside."""
    strata = y if isinstance(estimator, FNNClassifier) and len(np.unique(y)) == 2 else None
    x_train, x_held, y_train, y_held = train_test_split(X, y, test_size=0.2, random_state=0, stratify=strata)
    alone = clone(estimator).set_params(**params, random_state=seed).fit(x_train, y_train)
    alone.held_score = alone.score(x_held, y_held)
    return alone


@pytest.mark.parametrize("backend", ["cpp-tuned", "numpy"])
@pytest.mark.parametrize(
    ("kind", "y"),
    [(FNNRegressor, Y), (FNNClassifier, Y > 0), (FNNClassifier, np.digitize(Y, (-0.5, 0.5)).astype(str))],
    ids=["numbers", "two classes", "three classes"],
)
def test_networks_trained_together_end_where_each_would_alone(kind: type[Any], y: Any, backend: str) -> None:
    estimator = kind(**PLAIN, backend=backend, n_iter_no_change=2, tol=0.02)
    found = search(estimator, GRID, X, y, seeds=[3, 7], refit=False)
    table = found.cv_results_
    assert (table["together"] == 16).all()
    alone = [[trained_alone(estimator, y, seed, each) for seed in (3, 7)] for each in table["params"]]
    for split in range(2):
        np.testing.assert_allclose(
            table[f"split{split}_test_score"], [pair[split].held_score for pair in alone], rtol=1e-5
        )
    epochs = [[each.n_iter_ for each in pair] for pair in alone]
    assert len(np.unique(epochs)) > 2  # some stop earlier than others
    np.testing.assert_array_equal(table["mean_n_iter"], np.mean(epochs, axis=1))
    expected = max(alone[found.best_index_], key=lambda each: each.held_score)
    np.testing.assert_array_equal(found.best_estimator_.theta_, expected.theta_)
    assert found.best_estimator_.loss_curve_ == expected.loss_curve_


def test_with_early_stopping_the_validation_rows_decide_when_to_stop() -> None:
    held = X[:30], Y[:30]
    estimator = FNNRegressor(**PLAIN, early_stopping=True, n_iter_no_change=3)
    grid: dict[str, Any] = {"learning_rate_init": [0.02, 0.3, 0.5]}
    together = search(estimator, grid, X[30:], Y[30:], validation=held, refit=False)
    best = together.best_estimator_
    assert best.best_validation_score_ == together.best_score_ == max(best.validation_scores_ or [])
    assert best.score(*held) == pytest.approx(together.best_score_)
    alone = search(estimator, {**grid, "momentum": [1e-12]}, X[30:], Y[30:], validation=held)
    assert (together.cv_results_["together"] == 3).all()
    assert (alone.cv_results_["together"] == 1).all()
    np.testing.assert_allclose(
        together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=1e-3, atol=1e-3
    )


def test_other_shapes_and_solvers_are_trained_one_by_one() -> None:
    grid: Any = [
        {"solver": ["adam", "lbfgs"]},
        {"solver": ["sgd"], "momentum": [0.0], "hidden_layer_sizes": [(3,), (5,)]},
    ]
    found = search(FNNRegressor(max_iter=20, random_state=4), grid, X, Y, seeds=2)
    table = found.cv_results_
    assert table["together"].tolist() == [1, 1, 2, 2]
    assert table["param_solver"].tolist() == ["adam", "lbfgs", "sgd", "sgd"]
    assert table["param_momentum"].tolist() == [None, None, 0.0, 0.0]
    assert table["param_hidden_layer_sizes"].mask.tolist() == [True, True, False, False]
    assert found.best_params_ == {"solver": "lbfgs"}
    assert (table["mean_fit_time"] > 0).all()


def test_the_table_ranks_by_the_mean_and_the_best_is_trained_again_on_all_rows() -> None:
    found = search(FNNRegressor(**PLAIN), GRID, X, Y, seeds=3, random_state=5)
    table = found.cv_results_
    scores = np.stack([table[f"split{seed}_test_score"] for seed in range(3)])
    np.testing.assert_allclose(table["mean_test_score"], scores.mean(axis=0))
    np.testing.assert_allclose(table["std_test_score"], scores.std(axis=0))
    np.testing.assert_array_equal(table["rank_test_score"], 1 + np.argsort(np.argsort(-table["mean_test_score"])))
    assert table["rank_test_score"][found.best_index_] == 1
    assert found.best_score_ == table["mean_test_score"].max()
    assert found.best_params_ == table["params"][found.best_index_]
    seed = int(scores[:, found.best_index_].argmax())
    again = FNNRegressor(**PLAIN).set_params(**found.best_params_, random_state=seed).fit(X, Y)
    np.testing.assert_array_equal(found.best_estimator_.theta_, again.theta_)


def test_a_training_that_diverges_scores_nan_and_ranks_last() -> None:
    for extra in ({}, {"momentum": 0.5}):
        grid = {"learning_rate_init": [0.01, 1e30, 0.02]}
        found = search(FNNRegressor(**{**PLAIN, **extra}), grid, X, Y)
        assert np.isnan(found.cv_results_["mean_test_score"]).tolist() == [False, True, False]
        assert found.cv_results_["rank_test_score"][1] == 3
    with pytest.raises(ValueError, match="without diverging"):
        search(FNNRegressor(**PLAIN), {"learning_rate_init": [1e30]}, X, Y)


def test_combinations_may_come_from_a_sampler() -> None:
    drawn = ParameterSampler({"alpha": uniform(0, 1)}, 4, random_state=0)
    found = search(FNNRegressor(**PLAIN), drawn, X, Y)
    assert [each["alpha"] for each in found.cv_results_["params"]] == [each["alpha"] for each in drawn]
    assert (found.cv_results_["together"] == 4).all()


def test_dtypes_may_be_in_the_grid_and_names_of_features_stay() -> None:
    found = search(FNNRegressor(**PLAIN), {"dtype": ["float32", "float64"]}, X, Y, refit=False)
    assert found.cv_results_["together"].tolist() == [1, 1]
    single, double = found.cv_results_["mean_test_score"]
    assert single == pytest.approx(double, rel=1e-3)
    assert found.best_estimator_.n_features_in_ == 4


@pytest.mark.parametrize("name", ["estimator", "param_grid", "seeds", "validation", "refit"])
def test_each_odd_argument_of_a_search_is_right_or_refused(name: str) -> None:
    estimator = FNNRegressor(**PLAIN | {"max_iter": 1})
    valid: dict[str, Any] = {
        "estimator": estimator,
        "param_grid": {"alpha": [0.1]},
        "validation": 0.2,
        "seeds": 1,
        "refit": False,
    }
    for odd in ODD:
        if name == "seeds" and is_whole(odd) and odd > 10:
            continue
        if name == "validation" and isinstance(odd, tuple) and len(odd) == 2:
            continue  # rows, of which scikit-learn judges
        attempt(lambda: search(**valid | {name: odd}, X=X, y=Y))  # noqa: B023 (called at once)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"random_state": [1]}, "param_grid has random_state: give its values as seeds"),
        ({"alpha": [-1.0]}, "'alpha' parameter of FNNRegressor must be"),
        ({"alpha": []}, "param_grid = .*alpha"),
        ([], r"param_grid = \[\]: must give at least one combination"),
        (5, "param_grid = 5: "),
        ([5], r"param_grid = \[5\]: "),
        (iter([5]), "must give at least one combination, each a dict"),
        ({"learning_rate": [Cosine(0.1, 5)]}, "its rate is 0 after 5 epochs"),
    ],
)
def test_a_wrong_grid_is_refused(grid: Any, message: str) -> None:
    for estimator in (FNNRegressor(), FNNRegressor(**PLAIN)):
        with pytest.raises(ValueError, match=message):
            search(estimator, grid, X, Y, seeds=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator": Ridge()}, r"estimator = Ridge\(\): must be an FNNRegressor or an FNNClassifier"),
        ({"estimator": FNNRegressor}, "estimator = <class"),
        ({"seeds": 2.5}, "seeds = 2.5: must be a whole number"),
        ({"seeds": True}, "seeds = True: must be a whole number"),
        ({"seeds": 0}, "seeds = 0: must be a whole number"),
        ({"seeds": []}, r"seeds = \[\]: at least one is needed"),
        ({"seeds": [1.5]}, "seeds = 1.5"),
        ({"validation": None}, "validation = None: must be a share of the rows"),
        ({"validation": 0}, "validation = 0: must be a share of the rows"),
        ({"validation": 1.0}, "validation = 1.0: must be a share of the rows"),
        ({"validation": [X, Y]}, r"(?s)validation = .*: must be a share of the rows"),
        ({"validation": (X,)}, r"(?s)validation = .*: must be a share of the rows"),
        ({"refit": "x"}, "refit = 'x': must be True or False"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    arguments = {"estimator": FNNRegressor(**PLAIN), "param_grid": {"alpha": [0.1]}, "X": X, "y": Y, **change}
    with pytest.raises(ValueError, match=message):
        search(**arguments)
