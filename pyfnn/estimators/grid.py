"""`search`: trains an estimator with each combination of a grid, from several seeds, many networks by one call."""

import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from pyfnn.errors import InvalidInput, shown
from pyfnn.estimators.base import NetworkEstimator
from pyfnn.estimators.plan import Plan
from pyfnn.estimators.together import shape, train_together
from pyfnn.training import FitDiverged
from pyfnn.training.data import Rows
from pyfnn.validation import check_count, check_flag, check_seed, is_number

_LARGEST_SEED = 2**32 - 1  # scikit-learn's


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Result of `search`, named as the attributes of scikit-learn's `GridSearchCV`.

    Attributes
    ----------
    cv_results_ : dict of str to array
        A table with a row for each combination; `pandas.DataFrame(cv_results_)` works. ``params`` and ``param_NAME``:
        its parameters. ``split0_test_score``, …: score of the validation rows from each seed, NaN where the training
        diverged; ``mean_test_score``, ``std_test_score``, ``rank_test_score``. ``mean_fit_time``: seconds of a
        training; of those trained together, an equal share. ``mean_n_iter``: epochs. ``together``: number of networks
        that were trained by the same calls, 1 for one at a time.
    best_index_ : int
        Row with the highest mean score.
    best_params_ : dict
    best_score_ : float
    best_estimator_ : NetworkEstimator
        Fitted with `best_params_`.
    """

    cv_results_: dict[str, Any]
    best_index_: int
    best_params_: dict[str, Any]
    best_score_: float
    best_estimator_: NetworkEstimator


@dataclass(eq=False)
class _Trial:
    """One estimator of a search."""

    estimator: NetworkEstimator
    plan: Plan
    held: Rows
    score: float = np.nan
    seconds: float = np.nan
    together: int = 1


def search(
    estimator: NetworkEstimator,
    param_grid: Mapping[str, Sequence[Any]] | Iterable[Mapping[str, Any]],
    X: Any,
    y: Any,
    *,
    seeds: int | Sequence[int] = 1,
    validation: float | tuple[Any, Any] = 0.2,
    refit: bool = True,
    random_state: int = 0,
) -> SearchResult:
    """Train an estimator with each combination of parameters from each seed, and choose by the validation rows.

    Combinations with solver "sgd", momentum 0, and the same network (but for alpha), batch size, backend and threads
    are trained together, by `Backend.create_many`; each ends where it would end alone. All others are trained one
    after the other. Estimators with `early_stopping` use the validation rows, and set none aside.

    Parameters
    ----------
    estimator : FNNRegressor or FNNClassifier
        Not changed.
    param_grid : dict of str to list, list of such, or iterable of dict
        A grid, as for scikit-learn's `GridSearchCV`; or the combinations themselves, such as a `ParameterSampler`.
    X, y
        As for `fit`.
    seeds : int or sequence of int
        Each `random_state` to train from; a number stands for 0, 1, and so on.
    validation : float or (X, y)
        Share of the rows to set aside, or other rows.
    refit : bool
        True: train the best combination again on all rows of X and y. False: give the estimator of the search.
        Both are from the seed with the best score.
    random_state : int
        Determines the rows that are set aside.

    Returns
    -------
    SearchResult

    Raises
    ------
    ValueError
        An argument, a parameter or the data break a rule; or every training diverged.
    BackendUnavailable, Unsupported
        As `fit`.
    """
    if not isinstance(estimator, NetworkEstimator):
        raise InvalidInput(f"estimator = {shown(estimator)}: must be an FNNRegressor or an FNNClassifier")
    combinations, numbers = _combinations(estimator, param_grid), _seeds(seeds)
    validation, refit = _checked_validation(validation), check_flag("refit", refit)
    estimators = [clone(estimator).set_params(**each, random_state=s) for each in combinations for s in numbers]
    trials = _trials(estimators, X, y, validation, random_state)
    for group in _groups(trials):
        _train(group)
    table = _table(combinations, len(numbers), trials)
    if np.isnan(table["mean_test_score"]).all():
        raise ValueError("no combination trained from every seed without diverging: lower learning_rate_init")
    best = int(table["rank_test_score"].argmin())
    of_best = trials[best * len(numbers) :][: len(numbers)]
    chosen = max(of_best, key=lambda trial: trial.score).estimator
    if refit:
        chosen = clone(chosen).fit(X, y)
    return SearchResult(table, best, combinations[best], float(table["mean_test_score"][best]), chosen)


def _combinations(estimator: NetworkEstimator, param_grid: Any) -> list[dict[str, Any]]:
    try:
        found = list(ParameterGrid(param_grid) if isinstance(param_grid, (Mapping, Sequence)) else param_grid)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"param_grid = {shown(param_grid)}: {error}") from None
    if not found or not all(isinstance(each, Mapping) for each in found):
        raise InvalidInput(f"param_grid = {shown(param_grid)}: must give at least one combination, each a dict")
    if any("random_state" in each for each in found):
        raise InvalidInput("param_grid has random_state: give its values as seeds")
    names = estimator.get_params(deep=False)
    if unknown := [name for each in found for name in each if name not in names]:
        raise InvalidInput(f"param_grid: {type(estimator).__name__} has no parameter {shown(unknown[0])}")
    return [dict(each) for each in found]


def _seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, Iterable):
        try:
            listed = [check_seed("seeds", seed) for seed in seeds]
        except TypeError as error:  # an array without dimensions
            raise InvalidInput(f"seeds = {shown(seeds)}: {error}") from None
        if not listed or max(listed) > _LARGEST_SEED:
            raise InvalidInput(f"seeds = {shown(seeds)}: at least one is needed, each below 2**32")
        return listed
    return list(range(check_count("seeds", seeds)))


def _checked_validation(validation: Any) -> float | tuple[Any, Any]:
    if isinstance(validation, tuple) and len(validation) == 2:
        return validation
    if not is_number(validation) or not 0 < validation < 1:
        raise InvalidInput(f"validation = {shown(validation)}: must be a share of the rows in (0, 1), or a pair (X, y)")
    return float(validation)


def _trials(
    estimators: list[NetworkEstimator], X: Any, y: Any, validation: float | tuple[Any, Any], seed: int
) -> list[_Trial]:
    """Check the data once, set the validation rows aside, and plan each training."""
    for each in estimators:
        each._validate_params()
    dtypes = sorted({each.dtype for each in estimators})
    reader = clone(estimators[0]).set_params(dtype=dtypes[-1])  # float64 if there is one
    rows = reader._read(X, y, fresh=True)
    if isinstance(validation, tuple):
        held = reader._read(*validation, fresh=False)
    else:
        rows, held = reader._split(rows, validation, seed)
    by_dtype = {dtype: (_cast(rows, dtype), _cast(held, dtype)) for dtype in dtypes}
    return [_trial(each, reader, *by_dtype[each.dtype]) for each in estimators]


def _cast(rows: Rows, dtype: str) -> Rows:
    return rows[0].astype(dtype, copy=False), rows[1].astype(dtype, copy=False)


def _trial(estimator: NetworkEstimator, reader: NetworkEstimator, rows: Rows, held: Rows) -> _Trial:
    for name in vars(reader).keys() - reader.get_params(deep=False).keys():  # what describes the data
        setattr(estimator, name, getattr(reader, name))
    plan = estimator._plan(rows, held if estimator.early_stopping else None, estimator._seed())
    return _Trial(estimator, plan, held)


def _groups(trials: list[_Trial]) -> Iterable[list[_Trial]]:
    """Return the trials in groups that are trained together."""
    groups: dict[Hashable, list[_Trial]] = {}
    for trial in trials:
        groups.setdefault(shape(trial.plan) or trial, []).append(trial)
    return groups.values()


def _train(group: list[_Trial]) -> None:
    """Train a group, and score each of its trials."""
    start = time.perf_counter()
    if len(group) > 1:
        train_together([trial.plan for trial in group])
    else:
        _train_alone(group[0])
    seconds = time.perf_counter() - start
    for trial in group:
        trial.seconds, trial.together = seconds / len(group), len(group)
        if trial.plan.stopped != "diverged":
            trial.estimator._finish(trial.plan)
            x, targets = trial.held
            trial.score = trial.estimator._scorer(targets)(trial.estimator._outputs_of(x))
            trial.estimator._models.close()


def _train_alone(trial: _Trial) -> None:
    try:
        trial.estimator._train(trial.plan)
    except FitDiverged:
        trial.plan.stopped = "diverged"


def _table(combinations: list[dict[str, Any]], seeds: int, trials: list[_Trial]) -> dict[str, Any]:
    """Return `SearchResult.cv_results_`."""
    shape = (len(combinations), seeds)
    scores, seconds, epochs = (
        np.array(column, float).reshape(shape)
        for column in zip(*((trial.score, trial.seconds, trial.plan.n_iter) for trial in trials), strict=True)
    )
    table: dict[str, Any] = {
        "mean_fit_time": seconds.mean(axis=1),
        "mean_n_iter": epochs.mean(axis=1),
        "together": np.array([trial.together for trial in trials[::seeds]]),
    }
    for name in sorted({name for each in combinations for name in each}):
        column: Any = np.ma.array(np.empty(len(combinations), object), mask=True)
        for at, each in enumerate(combinations):
            if name in each:
                column[at] = each[name]
        table[f"param_{name}"] = column
    table["params"] = combinations
    for seed in range(seeds):
        table[f"split{seed}_test_score"] = scores[:, seed]
    mean = scores.mean(axis=1)
    table["mean_test_score"], table["std_test_score"] = mean, scores.std(axis=1)
    table["rank_test_score"] = rankdata(np.where(np.isnan(mean), np.inf, -mean), method="min").astype(np.int32)
    return table
