"""Quick checks of parameters and rows. Where one finds a fault, or cannot judge, scikit-learn's decide and word it.

scikit-learn's take about half a millisecond a call, as long as some hundred steps of a small network.
"""

from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils._param_validation import make_constraint
from sklearn.utils.validation import validate_data

from pyfnn.validation import Array

if TYPE_CHECKING:
    from pyfnn.estimators.base import NetworkEstimator

_NO_VALUE = object()


@cache
def _rules(kind: type["NetworkEstimator"]) -> dict[str, tuple[Any, ...]]:
    """Return the constraints of each parameter."""
    return {name: tuple(map(make_constraint, rules)) for name, rules in kind._parameter_constraints.items()}


@cache
def _defaults(kind: type["NetworkEstimator"]) -> dict[str, Any]:
    """Return the defaults that satisfy a constraint of their parameter."""
    given = {name: each.default for name, each in signature(kind).parameters.items()}
    return {name: given[name] for name, rules in _rules(kind).items() if name in given and _holds(given[name], rules)}


def _holds(value: Any, rules: tuple[Any, ...]) -> bool:
    return any(rule.is_satisfied_by(value) for rule in rules)


def parameters_hold(estimator: "NetworkEstimator") -> bool:
    """Return True where each parameter satisfies one of its constraints."""
    kind = type(estimator)
    defaults = _defaults(kind)
    for name, rules in _rules(kind).items():
        value = getattr(estimator, name)
        if value is not defaults.get(name, _NO_VALUE) and not _holds(value, rules):
            return False
    return True


def training_rows(estimator: "NetworkEstimator", X: Any, y: Any, *, fresh: bool, **options: Any) -> tuple[Array, Any]:
    """Return X as an array of the estimator's dtype, and y, as `validate_data` does with these options.

    fresh: take over what describes X.
    """
    x = _plain(estimator, X, estimator.dtype, fresh=fresh)
    if x is None or not _plain_targets(y, len(x)):
        rows: tuple[Array, Any] = validate_data(
            estimator, X, y, reset=fresh, dtype=estimator.dtype, order="C", multi_output=True, **options
        )
        return rows
    if fresh:
        estimator.n_features_in_ = x.shape[1]
    return x, np.ascontiguousarray(y)


def inputs(estimator: "NetworkEstimator", X: Any) -> Array:
    """Return X as an array of the fitted network's dtype, as `validate_data` does."""
    dtype = estimator.network_.dtype
    x = _plain(estimator, X, dtype, fresh=False)
    return validate_data(estimator, X, reset=False, dtype=dtype, order="C") if x is None else x


def _plain(estimator: "NetworkEstimator", X: Any, dtype: str, *, fresh: bool) -> Array | None:
    """Return X in C order and this dtype, if it is a plain array of finite numbers without names; else None."""
    known = vars(estimator)
    if type(X) is not np.ndarray or X.dtype.kind != "f" or X.ndim != 2 or X.size == 0 or "feature_names_in_" in known:
        return None
    if not fresh and X.shape[1] != known.get("n_features_in_"):
        return None
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(X, dtype)
    return x if np.isfinite(x).all() else None


def _plain_targets(y: Any, rows: int) -> bool:
    """Return True for a plain array of finite numbers, one row of them for each row of X."""
    if type(y) is not np.ndarray or y.ndim not in (1, 2) or len(y) != rows or y.size == 0:
        return False
    return y.dtype.kind in "biu" or (y.dtype.kind == "f" and bool(np.isfinite(y).all()))
