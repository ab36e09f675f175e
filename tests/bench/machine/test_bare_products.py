"""Claims about the products of a step alone: measured through each library that is here, and part of their case."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.ceilings import measured_until
from support.reports import summary_of
from support.requirements import require
from support.sample_results import events, results_of

from bench.machine import bare_products, ceilings
from bench.machine.ceilings import StepShape
from bench.results.schema import Case, Ceilings, Results, ResultsError
from bench.results.store import load_results, save_results
from bench.suites.load import built_in_workloads
from pyfnn import programs, registry
from pyfnn.backends import blas, mkl, xsmm
from pyfnn.errors import BackendUnavailable, BuildFailed

DTYPES = ("float32", "float64")
DEEP = built_in_workloads()["wine-deep"]
SHAPE = {"sizes": [64, 64, 32, 10], "batch": 32, "dtype": "float32"}


def libraries() -> list[str]:
    """Return the names of the libraries that are here."""
    found = []
    finders: list[tuple[str, Callable[[], object]]] = [
        ("OpenBLAS", blas.find_library),
        ("MKL", mkl.find_library),
        ("LIBXSMM", lambda: xsmm.open_library(registry.find("cpp-xsmm"))),
    ]
    for name, find in finders:
        try:
            find()
        except BuildFailed:
            raise
        except BackendUnavailable:
            continue
        found.append(name)
    require("OpenBLAS, MKL or LIBXSMM", bool(found), "pip install scipy-openblas32")
    return found


def test_each_library_that_is_here_is_timed_on_the_steps_operations_below_the_peak() -> None:
    here = libraries()
    steps = [StepShape((64, 64, 32, 10), 32, dtype) for dtype in DTYPES]

    def plausible(found: Ceilings) -> bool:
        peaks = {dtype: max(peak.gflops for peak in found.peaks if peak.dtype == dtype) for dtype in DTYPES}
        return all(peaks[p.dtype] / 100 < p.gflops < 1.2 * peaks[p.dtype] for p in found.products)

    found = measured_until(plausible, lambda: ceilings.measure_ceilings("before", DTYPES, [1], 0.05, steps=steps))
    assert not found.absent
    assert [p.library.split()[0] for p in found.products] == here * 2
    for p in found.products:
        assert (p.sizes, p.batch, p.threads) == ((64, 64, 32, 10), 32, 1)
        assert p.operations == 2 * 32 * (2 * (64 * 64 + 64 * 32 + 32 * 10) + 64 * 32 + 32 * 10)
    assert plausible(found), (found.peaks, found.products)


def test_larger_products_run_at_a_higher_rate() -> None:
    """A step of 16 numbers costs calls, one of 300 000 costs multiply-adds."""
    libraries()
    small = bare_products.answer([{"sizes": [2, 2, 2], "batch": 2, "dtype": "float32"}], 1)
    large = bare_products.answer([{"sizes": [256, 256, 256], "batch": 64, "dtype": "float32"}], 1)
    for one, other in zip(small, large, strict=True):
        assert other["gflops"] > 10 * one["gflops"]


def test_an_absent_library_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> str:
        raise BackendUnavailable("none is here", "get one")

    monkeypatch.setattr(mkl, "find_library", absent)
    monkeypatch.setattr(blas, "find_library", absent)
    monkeypatch.setattr(xsmm, "open_library", absent)
    monkeypatch.setattr(programs, "is_built", lambda _: True)
    assert bare_products.answer([SHAPE], 1) == []


def test_a_library_that_must_be_linked_first_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "is_built", lambda _: False)
    monkeypatch.setattr(xsmm, "open_library", lambda _: pytest.fail("LIBXSMM is linked"))
    assert "LIBXSMM" not in {product["library"].split()[0] for product in bare_products.answer([SHAPE], 1, 0.01)}


# In results -----------------------------------------------------------------------------------------------------------


def timed(gflops: float, library: str = "MKL 1.0", **changes: Any) -> dict[str, Any]:
    sizes, batch = list(DEEP.sizes), DEEP.batch
    operations = case_of().flops_per_step
    own = {"sizes": sizes, "batch": batch, "dtype": "float32", "threads": 1, "operations": operations}
    return {**own, "library": library, "gflops": gflops, **changes}


def run_with(*products: dict[str, Any]) -> Results:
    run, *rest = events(("numpy", "cpp"), ("wine-deep",), {})
    peaks = [{"level": "v4", "dtype": "float32", "threads": 1, "gflops": 200.0}]
    definition = DEEP.model_dump(mode="json")
    cases = [{**event, "definition": definition} if event["event"] == "case" else event for event in rest]
    return results_of([run, {"event": "ceilings", "when": "before", "peaks": peaks, "products": products}, *cases])


def case_of(*products: dict[str, Any]) -> Case:
    return run_with(*products).cases[0]


def test_a_case_has_the_best_rate_of_its_own_products_and_the_library() -> None:
    case = case_of(timed(30.0, "OpenBLAS 0.3"), timed(40.0), timed(35.0))
    assert (case.bare_gflops, case.bare_library) == (40.0, "MKL 1.0")


@pytest.mark.parametrize(
    "other", [{"batch": 2}, {"dtype": "float64"}, {"threads": 2}, {"sizes": [11, 1]}, {"operations": 1}]
)
def test_products_of_another_shape_dtype_or_thread_count_do_not_count(other: dict[str, Any]) -> None:
    assert case_of(timed(40.0, **other)).bare_gflops is None


def test_the_report_has_the_rates_and_their_share_of_the_peak() -> None:
    text = summary_of(run_with(timed(40.0)))
    assert "The step's products alone, through MKL 1.0: 40.0 GFLOP/s, 20 % of it." in text
    assert "| products of 11-50-30-20-10-5-1, 1 row, float32, MKL 1.0 | 1 | GFLOP/s | 40.0 |" in text
    assert "The step's products alone" not in summary_of(run_with())


def test_an_edited_rate_is_detected(tmp_path: Path) -> None:
    path = save_results(run_with(timed(40.0)), tmp_path)
    assert load_results(tmp_path) == run_with(timed(40.0))
    data = json.loads(path.read_text())
    data["cases"][0]["bare_gflops"] = 41.0
    path.write_text(json.dumps(data))
    with pytest.raises(ResultsError, match=r"cases\.0\.bare_gflops does not follow"):
        load_results(tmp_path)


def test_results_of_before_have_no_such_rates() -> None:
    assert Ceilings.model_validate({"when": "before"}).products == []
