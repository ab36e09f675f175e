"""Claims about reading crossing.json, the costs of a call."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.sample_results import sample_results

from bench.report.page import Source
from bench.report.page.content import page_of
from bench.report.page.write import html
from bench.report.run_view import run_view
from bench.results.crossing import CROSSING, load_crossing
from bench.results.schema import ResultsError


def estimate(median: float) -> dict[str, float]:
    return {"median": median, "low": 0.5 * median, "high": 1.5 * median}


LINE: dict[str, Any] = {
    "workload": "tiny", "route": "pybind11", "passing": "none", "binding": estimate(3e-7), "contract": estimate(4e-6),
    "public": estimate(4.3e-6), "step": estimate(2e-7), "steps": [10000, 10000],
}  # fmt: skip


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    content = {"lines": lines, "routes": {"pybind11": "cpp"}, "host": {"cpu_model": "a CPU"}, "samples": []}
    (folder / CROSSING).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_folder_without_the_file_has_no_costs(tmp_path: Path) -> None:
    assert load_crossing(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "{}", '{"lines": [{"workload": 1}]}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / CROSSING).write_text(text)
    with pytest.raises(ResultsError, match=r"crossing\.json: "):
        load_crossing(tmp_path)


def test_the_page_shows_the_costs_in_nanoseconds_and_only_a_bound_where_the_interval_reaches_zero(
    tmp_path: Path,
) -> None:
    near_zero = {"median": 1e-8, "low": -1e-8, "high": 3e-8}
    costs = load_crossing(written(tmp_path, LINE, {**LINE, "workload": "wine-deep", "binding": near_zero}))
    source = Source(run_view(sample_results()), crossing=costs)
    (run,) = page_of([source]).runs
    assert run.crossing is not None
    first, second = (lines[0] for _, lines in run.crossing.sections)
    assert first == (
        "pybind11 (cpp)",
        "nothing",
        "300 [150, 450]",
        "4000 [2000, 6000]",
        "4300 [2150, 6450]",
        "200 [100, 300]",
    )
    assert second[2] == "below 30"
    assert "300 [150, 450]" in html([source])
