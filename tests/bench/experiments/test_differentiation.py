"""Claims about the experiment on differentiation: orders of errors, the reference, absent packages, files."""

import csv
from pathlib import Path

import numpy as np
import pytest
from support.requirements import require

from bench.experiments import differentiation
from bench.experiments.differentiation import EXPERIMENT, cost, packages
from bench.experiments.differentiation.cost import Timing, growth, measure
from bench.experiments.differentiation.methods import (
    Problem,
    central_difference,
    complex_step,
    error,
    exact,
    forward_difference,
    make_problem,
    methods,
)  # fmt: skip
from bench.experiments.differentiation.symbolic import Gradient
from bench.experiments.engine.cell import Finished, Settings
from bench.experiments.engine.report import Report
from pyfnn.network import DTYPES

SETTINGS = Settings("numpy", 1, Path("unused"), options={"widest": 4})


def problem(dtype: str = "float64") -> Problem:
    return make_problem((3, 4, 2), 2, dtype, seed=1)


def test_halving_the_step_halves_the_error_of_a_difference_and_quarters_that_of_a_central_one() -> None:
    own = problem()
    for method, factor in ((forward_difference, 2), (central_difference, 4)):
        coarse, fine = (error(own, method(own, h)) for h in (2.0**-8, 2.0**-9))
        assert coarse / fine == pytest.approx(factor, rel=0.05)


def test_differences_lose_digits_to_rounding_and_the_complex_step_does_not() -> None:
    own, tiny = problem(), 2.0**-48
    assert error(own, forward_difference(own, tiny)) > 1e-4
    assert error(own, central_difference(own, tiny)) > 1e-4
    assert all(error(own, complex_step(own, h)) < 1e-15 for h in (tiny, 2.0**-100))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, method in methods("numpy").items() if not method.takes_steps])
def test_a_method_without_steps_is_as_exact_as_its_dtype(name: str, dtype: str) -> None:
    method, own = methods("numpy")[name], problem(dtype)
    if method.package:
        require(method.package, packages.can_run(method.package), packages.REMEDIES[method.package])
    with method.prepare(own) as gradient:
        found = gradient(0.0)
    assert found.dtype == dtype
    assert error(own, found) < 20 * np.finfo(dtype).eps


def test_the_reference_in_longdouble_agrees_with_40_digits_of_the_symbolic_gradient() -> None:
    require("sympy", packages.can_run("sympy"), packages.REMEDIES["sympy"])
    import mpmath

    own = problem()
    with mpmath.workdps(40):
        arrays = [np.array([mpmath.mpf(float(number)) for number in a.ravel()]) for a in (own.theta, own.x, own.y)]
        digits = Gradient(own.network, len(own.x), "mpmath")(*arrays)
        reference = [mpmath.mpf(str(number)) for number in exact(own)]
        worst = max(abs(a - b) / abs(a) for a, b in zip(digits, reference, strict=True))
    assert float(worst) < 100 * np.finfo(np.longdouble).eps


def test_a_package_that_is_absent_has_a_row_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    finished = [Finished(cell, EXPERIMENT.compute(cell.parameters), 0.0) for cell in EXPERIMENT.cells(SETTINGS)]
    differentiation.report(finished, Report(tmp_path), SETTINGS)
    rows = list(csv.DictReader((tmp_path / "differentiation.csv").read_text(encoding="utf-8").splitlines()))
    remarks = {row["method"]: row["remark"] for row in rows}
    assert remarks["symbolic (SymPy)"] == "unavailable: sympy is not installed (pip install 'pyfnn[experiments]')"
    assert remarks["automatic, reverse mode (JAX)"].startswith("unavailable: jax is not installed")
    assert next(row for row in rows if row["method"].startswith("symbolic"))["error, float64"] == ""
    assert remarks["backpropagation (oracle)"] == ""


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of a run of the experiment with one seed."""
    for package, how in packages.REMEDIES.items():
        require(package, packages.can_run(package), how)
    report = Report(tmp_path_factory.mktemp("differentiation"))
    finished = [Finished(cell, EXPERIMENT.compute(cell.parameters), 0.0) for cell in EXPERIMENT.cells(SETTINGS)]
    differentiation.report(finished, report, SETTINGS)
    return report


@pytest.fixture
def written(reported: Report) -> Path:
    return reported.folder


def test_the_sentences_tell_exact_methods_from_differences(reported: Report) -> None:
    texts = [finding.text for finding in reported.findings]
    exact = next(text for text in texts if text.startswith("float64: within"))
    assert "complex step" in exact
    assert "backpropagation (numpy)" in exact
    assert "difference" not in exact
    assert any(text.startswith("float64: forward difference loses 8 of 16 digits") for text in texts)
    assert any(text.startswith("A gradient by 40 parameters: central difference takes ") for text in texts)


def test_the_table_orders_the_methods_by_their_errors_as_theory_does(written: Path) -> None:
    rows = csv.DictReader((written / "differentiation.csv").read_text(encoding="utf-8").splitlines())
    errors = {row["method"]: float(row["error, float64"]) for row in rows}
    u = np.finfo("float64").eps / 2
    assert errors["forward difference"] == pytest.approx(np.sqrt(u), rel=9)
    assert errors["central difference"] == pytest.approx(u ** (2 / 3), rel=9)
    assert max(value for name, value in errors.items() if "difference" not in name) < 1e-15
    assert len(errors) == len(methods("numpy"))


def test_times_of_every_method_and_both_figures_are_written(written: Path) -> None:
    rows = list(csv.DictReader((written / "differentiation-costs.csv").read_text(encoding="utf-8").splitlines()))
    assert len({row["method"] for row in rows}) == len(methods("numpy")) + 1  # SymPy's derivation, too
    assert {int(row["parameters n"]) for row in rows} == {12, 40}
    for name in ("errors", "costs"):
        for suffix in (".png", ".svg"):
            assert (written / f"differentiation-{name}{suffix}").stat().st_size > 10_000


def test_a_method_that_takes_too_long_is_not_tried_on_wider_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "LONGEST", 0.0)
    monkeypatch.setattr(cost, "ENOUGH", 0.0)
    ways = {name: way for name, way in methods("numpy").items() if not way.package}
    timings = measure(ways, 64)
    assert [timing.method for timing in timings] == list(ways)
    assert {timing.parameters for timing in timings} == {12}
    assert all(0 < timing.least <= timing.median and timing.repeats == cost.FEWEST for timing in timings)


def test_the_growth_is_the_exponent_of_the_largest_three() -> None:
    timings = [Timing("mine", n, 1e-9 * n**1.5 if n > 10 else 1.0, 1.0, 3) for n in (10, 100, 1000, 10_000)]
    assert growth(timings) == pytest.approx(1.5)
    assert growth(timings[:2]) is None
