"""Claims about the report: what it shows, what it withholds, that it stays legible and draws the same twice."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from rich.console import Console
from support.sample_results import BACKENDS, FAILURES, SYNTHETIC, WORKLOADS, events, sample_results, swept_results

from bench import format, plot, report
from bench.format import Quantity
from bench.report import figures as report_figures
from bench.report import overview, render, rows, summary, tables
from bench.report.drawing import DIVISION_STYLE, FLOOR, LINE, OTHER_STYLE, STYLE, TYPE, WIDE, WIDTH, round_ticks, spread
from bench.report.render import Table
from bench.report.rows import case_rows
from bench.report.tables import processes_table
from bench.results.schema import Estimate, Pool, Results
from bench.results.store import save_results

QUICK = ("numpy", "cpp", "c", "cpp-tuned", "torch")
EVERYONE = tuple(BACKENDS)
STATUS_OF = dict(zip([name for name in EVERYONE if name not in ("numpy", "cpp", "cpp-tuned")], FAILURES, strict=True))


def drawn(results: Results) -> dict[str, Figure]:
    with style.context(["default", STYLE]):
        return dict(report_figures.figures(results))


def panel(results: Results, stem: str) -> Axes:
    axes: Axes = drawn(results)[stem].axes[0]
    return axes


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible() and text.get_text()]


def said(results: Results) -> str:
    return summary.text(results, [])


def printed(what: Results | Table) -> str:
    text = io.StringIO()
    console = Console(file=text, width=200)
    if isinstance(what, Results):
        tables.show(what, console)
    else:
        console.print(render.rich_table(what))
    return text.getvalue()


def data(line: Line2D) -> tuple[list[float], list[float]]:
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def edited(results: Results, changes: Mapping[str, Mapping[str, Any]], **case: Any) -> Results:
    """`results` with fields of some backends, and of the cases, replaced: what an edited file would hold."""
    cases = [
        c.model_copy(
            update={**case, "backends": [b.model_copy(update=dict(changes.get(b.instance, {}))) for b in c.backends]}
        )
        for c in results.cases
    ]
    return results.model_copy(update={"cases": cases})


def only(results: Results) -> rows.CaseView:
    (case,) = rows.case_views(results)
    return case


def row(results: Results, name: str) -> rows.BackendView:
    return next(row for row in only(results).rows if row.backend.name == name)


# what is said, and what is withheld


def test_divisions_are_not_ranked_across() -> None:
    case = only(sample_results(EVERYONE))
    assert [division for division, _ in case.groups] == ["plain", "tuned", "framework"]
    assert case.rows[0].backend.name == "cpp"  # though cpp-tuned is faster than any plain one
    for _, group in case.groups:
        times = [row.step.value for row in group if row.step]
        assert times == sorted(times)
    assert "Ranks hold within a division alone" in said(sample_results())


def test_a_second_instance_is_the_noise_floor_and_no_competitor() -> None:
    results = sample_results(QUICK)
    case = only(results)
    assert [row.backend.instance for row in case.rows if "@" in row.backend.instance] == []
    note = next(note for note in case.notes if note.startswith("Noise floor"))
    assert "numpy against itself" in note
    assert "cpp-tuned against itself" in note
    assert format.number(100 * (case.case.noise_floor or 0), 2) in note


def test_the_reference_has_no_ratio_to_itself() -> None:
    numpy = row(sample_results(), "numpy")
    assert numpy.ratio is None
    assert numpy.verdict == "reference"


def test_a_single_launch_gives_a_time_without_interval_and_no_ratio() -> None:
    results = sample_results(QUICK, launches=1)
    for told in only(results).rows:
        assert told.step
        assert told.step.interval is None
        assert told.ratio is None
    assert "One launch: no interval, and so no ratio." in said(results)
    assert not any(stem.startswith("ratio") for stem in drawn(results))


def test_without_a_noise_floor_there_is_neither_ratio_nor_verdict() -> None:
    results = sample_results(QUICK, a_a=False)
    assert any(b.ratio for b in results.cases[0].backends)
    assert not any(told.ratio for told in only(results).rows)
    assert {told.verdict for told in only(results).rows} == {"", "reference"}
    assert "no ratio is shown" in said(results)


def test_a_panel_without_ratios_shows_none_beside_one_that_has_them() -> None:
    results = sample_results(QUICK, ["wine-deep", "digits"])
    bare = results.cases[1].model_copy(update={"noise_floor": None})
    results = results.model_copy(update={"cases": [results.cases[0], bare]})
    first, second = drawn(results)["ratio_train_float32_1t"].axes
    assert any(text.get_text().endswith("×") for text in first.texts)
    assert not any(text.get_text().endswith("×") for text in second.texts)
    assert second.get_xlabel() == "No ratio: no noise floor"


def test_a_difference_within_the_noise_floor_is_not_called_one() -> None:
    within = edited(sample_results(), {"cpp": {"ratio": Estimate(median=1.05, low=1.02, high=1.08)}}, noise_floor=0.03)
    assert row(within, "cpp").verdict == "no difference shown"
    assert "no difference shown" in said(within)
    assert row(edited(within, {}, noise_floor=0.01), "cpp").verdict == "faster"


def test_a_reference_that_stands_in_is_named() -> None:
    results = sample_results(QUICK, failures={"numpy": "parity_failed"})
    assert results.cases[0].reference == "cpp"
    assert "cpp stands in for the reference, numpy (parity failed): the ratios are to cpp." in said(results)
    assert "ratio to cpp" in said(results)


def test_a_run_without_a_reference_says_so() -> None:
    results = sample_results(["numpy", "torch"], failures={"numpy": "crashed"})
    assert "No ratios: the reference, numpy, has no time (crashed)" in said(results)


def test_few_launches_are_called_provisional() -> None:
    assert "provisional" in said(sample_results(launches=3))
    assert "provisional" not in said(sample_results(launches=5))


def test_a_foreign_arithmetic_is_marked_in_table_and_figure() -> None:
    results = sample_results(["numpy", "lua"])
    assert row(results, "lua").label == "lua (float64)"
    assert "lua (float64)" in said(results)
    labels = [label.get_text() for label in panel(results, "step_time_train_float32_1t").get_yticklabels()]
    assert "lua (float64)" in labels
    assert row(edited(results, {}, dtype="float64"), "lua").label == "lua"


def test_a_backend_that_failed_shows_no_number_even_where_the_file_holds_one() -> None:
    results = edited(sample_results(), {"cpp": {"status": "parity_failed"}})
    assert results.cases[0].backends[2].step_seconds
    cpp = row(results, "cpp")
    assert (cpp.step, cpp.ratio, cpp.status) == (None, None, "parity failed")
    assert "cpp (parity failed)" in " ".join(t.get_text() for t in texts(drawn(results)["curve_wine-deep_float32_1t"]))


@pytest.mark.parametrize("status", FAILURES)
def test_a_failed_backend_is_in_figure_and_table_with_its_status(status: str) -> None:
    results = sample_results(failures={"cpp": status})
    axes = panel(results, "step_time_train_float32_1t")
    assert "cpp" in [label.get_text() for label in axes.get_yticklabels()]
    assert format.words(status) in [text.get_text() for text in axes.texts]
    assert f"| cpp | {format.words(status)} |" in said(results)


# tables


def test_terminal_and_markdown_show_the_same_cells() -> None:
    results = sample_results(EVERYONE, failures=STATUS_OF)
    shown, written = printed(results), said(results)
    for _, section in tables.case_table(only(results)).sections:
        for cell in (cell for line in section for cell in line):
            assert cell in shown
            assert cell in written


def test_how_each_process_ran_is_told_by_its_samples() -> None:
    results = sample_results(("numpy", "cpp"), ("wine-deep",), {"cpp": "crashed"})
    (case,) = results.cases
    numpy = case.backends[0]
    pools = [
        Pool(kind="blas", library="openblas 0.3", kernels="SkylakeX", threads=1, file="libopenblas.so"),
        Pool(kind="openmp", library="openmp", threads=2, file="libgomp.so"),
    ]
    samples = [
        s.model_copy(update={"wall_seconds": 0.5, "cpu_seconds": 0.75, "involuntary_switches": 2, "retries": i == 0})
        for i, s in enumerate(numpy.samples)
    ]
    told = {"cpus": [0, 1, 2, 5], "pools": pools, "samples": samples}
    backends = [numpy.model_copy(update=told), *case.backends[1:]]
    table = processes_table(case_rows(case.model_copy(update={"backends": backends}), "numpy"))
    assert table is not None
    ((_, (line,)),) = table.sections
    assert line[:4] == ("numpy", "1.5", "4.0", "0-2, 5")
    assert line[5:] == ("1", "openblas 0.3 SkylakeX, 1 thread; openmp, 2 threads")
    assert "While it was timed" in summary.text(results, ())


def test_any_two_of_a_division_are_compared_both_ways_and_divisions_are_not() -> None:
    results = sample_results(EVERYONE)
    case = only(results)
    found = {matrix.division: matrix for matrix in rows.matrices(case)}
    assert {division: len(matrix.labels) for division, matrix in found.items()} == {
        "plain": 9,
        "tuned": 2,
        "framework": 4,
    }
    assert found["plain"].pairs == 9 * 8 // 2
    for matrix in found.values():
        for i, line in enumerate(matrix.cells):
            for j, cell in enumerate(line):
                mirrored = matrix.cells[j][i]
                if i == j:
                    assert cell is None
                    continue
                assert cell
                assert mirrored
                assert cell[0].value == pytest.approx(1 / mirrored[0].value)
                assert cell[0].interval == pytest.approx([1 / bound for bound in reversed(mirrored[0].interval or ())])
                assert cell[1] == {"faster": "slower", "slower": "faster"}.get(mirrored[1], mirrored[1])


def test_a_row_of_the_matrix_is_so_many_times_faster_than_a_column() -> None:
    results = sample_results(("numpy", "cpp", "go"))
    (matrix,) = rows.matrices(only(results))
    assert matrix.labels == ("cpp", "go", "numpy")
    (table,) = tables.matrix_tables(only(results))
    assert table.columns == ("row over column", "cpp", "go", "numpy")
    assert table.sections[0][1][0][2].startswith(format.number(matrix.cells[0][1][0].value))  # type: ignore[index]
    assert 2.2 < matrix.cells[0][1][0].value < 2.5  # type: ignore[index]
    assert row(results, "cpp").ratio == matrix.cells[0][2][0]  # type: ignore[index]
    assert "Any two of plain:" in said(results)
    assert "the row is so many times faster than the column" in said(results)
    assert "3 intervals, each right 19 times of 20" in said(results)


def test_what_cannot_be_told_apart_is_marked_in_the_matrix() -> None:
    results = sample_results(("numpy", "cpp", "c"))
    assert results.cases[0].noise_floor
    wide = edited(results, {}, noise_floor=0.5)
    cells = {line[0]: line for line in tables.matrix_tables(only(wide))[0].sections[0][1]}
    assert cells["cpp"][2].startswith("≈ ")  # c
    assert not cells["cpp"][3].startswith("≈")  # numpy, 55 times slower


def test_there_is_no_matrix_without_a_noise_floor_nor_of_one_nor_of_who_failed() -> None:
    assert rows.matrices(only(sample_results(QUICK, a_a=False))) == ()
    assert rows.matrices(only(sample_results(QUICK, launches=1))) == ()
    assert [matrix.division for matrix in rows.matrices(only(sample_results(("numpy", "cpp", "torch"))))] == ["plain"]
    failed = edited(sample_results(("numpy", "cpp", "c")), {"cpp": {"status": "parity_failed"}})
    (matrix,) = rows.matrices(only(failed))
    assert "cpp" not in matrix.labels
    assert "Any two" not in said(sample_results(("numpy", "torch")))


@given(st.floats(1e-3, 1e4), st.floats(1e-4, 0.5))
def test_a_margin_says_where_the_interval_ends(value: float, margin: float) -> None:
    shown = format.with_margin(Quantity(value, (value / (1 + margin), value * (1 + margin))))
    centre, percent = shown.removesuffix(" %").split(" ±")
    assert float(centre) == pytest.approx(value, rel=0.006)
    assert float(percent) == pytest.approx(100 * margin, rel=0.06)


def test_reasons_that_look_like_markup_are_shown_as_they_are() -> None:
    reason = "pip install 'jax[cuda]' | grep [red]<b>*x*"
    results = edited(sample_results(), {"cpp": {"status": "unavailable", "reason": reason, "remedy": reason}})
    assert f"  {reason}\n" in printed(results)
    assert reason in printed(Table("", ("reason",), (("", ((reason,),)),)))
    assert render.escape(reason) == r"pip install 'jax[cuda]' \| grep [red]\<b>\*x\*"
    widths = {line.replace(r"\|", "").count("|") for line in said(results).splitlines() if line.startswith("| cpp")}
    assert widths == {8, 6}  # the case's table and the backends'; no cell was split


def test_the_terminal_tells_what_failed_and_what_to_do() -> None:
    text = printed(sample_results(EVERYONE, failures=STATUS_OF))
    for failure in FAILURES.values():
        assert failure["reason"].splitlines()[0] in text
        assert failure.get("remedy", "") in text


def test_the_share_of_the_peak_is_a_column_only_where_it_is_known() -> None:
    assert "of peak" not in said(edited(sample_results(), {name: {"ceiling_share": None} for name in EVERYONE}))
    results = edited(sample_results(), {"cpp": {"ceiling_share": 0.918}})
    assert "of peak" in said(results)
    assert "92 %" in said(results)


@given(st.floats(1e-9, 1e6))
def test_a_number_keeps_three_digits(value: float) -> None:
    assert float(format.number(value)) == pytest.approx(value, rel=0.006)
    assert "e" not in format.number(value)


@given(st.floats(1e-3, 1e5), st.floats(1e-4, 0.5))
def test_rounding_moves_a_bound_by_less_than_half_of_what_it_bounds(value: float, spread: float) -> None:
    low, high = value * (1 - spread), value * (1 + spread)
    shown = format.with_interval(Quantity(value, (low, high)))
    for got, wanted in zip(shown.replace("[", "").replace("]", "").split(), (value, low, high), strict=False):
        assert float(got.rstrip(",")) == pytest.approx(wanted, abs=0.5 * value * spread + 0.00005 * value)


@pytest.mark.parametrize(("seconds", "unit"), [(3.0, "s"), (2e-3, "ms"), (40e-6, "µs"), (5e-9, "ns"), (1e-11, "ns")])
def test_times_are_given_in_a_unit_that_fits(seconds: float, unit: str) -> None:
    assert format.unit_of([seconds]).name == unit


# figures


def test_the_noise_floor_shaded_is_the_noise_floor() -> None:
    results = sample_results(QUICK)
    floor = results.cases[0].noise_floor
    assert floor
    (band,) = panel(results, "ratio_train_float32_1t").findobj(lambda artist: artist.get_gid() == FLOOR)
    extent = band.get_window_extent().transformed(band.axes.transData.inverted())  # type: ignore[union-attr]
    assert extent.x0 == pytest.approx(1 / (1 + floor))
    assert extent.x1 == pytest.approx(1 + floor)


def test_shares_of_the_peak_are_drawn_against_the_peak_as_wide_as_the_step_times() -> None:
    results = sample_results(QUICK)
    axes = panel(results, "share_train_float32_1t")
    assert axes.get_xlabel() == "Share of the peak (%); line: 250 GFLOP/s"
    assert axes.get_xlim()[1] > 100
    lines = [data(line)[0] for line in axes.lines]
    assert any(line == [100, 100] for line in lines)
    for b in results.cases[0].backends:
        if b.instance == b.name and b.step_seconds and b.ceiling_share:
            factors = [b.step_seconds.median / bound for bound in (b.step_seconds.high, b.step_seconds.low)]
            assert any(line == pytest.approx([100 * b.ceiling_share * factor for factor in factors]) for line in lines)


def test_without_a_peak_there_is_no_figure_of_shares() -> None:
    bare = edited(sample_results(QUICK), {name: {"ceiling_share": None} for name in EVERYONE})
    assert not any(stem.startswith("share") for stem in drawn(bare))


def test_dots_and_whiskers_are_the_estimates() -> None:
    results = sample_results(QUICK)
    axes = panel(results, "step_time_train_float32_1t")
    assert axes.get_xlabel() == "Step time (µs)"
    lines = [data(line)[0] for line in axes.lines]
    for backend in results.cases[0].backends:
        if backend.instance == backend.name and backend.step_seconds:
            step = backend.step_seconds
            assert any(line == pytest.approx([1e6 * step.low, 1e6 * step.high]) for line in lines)
            assert any(line == pytest.approx([1e6 * step.median]) for line in lines if len(line) == 1)


def test_a_curve_is_drawn_over_its_own_seconds_and_named() -> None:
    results = sample_results(QUICK)
    axes = panel(results, "curve_wine-deep_float32_1t")
    lines = {str(line.get_label()): line for line in axes.lines}
    assert axes.get_xlabel() == "Wall time (ms)"
    for backend in results.cases[0].backends:
        if backend.curve and backend.instance == backend.name:
            x, y = data(lines[backend.name])
            assert x == pytest.approx([1e3 * second for second in backend.curve.seconds[1:]])
            assert y == backend.curve.losses[1:]
            assert backend.name in [text.get_text() for text in axes.texts]


def test_no_two_curves_look_alike() -> None:
    results = sample_results(EVERYONE)
    axes, labels = panel(results, "curve_wine-deep_float32_1t"), {row.label for row in only(results).rows}
    looks = [(line.get_color(), line.get_linestyle()) for line in axes.lines if line.get_label() in labels]
    assert len(looks) == len(EVERYONE)
    assert len(set(looks)) == len(looks)


OVERVIEW, EFFORT = "overview_train_1t", "effort_train_float32_1t"


def test_the_overview_has_a_panel_a_workload_and_a_mark_a_dtype_at_the_ratio() -> None:
    results = sample_results(QUICK, ("wine-deep", "digits"), dtypes=("float32", "float64"))
    figure = drawn(results)[OVERVIEW]
    assert [axes.get_title() for axes in figure.axes] == ["wine-deep", "digits"]
    for axes, workload in zip(figure.axes, ("wine-deep", "digits"), strict=True):
        marks = [data(line)[0][0] for line in axes.lines if line.get_marker() in ("o", "s", "D")]
        ratios = [b.ratio.median for c in results.cases if c.workload == workload for b in c.backends
                  if b.ratio and b.instance == b.name]  # fmt: skip
        assert sorted(marks) == pytest.approx(sorted([*ratios, 1.0, 1.0]))
    assert any("Filled, above, and in numbers: float32; open, below: float64." in t.get_text() for t in texts(figure))


def test_the_overview_puts_the_fastest_of_a_division_first_and_says_who_has_no_ratio() -> None:
    figure = drawn(sample_results((*QUICK, "go"), failures={"go": "unavailable"}))[OVERVIEW]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["cpp", "c", "numpy", "go", "cpp-tuned", "torch"]
    assert "unavailable" in [text.get_text() for text in figure.axes[0].texts]


def test_a_dtype_that_failed_is_told_in_the_overview_and_lends_its_place_to_no_other() -> None:
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
    assert any("Without a mark in float64: cpp on wine-deep (parity failed)." in t.get_text() for t in below)


def test_more_workloads_than_fit_beside_each_other_go_on_in_a_further_file() -> None:
    workloads = ("wine-deep", "wine-batch", "digits", "mlp")
    extra = sample_results(QUICK, workloads)
    further = [c.model_copy(update={"workload": f"{c.workload}-2"}) for c in extra.cases]
    figures = drawn(extra.model_copy(update={"cases": [*extra.cases, *further]}))
    assert [len(figures[stem].axes) for stem in (OVERVIEW, f"{OVERVIEW}_2")] == [4, 4]


def test_effort_is_lines_of_code_against_the_geometric_mean_of_the_ratios() -> None:
    results = sample_results(QUICK, ("wine-deep", "digits"))
    cases = rows.case_views(results)
    figure = drawn(results)[EFFORT]
    points = {
        data(line)[0][0]: data(line)[1][0] for line in figure.axes[0].lines if line.get_marker() in ("o", "s", "D")
    }
    for name in QUICK:
        ratios = [b.ratio.median for c in results.cases for b in c.backends if b.instance == name and b.ratio] or [1.0]
        wanted = float(np.exp(np.mean(np.log(ratios))))
        assert overview.standing(name, cases) == pytest.approx(wanted)
        assert points[200 + 7 * len(name)] == pytest.approx(wanted) or name in ("cpp", "numpy", "torch")  # as long
    assert any("geometric mean over wine-deep, digits" in text.get_text() for text in texts(figure))


def test_effort_names_who_is_left_out_and_needs_two_to_compare() -> None:
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


def test_divisions_differ_in_marker_as_well_as_colour() -> None:
    markers, colours = zip(*[*DIVISION_STYLE.values(), OTHER_STYLE], strict=True)
    assert len(set(markers)) == len(markers)
    assert len(set(colours)) == len(colours)


def test_a_footnote_names_machine_version_and_data() -> None:
    figure = drawn(sample_results())["step_time_train_float32_1t"]
    text = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert SYNTHETIC in text
    assert "pyfnn 0.1.0" in text
    assert "Data of wine-deep: drawn in wine's shape by a seeded teacher." in text
    bare = sample_results().model_copy(update={"host": {}})
    text = " ".join(text.get_text() for text in drawn(bare)["step_time_train_float32_1t"].texts)
    assert "CPU not recorded; pyfnn (version not recorded)" in text


def test_figures_too_tall_for_a_page_go_on_in_a_further_file() -> None:
    pages = [f for stem, f in drawn(sample_results(EVERYONE, list(WORKLOADS))).items() if stem.startswith("step_time")]
    assert len(pages) == 2
    titles = [text.get_text() for page in pages for text in page.texts]
    assert all(any(title.startswith(f"{workload} ·") for title in titles) for workload in WORKLOADS)
    assert all(page.get_figheight() < 10 for page in pages)


def everyone_swept(along: str, values: tuple[int, ...]) -> Results:
    """Everybody's step costs something once, and something for each unit; lua is too slow at the most."""
    costs = {name: lambda value, s=s: 5e-6 + s * value**0.9 for name, (*_, s) in BACKENDS.items()}
    late = [("lua", values[-1]), ("go", values[1])]
    return swept_results(costs, values, along, absent=late, data="drawn in wine's shape by a seeded teacher")


