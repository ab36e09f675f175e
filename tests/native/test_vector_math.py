"""Claims about the vector mathematics of cpp-tuned: maximum errors in ulp at every level; limits, zeros, NaN.

`GREATEST` is the table of docs/speed.md: no function may exceed its error for any argument.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.requirements import require

from pyfnn import isa
from pyfnn.errors import BackendUnavailable

Array = NDArray[Any]

GREATEST = {  # ulp at any level; measured over all float32 numbers and about 10^8 float64 numbers
    ("exp", "float32"): 1.57,
    ("expm1", "float32"): 3.96,
    ("tanh", "float32"): 4.29,
    ("sigmoid", "float32"): 2.71,
    ("softplus", "float32"): 3.11,
    ("exp", "float64"): 1.1,
    ("expm1", "float64"): 2.2,
    ("tanh", "float64"): 2.7,
    ("sigmoid", "float64"): 2.4,
    ("softplus", "float64"): 2.8,
}
TANH_BY_PIECES = 2.3  # ulp: float32 at v4
NAMES = ("exp", "expm1", "tanh", "sigmoid", "softplus")
INTERESTING = {  # limits of the normal range, of branches and of argument reductions; tested with both signs
    "float32": (
        88.72284,
        87.33655,
        103.97208,
        104,
        89,
        18,
        16.635532,
        9.02,
        9.010913,
        9.5,
        0.34657359,
        1 / 16,
        1,
        2,
        4,
    ),
    "float64": (
        709.782712893384,
        708.3964185322641,
        745.1332191019412,
        710,
        746,
        38,
        36.7,
        19.1,
        19.06,
        18,
        0.34657,
        1,
    ),
}
DENSE = 1 << 20  # numbers in a chunk


def _levels() -> tuple[str, ...]:
    try:
        return isa.levels()
    except BackendUnavailable:
        return ("none",)


@pytest.fixture(scope="module", params=_levels())
def level(request: pytest.FixtureRequest) -> str:
    require("cpp-tuned", request.param != "none", "this build and this CPU have no level in common")
    return str(request.param)


@pytest.fixture(scope="module")
def module(level: str) -> ModuleType:
    return importlib.import_module(f"pyfnn.backends._tuned_{level}")


def _exact(name: str, x: Array) -> Array:
    """Return the function's value in the next wider type: float64 for float32, longdouble for float64."""
    w = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    e = np.exp(-np.abs(w))
    table: dict[str, Callable[[], Array]] = {
        "exp": lambda: np.exp(w),
        "expm1": lambda: np.expm1(w),
        "tanh": lambda: np.tanh(w),
        "sigmoid": lambda: np.where(w >= 0, 1, e) / (1 + e),
        "softplus": lambda: np.maximum(w, 0) + np.log1p(e),
    }
    return table[name]()


def _errors(module: ModuleType, name: str, x: Array) -> Array:
    """Return |f(x) - exact| in ulp, the spacing of x's type in the binade of the exact value.

    Infinity counts as the first number above the largest finite one.
    """
    with np.errstate(over="ignore", under="ignore"):
        y, exact = module.vector_math(name, x), _exact(name, x)
        info = np.finfo(x.dtype)
        beyond = exact.dtype.type(2) ** info.maxexp
        y = np.minimum(y.astype(exact.dtype), beyond)
        np.minimum(exact, beyond, out=exact)
        _, exponent = np.frexp(exact)
        np.clip(exponent, info.minexp + 1, info.maxexp, out=exponent)
        errors: Array = np.ldexp(np.abs(y - exact), info.nmant + 1 - exponent).astype(np.float64)
        return errors


def _worst(module: ModuleType, name: str, numbers: Iterator[Array]) -> tuple[float, float]:
    """Return the greatest error and its argument."""
    worst, where = 0.0, 0.0
    for x in numbers:
        errors = _errors(module, name, x)
        at = int(np.argmax(errors))
        if not errors[at] <= worst:
            worst, where = float(errors[at]), float(x[at])
    return worst, where


def _all_float32(stride: int) -> Iterator[Array]:
    """Yield every `stride`-th finite number."""
    for begin in range(0, 1 << 32, stride * DENSE):
        words = np.arange(begin, min(begin + stride * DENSE, 1 << 32), stride, dtype=np.uint32)
        x = words.view(np.float32)
        yield x[np.isfinite(x)]


