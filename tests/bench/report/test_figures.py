"""Claims about what the figures draw: the values, intervals and names of the results, and nothing else."""

import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.reports import (
    ALL_BACKENDS,
    EFFORT,
    OVERVIEW,
    QUICK,
    data,
    drawn,
    edited,
    only_case,
    panel,
    probed,
    summary_of,
    texts,
)
from support.sample_results import SYNTHETIC, WORKLOADS, sample_results, swept_results

from bench.report import overview
from bench.report.drawing import SAME, SHADE
from bench.report.loss_curves import END
from bench.report.sentences import standing_out
from bench.report.style import backend_style
from bench.report.views import case_views


def test_a_panel_without_ratios_shows_none_beside_one_that_has_them() -> None:
    results = sample_results(QUICK, ["wine-deep", "digits"])
    (bare,) = sample_results(QUICK, ["digits"], launches=1).cases
    results = results.model_copy(update={"cases": [results.cases[0], bare]})
    first, second = drawn(results)["ratio_train_float32_1t"].axes
    assert any(text.get_text().endswith("×") for text in first.texts)
    assert not any(text.get_text().endswith("×") for text in second.texts)
    assert second.get_xlabel() == "No ratio: no interval"


def test_the_shaded_band_is_the_margin_of_sameness() -> None:
    results = sample_results(QUICK)
    (band,) = panel(results, "ratio_train_float32_1t").findobj(lambda artist: artist.get_gid() == SAME)
    extent = band.get_window_extent().transformed(band.axes.transData.inverted())  # type: ignore[union-attr]
    assert (extent.x0, extent.x1) == pytest.approx((1 / 1.03, 1.03))


def test_shares_of_the_peak_are_drawn_against_the_peak_as_wide_as_the_step_times() -> None:
    results = sample_results(QUICK)
    axes = panel(results, "share_train_float32_1t")
    assert axes.get_xlabel() == "Share of the peak (%, log); line: 250 GFLOP/s"
    assert axes.get_xlim()[1] > 100
    lines = [data(line)[0] for line in axes.lines]
    assert any(line == [100, 100] for line in lines)
    for b in results.cases[0].backends:
        if b.instance == b.name and b.step_seconds and b.ceiling_share:
            factors = [b.step_seconds.median / bound for bound in (b.step_seconds.high, b.step_seconds.low)]
            assert any(line == pytest.approx([100 * b.ceiling_share * factor for factor in factors]) for line in lines)


def test_without_a_peak_there_is_no_figure_of_shares() -> None:
    bare = edited(sample_results(QUICK), {name: {"ceiling_share": None} for name in ALL_BACKENDS})
    assert not any(stem.startswith("share") for stem in drawn(bare))


def test_dots_and_whiskers_are_the_estimates() -> None:
    results = sample_results(QUICK)
    axes = panel(results, "step_time_train_float32_1t")
    assert axes.get_xlabel() == "Step time (µs, log)"
    lines = [data(line)[0] for line in axes.lines]
    for backend in results.cases[0].backends:
        if backend.instance == backend.name and backend.step_seconds:
            step = backend.step_seconds
            assert any(line == pytest.approx([1e6 * step.low, 1e6 * step.high]) for line in lines)
            assert any(line == pytest.approx([1e6 * step.median]) for line in lines if len(line) == 1)


@pytest.mark.parametrize(("noise", "caps"), [(0.001, {"none"}), (0.5, {"|"})])
def test_an_interval_has_caps_only_where_it_is_wider_than_its_mark(noise: float, caps: set[str]) -> None:
    axes = panel(sample_results(QUICK, noise=noise), "step_time_train_float32_1t")
    ends = [line for line in axes.lines if line.get_color() in {backend_style(name).colour for name in QUICK}]
    assert {line.get_marker() for line in ends if len(data(line)[0]) == 2 and line.get_linewidth() > 1} == caps