LEGIBLE = {
    "a sweep": everyone_swept("batch", (1, 4, 16, 64, 256, 1024)),
    "a fine sweep": everyone_swept("width", tuple(range(500, 520))),
    "a sweep of two": everyone_swept("threads", (1, 2)),
    "three backends": sample_results(),
    "five, noisy": sample_results(QUICK, ["wine-deep", "digits"], noise=0.2),
    "fifteen": sample_results(EVERYONE, list(WORKLOADS)),
    "failures": sample_results(EVERYONE, ["wine-deep", "mlp"], STATUS_OF),
    "two that are close": sample_results(["numpy", "numpy-skylakex"]),
    "all failed": sample_results(QUICK, failures=dict.fromkeys(QUICK, "crashed")),
}


def _boxes(figure: Figure) -> Iterator[tuple[str, Any]]:
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    figure.draw(renderer)
    for text in texts(figure):
        yield text.get_text(), text.get_window_extent(renderer)


@pytest.mark.parametrize("name", LEGIBLE)
def test_every_text_is_legible_at_column_width(name: str) -> None:
    for stem, figure in drawn(LEGIBLE[name]).items():
        assert figure.get_figwidth() == (WIDE if len(figure.axes) > 1 and OVERVIEW in stem else WIDTH)
        assert all(float(text.get_fontsize()) >= TYPE >= 7 for text in texts(figure)), stem
        boxes = list(_boxes(figure))
        for text, box in boxes:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
            assert inside, f"{stem}: {text!r} is cut"
        for (one, a), (other, b) in combinations(boxes, 2):
            wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(wide, high) <= 1.5, f"{stem}: {one!r} lies over {other!r}"


