"""Claims about how a sweep is told: who leads, who overtakes whom and where, and the figure. The truth is known."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console
from support.sample_results import sample_results, swept_results

from bench import format, report
from bench.report import figures, rows, summary, tables
from bench.report.drawing import STYLE
from bench.report.scaling import IDEAL, curves
from bench.report.sweeps import Crossing, SweepView, crossings, leads, sweeps_of
from bench.results.schema import Case, Results

Costs = dict[str, Callable[[int], float]]
VALUES = (1, 4, 16, 64, 256)
# numpy: 40 µs and 0.2 µs a row; c: 1 µs a row, so they meet at 50; fortran as c, half as fast; octave: far behind.
COSTS: Costs = {
    "numpy": lambda batch: 40e-6 + 0.2e-6 * batch,
    "c": lambda batch: 1e-6 * batch,
    "fortran": lambda batch: 2e-6 * batch,
    "octave": lambda batch: 900e-6 + 0.5e-6 * batch,
    "cpp-tuned": lambda batch: 0.1e-6 * batch,
    "torch": lambda batch: 200e-6 + 0.02e-6 * batch,
}


def sweep_of(results: Results) -> SweepView:
    (sweep,), rest = sweeps_of(rows.case_views(results))
    assert rest == ()
    return sweep


def told(found: list[Crossing]) -> list[tuple[str, str, int, int]]:
    return [(crossing.overtaker, crossing.overtaken, crossing.before, crossing.after) for crossing in found]


def changed(results: Results, change: Callable[[Case], dict[str, object]]) -> Results:
    return results.model_copy(update={"cases": [case.model_copy(update=change(case)) for case in results.cases]})


def value_of(case: Case) -> int:
    assert case.sweep
    return case.sweep.value


# who overtakes whom


@pytest.mark.parametrize("seed", range(5))
def test_backends_cross_where_they_do_and_nowhere_else(seed: int) -> None:
    found = crossings(sweep_of(swept_results(COSTS, VALUES, seed=seed)))
    # numpy and fortran meet at 22. octave never catches anybody of plain; tuned and framework are nobody's rivals
    assert sorted(told(found)) == [("numpy", "c", 16, 64), ("numpy", "fortran", 16, 64)]
    for crossing in found:
        assert crossing.division == "plain"
        truth = [COSTS[crossing.overtaken](v) / COSTS[crossing.overtaker](v) for v in (crossing.before, crossing.after)]
        assert [crossing.behind.value, crossing.ahead.value] == pytest.approx(truth, rel=0.03)
        assert crossing.behind.value < 1 < crossing.ahead.value


def test_the_order_of_the_cases_in_the_file_does_not_matter() -> None:
    straight, shuffled = swept_results(COSTS, VALUES), swept_results(COSTS, (64, 1, 256, 4, 16))
    assert told(crossings(sweep_of(straight))) == told(crossings(sweep_of(shuffled)))
    assert [point.value for point in sweep_of(shuffled).points] == list(VALUES)


def test_who_overtakes_and_falls_back_crosses_twice() -> None:
    costs: Costs = {"numpy": lambda _: 10e-6, "c": lambda batch: 5e-6 if batch == 16 else 20e-6}
    assert told(crossings(sweep_of(swept_results(costs, VALUES)))) == [("c", "numpy", 4, 16), ("numpy", "c", 16, 64)]


def test_where_nothing_is_shown_in_between_the_ends_lie_farther_apart() -> None:
    costs: Costs = {"numpy": lambda _: 16e-6, "c": lambda batch: 1e-6 * batch}  # equal at 16
    assert told(crossings(sweep_of(swept_results(costs, VALUES)))) == [("numpy", "c", 4, 64)]


def test_equals_are_never_told_to_cross() -> None:
    costs: Costs = {"numpy": lambda batch: 1e-6 * batch, "c": lambda batch: 1e-6 * batch}
    for seed in range(20):
        assert crossings(sweep_of(swept_results(costs, VALUES, seed=seed, noise=0.02))) == []


def test_no_crossing_is_claimed_within_the_noise_floor_nor_where_none_is_known() -> None:
    costs: Costs = {"numpy": lambda _: 10e-6, "c": lambda batch: 11e-6 if batch < 16 else 9e-6}
    results = swept_results(costs, VALUES, noise=0.002)
    assert told(crossings(sweep_of(results))) == [("c", "numpy", 4, 16)]
    beyond = changed(results, lambda _: {"noise_floor": 0.2})
    assert crossings(sweep_of(beyond)) == []
    one_side = changed(results, lambda case: {"noise_floor": 0.2} if value_of(case) >= 16 else {})
    assert crossings(sweep_of(one_side)) == []
    late = changed(results, lambda case: {"noise_floor": 0.2} if value_of(case) == 16 else {})
    assert told(crossings(sweep_of(late))) == [("c", "numpy", 4, 64)]
    unknown = changed(results, lambda _: {"noise_floor": None})
    assert crossings(sweep_of(unknown)) == []


def test_a_single_launch_shows_no_crossing() -> None:
    assert crossings(sweep_of(swept_results(COSTS, VALUES, launches=1))) == []


def test_who_has_no_time_at_a_value_is_compared_at_the_others() -> None:
    found = crossings(sweep_of(swept_results(COSTS, VALUES, absent=[("c", 64), ("numpy", 16)])))
    assert ("numpy", "c", 4, 256) in told(found)
    assert ("numpy", "fortran", 4, 64) in told(found)


# who leads


def test_the_fastest_of_each_division_leads_at_each_value() -> None:
    found = leads(sweep_of(swept_results(COSTS, VALUES)))
    named = {(lead.division, lead.value): lead.leader.backend.name for lead in found}
    plain = ["c", "c", "c", "numpy", "numpy"]
    assert named == {
        **{("plain", value): name for value, name in zip(VALUES, plain, strict=True)},
        **{("tuned", value): "cpp-tuned" for value in VALUES},
        **{("framework", value): "torch" for value in VALUES},
    }
    assert {lead.level for lead in found} == {()}


def test_who_is_not_shown_to_be_slower_stands_beside_the_leader() -> None:
    costs: Costs = {**COSTS, "fortran": COSTS["c"]}
    at_one = next(lead for lead in leads(sweep_of(swept_results(costs, VALUES))) if lead.division == "plain")
    assert {at_one.leader.label, *(at_one.level or ())} == {"c", "fortran"}
    bare = changed(swept_results(costs, VALUES), lambda _: {"noise_floor": None})
    assert {lead.level for lead in leads(sweep_of(bare))} == {None}
    assert "no noise floor" in summary.text(bare, [])


def test_summary_and_terminal_name_leaders_and_crossings() -> None:
    results = swept_results(COSTS, VALUES)
    text, terminal = summary.text(results, []), io.StringIO()
    tables.show(results, Console(file=terminal, width=200))
    assert "## Who leads: wine-deep along batch · train · float32 · 1 thread" in text
    over_c = next(crossing for crossing in crossings(sweep_of(results)) if crossing.overtaken == "c")
    sides = (format.with_margin(over_c.behind), format.with_margin(over_c.ahead))
    assert f"| numpy overtakes c | 16 and 64 | {sides[0]} | {sides[1]} |" in text
    (said,) = (line for line in terminal.getvalue().splitlines() if "numpy overtakes c " in line)
    assert all(cell in said for cell in ("16 and 64", *sides))
    shown = [cell for table in tables.sweep_tables(sweep_of(results)) for _, lines in table.sections for cell in lines]
    assert ("256", "numpy") in [cells[:2] for cells in shown]
    assert "30 intervals were looked at" in text  # 6 pairs of plain at 5 values; nobody else has a rival
    alone = swept_results({"numpy": COSTS["numpy"], "torch": COSTS["torch"]}, VALUES)
    assert "nobody is shown to overtake anybody" in summary.text(alone, [])


# the figure


def drawn(results: Results) -> dict[str, Figure]:
    with style.context(["default", STYLE]):
        return dict(figures.figures(results))


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = (one for one in axes.lines if one.get_label() == label)
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


@pytest.mark.parametrize(("along", "name"), [("batch", "_1t"), ("width", "_1t"), ("depth", "_1t"), ("threads", "")])
def test_a_sweep_has_one_figure_and_its_cases_no_other(along: str, name: str) -> None:
    assert list(drawn(swept_results(COSTS, (1, 2), along))) == [f"sweep_{along}_wine-deep_train_float32{name}"]


def test_cost_is_a_steps_and_along_batch_a_rows() -> None:
    for along in ("batch", "width"):
        results = swept_results(COSTS, VALUES, along)
        (figure,) = drawn(results).values()
        axes = figure.axes[0]
        unit = {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[axes.get_ylabel().split("(")[1].rstrip(")")]
        values, costs = line(axes, "c")
        assert values == list(VALUES)
        wanted = [COSTS["c"](value) / (value if along == "batch" else 1) / unit for value in VALUES]
        assert costs == pytest.approx(wanted, rel=0.02)
        assert ("a row" in axes.get_ylabel()) == (along == "batch")


def test_there_is_a_panel_a_division_on_one_scale_and_everybody_is_named() -> None:
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


def test_colours_go_by_the_name_whoever_else_has_a_time() -> None:
    every = {c.name: (c.colour, c.dashes) for c in curves(sweep_of(swept_results(COSTS, VALUES)))["plain"]}
    late = swept_results(COSTS, VALUES, absent=[("c", value) for value in VALUES])
    some = {c.name: (c.colour, c.dashes) for c in curves(sweep_of(late))["plain"]}
    assert some == {name: look for name, look in every.items() if name != "c"}
    assert len(set(every.values())) == len(every)


def test_a_single_point_is_drawn_like_any_case() -> None:
    stems = list(drawn(swept_results(COSTS, (16,))))
    assert "step_time_train_float32_1t" in stems
    assert not any(stem.startswith("sweep") for stem in stems)
    assert sweeps_of(rows.case_views(swept_results(COSTS, (16,))))[0] == ()


def test_cases_of_no_sweep_keep_their_figures_beside_one() -> None:
    plain, swept = sample_results(), swept_results(COSTS, VALUES)
    both = plain.model_copy(update={"cases": [*plain.cases, *swept.cases]})
    assert set(drawn(both)) == {*drawn(plain), *drawn(swept)}


def test_sweeps_that_differ_in_operation_are_apart() -> None:
    train, forward = (swept_results(COSTS, VALUES, operation=operation) for operation in ("train", "forward"))
    both = train.model_copy(update={"cases": [*train.cases, *forward.cases]})
    found, _ = sweeps_of(rows.case_views(both))
    assert [len(sweep.points) for sweep in found] == [5, 5]


def test_a_sweep_in_which_everybody_failed_is_told_and_not_drawn(tmp_path: Path) -> None:
    results = swept_results(COSTS, VALUES, absent=[(name, value) for name in COSTS for value in VALUES])
    (only,) = report.write(results, tmp_path)
    assert "**no backend was timed**" in only.read_text(encoding="utf-8")