def test_a_curve_is_drawn_over_its_own_seconds_and_named() -> None:
    results = sample_results(QUICK)
    axes = panel(results, "curve_wine-deep_float32_1t")
    lines = {str(line.get_label()): line for line in axes.lines}
    assert axes.get_xlabel() == "Wall time (ms, log)"
    for backend in results.cases[0].backends:
        if backend.curve and backend.instance == backend.name:
            x, y = data(lines[backend.name])
            assert x == pytest.approx([1e3 * second for second in backend.curve.seconds[1:]])
            assert y == backend.curve.losses[1:]
            assert backend.name in [text.get_text() for text in axes.texts]


def test_every_curve_ends_in_the_mark_of_its_backend_and_a_few_are_coloured() -> None:
    results = sample_results(ALL_BACKENDS)
    axes = panel(results, "curve_wine-deep_float32_1t")
    names = {backend.label: backend.name for backend in only_case(results).backends}
    styles = {name: backend_style(name) for name in names.values()}
    marks = {(line.get_color(), line.get_marker()) for line in axes.lines if line.get_gid() == END}
    assert marks == {(style.colour, style.marker) for style in styles.values()}
    assert len(marks) == len(ALL_BACKENDS)
    curves = {names[str(line.get_label())]: line.get_color() for line in axes.lines if line.get_label() in names}
    coloured = {name for name, colour in curves.items() if colour == styles[name].colour}
    assert coloured == standing_out(only_case(results)) == {"numpy", "cpp", "cpp-tuned", "numba", "octave"}
    assert {colour for name, colour in curves.items() if name not in coloured} == {SHADE}


def test_a_curve_that_ends_first_is_not_coloured_against_the_verdicts() -> None:
    results = sample_results(ALL_BACKENDS)
    curve = next(b.curve for b in results.cases[0].backends if b.name == "go")
    assert curve is not None
    early = curve.model_copy(update={"seconds": [0.01 * second for second in curve.seconds]})
    axes = panel(edited(results, {"go": {"curve": early}}), "curve_wine-deep_float32_1t")
    colours = {str(line.get_label()): line.get_color() for line in axes.lines}
    assert colours["go"] == SHADE
    assert colours["cpp"] == backend_style("cpp").colour


def test_every_log_axis_of_a_figure_says_so() -> None:
    results = sample_results(QUICK, ["wine-deep", "digits"])
    swept = swept_results({"numpy": lambda n: 1e-5 + n * 1e-7, "c": lambda n: n * 1e-6}, [1, 4, 16])
    seen = 0
    for figure in (*drawn(results).values(), *drawn(swept).values()):
        for axes in figure.axes:
            for scale, label in ((axes.get_xscale(), axes.get_xlabel()), (axes.get_yscale(), axes.get_ylabel())):
                if scale == "log" and label:
                    seen += 1
                    assert "log)" in label or "log;" in label or ", log" in label, label
    assert seen > 10


def test_a_curve_begins_at_its_first_step() -> None:
    results = sample_results(QUICK)
    low, high = panel(results, "curve_wine-deep_float32_1t").get_xlim()
    assert low < 1e3 * 0.4e-6 < 1e3 * 1119 * 30 * 210e-6 < high


def test_the_overview_has_a_panel_per_workload_and_a_mark_per_dtype_at_the_ratio() -> None:
    results = sample_results(QUICK, ("wine-deep", "digits"), dtypes=("float32", "float64"))
    figure = drawn(results)[OVERVIEW]
    assert [axes.get_title() for axes in figure.axes] == ["wine-deep", "digits"]
    for axes, workload in zip(figure.axes, ("wine-deep", "digits"), strict=True):
        marks = [data(line)[0][0] for line in axes.lines if line.get_marker() != "None"]
        ratios = [b.ratio.median for c in results.cases if c.workload == workload for b in c.backends
                  if b.ratio and b.instance == b.name]  # fmt: skip
        assert sorted(marks) == pytest.approx(sorted([*ratios, 1.0, 1.0]))
    assert any(
        "Filled marks (above) and numbers: float32; open marks (below): float64." in " ".join(t.get_text().split())
        for t in texts(figure)
    )