@given(st.lists(st.floats(0, 2.8), min_size=1, max_size=20).map(sorted))
def test_names_keep_their_distance_and_stay_over_the_axes(wanted: list[float]) -> None:
    places = spread(wanted, LINE, 2.8)
    assert all(b - a >= LINE - 1e-9 for a, b in pairwise(places))
    assert all(-1e-9 <= place <= 2.8 + 1e-9 for place in places)


def test_names_with_room_between_them_are_left_where_they_belong() -> None:
    assert spread([0.3, 1.0, 2.0], LINE, 2.8) == pytest.approx([0.3, 1.0, 2.0])
    assert spread([1.0, 1.0], 0.2, 2.8) == pytest.approx([0.9, 1.1])


@given(st.floats(-9, 6), st.floats(0.04, 9))
def test_a_log_axis_always_has_ticks(low: float, decades: float) -> None:
    ticks = round_ticks(10**low, 10 ** (low + decades))
    assert 2 <= len(ticks) <= 7
    assert all(10**low <= tick <= 10 ** (low + decades) for tick in ticks)


# files


def files(results: Results, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in report.write(results, folder)}


def test_a_second_draw_is_identical(tmp_path: Path) -> None:
    results = sample_results(QUICK)
    first, second = files(results, tmp_path / "one"), files(results, tmp_path / "two")
    assert {Path(name).suffix for name in first} == {".md", ".png", ".svg"}
    assert first == second


