"""Claims about sweeps: the fastest backends, the crossings and the figure. The true costs are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from support.reports import drawn, printed, summary_of
from support.sample_results import sample_results, swept_results

from bench import format, report
from bench.report import tables
from bench.report.run_view import run_view
from bench.report.scaling import IDEAL, cost_lines
from bench.report.style import backend_style
from bench.report.sweeps import Crossing, SweepView, crossings, leads, sweeps_of
from bench.report.views import case_views
from bench.results.derive import with_verdicts
from bench.results.schema import Case, Results

Costs = dict[str, Callable[[int], float]]
VALUES = (1, 4, 16, 64, 256)
# numpy: 40 µs and 0.2 µs per row. c: 1 µs per row, so both cross at 50. fortran: half as fast as c. octave: slowest.
COSTS: Costs = {
    "numpy": lambda batch: 40e-6 + 0.2e-6 * batch,
    "c": lambda batch: 1e-6 * batch,
    "fortran": lambda batch: 2e-6 * batch,
    "octave": lambda batch: 900e-6 + 0.5e-6 * batch,
    "cpp-tuned": lambda batch: 0.1e-6 * batch,
    "torch": lambda batch: 200e-6 + 0.02e-6 * batch,
}


def sweep_of(results: Results) -> SweepView:
    (sweep,), rest = sweeps_of(case_views(results))
    assert rest == ()
    return sweep


def places(found: list[Crossing]) -> list[tuple[str, str, int, int]]:
    return [(crossing.overtaker, crossing.overtaken, crossing.before, crossing.after) for crossing in found]


def changed(results: Results, change: Callable[[Case], dict[str, object]]) -> Results:
    return results.model_copy(
        update={"cases": [with_verdicts(case.model_copy(update=change(case))) for case in results.cases]}
    )


def value_of(case: Case) -> int:
    assert case.sweep
    return case.sweep.value


# Crossings


@pytest.mark.parametrize("seed", range(5))
def test_backends_cross_where_they_do_and_nowhere_else(seed: int) -> None:
    found = crossings(sweep_of(swept_results(COSTS, VALUES, seed=seed)))
    # numpy and fortran cross at 22. octave is always slowest; other divisions have one backend each
    assert sorted(places(found)) == [("numpy", "c", 16, 64), ("numpy", "fortran", 16, 64)]
    for crossing in found:
        assert crossing.division == "plain"
        truth = [COSTS[crossing.overtaken](v) / COSTS[crossing.overtaker](v) for v in (crossing.before, crossing.after)]
        assert [crossing.behind.median, crossing.ahead.median] == pytest.approx(truth, rel=0.03)
        assert crossing.behind.median < 1 < crossing.ahead.median


def test_the_order_of_the_cases_in_the_file_does_not_matter() -> None:
    straight, shuffled = swept_results(COSTS, VALUES), swept_results(COSTS, (64, 1, 256, 4, 16))
    assert places(crossings(sweep_of(straight))) == places(crossings(sweep_of(shuffled)))
    assert [point.value for point in sweep_of(shuffled).points] == list(VALUES)


def test_a_backend_that_overtakes_and_falls_back_crosses_twice() -> None:
    costs: Costs = {"numpy": lambda _: 10e-6, "c": lambda batch: 5e-6 if batch == 16 else 20e-6}
    assert places(crossings(sweep_of(swept_results(costs, VALUES)))) == [("c", "numpy", 4, 16), ("numpy", "c", 16, 64)]


def test_the_ends_of_a_crossing_skip_values_without_a_significant_difference() -> None:
    costs: Costs = {"numpy": lambda _: 16e-6, "c": lambda batch: 1e-6 * batch}  # equal at 16
    assert places(crossings(sweep_of(swept_results(costs, VALUES)))) == [("numpy", "c", 4, 64)]


def test_equal_backends_never_cross() -> None:
    costs: Costs = {"numpy": lambda batch: 1e-6 * batch, "c": lambda batch: 1e-6 * batch}
    for seed in range(20):
        assert crossings(sweep_of(swept_results(costs, VALUES, seed=seed, noise=0.02))) == []


def test_no_crossing_is_claimed_where_a_side_is_undecided() -> None:
    costs: Costs = {"numpy": lambda _: 10e-6, "c": lambda batch: 11e-6 if batch < 16 else 9e-6}
    results = swept_results(costs, VALUES, noise=0.002)
    assert places(crossings(sweep_of(results))) == [("c", "numpy", 4, 16)]

    def undecided(where: Callable[[int], bool]) -> list[tuple[str, str, int, int]]:
        def change(case: Case) -> dict[str, object]:
            pairs = [pair.model_copy(update={"verdict": "undecided"}) for pair in case.pairs or ()]
            return {"pairs": pairs} if where(value_of(case)) else {}

        return places(crossings(sweep_of(changed(results, change))))

    assert undecided(lambda _: True) == undecided(lambda value: value >= 16) == []
    assert undecided(lambda value: value == 16) == [("c", "numpy", 4, 64)]


def test_a_single_launch_shows_no_crossing() -> None:
    assert crossings(sweep_of(swept_results(COSTS, VALUES, launches=1))) == []


def test_a_backend_without_a_time_at_a_value_is_compared_at_the_others() -> None:
    found = crossings(sweep_of(swept_results(COSTS, VALUES, absent=[("c", 64), ("numpy", 16)])))
    assert ("numpy", "c", 4, 256) in places(found)
    assert ("numpy", "fortran", 4, 64) in places(found)


# Fastest backends


def test_the_fastest_of_each_division_leads_at_each_value() -> None:
    found = leads(sweep_of(swept_results(COSTS, VALUES)))
    named = {(lead.division, lead.value): lead.leader.name for lead in found}
    plain = ["c", "c", "c", "numpy", "numpy"]
    assert named == {
        **{("plain", value): name for value, name in zip(VALUES, plain, strict=True)},
        **{("tuned", value): "cpp-tuned" for value in VALUES},
        **{("framework", value): "torch" for value in VALUES},
    }
    assert {lead.level for lead in found} == {()}


def test_backends_not_significantly_slower_are_listed_beside_the_leader() -> None:
    costs: Costs = {**COSTS, "fortran": COSTS["c"]}
    at_one = next(lead for lead in leads(sweep_of(swept_results(costs, VALUES))) if lead.division == "plain")
    assert {at_one.leader.label, *(at_one.level or ())} == {"c", "fortran"}
    bare = swept_results(costs, VALUES, launches=1)
    assert {lead.level for lead in leads(sweep_of(bare))} == {None}
    assert "no ratio" in summary_of(bare)


def test_summary_and_terminal_name_leaders_and_crossings() -> None:
    results = swept_results(COSTS, VALUES)
    text, terminal = summary_of(results), printed(results)
    assert "## Fastest: wine-deep along batch · train · float32 · 1 thread" in text
    over_c = next(crossing for crossing in crossings(sweep_of(results)) if crossing.overtaken == "c")
    sides = (format.with_margin(over_c.behind), format.with_margin(over_c.ahead))
    assert f"| numpy overtakes c | 16 and 64 | {sides[0]} | {sides[1]} |" in text
    (shown_line,) = (line for line in terminal.splitlines() if "numpy overtakes c " in line)
    assert all(cell in shown_line for cell in ("16 and 64", *sides))
    shown = [cell for table in tables.sweep_tables(sweep_of(results)) for _, lines in table.sections for cell in lines]
    assert ("256", "numpy") in [cells[:2] for cells in shown]
    assert "30 pairs were examined" in text  # 6 pairs of plain at 5 values
    alone = swept_results({"numpy": COSTS["numpy"], "torch": COSTS["torch"]}, VALUES)
    assert "no significant crossing" in summary_of(alone)


# The figure


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = (one for one in axes.lines if one.get_label() == label)
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


@pytest.mark.parametrize(("along", "name"), [("batch", "_1t"), ("width", "_1t"), ("depth", "_1t"), ("threads", "")])
def test_a_sweep_has_one_figure_and_its_cases_no_other(along: str, name: str) -> None:
    assert list(drawn(swept_results(COSTS, (1, 2), along))) == [f"sweep_{along}_wine-deep_train_float32{name}"]


def test_the_cost_is_that_of_a_step_and_along_batch_that_of_a_row() -> None:
    for along in ("batch", "width"):
        results = swept_results(COSTS, VALUES, along)
        (figure,) = drawn(results).values()
        axes = figure.axes[0]
        unit = {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[axes.get_ylabel().split("(")[1].split(",")[0]]
        values, costs = line(axes, "c")
        assert values == list(VALUES)
        expected = [COSTS["c"](value) / (value if along == "batch" else 1) / unit for value in VALUES]
        assert costs == pytest.approx(expected, rel=0.02)
        assert ("per row" in axes.get_ylabel()) == (along == "batch")


def test_there_is_a_panel_per_division_on_one_scale_and_every_timed_backend_is_named() -> None:
    (figure,) = drawn(swept_results(COSTS, VALUES, absent=[("octave", value) for value in VALUES])).values()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["plain", "tuned", "framework"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    named = [{text.get_text() for text in axes.texts} for axes in figure.axes]
    assert named == [{"numpy", "c", "fortran"}, {"cpp-tuned"}, {"torch"}]
    assert "No time: octave (too slow)." in " ".join(text.get_text() for text in figure.texts)


def test_bars_are_the_intervals() -> None:
    results = swept_results(COSTS, VALUES, "width", noise=0.05)
    (figure,) = drawn(results).values()
    axes = figure.axes[1]
    bars = [np.asarray(one.get_ydata()).tolist() for one in axes.lines if one.get_marker() == "_"]
    estimates = [b.step_seconds for case in results.cases for b in case.backends if b.instance == "cpp-tuned"]
    unit = 1e-6
    assert bars == [pytest.approx([e.low / unit, e.high / unit]) for e in estimates if e]


def test_a_line_is_broken_where_there_is_no_time_and_the_footnote_says_why() -> None:
    (figure,) = drawn(swept_results(COSTS, VALUES, absent=[("c", 16), ("fortran", 256)])).values()
    _, costs = line(figure.axes[0], "c")
    assert [bool(np.isnan(cost)) for cost in costs] == [False, False, True, False, False]
    text = " ".join(" ".join(text.get_text() for text in figure.texts if isinstance(text, Text)).split())
    assert "No time: c at 16 (too slow); fortran at 256 (too slow)." in text


def test_the_ideal_is_the_time_at_one_thread_shared_evenly() -> None:
    costs: Costs = {"numpy": lambda n: 1e-3 / n**0.5, "c": lambda _: 2e-3}
    (figure,) = drawn(swept_results(costs, (1, 2, 4), "threads")).values()
    (ideal,) = (one for one in figure.axes[0].lines if one.get_gid() == IDEAL)
    _, times = line(figure.axes[0], "numpy")
    assert np.asarray(ideal.get_ydata()).tolist() == pytest.approx([times[0], times[0] / 2, times[0] / 4])
    (other,) = drawn(swept_results(costs, (1, 2, 4), "depth")).values()
    assert not any(one.get_gid() == IDEAL for axes in other.axes for one in axes.lines)


def test_a_backend_looks_as_in_every_other_figure() -> None:
    for lines in cost_lines(sweep_of(swept_results(COSTS, VALUES))).values():
        assert all(line.style == backend_style(line.name) for line in lines)


def test_a_single_point_is_drawn_like_any_case() -> None:
    stems = list(drawn(swept_results(COSTS, (16,))))
    assert "step_time_train_float32_1t" in stems
    assert not any(stem.startswith("sweep") for stem in stems)
    assert sweeps_of(case_views(swept_results(COSTS, (16,))))[0] == ()


def test_cases_of_no_sweep_keep_their_figures_beside_one() -> None:
    plain, swept = sample_results(), swept_results(COSTS, VALUES)
    both = plain.model_copy(update={"cases": [*plain.cases, *swept.cases]})
    assert set(drawn(both)) == {*drawn(plain), *drawn(swept)}


def test_sweeps_that_differ_in_operation_are_apart() -> None:
    train, forward = (swept_results(COSTS, VALUES, operation=operation) for operation in ("train", "forward"))
    both = train.model_copy(update={"cases": [*train.cases, *forward.cases]})
    found, _ = sweeps_of(case_views(both))
    assert [len(sweep.points) for sweep in found] == [5, 5]


def test_a_sweep_without_any_time_is_reported_and_not_drawn(tmp_path: Path) -> None:
    results = swept_results(COSTS, VALUES, absent=[(name, value) for name in COSTS for value in VALUES])
    written = report.write(run_view(results), tmp_path)
    assert not [path for path in written if path.suffix in (".png", ".svg")]
    (summary,) = (path for path in written if path.suffix == ".md")
    assert "**no backend was timed**" in summary.read_text(encoding="utf-8")