def test_the_overview_puts_the_fastest_of_a_division_first_and_names_backends_without_a_ratio() -> None:
    figure = drawn(sample_results((*QUICK, "go"), failures={"go": "unavailable"}))[OVERVIEW]
    order = ["cpp", "c", "numpy", "go", "cpp-tuned", "torch"]
    rows = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts if text.get_text() in order}
    assert sorted(rows, key=lambda name: rows[name]) == order
    assert "unavailable" in [text.get_text() for text in figure.axes[0].texts]


def test_a_dtype_that_failed_is_named_in_the_overview_and_keeps_its_place() -> None:
    results = sample_results(QUICK, ("wine-deep",), dtypes=("float32", "float64"))
    broken: dict[str, Any] = {"status": "parity_failed", "samples": [], "ratio": None, "step_seconds": None}

    def overview_without(dtype: str) -> Figure:
        cases = [
            c.model_copy(
                update={
                    "backends": [
                        b.model_copy(update=broken if (b.name, c.dtype) == ("cpp", dtype) else {}) for b in c.backends
                    ]
                }
            )
            for c in results.cases
        ]
        return drawn(results.model_copy(update={"cases": cases}))[OVERVIEW]

    above = overview_without("float32").axes[0]
    assert "parity failed" in [text.get_text() for text in above.texts]
    assert len([text for text in above.texts if "×" in text.get_text()]) == len(QUICK) - 1
    below = texts(overview_without("float64"))
    assert any("No mark in float64: cpp on wine-deep (parity failed)." in t.get_text() for t in below)


def test_workloads_that_do_not_fit_side_by_side_continue_in_another_file() -> None:
    workloads = ("wine-deep", "wine-batch", "digits", "mlp")
    extra = sample_results(QUICK, workloads)
    further = [c.model_copy(update={"workload": f"{c.workload}-2"}) for c in extra.cases]
    figures = drawn(extra.model_copy(update={"cases": [*extra.cases, *further]}))
    assert [len(figures[stem].axes) for stem in (OVERVIEW, f"{OVERVIEW}_2")] == [4, 4]


def test_effort_is_lines_of_code_against_the_geometric_mean_of_the_ratios() -> None:
    results = sample_results(QUICK, ("wine-deep", "digits"))
    cases = case_views(results)
    figure = drawn(results)[EFFORT]
    points = {data(line)[0][0]: data(line)[1][0] for line in figure.axes[0].lines if line.get_marker() != "None"}
    for name in QUICK:
        ratios = [b.ratio.median for c in results.cases for b in c.backends if b.instance == name and b.ratio] or [1.0]
        expected = float(np.exp(np.mean(np.log(ratios))))
        assert overview.standing(name, cases) == pytest.approx(expected)
        assert points[200 + 7 * len(name)] == pytest.approx(expected) or name in (
            "cpp",
            "numpy",
            "torch",
        )  # names of equal length
    assert any(
        "geometric mean of the ratios on wine-deep, digits" in " ".join(text.get_text().split())
        for text in texts(figure)
    )


def test_effort_names_few_backends_and_joins_those_of_which_no_other_is_both_shorter_and_faster() -> None:
    results = sample_results(ALL_BACKENDS)
    lines = {name: 100 + 50 * i for i, name in enumerate(("numpy", "lua", "julia", "cpp", "c", "cpp-tuned"))}
    results = edited(results, {name: {"source_lines": lines.get(name, 1000)} for name in ALL_BACKENDS})
    axes = panel(results, EFFORT)
    (stairs,) = [line for line in axes.lines if line.get_gid() == overview.FRONTIER]
    assert data(stairs)[0] == [100, 200, 250, 350]  # lua is longer than numpy and slower; c is slower than cpp
    speeds = data(stairs)[1]
    assert speeds == sorted(speeds)
    labels = {text.get_text() for text in axes.texts}
    assert labels == {"numpy", "julia", "cpp", "cpp-tuned", *standing_out(only_case(results))}
    assert len(labels) < len(ALL_BACKENDS)
    marks = [line.get_color() for line in axes.lines if line.get_marker() != "None"]
    assert marks.count(SHADE) == len(ALL_BACKENDS) - len(labels)