def test_drawing_leaves_matplotlibs_settings_alone_and_pyplot_out() -> None:
    code = (
        "import pathlib, sys, tempfile; from matplotlib import rcParams;"
        "read = lambda: {k: rcParams[k] for k in rcParams if not k.startswith('backend')};"
        "before = read();"
        "from bench import report;"
        "from sample_results import sample_results;"
        "report.write(sample_results(), pathlib.Path(tempfile.mkdtemp()));"
        "assert read() == before; assert 'matplotlib.pyplot' not in sys.modules"
    )
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=here.parent, env=_environment(here), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def _environment(*folders: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*folders, Path(__file__).parents[3]]))}


def test_the_summary_holds_every_reason_and_remedy_and_why_each_case_stopped() -> None:
    text = said(sample_results(EVERYONE, ["wine-deep", "mlp"], STATUS_OF))
    for failure in FAILURES.values():
        assert all(line in text for line in failure["reason"].splitlines())
        assert failure.get("remedy", "") in text
    assert text.count("Stopped: every interval is within 2 %.") == 2


def test_the_summary_links_figures_that_exist(tmp_path: Path) -> None:
    report.write(sample_results(QUICK, ["wine-deep", "digits"]), tmp_path)
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert len(links) == 14  # overview, effort, step time, ratio, share and two curves, each as PNG and SVG
    assert all((tmp_path / link).stat().st_size > 0 for link in links)