def _random_float64(seed: int, times: int) -> Iterator[Array]:
    """Yield random numbers of all exponents, and of exponents at which results neither underflow nor overflow."""
    rng = np.random.default_rng(seed)
    for _ in range(times):
        x = rng.integers(0, 1 << 64, size=DENSE // 8, dtype=np.uint64).view(np.float64)
        yield x[np.isfinite(x)]
        mantissa, sign = 1 + rng.random(DENSE), rng.choice([-1.0, 1.0], DENSE)
        yield sign * np.ldexp(mantissa, rng.integers(-60, 10, DENSE))
        yield rng.uniform(-750, 750, DENSE // 4)
        yield rng.uniform(-40, 40, DENSE // 4)


def _near(dtype: str) -> Array:
    """Return the neighbours of `INTERESTING` and of multiples of log(2) / 2, and the smallest and largest numbers."""
    halves = np.arange(1, 2200 if dtype == "float64" else 310) * (np.log(2) / 2)
    places = np.concatenate([np.array(INTERESTING[dtype]), halves]).astype(dtype)
    word: type = np.int32 if dtype == "float32" else np.int64
    words: Array = (places.view(word)[:, None] + np.arange(-50, 51, dtype=word)).reshape(-1)
    info = np.finfo(dtype)
    ends = np.array([info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny, info.eps, info.max], dtype)
    x = np.concatenate([words.view(dtype), ends])
    return np.concatenate([x, -x])


def _allowed(name: str, dtype: str, level: str) -> float:
    if (name, dtype, level) == ("tanh", "float32", "v4"):
        return TANH_BY_PIECES
    return GREATEST[name, dtype]


def _require_within_bound(module: ModuleType, name: str, dtype: str, level: str, numbers: Iterator[Array]) -> None:
    worst, where = _worst(module, name, numbers)
    print(f"{level} {dtype} {name}: {worst:.4f} ulp at {where!r}")
    assert worst <= _allowed(name, dtype, level), f"at {where!r}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_no_error_exceeds_the_documented_maximum(module: ModuleType, level: str, name: str, dtype: str) -> None:
    numbers = [_near(dtype), *(_all_float32(1009) if dtype == "float32" else _random_float64(0, 1))]
    _require_within_bound(module, name, dtype, level, iter(numbers))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_no_error_exceeds_the_maximum_for_all_float32_and_100_million_float64_numbers(
    module: ModuleType, level: str, name: str, dtype: str
) -> None:
    _require_within_bound(module, name, dtype, level, _all_float32(1) if dtype == "float32" else _random_float64(1, 62))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinities_have_their_limits_and_nan_stays_nan(module: ModuleType, dtype: str) -> None:
    x = np.array([-np.inf, np.inf, np.nan, -np.nan], dtype)
    limits = {"exp": (0, np.inf), "expm1": (-1, np.inf), "tanh": (-1, 1), "sigmoid": (0, 1), "softplus": (0, np.inf)}
    for name, (low, high) in limits.items():
        y = module.vector_math(name, x)
        assert (y[0], y[1]) == (low, high), name
        assert np.isnan(y[2:]).all(), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_of_either_sign_gives_the_exact_value_and_tanh_keeps_the_sign(module: ModuleType, dtype: str) -> None:
    x = np.array([0.0, -0.0], dtype)
    for name, value in (("exp", 1), ("expm1", 0), ("tanh", 0), ("sigmoid", 0.5)):
        assert (module.vector_math(name, x) == value).all(), name
    assert np.signbit(module.vector_math("tanh", x)).tolist() == [False, True]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_reach_the_smallest_subnormal_and_then_0(module: ModuleType, dtype: str) -> None:
    smallest = np.finfo(dtype).smallest_subnormal
    edge = float(np.log(np.longdouble(smallest)))
    x = np.array([edge + 0.01, edge - 0.68, edge - 1, -2 * np.finfo(dtype).maxexp], dtype)
    for name in ("exp", "sigmoid"):
        assert module.vector_math(name, x).tolist() == [smallest, smallest, 0, 0], name
    tiny = np.array([smallest, 7 * smallest], dtype)
    for name in ("expm1", "tanh"):
        assert np.array_equal(module.vector_math(name, tiny), tiny), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1), ("expm1", -1, np.inf)])
def test_results_stay_within_the_range_of_the_function(
    module: ModuleType, name: str, low: float, high: float, dtype: str
) -> None:
    x = np.linspace(-120, 120, 200_001).astype(dtype)
    y = module.vector_math(name, x)
    assert low <= y.min()
    assert y.max() <= high


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 33])
def test_a_lane_is_independent_of_its_neighbours(module: ModuleType, size: int) -> None:
    x = np.linspace(-3, 3, 33).astype("f4")
    for name in NAMES:
        whole = module.vector_math(name, x)
        assert module.vector_math(name, x[:size].copy()).tobytes() == whole[:size].tobytes(), name
        x[7] = np.nan
        assert np.delete(module.vector_math(name, x), 7).tobytes() == np.delete(whole, 7).tobytes(), name
        x[7] = -1.6875


def test_an_unknown_function_is_refused_by_name(module: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"vector_math\.hpp has no cosh"):
        module.vector_math("cosh", np.zeros(3, "f4"))


def test_the_documentation_states_the_same_maxima() -> None:
    text = (Path(__file__).parents[2] / "docs" / "speed.md").read_text()
    for name in NAMES:
        single, double = GREATEST[name, "float32"], GREATEST[name, "float64"]
        less = f" ({TANH_BY_PIECES} at v4)" if name == "tanh" else ""
        assert f"| `{name}` | {single}{less} | {double} |" in text