def test_no_two_marks_of_the_roofline_overlap_and_each_is_at_its_speed() -> None:
    results = probed(sample_results(ALL_BACKENDS, ["wine-deep", "wine-batch"]))
    axes = panel(results, "roofline_train_float32_1t")
    marks = [line for line in axes.lines if line.get_marker() not in ("None", "none", "", None)]
    assert len(marks) == 2 * len(ALL_BACKENDS)
    places = [line.get_transform().transform((data(line)[0][0], data(line)[1][0])) for line in marks]
    size = marks[0].get_markersize() * axes.figure.dpi / 72
    assert all(np.hypot(*(one - other)) >= size for one, other in combinations(places, 2))
    speeds = sorted(b.gflops for c in results.cases for b in c.backends if b.gflops and b.instance == b.name)
    assert sorted(data(line)[1][0] for line in marks) == speeds


def test_effort_names_the_backends_that_it_leaves_out_and_needs_two_backends() -> None:
    figures = drawn(sample_results(QUICK, failures={"cpp": "crashed"}))
    assert any("No ratio in some case: cpp." in " ".join(t.get_text().split()) for t in texts(figures[EFFORT]))
    alone = {name: "crashed" for name in QUICK if name not in ("numpy", "c")}
    assert EFFORT in drawn(sample_results(QUICK, failures=alone))
    bare = edited(sample_results(QUICK), {"c": {"source_lines": None}, **{n: {"source_lines": None} for n in alone}})
    assert EFFORT not in drawn(bare)


def test_without_a_ratio_there_is_neither_overview_nor_effort() -> None:
    figures = drawn(sample_results(launches=1))
    assert OVERVIEW not in figures
    assert EFFORT not in figures


def test_numbers_have_the_digits_of_the_tables() -> None:
    results = sample_results(QUICK, ("wine-deep", "digits"), noise=0.05)
    figures, text = drawn(results), summary_of(results)
    for stem in (OVERVIEW, "step_time_train_float32_1t", "ratio_train_float32_1t"):
        shown = [t.get_text() for t in texts(figures[stem]) if re.fullmatch(r"[\d.]+(×| [mµn]?s)", t.get_text())]
        assert len(shown) >= 2 * (len(QUICK) - 1)
        for value in shown:
            digits = re.split(r"[× ]", value)[0]
            assert f" {digits} [" in text or value == "1.00×", (stem, value)


def test_rows_have_headings_of_divisions_and_marks_of_languages() -> None:
    axes = panel(sample_results((*QUICK, "go")), "step_time_train_float32_1t")
    shown = [text.get_text() for text in axes.texts]
    assert {"plain", "tuned", "framework"} <= set(shown)
    assert sorted(text for text in shown if text in ("Py", "C++", "C", "Go")) == ["C++", "C++", "Py", "Py"]


def test_a_footnote_names_machine_version_and_data() -> None:
    figure = drawn(sample_results())["step_time_train_float32_1t"]
    text = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert SYNTHETIC in text
    assert "pyfnn 0.1.0" in text
    assert "Data of wine-deep: drawn in wine's shape by a seeded teacher." in text
    bare = sample_results().model_copy(update={"host": {}})
    text = " ".join(text.get_text() for text in drawn(bare)["step_time_train_float32_1t"].texts)
    assert "CPU not recorded; pyfnn (version not recorded)" in text


def test_figures_too_tall_for_a_page_continue_in_another_file() -> None:
    pages = [
        f for stem, f in drawn(sample_results(ALL_BACKENDS, list(WORKLOADS))).items() if stem.startswith("step_time")
    ]
    assert len(pages) == 2
    titles = [text.get_text() for page in pages for text in page.texts]
    assert all(any(title.startswith(f"{workload} ·") for title in titles) for workload in WORKLOADS)
    assert all(page.get_figheight() < 10 for page in pages)