def test_a_run_of_no_case_is_told_as_such(tmp_path: Path) -> None:
    (only_file,) = report.write(sample_results(workloads=()), tmp_path)
    assert "No case was measured." in only_file.read_text(encoding="utf-8")


def test_a_run_in_which_everything_failed_is_told_as_such(tmp_path: Path) -> None:
    written = report.write(sample_results(QUICK, failures=dict.fromkeys(QUICK, "crashed")), tmp_path)
    assert "**no backend was timed**" in written[0].read_text(encoding="utf-8")
    assert [path.name for path in written[1:]] == ["step_time_train_float32_1t.png", "step_time_train_float32_1t.svg"]


def test_a_run_that_did_not_finish_is_told_as_such() -> None:
    assert "**not finished**" in said(sample_results().model_copy(update={"finished": None}))


def test_a_file_name_holds_no_path_from_the_results(tmp_path: Path) -> None:
    written = report.write(edited(sample_results(), {}, workload="../../evil $x$"), tmp_path / "in")
    assert all(path.parent == tmp_path / "in" for path in written)
    assert {path.parent for path in tmp_path.rglob("*.*")} == {tmp_path / "in"}


# python -m bench.plot


def test_plot_redraws_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_results(sample_results(), tmp_path)
    assert plot.main([str(tmp_path), "--out", str(tmp_path / "again")]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert sorted(map(Path, listed)) == sorted((tmp_path / "again").iterdir())


def test_plot_draws_from_the_journal_of_a_killed_run(tmp_path: Path) -> None:
    told = list(events(["numpy", "cpp"], ["wine-deep"], {}))
    lines = [json.dumps(event) for event in told[:-2]]
    (tmp_path / "journal.jsonl").write_text("\n".join([*lines, '{"event": "sam']), encoding="utf-8")
    assert plot.main([str(tmp_path)]) == 0
    assert "**not finished**" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def _damaged(text: str) -> Iterable[tuple[str, str]]:
    yield "cut short", text[: len(text) // 2]
    yield "another schema", text.replace("pyfnn-results/1", "pyfnn-results/9")
    yield "no JSON", "hello"
    yield "a list", "[]"
    yield "a misspelt field", text.replace('"workload"', '"wrokload"', 1)
    yield "an unknown status", text.replace('"ok"', '"fine"', 1)
    yield "a time below zero", text.replace('"low": ', '"low": -', 1)
    yield "a curve of uneven lengths", text.replace('"epochs": [', '"epochs": [7,', 1)


@pytest.mark.parametrize("what", [what for what, _ in _damaged("")])
def test_plot_answers_a_damaged_file_with_one_line(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_results(sample_results(), tmp_path)
    path.write_text(dict(_damaged(path.read_text(encoding="utf-8")))[what], encoding="utf-8")
    assert plot.main([str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bench.plot: ")
    assert err.count("\n") == 1
    assert "results.json" in err


def test_plot_answers_a_missing_folder_and_one_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plot.main([str(tmp_path / "nowhere")]) == 2
    assert "No such file" in capsys.readouterr().err
    save_results(sample_results(), tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert plot.main([str(tmp_path), "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_plot_is_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.plot", str(tmp_path)]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("bench.plot: ")
    assert "Traceback" not in done.stderr
